"""The files behind a job are those that its kind and its plugins import, whoever adds an import."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from one_line import refused

from bench import plugins
from bench.jobs import KINDS
from bench.runtime import sources as made_by
from bench.runtime.sources import (
    APART,
    DECLARE,
    OPEN,
    ROOT,
    _left_out,
    bytes_of,
    changed,
    note,
    source_hash,
    sources,
    unfinished,
)

NET = {"network": "unet3d"}
SPECS = {
    "prepare": {"dataset": "acdc"},
    "guard": {"data": [{"dataset": "btcv"}], "tests": [{"dataset": "acdc"}]},
    "pretrain": {"method": {"name": "simclr3d"}, "network": NET, "data": [{"dataset": "btcv"}]},
    "finetune": {"network": NET, "data": {"dataset": "acdc"}},
    "evaluate": {"data": {"dataset": "acdc"}},
    "latency": {"network": NET},
    "embed": {"network": NET, "data": [{"dataset": "btcv"}]},
}
UNET = {"bench/nets/unet.py", "bench/nets/table.py:unet3d"}
PLUGINS = {
    "prepare": {"datasets/acdc.py"},
    "guard": {"datasets/btcv.py", "datasets/acdc.py"},
    "pretrain": {"methods/simclr3d.py", "datasets/btcv.py", *UNET},
    "finetune": {"datasets/acdc.py", *UNET},
    "evaluate": {"datasets/acdc.py"},
    "latency": UNET,
    "embed": {"datasets/btcv.py", *UNET},
}


def job(kind):
    return {"kind": kind, "spec": SPECS[kind], "needs": []}


def imported(file):
    """Return the files that one imports from bench outside TYPE_CHECKING, by their names."""
    tree = ast.parse((ROOT / file).read_text())
    typed = {id(n) for i in tree.body if isinstance(i, ast.If) for n in ast.walk(i)}
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and id(n) not in typed):
        for alias in node.names:
            for module in (node.module, f"{node.module}.{alias.name}"):
                place = ROOT / module.replace(".", "/")
                left_out = APART | DECLARE | {"bench.jobs.__init__"}
                apart = any(f"{module}.".startswith(f"{a}.") for a in left_out)
                if module in OPEN or apart or not module.startswith("bench."):
                    continue
                for path in (place.with_suffix(".py"), place / "__init__.py"):
                    if path.exists():
                        yield path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("kind", KINDS)
def test_what_any_file_behind_a_kind_of_job_imports_is_behind_it_too(kind):
    found = set(sources(job(kind)))
    assert {f"{KINDS[kind].work().replace('.', '/')}.py", *PLUGINS[kind]} <= found
    # phantoms; scores, unless judged
    beside = tuple(name.replace(".", "/") for name in _left_out(job(kind)))
    assert not any(file.startswith(beside) for file in found)
    for file in (f for f in found if ":" not in f):
        assert {f for f in imported(file) if not f.startswith(beside)} <= found, file
    strange = ("bench/store", "bench/report", "bench/show", "bench/cli")
    assert not any(file.startswith(strange) for file in found)
    others = {f for f in found if f.startswith(("methods/", "datasets/", "bench/nets/table.py:"))}
    assert others <= PLUGINS[kind]


def test_a_probe_stands_behind_the_pretrainings_that_have_one_alone():
    without, probed = job("pretrain"), job("pretrain")
    probed["spec"] = {**probed["spec"], "probe": {"dataset": "d"}}
    gained = {*sources(probed)} - {*sources(without)}
    assert "bench/jobs/pretrain/online_probe.py" in gained and "bench/probes/ridge.py" in gained
    shared = {"bench/data/values.py", "bench/nets/interpolation.py"}
    assert all("prob" in file or file in shared for file in gained)


def test_the_files_are_found_quickly_and_without_torch():
    code = (
        "import sys, time; from bench.runtime.sources import sources\n"
        f"began = time.process_time(); [sources({{'kind': k, 'spec': s}}) for k, s in {SPECS!r}.items()]\n"
        "print(time.process_time() - began, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, torch = ran.stdout.split()
    assert float(seconds) < 2.0 and torch == "False"  # 0.4 s on a quiet machine


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Return a function that writes files of a small bench and returns what stands behind its guard."""
    monkeypatch.setattr(made_by, "ROOT", tmp_path)

    def write(**files):
        for name, text in {"jobs/guard/run": "", **files}.items():
            path = tmp_path / "bench" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            if files.get(name) is not None or not path.exists():
                path.write_text(text)
        return sources({"kind": "guard", "spec": {}})

    return write


LATER = {
    "inside a function": "def run():\n    from bench.one import two\n",
    "a name of a module": "from bench.one import Thing\n",
    "a module of a package": "import bench.one\n",
    "by name": "from importlib import import_module\nimport_module('bench.one')\n",
    "beside a type checker's": "if TYPE_CHECKING:\n    import bench.two\nelse:\n    import bench.one\n",
}


@pytest.mark.parametrize("text", LATER.values(), ids=LATER)
def test_an_import_more_is_a_file_more(tree, text):
    before = tree(one="", two="")
    after = tree(**{"jobs/guard/run": text})
    assert set(before) == {"bench/jobs/guard/run.py"}
    assert set(after) == {"bench/jobs/guard/run.py", "bench/one.py"}
    assert source_hash(before) != source_hash(after)
    further = tree(one="from bench.two import x\n")
    assert set(further) - set(after) == {"bench/two.py"}


CODE = '"""One."""\nimport bench.two\n\n\ndef f(x):\n    """Two."""\n    return x + 1  # three\n'
EDITS = {  # of CODE: does a file that says so do something else?
    "comments, layout": ("import bench.two\n# new\ndef f(x):\n    return (x +\n  1)\n", False),
    "another docstring": (CODE.replace("Two", "Other"), False),
    "a docstring that is read": (f"{CODE}print(f.__doc__)\n", True),
    "a number": (CODE.replace("+ 1", "+ 2"), True),
    "its type": (CODE.replace("+ 1", "+ 1.0"), True),
    "a text that is no docstring": (CODE.replace("return x + 1", 'y = "Two."; return x + 1'), True),
    "a default": (CODE.replace("f(x)", "f(x=0)"), True),
    "an order": (CODE.replace("x + 1", "1 + x"), True),
    "an import": (CODE.replace("bench.two", "bench.three"), True),
}


@pytest.mark.parametrize(("text", "other"), EDITS.values(), ids=EDITS)
def test_a_file_is_another_where_it_means_something_else(tree, text, other):
    imported = {"one": CODE, "two": "", "three": "x = 3\n"}
    before = tree(**{"jobs/guard/run": "import bench.one\n"}, **imported)
    manifest = {"kind": "guard", "spec": {}, "provenance": {"source": "0", "sources": before}}
    now = tree(one=text)
    assert ("bench/one.py" in (changed(manifest) or ())) is other
    assert bool(unfinished(note(before, ()), now).differ) is other
    # as an older bench recorded them
    old = {name: bytes_of(recorded) for name, recorded in before.items()}
    older = {**manifest, "provenance": {"source": "0", "sources": old}}
    assert changed(older) == ("bench/one.py",)  # by its bytes, as it was made
    assert unfinished(source_hash(old), now).differ
    assert not unfinished(source_hash(old), before).differ
    tree(one=CODE)
    assert changed(older) == changed(manifest) == ()


def test_a_file_that_lies_elsewhere_now_is_the_same(tree, tmp_path):
    imports = "from bench.one import f\nfrom bench import two\n"
    before = tree(**{"jobs/guard/run": imports, "one": CODE, "two": "y = 1\n"})
    manifest = {"kind": "guard", "spec": {}, "provenance": {"source": "0", "sources": before}}
    for name in ("one", "two"):
        (tmp_path / "bench" / f"{name}.py").unlink()
    imports = "from bench.room.one import f\nfrom bench.room import two\n"
    room = {"room/__init__": '"""R."""\n', "room/one": CODE, "room/two": "y = 1\n"}
    now = tree(**{"jobs/guard/run": imports}, **room)
    assert changed(manifest) == () and not unfinished(note(before, ()), now).differ
    tree(**{"room/two": "y = 2\n"})
    assert changed(manifest) == ("bench/room/two.py", "bench/two.py")


def test_a_kind_whose_files_went_into_a_folder_is_the_same(tree, tmp_path):
    """A manifest of a bench whose kinds were pairs of files, as ``guard.py`` and ``guarding.py``."""
    work = "from bench import one\nfrom bench.two import f as g\nfrom bench.{} import GuardSpec\nh = 1\n"
    files = {"two": CODE, "one": work.format("guard"), "guard": "GuardSpec = 3\n"}
    before = tree(**{"jobs/guard/run": "import bench.one\n", **files})
    manifest = {"kind": "guard", "spec": {}, "provenance": {"source": "0", "sources": before}}
    (tmp_path / "bench" / "guard.py").unlink()
    folder = {"guard/__init__": '"""G."""\n', "guard/spec": "GuardSpec = 3\n"}
    now = tree(one=work.format("guard.spec"), **folder)
    assert changed(manifest) == () and not unfinished(note(before, ()), now).differ
    tree(**{"guard/spec": "GuardSpec = 4\n"})
    assert changed(manifest) == ("bench/guard.py", "bench/guard/spec.py")


def test_a_refactored_file_is_the_same_and_one_that_was_edited_since_is_another(tree, monkeypatch):
    texts = [CODE.replace("f(x)", f"{name}(x)") for name in "fghk"]
    states = [tree(**{"jobs/guard/run": "import bench.one\n", "one": text}) for text in texts]
    meanings = tuple(state["bench/one.py"].split()[1] for state in states)
    monkeypatch.setattr(made_by, "refactored", lambda: dict.fromkeys(meanings[:3], meanings[0]))
    for state in states[:3]:
        manifest = {"kind": "guard", "spec": {}, "provenance": {"source": "0", "sources": state}}
        for text, expected in zip(texts, [()] * 3 + [("bench/one.py",)], strict=True):
            now = tree(one=text)
            assert changed(manifest) == expected == unfinished(note(state, ()), now).differ


def test_a_meaning_stands_for_one_file_alone():
    files = json.loads(Path(made_by.__file__).with_name("refactored.json").read_text())
    assert {*files.pop(made_by.ADDED)} == made_by.added()
    meanings = [meaning for states in files.values() for meaning in states]
    assert {made_by.refactored()[meaning] for meaning in meanings} == {f[0] for f in files.values()}
    assert len(set(meanings)) == len(meanings)
    assert all(re.fullmatch(r"[0-9a-f]{12}", meaning) for meaning in meanings)


def test_a_file_that_is_no_longer_behind_a_job_is_no_change_by_itself(tree, monkeypatch):
    before = tree(**{"jobs/guard/run": "import bench.one\nx = 1\n", "one": CODE, "two": ""})
    manifest = {"kind": "guard", "spec": {}, "provenance": {"source": "0", "sources": before}}
    now = tree(**{"jobs/guard/run": "x = 1\n"})
    assert changed(manifest) == ("bench/jobs/guard/run.py", "bench/one.py")
    meanings = [state["bench/jobs/guard/run.py"].split()[1] for state in (before, now)]
    monkeypatch.setattr(made_by, "refactored", lambda: dict.fromkeys(meanings, meanings[0]))
    assert changed(manifest) == () == unfinished(note(before, ()), now).differ


def test_a_file_that_was_added_without_changing_a_number_is_no_change(tree, monkeypatch):
    before = tree(**{"jobs/guard/run": "x = 1\n", "one": CODE})
    now = tree(**{"jobs/guard/run": "import bench.one\nx = 1\n"})
    manifest = {"kind": "guard", "spec": {}, "provenance": {"source": "0", "sources": before}}
    runs = [state["bench/jobs/guard/run.py"].split()[1] for state in (before, now)]
    monkeypatch.setattr(made_by, "refactored", lambda: dict.fromkeys(runs, runs[0]))
    assert changed(manifest) == ("bench/one.py",)
    monkeypatch.setattr(made_by, "added", lambda: {now["bench/one.py"].split()[1]})
    assert changed(manifest) == () == unfinished(note(before, ()), now).differ


def test_another_function_of_that_name_is_another_import(tree):
    both = {"one": "def f(): return 1\n", "two": "def f(): return 2\n"}
    both["jobs/guard/run"] = "import bench.one, bench.two\nfrom bench.one import f\n"
    before = tree(**both)
    manifest = {"kind": "guard", "spec": {}, "provenance": {"source": "0", "sources": before}}
    tree(**{"jobs/guard/run": both["jobs/guard/run"].replace("one import f", "two import f")})
    assert changed(manifest) == ("bench/jobs/guard/run.py",)


def test_what_another_state_began_and_this_one_ended_says_so(tree):
    found = tree(one="")
    made = {"source": "0", "sources": found, "begun_by": ["bench/one.py"]}
    assert changed({"kind": "guard", "spec": {}, "provenance": made}) == ("bench/one.py",)
    assert unfinished(note(found, ["bench/one.py"]), found).earlier == ("bench/one.py",)


def test_what_only_a_type_checker_reads_and_what_keeps_order_is_not_behind(tree):
    text = "if TYPE_CHECKING:\n    from bench.one import Thing\nfrom bench.store import Store\n"
    assert set(tree(**{"jobs/guard/run": text, "one": "", "store": ""})) == {
        "bench/jobs/guard/run.py"
    }


def test_a_file_that_is_no_python_is_named_with_its_line(tree):
    with refused(r"bench/one\.py, line 2: is not valid Python .*; correct the file"):
        tree(**{"jobs/guard/run": "import bench.one\n", "one": "x = 1\ndef (:\n"})
    with refused(r"one\.py.*: is not valid Python"):
        tree(one="\0")


def test_what_changed_since_is_named(tree, tmp_path):
    found = tree(**{"jobs/guard/run": "import bench.one\n", "one": "x = 1\n"})
    manifest = {
        "kind": "guard",
        "spec": {},
        "provenance": {"source": source_hash(found), "sources": found},
    }
    assert changed(manifest) == ()
    (tmp_path / "bench" / "one.py").write_text("def (: half an edit\n")
    assert changed(manifest) == ("bench/one.py",)
    (tmp_path / "bench/jobs/guard/run.py").unlink()
    assert changed(manifest) == ("bench/jobs/guard/run.py", "bench/one.py")
    assert changed({**manifest, "provenance": {"source": "0"}}) is None
    for name in ("/dev/zero", "../x.py", "a\0.py", ""):  # of a manifest that came from elsewhere
        assert changed({**manifest, "provenance": {"sources": {name: ""}}}) == (name,)
    assert changed({"kind": "guard"}) == ()


def test_a_worker_says_what_it_runs_and_not_what_was_written_since(tree, tmp_path):
    before = tree(**{"jobs/guard/run": "x = 1\n"})
    (tmp_path / "bench/jobs/guard/run.py").write_text("x = 2\n")
    asked = {"kind": "guard", "spec": {}}
    assert sources(asked, again=False) == before != sources(asked)


def test_a_plugin_from_outside_is_behind_its_jobs_and_an_edit_makes_another_job_of_it(tmp_path):
    file = tmp_path / "my_method.py"
    file.write_text("from bench.method import Method\nfrom bench.pretext import queue\n")
    plugins.use([tmp_path])
    asked = {"kind": "pretrain", "spec": {**SPECS["pretrain"], "method": {"name": "my_method"}}}
    found = sources(asked)
    assert {"plugin:my_method.py", "bench/pretext/queue.py"} <= set(found)
    file.write_text("from bench.method import Method\n")
    # it is in the id that it changed
    assert changed({**asked, "provenance": {"sources": found}}) == ()
