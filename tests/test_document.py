"""Strict YAML: what a text means, and the line that a mistake is blamed on."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_line import refused

from bench.document import overlay, parse, read_toml, scalar


@dataclass(frozen=True)
class Inner:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    name: Literal["adam", "sgd"] = "adam"


@dataclass(frozen=True)
class Outer:
    title: str
    steps: int | None = None
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    either: str | Inner = "text"
    named: dict[str, Inner] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    flag: bool = False

    def __post_init__(self):
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be above 0, got {self.steps}")


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "file.yaml"
        path.write_text(text)
        return parse(path)

    return from_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *{"1e-4": 1e-4, "1E3": 1000.0, "1.5e+2": 150.0, ".5": 0.5, "-2.": -2.0}.items(),
        *{".inf": float("inf"), "-.inf": float("-inf"), "7": 7, "-3": -3, "010": 10}.items(),
        *{"true": True, "false": False, "null": None, "": None, "~": None}.items(),
        *((text, text) for text in ["no", "on", "Yes", "1:30", "0x10", "1_000", "2001-02-03"]),
        ("[1, 2e-1, a]", [1, 0.2, "a"]),
        ('"1e-4"', "1e-4"),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text, value):
    found = scalar(text)
    assert found == value and type(found) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_every_number_that_python_prints_reads_back_as_itself(number):
    found = scalar(repr(number))
    assert type(found) is type(number) and found == number


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            b"title: x\ninner:\n  lr: 1\n  lr: 2\n",
            r":4: key 'inner.lr' is written twice \(first on line 3\)",
        ),
        (b"title: [1\nx: 2", r":2: not YAML: the bracket of line 1 is not closed"),
        (b"title: x\nsteps: \x07", "not YAML"),
        (b"title: a: b", ":1: .*put the value in quotes"),
        (b"inner:\n\tlr: 1", ":2: not YAML: a tab indents the line; write spaces"),
        (b"title: x\ninner: @a", ":2: .*no value begins with '@'"),
        (b"title: x\nsteps\nflag: true", ":3: .*': ' inside a value|:3: .*the key of line 2"),
        (b"\n- a\n- b", r":2: expected a mapping of keys \('key: value' lines\), got a list"),
        (b"abc", "got text"),
        (b"", "the file has no keys"),
        (b"# later\n", "the file has no keys"),
        (b"title: \xe9\n", "not text in UTF-8"),
        (None, "no such file; correct the path"),
        (b"# " + b"x" * (256 << 10), "more than 256 KiB"),
    ],
    ids=range(14),
)
def test_a_file_that_is_no_mapping_is_refused_in_one_line(tmp_path, raw, message):
    path = tmp_path / "file.yaml"
    if raw is not None:
        path.write_bytes(raw)
    with refused(rf"file\.yaml.*{message}"):
        parse(path)


def test_plain_values_become_the_frozen_dataclass(read):
    text = (
        "title: t\nsteps: 3\ninner: {lr: 1, betas: [1, 0.5], name: sgd}\nseveral: [{lr: 2}]\n"
        "either: {lr: 3}\nnamed: {a: {}}\nfree: {anything: [1, x]}\nflag: true\n"
    )
    found = read(text).build(Outer)
    inner, several = Inner(1.0, (1.0, 0.5), "sgd"), (Inner(2.0),)
    maps = ({"a": Inner()}, {"anything": [1, "x"]})
    assert found == Outer("t", 3, inner, several, Inner(3.0), *maps, True)
    assert type(found.inner.lr) is float and type(found.inner.betas[0]) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel: x", r"file.yaml:1: titel: unknown key 'titel'; did you mean 'title'\?"),
        ("title: x\nlr: 1", r":2: lr: unknown key 'lr'; did you mean 'inner.lr' or 'several.lr'"),
        ("title: x\nLearning_Rate: 1", "unknown key 'Learning_Rate'; did you mean 'inner.lr'"),
        ("title: x\ninner: {learning_rate: 1}", r"inner.learning_rate: .*; did you mean 'lr'\?"),
        ("title: x\nmax_steps: 1", r"unknown key 'max_steps'; did you mean 'steps'\?"),
        ("title: x\ninner:\n  rate: 1", ":3: inner.rate: unknown key 'rate'; known: betas, lr"),
        ("steps: 1", ":1: top level: key 'title' is missing"),
        ("title: 1", ":1: title: expected text, got 1"),
        ("title: x\nsteps: 1e4", ":2: steps: expected a whole number, got 10000.0"),
        ("title: x\nsteps: true", ":2: steps: expected a whole number, got True"),
        ("title: x\nsteps: 0", ":1: top level: steps must be above 0, got 0"),
        ("title: x\ninner: 3", ":2: inner: expected a mapping, got 3"),
        ("title: x\ninner:\n  name: no", ":3: inner.name: expected one of adam, sgd, got 'no'"),
        ("title: x\ninner:\n  betas: [1]", ":3: inner.betas: expected 2 values, got 1"),
        ("title: x\ninner:\n  betas: [1, no]", ":3: inner.betas.1: expected a number, got 'no'"),
        ("title: x\nseveral:\n- lr: 1\n- lr: a", ":4: several.1.lr: expected a number, got 'a'"),
        ("title: x\nseveral: 5", ":2: several: expected a list, got 5"),
        ("title: x\nnamed:\n  a: 5", ":3: named.a: expected a mapping, got 5"),
        ("title: x\nnamed: [5]", r":2: named: expected a mapping, got \[5\]"),
        ("title: x\neither: 5", ":2: either: expected text, got 5"),
        ("title: x\nflag: yes", ":2: flag: expected true or false, got 'yes'"),
    ],
)
def test_a_mistake_names_file_line_key_and_what_to_write(read, text, message):
    with refused(message):
        read(text).build(Outer)


@dataclass(frozen=True)
class Pair:
    one: int
    two: int


@dataclass(frozen=True)
class Nested:
    title: str
    pair: Pair
    more: dict[str, Pair]
    many: tuple[Pair, ...] = ()


def test_missing_keys_are_told_all_at_once_each_at_its_line(read):
    document = read(
        "pair: {one: 1, two: 2}\nmore:\n  a: {one: 1}\n  b: {one: 1, two: 1}\nmany:\n- {}\n"
    )
    with refused() as caught:
        document.build(Nested)
    assert str(caught.value).replace(f"{document.path}", "") == (
        ":1: top level: key 'title' is missing; :3: more.a: key 'two' is missing; "
        ":6: many.0: keys 'one' and 'two' are missing"
    )
    with refused("more: expected a mapping, got 3"):  # any other first
        read("more: 3\n").build(Nested)


def test_an_overlay_merges_mappings_reaches_into_lists_and_replaces_the_rest():
    base = {"a": {"x": 1, "y": 2}, "list": [{"n": 1, "m": 0}, {"n": 2}], "v": [1, 2], "s": 1}
    over = {"a": {"y": 3}, "list": {"n": 9}, "v": [3], "s": {"deep": 1}, "new": 5}
    merged = {"a": {"x": 1, "y": 3}, "list": [{"n": 9, "m": 0}, {"n": 9}]}
    assert overlay(base, over) == {**over, **merged}
    assert base["a"] == {"x": 1, "y": 2} and base["list"][0]["n"] == 1  # the base is not touched


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("!!bool maybe", "'maybe' is not a valid bool"),
        ("!!int x", "'x' is not a valid int"),
        ("9" * 5000, "is not a valid int"),
        ("!!timestamp 2001-99-99", "is not supported; write a plain value"),
        ("=", "is not supported"),
        ("!!binary x", "is not supported"),
        ("&a [*a]", "contains itself"),
        ("[" * 5000, "too deeply"),
        ("[" * 51 + "]" * 51, "too deeply"),
        ("{b: " * 3000, "too deeply"),
        ("\n" + "- " * 3000, "too deeply"),
        ("[&a [x, x], &b [*a, *a], " + "*b, " * 9000 + "*b]", "more than"),
        ("[1, 2", " YAML"),
        ("{a: 1", " YAML"),
        ("a: b: c", " YAML"),
        ("\x00", " YAML"),
    ],
)
def test_what_only_yaml_can_do_is_refused_in_one_short_line(read, text, told):
    for call in (lambda: scalar(text), lambda: read(f"title: {text}\n")):
        with refused() as caught:
            call()
        assert told in str(caught.value)
        assert len(str(caught.value)) < 400


def test_a_wrong_value_is_shown_in_short(read):
    with refused() as caught:
        read(f"title: {'[' * 40}{'x' * 90_000}{']' * 40}\n").build(Outer)
    assert len(str(caught.value)) < 400


TOML = """# first
top = 1
[a.b]
list = [
  1, [2,
  3],
]
text = \'\'\'
[no.head]
x = 1\'\'\'
inner.key = { deep = 2 }

[[rows]]  # a head
name = "x = ["
[ "c d" ]
"e.f" = 5
"""


def test_each_key_of_a_toml_file_has_the_line_on_which_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.document.SECTIONS", ("top", "a", "rows", "c d"))
    path = tmp_path / "file.toml"
    assert read_toml(path) is None
    for end in ("\n", "\r\n"):
        path.write_bytes(TOML.replace("\n", end).encode())
        lines = {".".join(keys): line for keys, line in read_toml(path).lines.items()}
        expected = {"top": 2, "a": 3, "a.b": 3, "a.b.list": 4, "a.b.text": 8, "a.b.inner": 11}
        expected |= {"a.b.inner.key": 11, "a.b.inner.key.deep": 11, "rows": 13, "rows.name": 14}
        assert lines == {**expected, "c d": 15, "c d.e.f": 16}
    assert read_toml(path).where(("a", "b", "list", "0")) == f"{path}:4: a.b.list.0"


@pytest.mark.parametrize("raw", [b"a = \xff", b"a = [", b"a = 1\na = 2", b"a = " + b"[" * 5000])
def test_what_is_no_toml_is_refused_in_one_line(tmp_path, raw):
    (tmp_path / "file.toml").write_bytes(raw)
    with refused(r"file\.toml: "):
        read_toml(tmp_path / "file.toml")
