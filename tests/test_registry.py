"""Plugins by file name."""

import importlib
import re
import sys

import pytest
from one_line import refused

import bench
from bench import registry
from bench.cli import main
from bench.errors import unknown
from bench.protocol import named


@pytest.mark.parametrize("name", ["xxxxxx", "../bench", "split", "splits", "", "scratch.x"])
def test_only_plain_file_names_are_plugins(name):
    with refused("no dataset named"):
        registry.load("dataset", name)


def room(monkeypatch, tmp_path, **files):
    """Put plugin files into a package of their own."""
    package = tmp_path / "some_plugins"
    package.mkdir()
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.ROOMS, "dataset", ("some_plugins", "bench.dataset", "Dataset"))
    for name in [m for m in sys.modules if m.startswith("some_plugins")]:
        monkeypatch.delitem(sys.modules, name)


ONE = (
    "from bench.dataset import Dataset\nfrom bench.source import Source\n"
    "class A(Dataset):\n    cases = None\n"
    "    source = Source('c', 'https://u')\n    title, licence, modality, channels = 't', 'l', 'CT', ('x',)\n"
    "    labels, recipes = {1: 'a'}, {}\n"
)


def test_a_file_defines_exactly_one_class_of_its_own(monkeypatch, tmp_path):
    others = {"none": "x = 1\n", "two": ONE + "class B(A):\n    pass\n", "_hidden": ONE}
    borrowed = "from some_plugins.one import A\n"
    room(monkeypatch, tmp_path, one=ONE, borrowed=borrowed, **others)
    assert registry.names("dataset") == ["borrowed", "none", "one", "two"]
    assert registry.load("dataset", "one").__name__ == "A"
    for name, count in (("none", 0), ("two", 2), ("borrowed", 0)):
        message = rf"{name}.py must define one Dataset subclass, found {count}"
        with refused(message):
            registry.load("dataset", name)


BEGUN = "from bench.dataset import Dataset\nclass A(Dataset):\n    title = 't'\n"
BROKEN = {  # a file's text: what is said of it
    "half": (ONE[:-9], r"broken\.py:7: SyntaxError: .*; correct or remove the file"),
    "a class begun": (BEGUN, "its class does not define 'cases'; add this"),
    "no title": (ONE.replace("title, licence", "name, licence"), "does not define 'title'"),
    "no module": ("import os\nimport not_there\n", r"broken\.py:2: ModuleNotFoundError: No module"),
    "no module of ours": (
        "import bench.randoms\n",
        r"broken\.py:1: ModuleNotFoundError: No module named 'bench\.randoms'; "
        r"did you mean bench\.random\?; correct",
    ),
    "raises": ("def f():\n    return 1 / 0\nf()\n", r"broken\.py:2: ZeroDivisionError"),
    "no text": ("\0\0", r"broken\.py.*: .*null bytes"),
    "leaves": (ONE + "raise SystemExit(3)\n", r"broken\.py:8: SystemExit"),
    "no lists": (ONE + "    splits = 5\n", r"broken\.py: splits: expected a mapping, got 5"),
    "raises when listed": (
        f"{ONE}    def __init__(self):\n        1 / 0\n",
        r"broken\.py:9: ZeroDivisionError",
    ),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_with_its_line_and_the_others_are_listed(
    monkeypatch, tmp_path, capsys, text, said
):
    room(monkeypatch, tmp_path, one=ONE, broken=text)
    if "__init__" not in text:
        with refused(said):
            registry.load("dataset", "broken")
        assert main(["check", "broken", "--data", str(tmp_path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert registry.load("dataset", "one").__name__ == "A"
    for json in (["--json"], []):
        assert main(["list", "datasets", *json]) == 1
        shown = capsys.readouterr()
        assert "broken" not in shown.out and "one" in shown.out
        assert shown.err.startswith("bench: ") and shown.err.count("\n") == 1
        assert re.search(said, shown.err) and "broken.py" in shown.err


def test_a_broken_method_is_in_nobodys_way(tmp_path, protocol_file, capsys, monkeypatch):
    package = importlib.import_module("bench_methods")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    text = "from bench.method import Method\n\nclass Half(Method):\n    title = 'x\n"
    (tmp_path / "half.py").write_text(text)
    for method, code in (("half", 2), ("simclr3d", 0)):
        path = protocol_file({"rows": {"pair": {"method": method}}})
        assert main(["plan", str(path), "--out", str(tmp_path / "out")]) == code
        told = capsys.readouterr().err
        assert code == 0 or re.fullmatch(r"bench: .*/half\.py:4: SyntaxError: .*\n", told)


def test_a_broken_protocol_is_named_and_the_others_are_listed(tmp_path, capsys, monkeypatch):
    (tmp_path / "protocols").mkdir()
    good = named.ROOT / "protocols" / "quickstart.yaml"
    (tmp_path / "protocols" / "good.yaml").write_text(good.read_text())
    (tmp_path / "protocols" / "half.yaml").write_text("title: x\nrows: {a: [\n")
    for place in ("ROOT", "SHIPPED"):
        monkeypatch.setattr(named, place, tmp_path)
    assert main(["list", "protocols"]) == 1
    told = capsys.readouterr()
    assert "good" in told.out and told.err.count("\n") == 1 and "half.yaml" in told.err


def test_the_package_offers_method_dataset_network_and_metrics():
    assert bench.method("scratch") is registry.load("method", "scratch")
    name = "msd04_hippocampus"
    assert isinstance(bench.dataset(name), registry.load("dataset", name))
    assert bench.network("unet3d", "tiny", in_channels=1, out_channels=2).name == "unet3d"
    assert callable(bench.metrics.score)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = bench.nothing_like_it


def test_a_name_far_from_all_lists_all():
    assert unknown("thing", "qqq", ["b", "a"]) == "no thing named 'qqq'; known: a, b"
    assert unknown("thing", "qqq", []) == "no thing named 'qqq'; none is known here"


def test_a_constant_is_read_from_the_file_without_importing_it(monkeypatch, tmp_path):
    text = (
        "import a_module_that_is_not_there\nclass A(B):\n    size: int\n    pretrains = False\n"
        "    names: list = ['x']\n"
    )
    room(monkeypatch, tmp_path, plugin=text, torn="class A(")
    (registry.folder("dataset") / "bytes.py").write_bytes(b"\x00\xff\xfe")
    assert registry.declared("dataset", "plugin", "pretrains", True) is False
    assert registry.declared("dataset", "plugin", "names", None) == ["x"]
    for name, attribute in (("plugin", "size"), ("plugin", "other")):
        assert registry.declared("dataset", name, attribute, "default") == "default"
    for name in ("torn", "gone", "bytes"):
        assert registry.declared("dataset", name, "names", "default") == "default"


def test_what_a_method_declares_is_what_its_class_says():
    for name in registry.names("method"):
        declared = registry.declared("method", name, "pretrains", True)
        assert declared == registry.load("method", name).pretrains
