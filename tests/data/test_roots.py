"""Where data lies: flag, environment, bench.toml."""

import pytest
from one_line import refused
from small_protocol import NAME

from bench.data.roots import Roots, adapter

pytestmark = pytest.mark.usefixtures("own_place")


def test_flag_before_environment_and_toml_names_single_folders(tmp_path, monkeypatch):
    for name in ("flag/a", "env/a", "env/b", "own/c"):
        (tmp_path / name).mkdir(parents=True)
    assert Roots.here(None).find("a") is None
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "env"))
    assert Roots.here(None).find("a") == tmp_path / "env/a"
    assert Roots.here(tmp_path / "flag").find("a") == tmp_path / "flag/a"
    assert Roots.here(tmp_path / "flag").find("b") is None
    (tmp_path / "bench.toml").write_text('[data]\nc = "own/c"\na = "own/c"\n')
    assert Roots.here(None).find("c") == tmp_path / "own/c"  # wherever a job works
    assert Roots.here(tmp_path / "flag").find("a") == tmp_path / "own/c"
    monkeypatch.setenv("BENCH_DATA", "env")
    assert Roots.here(None).find("b") == tmp_path / "env/b"


def test_a_link_is_a_folder_and_a_file_is_none(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/linked").symlink_to(tmp_path / "real")
    (tmp_path / "data/file").write_text("x")
    roots = Roots.here(tmp_path / "data")
    assert roots.find("linked") is not None and roots.find("file") is None


def test_a_missing_place_is_refused_with_what_to_do(tmp_path, monkeypatch):
    with refused("no such data folder; name an existing one with --data"):
        Roots.here(tmp_path / "nowhere")
    with refused(r"bench\.toml: is a file, no folder; name an existing one"):
        (tmp_path / "bench.toml").touch()
        Roots.here(tmp_path / "bench.toml")
    with refused(r"no --data DIR was given.*bench phantom x DIR"):
        Roots().require("x")
    with refused(r"bench.toml has 'hipocampus'; if this is the same, correct its name"):
        Roots(None, {"hipocampus": tmp_path}).require("hippocampus")
    with refused(r"/x does not exist"):
        Roots(tmp_path).require("x")
    named = Roots(tmp_path, {"x": tmp_path / "away"})
    assert named.find("x") is None  # a plan does without, a run says where the path stands
    for ask in (named.require, lambda name: adapter(name, named)):
        with refused(r"away does not exist; correct it in bench.toml, under \[data\]"):
            ask("x")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "gone"))
    with refused("gone: no such data folder"):
        Roots.here(None)


@pytest.mark.parametrize(
    "text",
    ["[data", "data = 3", "[data]\nx = 3", "[data]\nx = ['a']", f"[data]\nx = '{'x' * 5000}'"],
)
def test_a_broken_toml_is_named_in_one_line(tmp_path, text):
    (tmp_path / "bench.toml").write_text(text)
    with refused(r"bench.toml:(\d: data.*:)? "):
        Roots.here(None)


@pytest.mark.parametrize("text", ["[datas]\nx = 'y'", "[cudda]"])
def test_a_section_that_nobody_reads_is_refused(tmp_path, text):
    (tmp_path / "bench.toml").write_text(text)
    with refused(r"bench.toml:1: .* is unknown; write \[data\] or"):
        Roots.here(None)


def test_the_folder_of_a_data_set_is_no_folder_of_data_sets(phantoms, tmp_path):
    (tmp_path / "my_task").symlink_to(phantoms / NAME)
    with refused("is the data set 'my_task' itself; name the folder"):
        adapter("my_task", Roots(tmp_path / "my_task"))


def test_an_adapter_is_registered_or_read_from_a_folder_in_msd_layout(phantoms, tmp_path):
    assert type(adapter(NAME, Roots())).__name__ == "Hippocampus"
    (tmp_path / "my_task").symlink_to(phantoms / NAME)
    found = adapter("my_task", Roots(tmp_path))
    assert len(found.cases(tmp_path / "my_task")) == 20
    with refused(rf"did you mean '{NAME}'.*in MSD layout in .*is --data right"):
        adapter("msd04_hipocampus", Roots(tmp_path))
