"""Who may know whom: arrows point down, nothing in bench/ names a plugin, heavy imports come late."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench import registry
from bench.extras.site import drawing

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = ("bench", "methods", "datasets")
METHODS_KNOW = {"method", "pretext", "nets", "augment", "source", "errors", "random", "ranges"}
METHODS_KNOW |= {"typed", "distributed", "constants"}
DATASETS_KNOW = {"dataset", "source", "errors", "data", "volumes", "phantoms"}


def files(*rooms):
    return sorted(p for room in rooms for p in (ROOT / room).rglob("*.py"))


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported(path):
    """Return every module that a file imports, wherever in the file, names resolved to modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                complete = f"{node.module}.{alias.name}"
                location = ROOT / complete.replace(".", "/")
                present = location.with_suffix(".py").exists() or location.is_dir()
                yield complete if present else node.module


def test_arrows_point_down():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout  # the layers themselves stand in pyproject.toml


def test_every_module_is_in_one_group_and_groups_import_those_below_alone():
    order = [(name, m) for name, (modules, _) in drawing.groups().items() for m in modules]
    tree = {path.stem for path in (ROOT / "bench").iterdir() if path.stem[:8] != "__init__"}
    assert sorted(module for _, module in order) == sorted(tree - {"__pycache__"})
    groups = [*drawing.groups()]
    depth = {module: groups.index(name) for name, module in order}
    for path in files("bench"):
        module = path.relative_to(ROOT / "bench").with_suffix("").parts[0]
        if "templates" in path.parts or module == "__init__":
            continue  # a template is a person's own test
        for name in imported(path):
            room, second, *_ = *name.split("."), ""
            if room == "bench" and second in depth:
                assert depth[module] <= depth[second], f"{path} imports {name}"


@pytest.mark.parametrize(
    ("room", "allowed"), [("methods", METHODS_KNOW), ("datasets", DATASETS_KNOW)]
)
def test_plugins_know_their_contract_and_nothing_of_each_other(room, allowed):
    for path in files(room):
        for module in imported(path):  # "bench_methods" and "bench_datasets" are for ruff to refuse
            first, second, *_ = *module.split("."), ""
            assert first not in ROOMS or second in allowed or module == "bench.data.reader", path


def literals(path):
    """Return the texts of a file that are neither docstrings nor the words of a declared vocabulary."""
    tree = ast.parse(path.read_text())
    left_out = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            left_out.add(id(body[0].value))
        names = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
        if path.parent.name == "protocol" and names == ["PAPERS"]:
            left_out |= {id(n) for n in ast.walk(node)}  # papers, some of which named their method
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "baseline":
            left_out |= {id(n) for n in ast.walk(node)}  # `baseline: scratch | none` of a protocol
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.Constant)):
        if isinstance(node.value, str) and id(node) not in left_out:
            yield node.lineno, node.value


def test_nothing_in_bench_names_a_method_or_a_data_set():
    plugins = {*registry.names("method"), *registry.names("dataset")}
    for path in files("bench"):
        assert [(line, text) for line, text in literals(path) if text in plugins] == [], path


def test_packages_listed_equal_the_tree():
    listed = PYPROJECT["tool"]["setuptools"]
    tree = {dotted(p.parent) for p in files("bench")}
    files_alone = {"bench_files.protocols", "bench_files.results"}
    assert set(listed["packages"]) == tree | {"bench_methods", "bench_datasets"} | files_alone
    assert {dotted(p.parent) for p in (ROOT / "bench").rglob("__init__.py")} == tree


@pytest.mark.parametrize("room", ["methods", "datasets"])
def test_plugin_rooms_are_flat_and_no_packages(room):
    assert [p for p in files(room) if p.name == "__init__.py" or p.parent != ROOT / room] == []


def test_no_two_test_modules_have_one_name():
    """Pytest imports them by their base names: two collect alone, and not together."""
    seen = [p.name for p in files("tests", "tools") if p.name != "conftest.py"]
    assert sorted(n for n in seen if seen.count(n) > 1) == []


def loaded_after(*commands, cwd):
    """Run commands, which must succeed, in one process of their own; return heavy packages imported, words."""
    code = (
        "import sys, json; from bench.cli import main\n"
        "def ended(words):\n"
        "    try: return main(words)\n"
        "    except SystemExit as stop: return stop.code\n"
        "codes = [ended(words) for words in json.loads(sys.argv[1])]\n"
        "heavy = [m for m in ('torch', 'monai', 'lightning_fabric') if m in sys.modules]\n"
        "print(); print(json.dumps([codes, heavy]))"
    )
    words = json.dumps([[*map(str, each)] for each in commands])
    command = [sys.executable, "-W", "error", "-c", code, words]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert ran.returncode == 0, ran.stderr
    codes, heavy = json.loads(ran.stdout.splitlines()[-1])
    assert codes == [0] * len(commands), ran.stdout
    return heavy, ran.stdout


def test_only_lists_of_methods_and_plans_need_torch_and_these_need_no_monai(
    tmp_path, protocol_file, records_of, phantoms
):
    store, left = records_of
    network = {"method": "scratch", "network": "unet3d/tiny", "params": "{}"}
    left(**network, value=0.5, convention="medpy/default")
    status = ("status", "--out", store.root)
    report = ("report", protocol_file({"name": "attack"}), "--out", store.root)
    lists = [("list", what) for what in ("datasets", "networks", "metrics", "protocols")]
    heavy, message = loaded_after(["--help"], status, report, *lists, cwd=tmp_path)
    assert heavy == [] and "50.00" in message
    plan = ("plan", protocol_file(), "--data", phantoms)
    heavy, message = loaded_after(("list", "methods"), plan, cwd=tmp_path)
    assert "monai" not in heavy and "20 jobs" in message


REPORTED = """\
from pathlib import Path; from bench import record
from bench.protocol import *; from bench.report.write import write
section = Finetune(dataset='nowhere', split='rule', steps=1)
p = Protocol('t', {'n': Net('unet')}, {'a': Row('scratch', 'n')}, (section,))
write(p, record.frame([]), Path('.'))"""
CROPS = """\
from bench.nets import network_names, presets
from bench.nets.catalog import check_crop, describe
[(describe(n), presets(n)) for n in network_names()]; check_crop('unetr', 'tiny', (16,)*3)"""
LIGHT = {  # what is not imported, by what does without
    "import bench.metrics; assert bench.metrics.METRICS": ("numpy", "scipy", "torch", "monai"),
    "from bench import registry; assert registry.names('method')": (
        "bench_methods.",
        "torch",
        "numpy",
    ),
    CROPS: ("torch", "monai", "numpy"),
    REPORTED: ("torch", "monai", "matplotlib", "scipy"),
}


@pytest.mark.parametrize("code", LIGHT)
def test_what_needs_nothing_heavy_imports_nothing_heavy(code, tmp_path):
    script = f"{code}\nimport sys; print([m for m in sys.modules if m.startswith({LIGHT[code]})])"
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout == "[]\n"


def test_the_licence_that_is_named_is_there_in_full():
    (file,) = PYPROJECT["project"]["license-files"]
    text = (ROOT / file).read_text()
    assert PYPROJECT["project"]["license"] == "Apache-2.0" and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_locked_environment_is_the_one_of_the_constraints():
    """One file has versions for every system, the other also what pip must have downloaded for one."""
    requested = (ROOT / ".ci" / "constraints.txt").read_text().split()
    lines = (ROOT / ".ci" / "requirements.lock").read_text().splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    locked = [re.fullmatch(r"(\S+==\S+) --hash=sha256:[0-9a-f]{64}", row) for row in rows]
    assert all(locked) and len(rows) == len(set(rows))
    expected = [name for name in requested if not name.startswith("torch==")]
    assert [row[1] for row in locked] == expected
