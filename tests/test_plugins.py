"""Plugins from outside: found by file, folder or package, and in the ids of the jobs that they touch."""

import json
import os
import re
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
import small_protocol
import yaml
from described import inline
from one_line import refusal, refused
from outside import written

from bench import plugins, registry, run
from bench.cli import main
from bench.errors import BenchError
from bench.executors import local
from bench.extras.new import TEMPLATES
from bench.nets import catalog, network
from bench.runtime.sources import touched
from bench.runtime.switches import Switches
from bench.store import Store

pytestmark = pytest.mark.usefixtures("own_place")


def test_a_folder_brings_its_plugins_and_passes_over_what_is_none(tmp_path):
    for kind in ("method", "dataset", "network"):
        written(tmp_path, kind)
    (tmp_path / "helper.py").write_text("x = 1\n")
    for aside in ("test_my_method", "_base", "conftest"):
        (tmp_path / f"{aside}.py").write_text("from bench.method import Method\n")
    plugins.use([tmp_path])
    for kind in plugins.GROUPS:
        assert [*plugins.by_name(kind)] == [f"my_{kind}"]
    assert registry.load("method", "my_method").name() == "my_method"
    case = type("C", (), {"patient": "7"})
    assert registry.load("dataset", "my_dataset")().person(case) == "my_dataset:7"
    assert network("my_network", "tiny", 1, 2).name == "my_network"
    assert "my_method" in registry.names("method") and "my_network" in catalog.entries()
    assert not list(tmp_path.rglob("__pycache__"))


REFUSED = {  # the name of a plugin in a protocol: what is said of it
    "mine/gone.py": r"gone\.py: no such file or folder",
    "mine/x.py": r"x\.py: not a plugin; a method imports",
    "mine/my-method.py": "not a plugin; .*the file's name is a Python name",
    "": "names no file",
    "a\0b": "embedded null byte",
    "a\nb": r"a\\nb|a\\x0ab",
    "empty": "not a plugin",
}


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_what_is_no_plugin_is_refused_at_its_line_of_the_protocol(
    tmp_path, protocol_file, capsys, name, message
):
    written(tmp_path / "mine", "method", "my-method")
    (tmp_path / "mine" / "x.py").write_text("x = 1\n")
    (tmp_path / "empty").mkdir()
    line = refusal(capsys, "plan", protocol_file({"plugins": [name]}))
    assert re.search(rf"test\.yaml:\d+: plugins\.0: .*{message}", line)


def test_one_name_twice_is_refused_and_both_places_are_named(tmp_path):
    one, other = written(tmp_path / "a", "method"), written(tmp_path / "b", "method")
    plugins.use([one, one, tmp_path / "a"])
    assert [*plugins.by_name("method")] == ["my_method"]  # one file is one plugin
    plugins.use([written(tmp_path / "copy", "method")])
    assert [*plugins.by_name("method")] == ["my_method"]  # nor is a copy of it another
    other.write_text(other.read_text() + "\n")
    plugins.use([other])
    with refused(f"{one} and {other}; rename"):
        registry.names("method")


@pytest.mark.parametrize(
    ("kind", "name"), [("method", "scratch"), ("dataset", "acdc"), ("network", "unet3d")]
)
def test_a_name_that_bench_has_is_refused_and_both_places_are_named(tmp_path, kind, name):
    file = written(tmp_path, kind, name)
    plugins.use([file])
    place = "bench.nets.unet" if kind == "network" else f"{name}.py"
    with refused(f"{name}' is .*{place} and {file}"):
        catalog.entries() if kind == "network" else registry.load(kind, name)


BROKEN = {  # kind, what is written in the template: what is said of it
    "raises": ("method", ("WAYS = 8", "WAYS = 8 / 0"), r"my_method\.py:15: ZeroDivisionError"),
    "half": ("method", ("WAYS = 8", "WAYS = ("), r"my_method\.py:15: SyntaxError"),
    "no facts": ("network", ("multiple=(4, 4, 4)", "multiple=size"),
         r"\.py:13: NETWORK: 'size' is not a plain"),
    "a call": ("network", ("multiple=(4, 4, 4)", "multiple=print(4)"),
         r"NETWORK: 'print\(4\)' is not a plain"),
    "another name": ("network", ('"my_network",', '"other",'), r"network\.py:13: NETWORK: must be"),
    "two sides": ("network", ("multiple=(4, 4, 4)", "multiple=(4, 4)"),
                  r"network\.py:18: Entry\.multiple: expected 3 values, got 2"),
    "no size": ("network", ("presets={  #", "presets={} or {  #"), r"is not a plain value"),
    "a key": ("network", ('"tiny": Preset', "3: Preset"), r"\.py:20: Entry\.presets: expected text, got 3"),
    "no preset": ("network", ('"tiny": Preset(', '"tiny": ('),
         r"\.py:20: Entry\.presets\.tiny: expected a map"),
    "no such field": ("network", ("multiple=", "multiples="), r"\.py:18: Entry\.multiples: unknown key"),
    "one lacks": ("network", ("multiple=(4, 4, 4),", ""), r"\.py:13: Entry: key 'multiple' is missing"),
    "twice": ("network", ("multiple=", "title='x', multiple="), r"Entry\.title is stated twice"),
    "unpacked": ("network", ("multiple=(4, 4, 4)", "**{'multiple': 4}"),
         r"does not state the fields of Entry"),
    "a title": ("method", ('title = "My method"', "title = 3"),
         r"my_method\.py: title: expected text, got 3; put"),
    "a source": ("method", ('source = Source("', 'source = ("'),
         r"my_method\.py: source: must be a Source, got"),
    "a figure": ("method", ('figure = Figure("accuracy"', 'figure = Figure(7'),
         r"figure\.term: expected text"),
    "a need": ("method", ('fidelity =', 'needs = "token"; fidelity ='),
         r"needs: .*did you mean 'tokens'\?"),
    "params": ("method", ("class Params(MethodParams)", "class Params"),
         r"Params: must be .* MethodParams"),
    "channels": ("dataset", ('channels = ("CT",)', 'channels = "CT"'),
         r"channels: expected a list, got 'CT'"),
    "text labels": ("dataset", ('1: "liver"', '"1": "liver"'), r"labels: expected a whole number, got '1'"),
    "a gap": ("dataset", ('2: "kidney"', '5: "kidney"'),
              r"labels: a segmentation's values are 1, 2, \.\.\. without a gap, got \[1, 5\]; map"),
    "classes": ("dataset", ('title =', 'task = "classification"; title ='),
         r"a classification's values are 0, 1"),
    "one class": ("dataset", ('labels = {', 'task = "classification"; labels = {0: "all"}; _ = {'),
         r"labels: a classification has at least two classes"),
    "ignored": ("dataset", ('recipes =', 'ignore = 1; recipes ='), r"ignore: 1 is the value of a label"),
    "raw": ("dataset", ('recipes =', 'raw_labels = {7: 3}; recipes ='),
         r"raw_labels: 3 is no value of labels"),
    "a region": ("dataset", ('recipes =', 'regions = {"both": (1, 3)}; recipes ='),
         r"regions\.both: 3 is no value"),
    "a name twice": ("dataset", ('2: "kidney"', '2: "liver"'), r"labels: 'liver' cannot be the name of one"),
    "a mean": ("dataset", ('2: "kidney"', '2: "mean"'), r"labels: 'mean' cannot be the name of one"),
    "takes nothing": ("dataset", ("def cases(self, root)", "def cases(self)"),
         r"cases\(self\) must take \(self, root\)"),
    "no seed": ("dataset", ("cases, seed)", "cases)"),
         r"phantom\(cls, root, cases\) must take \(cls, root, cases, seed\)"),
    "builds of nothing": ("network", ("def build(wanted", "def build(*, wanted"), r"build must take \(wanted\)"),
    "one part": ("network", ("def build(", "def build(wanted): return 1\n\n\ndef made("),
         r"build\(wanted\) must return \(encoder, decoder\), got a int"),
    "no build": ("network", ("def build(", "def made("), r"my_network\.py: has no build"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_one_line_with_its_file_and_line(tmp_path, kind, change, said):
    plugins.use([written(tmp_path, kind, change=lambda text: text.replace(*change))])
    with refused(said):
        if kind == "network":
            network("my_network", "tiny", 1, 2)
        registry.load(kind, f"my_{kind}")


CASES = {  # what cases(root) returns: what is said of it
    "None": "must return a list of Case, got None",
    "['a']": "must return a list of Case, one of them is 'a'",
    "[Case(1, 'p', ())]": "gives id 1 and patient 'p'; write both as texts",
    "[Case('../a', 'p', ())]": "gives the id '../a', which cannot be the name of a file",
    "[Case('a', 'p', root)]": "gives case 'a' the images .*; write a tuple of Path",
    "[Case('a', 'p', (root,), 'mask')]": "gives case 'a' the label 'mask'; write a Path, a class or None",
    "[Case('a', 'p', (root,)), Case('a', 'q', (root,))]": r"gives two cases the id 'a' \(.*, .*\); each",
}


@pytest.mark.parametrize(("cases", "said"), CASES.items())
def test_cases_that_cannot_be_read_are_named_with_the_line_of_their_data_set(tmp_path, cases, said):
    head = "    def cases(self, root):"
    change = (head, f"{head}\n        return {cases}\n\n    def listed_otherwise(self, root):")
    file = written(tmp_path, "dataset", change=lambda text: text.replace(*change))
    plugins.use([file])
    with refused(rf"^{file}:\d+: cases\(root\) {said}"):
        registry.load("dataset", "my_dataset")().listed(tmp_path)


def test_a_networks_facts_are_read_without_running_its_file(tmp_path, protocol_file, capsys):
    file = written(tmp_path, "network", change=lambda text: text + "\nraise RuntimeError('run')\n")
    plugins.use([file])
    assert catalog.preset("my_network", "tiny").encoder_parameters == 17_664
    assert main(["list", "networks", "--plugins", str(file)]) == 0
    assert str(file) in capsys.readouterr().out


def test_a_network_that_states_no_facts_is_in_nobodys_way_who_does_not_ask_for_it(
    tmp_path, protocol_file, capsys
):
    good, wrong = written(tmp_path, "network", "my_other"), ("multiple=(4, 4, 4)", "multiple=4")
    bad = written(tmp_path, "network", change=lambda text: text.replace(*wrong))
    mine = {"plugins": [str(bad), str(good)], "networks": {"net": {"network": "my_other"}}}
    assert main(["plan", str(protocol_file(mine))]) == 0
    capsys.readouterr()
    assert main(["list", "networks"]) == 1
    told = capsys.readouterr()
    assert "my_other" in told.out and "unet3d" in told.out and "my_network" not in told.out
    assert told.err == f"bench: {bad}:18: Entry.multiple: expected a list, got 4\n"
    assert "unet3d" in registry.load("method", "scratch").networks()
    mine["networks"] = {"net": {"network": "my_network"}}
    assert f"{bad}:18: Entry.multiple" in refusal(capsys, "plan", protocol_file(mine))


@pytest.fixture
def planned(plan_of):
    """Return a function from rows and plugins to the ids of a plan's jobs, by kind."""

    def ids(files, **changes):
        plan = plan_of({"plugins": [str(f) for f in files], **changes})
        return plan, {kind: small_protocol.ids(plan, kind) for kind in ("pretrain", "finetune")}

    return ids


def test_an_edit_of_a_method_is_another_job_and_its_place_is_none(tmp_path, planned):
    helped = {"change": lambda text: "from .helper import x\n" + text}
    rows = {"rows": {"pair": {"method": "my_method"}}}
    one = written(tmp_path / "a", "method", **helped)
    (tmp_path / "a" / "helper.py").write_text("x = 1\n")
    plan, first = planned([one], **rows)
    text, spec = one.read_text(), str([job.plain() for job in plan.jobs.values()])
    assert str(tmp_path) not in spec and registry.source("method", "my_method") in spec
    touching = {job for job in plan.jobs if touched(plan.jobs, job)}
    assert touching >= first["pretrain"] and touching < {*plan.jobs}
    one.write_text(text + "\nEDITED = 1\n")
    assert not planned([one], **rows)[1]["pretrain"] & first["pretrain"]
    one.write_text(text + "\n# edited\n")
    assert planned([one], **rows)[1] == first
    (tmp_path / "a" / "helper.py").write_text("x = 2\n")
    assert not planned([one], **rows)[1]["pretrain"] & first["pretrain"]
    (tmp_path / "a" / "helper.py").write_text("x = 1\n")
    (tmp_path / "a").rename(tmp_path / "b")
    plugins.os.environ[plugins.PATHS] = ""
    assert planned([tmp_path / "b" / "my_method.py"], **rows)[1] == first


IMPORTS = {  # what a plugin begins with: is its helper one of its files?
    "from .helper import x": True,
    "from . import helper": True,
    "def later():\n    from .helper import x": True,
    "import importlib\nimportlib.import_module('.helper', __package__)": True,
    "from importlib import import_module\nimport_module(package=__package__, name='.helper')": True,
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .helper import x": False,
    "from helper import x": False,
}


@pytest.mark.parametrize(("text", "its"), IMPORTS.items())
def test_what_a_plugin_imports_of_its_folder_is_in_its_digest(tmp_path, text, its):
    file = written(tmp_path, "method", change=lambda rest: f"{text}\n{rest}")
    (tmp_path / "helper.py").write_text("x = 1\n")
    plugins.use([file])
    found = plugins.by_name("method")["my_method"]
    assert set(plugins.files(found)) == {"my_method.py", *(["helper.py"] if its else [])}
    before = plugins.digest(found)
    (tmp_path / "helper.py").write_text("x = 222\n")
    assert (plugins.digest(found) != before) is its


def test_an_edit_of_a_network_is_another_job_and_others_stay(tmp_path, planned):
    _, before = planned([])
    file = written(tmp_path / "a", "network")
    nets = {"networks": {"net": {"network": "my_network"}}}
    _, first = planned([file], **nets)
    file.write_text(file.read_text() + "EDITED = 1\n")
    _, second = planned([file], **nets)
    assert not first["finetune"] & second["finetune"] and not first["pretrain"] & second["pretrain"]
    assert planned([file])[1] == before  # who does not touch it


CUT = {"batch": 4, "accumulate": 2}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finetune": CUT}, r"finetune\.accumulate: layer 'encoder\.levels\.0\.1' is a batch norm"),
        # the encoder never trains; no other batch norm
        ({"finetune": {**CUT, "evaluation": "decoder"}}, ""),
        ({"pretrain": CUT}, r"pretrain\.accumulate: layer 'head\.0' is a batch norm"),
    ],
)
def test_batch_norm_that_no_fact_states_is_seen_in_the_modules(tmp_path, planned, changes, said):
    def normed(text):
        return text.replace("nn.GroupNorm(4, width)", "nn.BatchNorm3d(width)").replace(
            "self.head = nn.Linear(network.encoder.widths[-1], WAYS)",
            "self.head = nn.Sequential(nn.BatchNorm1d(32), nn.Linear(32, WAYS))",
        )

    files = [written(tmp_path, kind, change=normed) for kind in ("network", "method")]
    net = {} if "pretrain" in changes else {"networks": {"net": {"network": "my_network"}}}
    plan, _ = planned(files, rows={"pair": {"method": "my_method"}}, **net, **changes)
    jobs = [job for job, made in plan.jobs.items() if made.kind in changes]
    with pytest.raises(BenchError, match=said) if said else nullcontext():
        run.rehearse(plan, jobs)


def test_a_worker_refuses_a_plugin_that_was_edited_and_keeps_what_it_has_imported(tmp_path):
    file = written(tmp_path, "method")
    plugins.use([file])
    as_planned = plugins.planned([("method", "my_method"), ("method", "scratch")])
    assert [one.plugin.name for one in as_planned] == ["my_method"]
    first = registry.load("method", "my_method")
    file.write_text(file.read_text().replace("noise: float = 0.01", "noise: float = 0.5"))
    plugins.arrive(as_planned)
    assert registry.load("method", "my_method") is first  # as the plan saw it
    plugins._pinned.clear()
    assert registry.load("method", "my_method").Params().noise == 0.5
    message = "my_method' was edited since this run began; run it again"
    with refused(message):
        plugins.arrive([replace(one, digest="0" * 16) for one in as_planned])


HARM = """

def harm():
    \"\"\"Change all that one process has for everybody.\"\"\"
    import locale, os, random, signal, sys, warnings
    import numpy as np
    torch.backends.mkldnn.enabled = False
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = True
    torch.backends.fp32_precision = "tf32"
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_autocast_enabled("cpu", True)
    torch.set_grad_enabled(False)
    torch.autograd.set_detect_anomaly(True, check_nan=False)
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    np.seterr(all="raise")
    warnings.simplefilter("error")
    os.chdir("/")
    os.umask(0o777)
    os.environ.clear()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.path.insert(0, "/nowhere")
    sys.stdout = sys.stderr = None


harm()
"""


SOFT = """

def harm():
    import os
    torch.backends.mkldnn.enabled = False
    torch.set_default_dtype(torch.float64)
    os.chdir("/")
"""


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        pytest.param(HARM, 1, id="in one process"),
        pytest.param(SOFT, 0, id="workers", marks=pytest.mark.slow),
    ],
)
def test_a_plugin_that_harms_its_process_changes_no_other_rows_numbers(
    harm, code, tmp_path, monkeypatch, undrawn
):
    """The same run with it, by this process or two workers, and without, in a folder named from here."""
    protocol = yaml.safe_load((TEMPLATES / "my_method.yaml").read_text())
    protocol["phantoms"]["msd04_hippocampus"]["cases"] = 6
    protocol["rows"].pop("models_genesis")
    budget = {"steps": 2, "batch": 2}
    tuning = {"fractions": [100], **budget}
    protocol["scales"]["smoke"] = {"pretrain": budget, "finetune": tuning}
    monkeypatch.delenv(plugins.PATHS)
    before = os.environ.copy(), signal.getsignal(signal.SIGTERM), sys.path.copy()
    made, loss = {}, '        return {"total"'
    harmful = lambda text: text.replace(loss, f"        harm()\n{loss}") + harm  # noqa: E731
    written(tmp_path, "method", change=harmful)
    for name in ("harmed", "alone"):
        if name == "alone":
            protocol["plugins"] = []
            protocol["rows"].pop("my_method")
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(protocol))
        with monkeypatch.context() as patch:
            if name == "alone" or harm is HARM:
                patch.setattr(local, "run", inline)
            ended = main(["run", f"{name}.yaml", "--out", name, "--workers", "2"])
        assert ended == (code if name == "harmed" else 0)  # 1: its loss is hurt
        found = Store(tmp_path / name)
        manifests = [found.manifest(job.name) for job in found.jobs.iterdir()]
        changed = [m for m in manifests if Switches(**m["switches"]) != Switches()]
        expected = ["my_method"] if name == "harmed" and not code else []
        assert [m["spec"]["method"]["name"] for m in changed] == expected
        for switches in (m["switches"] for m in changed):
            assert not switches["onednn"] and switches["dtype"] == "float64"
        made[name] = {
            (m["id"], file): sums["sha256"]
            for m in manifests
            for file, sums in m["files"].items()
            if file != "log.txt" and m["kind"] not in ("prepare", "guard")
        }
    assert made["alone"] and made["harmed"].items() >= made["alone"].items()
    files = {file for _, file in made["alone"]}
    assert files >= {"weights.safetensors", "last.safetensors", "curve.csv"}
    assert Switches.now() == Switches() and signal.getsignal(signal.SIGTERM) == before[1]
    assert os.environ.items() >= before[0].items()
    assert sys.path[: len(before[2])] == before[2] and os.getcwd() == str(tmp_path)  # noqa: PTH109


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a package with a method, as its entry points say."""

    def install(point="my_method = outsiders.methods.my_method"):
        written(tmp_path / "site" / "outsiders" / "methods", "method")
        for folder in ("outsiders", "outsiders/methods"):
            (tmp_path / "site" / folder / "__init__.py").write_text("raise_if_listed = 1\n")
        info = tmp_path / "site" / "outsiders-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Name: outsiders\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[bench.methods]\n{point}\n")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        return tmp_path / "site" / "outsiders"

    yield install
    for name in [n for n in sys.modules if n.split(".")[0] == "outsiders"]:
        del sys.modules[name]
    plugins._imported.clear()


def test_an_installed_package_brings_plugins_by_its_entry_points(installed, capsys):
    home = installed()
    found = plugins.by_name("method")["my_method"]
    assert found.file == home / "methods" / "my_method.py" and "outsiders" not in sys.modules
    files = {"__init__.py", "methods/__init__.py", "methods/my_method.py"}
    assert set(plugins.files(found)) == files
    before = registry.source("method", "my_method")
    assert registry.load("method", "my_method").__module__ == "outsiders.methods.my_method"
    assert main(["list", "methods"]) == 0
    assert "my_method.py (package outsiders)" in capsys.readouterr().out
    (home / "methods" / "__init__.py").write_text("raise_if_listed = 2\n")
    assert registry.source("method", "my_method") != before


def test_an_entry_point_is_called_as_its_file_is(installed):
    installed("other = outsiders.methods.my_method")
    message = r"point 'other' of bench\.methods leads to outsiders\.methods"
    with refused(message):
        registry.names("method")


def test_a_data_set_from_outside_has_phantoms_a_check_and_lists_of_its_own(tmp_path, capsys):
    file = written(tmp_path / "mine", "dataset")
    (tmp_path / "mine" / "splits").mkdir()
    listed = tmp_path / "mine" / "splits" / "my_dataset.mine.json"
    listed.write_text((TEMPLATES / "splits" / "my_dataset.mine.json").read_text())
    data = tmp_path / "data"
    told = ["--plugins", str(file)]
    assert main(["phantom", "my_dataset", str(data), "--cases", "12", *told]) == 0
    assert main(["check", "my_dataset", "--data", str(data), *told]) == 0
    (tmp_path / "mine" / "p.yaml").write_text((TEMPLATES / "my_dataset.yaml").read_text())
    twice = {"train": ["scan_001", "scan_002"], "val": [], "test": ["scan_001"]}
    wrong = {
        "{": "is not a list of cases",
        '{"train": "scan_001"}': "train: expected",
        '{"train": ["scan_001"], "test": null}': "test: expected",
        '{"folds": [1]}': "folds",
        json.dumps(twice): "lists patient 'scan_001' twice in fold 0",
        '{"folds": [{"train": [], "val": [], "test": ["a", "a"]}]}': "lists patient 'a' twice",
    }
    plan = ["plan", str(tmp_path / "mine" / "p.yaml"), "--data", str(data)]
    assert main(plan) == 0
    for text, said in wrong.items():
        listed.write_text(text)
        capsys.readouterr()
        told = refusal(capsys, *plan)
        assert "my_dataset.mine.json" in told and said in told


@pytest.mark.parametrize("stated", ["/nope", "x" * 300, "nonsense:more"])
def test_what_the_environment_names_and_is_not_there_is_refused(stated, monkeypatch, capsys):
    monkeypatch.setenv(plugins.PATHS, stated)
    assert "BENCH_PLUGINS: " in refusal(capsys, "list", "methods")


def test_a_file_named_by_the_environment_from_here_and_by_a_protocol_is_one(
    tmp_path, protocol_file, monkeypatch
):
    file = written(tmp_path / "mine", "method")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.PATHS, "mine/my_method.py")
    assert main(["plan", str(protocol_file({"plugins": [str(file)]}))]) == 0
