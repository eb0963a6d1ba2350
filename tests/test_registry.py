"""Plugins by file name."""

import subprocess
import sys

import pytest

import bench
from bench import registry
from bench.errors import BenchError, unknown


def test_names_are_the_files_of_the_room():
    for kind in ("method", "dataset"):
        there = {p.stem for p in registry.folder(kind).glob("*.py")}
        assert set(registry.names(kind)) == there
    assert registry.names("method") == sorted(registry.names("method"))


def test_listing_names_imports_no_plugin():
    code = (
        "import sys; from bench import registry; assert registry.names('method');"
        "print([m for m in sys.modules if m.startswith(('bench_methods.', 'torch', 'numpy'))])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_an_unknown_plugin_is_refused_with_the_nearest_name():
    with pytest.raises(BenchError, match="no method named 'vocoo'; did you mean 'voco'"):
        registry.load("method", "vocoo")
    with pytest.raises(BenchError, match="no dataset named 'xxxxxx'; known: "):
        registry.load("dataset", "xxxxxx")


@pytest.mark.parametrize("name", ["../bench", "split", "splits", "", "scratch.x"])
def test_only_plain_file_names_are_plugins(name):
    with pytest.raises(BenchError, match="no dataset named"):
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


ONE = "from bench.dataset import Dataset\nclass A(Dataset):\n    cases = None\n"


def test_a_file_defines_exactly_one_class_of_its_own(monkeypatch, tmp_path):
    room(
        monkeypatch, tmp_path, one=ONE, none="x = 1\n", two=ONE + "class B(A):\n    pass\n",
        borrowed="from some_plugins.one import A\n", _hidden=ONE,
    )  # fmt: skip
    assert registry.names("dataset") == ["borrowed", "none", "one", "two"]
    assert registry.load("dataset", "one").__name__ == "A"
    for name, count in (("none", 0), ("two", 2), ("borrowed", 0)):
        with pytest.raises(BenchError, match=rf"{name}.py must define one Dataset subclass, found {count}"):
            registry.load("dataset", name)


def test_a_plugins_own_error_is_raised_as_it_is(monkeypatch, tmp_path):
    room(monkeypatch, tmp_path, broken="import a_module_that_is_not_there\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        registry.load("dataset", "broken")


def test_the_package_offers_method_dataset_network_and_metrics():
    assert bench.method("scratch") is registry.load("method", "scratch")
    assert isinstance(bench.dataset("msd04_hippocampus"), registry.load("dataset", "msd04_hippocampus"))
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
    assert registry.declared("dataset", "plugin", "pretrains", True) is False
    assert registry.declared("dataset", "plugin", "names", None) == ["x"]
    for name, attribute in (("plugin", "size"), ("plugin", "other"), ("torn", "names"), ("gone", "names")):
        assert registry.declared("dataset", name, attribute, "default") == "default"


def test_what_a_method_declares_is_what_its_class_says():
    for name in registry.names("method"):
        assert registry.declared("method", name, "pretrains", True) == registry.load("method", name).pretrains
