"""Where data lies: flag, environment, bench.toml; and what its files hold."""

import json
import os

import pytest
from small_protocol import NAME

from bench.data.roots import Contents, Roots, adapter
from bench.dataset import Case
from bench.errors import BenchError


@pytest.fixture(autouse=True)
def empty_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)


def test_flag_before_environment_and_toml_names_single_folders(tmp_path, monkeypatch):
    for name in ("flag/a", "env/a", "env/b", "own/c"):
        (tmp_path / name).mkdir(parents=True)
    assert Roots.here(None).find("a") is None
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "env"))
    assert Roots.here(None).find("a") == tmp_path / "env/a"
    assert Roots.here(tmp_path / "flag").find("a") == tmp_path / "flag/a"
    assert Roots.here(tmp_path / "flag").find("b") is None
    (tmp_path / "bench.toml").write_text('[data]\nc = "own/c"\na = "own/c"\n')
    assert str(Roots.here(None).find("c")) == "own/c"
    assert str(Roots.here(tmp_path / "flag").find("a")) == "own/c"


def test_a_link_is_a_folder_and_a_file_is_none(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/linked").symlink_to(tmp_path / "real")
    (tmp_path / "data/file").write_text("x")
    roots = Roots.here(tmp_path / "data")
    assert roots.find("linked") is not None and roots.find("file") is None


def test_a_missing_place_is_refused_with_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(BenchError, match="no such data folder; name an existing one with --data"):
        Roots.here(tmp_path / "nowhere")
    with pytest.raises(BenchError, match=r"no --data DIR was given.*bench phantom x DIR"):
        Roots().require("x")
    with pytest.raises(BenchError, match=r"/x does not exist"):
        Roots(tmp_path).require("x")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "gone"))
    with pytest.raises(BenchError, match="gone: no such data folder"):
        Roots.here(None)


@pytest.mark.parametrize(
    "text", ["[data", "data = 3", "[data]\nx = 3", "[data]\nx = ['a']", f"[data]\nx = '{'x' * 5000}'"]
)
def test_a_broken_toml_is_named_in_one_line(tmp_path, text):
    (tmp_path / "bench.toml").write_text(text)
    with pytest.raises(BenchError, match=r"bench.toml: ") as caught:
        Roots.here(None)
    assert "\n" not in str(caught.value)


def test_an_adapter_is_registered_or_read_from_a_folder_in_msd_layout(phantoms, tmp_path):
    assert type(adapter(NAME, Roots())).__name__ == "Hippocampus"
    (tmp_path / "my_task").symlink_to(phantoms / NAME)
    found = adapter("my_task", Roots(tmp_path))
    assert len(found.cases(tmp_path / "my_task")) == 20
    with pytest.raises(BenchError, match=rf"did you mean '{NAME}'.*dataset.json"):
        adapter("msd04_hipocampus", Roots(tmp_path))


@pytest.fixture
def cases(tmp_path):
    for name, text in (("a.img", "image a"), ("b.img", "image b"), ("a.seg", "label a")):
        (tmp_path / name).write_text(text)
    return [
        Case("a", "pa", (tmp_path / "a.img",), tmp_path / "a.seg"), Case("b", "pb", (tmp_path / "b.img",))
    ]  # fmt: skip


def test_the_digest_is_of_bytes_ids_and_patients(cases, tmp_path):
    digest = Contents(None).digest(cases)
    assert len(digest) == 16 and Contents(None).digest(cases) == digest
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("a.img", "b.img", "a.seg"):
        (moved / name).write_bytes((tmp_path / name).read_bytes())
    again = [
        Case("a", "pa", (moved / "a.img",), moved / "a.seg"), Case("b", "pb", (moved / "b.img",))
    ]  # fmt: skip
    assert Contents(None).digest(again) == digest
    a, b = cases
    for changed in ([a], [Case("A", *(a.patient, a.images, a.label)), b], [a, Case("b", "pa", b.images)],
                    [a, Case("b", "pb", b.images, 1)], [Case("a", "pa", a.images), b]):  # fmt: skip
        assert Contents(None).digest(changed) != digest


def test_changed_bytes_change_the_digest_and_a_new_time_alone_does_not(cases, tmp_path):
    contents = Contents(None)
    digest = contents.digest(cases)
    os.utime(tmp_path / "a.img", (1, 1))
    assert contents.digest(cases) == digest
    (tmp_path / "a.img").write_text("image A")
    assert contents.digest(cases) != digest


def test_what_was_summed_is_remembered_by_path_size_and_time(cases, tmp_path):
    memory = tmp_path / "contents.json"
    first = Contents(memory)
    digest = first.digest(cases)
    first.save()
    stamp = (tmp_path / "a.img").stat()
    (tmp_path / "a.img").write_text("imagE a")  # as long as before, and the clock set back
    os.utime(tmp_path / "a.img", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert Contents(memory).digest(cases) == digest
    assert Contents(None).digest(cases) != digest


@pytest.mark.parametrize("text", ["", "{", "[]", "3", json.dumps({"x": 1}), "[" * 5000])
def test_a_damaged_memory_is_made_again(cases, tmp_path, text):
    memory = tmp_path / "contents.json"
    memory.write_text(text)
    assert Contents(memory).digest(cases) == Contents(None).digest(cases)


def test_no_memory_is_left_where_there_is_no_output_folder(cases, tmp_path):
    contents = Contents(tmp_path / "no_out" / "contents.json")
    contents.digest(cases)
    contents.save()
    assert not (tmp_path / "no_out").exists()
