"""The command line: flags, exit codes and JSON as the public contract has them."""

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pkgutil import iter_modules

import nibabel as nib
import numpy as np
import pytest
from small_protocol import NAME

from bench import __version__, commands, registry
from bench.arguments import blocks, parser
from bench.cli import LONG, main
from bench.commands import short
from bench.commands.stopping import stopping
from bench.process import STOPS, started
from bench.show import listing
from bench.store import Store

pytestmark = pytest.mark.usefixtures("own_place")


@pytest.fixture
def say(capsys):
    """Return a function from arguments to (exit code, what was printed, what was complained)."""

    def run(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:  # argparse's own
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_help_lists_what_there_is_and_nothing_else(say):
    code, out, _ = say("--help")
    files = {m.name for m in iter_modules(commands.__path__)} - {"flags", "short", "stopping"}
    assert code == 0 and files == {*LONG}
    names = {name[:-1] for name in vars(short) if name.endswith("_") and name[0] != "_"} | files
    assert set(re.findall(r"^    (\w+)  ", out, re.MULTILINE)) == names == set(blocks())
    versions = rf"bench {__version__}(, commit [0-9a-f]+\+?)?, Python 3\.\d+\.\d+, torch 2\S+, monai 1\S+\n"
    code, out, _ = say("--version")
    assert code == 0 and re.fullmatch(versions, out)


def test_a_link_in_a_circle_is_no_output_folder(say, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for given in (
        ["status", "--out", "loop"],
        ["export", "ab", "--to", "x.safetensors", "--out", "loop"],
        ["phantom", NAME, "loop", "--cases", "1"],
    ):
        code, out, err = say(*given)
        assert (code, out) == (2, "") and re.fullmatch(r"bench: \S*loop.*\n", err), err


def test_defaults_are_as_promised():
    made = parser().parse_args(["run", "p.yaml"])
    assert (str(made.out), made.scale, made.executor) == ("runs", None, "local")
    assert made.only == made.sets == []
    made = parser().parse_args(["score", "--prediction", "p", "--reference", "r"])
    assert (made.convention, made.empty, made.verify, made.json) == (None, "default", False, False)
    made = parser().parse_args(["export", "0123@40", "--to", "x"])
    assert (made.job, str(made.to), str(made.out)) == ("0123@40", "x", "runs")
    assert made.format == "safetensors"


LISTED = {
    "methods": {"name", "title", "paper", "dims", "params", "networks", "source", "fidelity"},
    "datasets": {"name", "title", "modality", "labels", "splits", "licence", "source"},
    "networks": {"name", "title", "dims", "presets", "source"},
    "mixtures": None,
    "metrics": None,
    "protocols": None,
}


@pytest.mark.parametrize("what", LISTED)
def test_list_as_json_and_as_text(say, what):
    code, out, _ = say("list", what, "--json")
    entries = {e["name"]: e for e in json.loads(out)}
    assert code == 0 and len(entries) == len(json.loads(out)) > 0
    for entry in entries.values() if LISTED[what] else ():
        assert set(entry) == LISTED[what] and entry["source"]["cite"]
        # of phantoms that stand for nothing else there is no page
        assert entry["source"]["url"].startswith("http") or entry["name"] == "tone_phantoms"
        for preset in entry.get("presets", ()):
            assert set(preset) == {"preset", "in_channels", "out_channels", "parameters"}
    if what == "methods":
        assert all(entry["networks"] for entry in entries.values())
        assert entries["mae3d"]["networks"] == ["unetr"]
        assert "mask_ratio" in entries["mae3d"]["params"]
    if what == "protocols":
        assert (entries["quickstart"]["assumed"], entries["quickstart"]["deviations"]) == (0, 1)
    code, text, _ = say("list", what)
    assert code == 0 and all(name in text for name in entries)
    # on a terminal a table fits, each name is whole, and what is left out is said
    narrow, columns = listing.as_text(what, [*entries.values()], 80), text.splitlines()[0].split()
    table, _, rest = narrow.partition("\n\n")
    assert max(map(len, table.splitlines())) <= 80 and all(name in table for name in entries)
    lacking = [column for column in columns if column not in table.splitlines()[0].split()]
    assert rest.startswith("not shown in 80 letters: " + ", ".join(lacking)) == bool(lacking)


def test_plan_as_json_with_and_without_data(say, protocol_file, phantoms):
    path = protocol_file()
    code, out, _ = say("plan", path, "--data", phantoms, "--json")
    shown = json.loads(out)
    assert code == 0 and set(shown) == {"provisional", "jobs"} and shown["provisional"] is False
    assert len(shown["jobs"]) == 20
    for job in shown["jobs"]:
        assert set(job) == {"id", "kind", "needs", "done", "spec", "estimate"}
        assert re.fullmatch("[0-9a-f]{16}", job["id"]) and job["done"] is False
    code, out, _ = say("plan", path, "--json")
    assert code == 0 and json.loads(out)["provisional"] is True
    code, out, err = say("plan", protocol_file(), "--data", "not_yet", "--json")
    assert code == 0 and json.loads(out)["provisional"] is True
    assert "not_yet does not exist yet; planned as if no data were here" in err
    assert not any(p.name == "runs" for p in path.parent.iterdir())  # a plan leaves nothing


def test_plan_takes_only_and_set_and_several_protocols(say, protocol_file, phantoms):
    one, two = protocol_file(), protocol_file({"name": "two"}, "two.yaml")
    asked = ("--only", "row=pair", "--only", "fraction=25", "--set", "finetune.steps=77", "--json")
    code, out, _ = say("plan", one, two, "--data", phantoms, *asked)
    tuned = [job["spec"] for job in json.loads(out)["jobs"] if job["kind"] == "finetune"]
    assert code == 0 and {spec["finetune"]["steps"] for spec in tuned} == {77}
    code, text, _ = say("run", one, "--data", phantoms, "--dry-run")
    assert code == 0 and "20 jobs" in text and text == say("plan", one, "--data", phantoms)[1]


def test_a_plan_looks_at_a_folder_that_one_may_only_read(
    say, protocol_file, phantoms, tmp_path, monkeypatch
):
    store, path = Store.open(tmp_path / "out"), protocol_file()
    before = say("plan", path, "--data", phantoms, "--out", store.root)
    times = lambda: {file: file.stat().st_mtime_ns for file in store.root.rglob("*")}  # noqa: E731
    files = times()
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    for command in (("plan",), ("run", "--dry-run")):
        assert say(*command, path, "--data", phantoms, "--out", store.root) == before
    assert before[0] == 0 and files == times()
    code, _, err = say("run", path, "--data", phantoms, "--out", store.root)
    assert code == 2 and "cannot be written; name another --out" in err


def test_phantoms_are_there_whole_or_not_at_all(say, tmp_path, monkeypatch):
    def full(folder, cases, seed):
        (folder / "dataset.json").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(registry.load("dataset", NAME), "phantom", full)
    code, _, err = say("phantom", NAME, tmp_path / "data", "--cases", "1")
    assert code == 1 and "No space left" in err and not list((tmp_path / "data").iterdir())


def test_no_command_works_in_a_deleted_folder(say, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in (("plan", "quickstart"), ("list", "methods"), ("status",)):
        code, _, err = say(*command)
        assert (code, err.count("\n")) == (2, 1) and "the current folder was deleted; cd" in err


def test_status_tells_states_and_refuses_another_folder(say, tmp_path):
    code, out, err = say("status", "--out", tmp_path / "none")
    assert (code, out) == (2, "") and "not an output folder of bench" in err
    store = Store.open(tmp_path / "out")
    (store.jobs / "d").mkdir()
    manifest = '{"kind": "prepare", "seconds": 3, "attempts": 1}'
    (store.jobs / "d" / "manifest.json").write_text(manifest)
    for job in ("f", "w", "r"):
        store.write_spec(job, {"job": {"kind": "finetune", "spec": {}, "needs": []}})
    assert store.claim("f") is not None  # of a node that is gone: its last beat was a moment ago
    failed = {"reason": "out of memory", "kind": "memory", "log": "the/log.txt", "attempts": 2}
    (store.work / "f" / "failed.json").write_text(json.dumps(failed))
    assert store.claim("r") is not None
    store.tell("r", 5, 10, 0.5)
    code, out, _ = say("status", "--out", tmp_path / "out", "--json")
    found = json.loads(out)
    assert code == 0 and list(found) == ["running", "failed", "waiting", "done"]
    assert [[job["job"] for job in jobs] for jobs in found.values()] == [["r"], ["f"], ["w"], ["d"]]
    assert found["failed"][0].items() >= {**failed, "kind": "finetune", "cause": "memory"}.items()
    assert found["running"][0]["step"] == 5
    text = say("status", "--out", tmp_path / "out")[1]
    assert "1 running, 1 failed, 1 waiting, 1 done" in text and "step 5/10" in text


def test_phantom_then_check_finds_nothing_and_then_finds_the_fault(say, tmp_path):
    code, _, _ = say("phantom", NAME, tmp_path, "--cases", 3, "--seed", 7)
    assert code == 0 and (tmp_path / NAME / "dataset.json").is_file()
    code, out, _ = say("check", NAME, "--data", tmp_path, "--json")
    assert (code, json.loads(out)) == (0, [])
    image = tmp_path / NAME / "imagesTr" / "hippocampus_002.nii.gz"
    image.write_bytes(image.read_bytes()[:-200])
    code, out, _ = say("check", NAME, "--data", tmp_path, "--json")
    (finding,) = json.loads(out)
    assert code == 1 and set(finding) == {"case", "file", "kind", "detail"}
    assert finding["case"] == "hippocampus_002" and finding["kind"] in ("truncated", "unreadable")
    code, _, err = say("phantom", NAME, tmp_path)
    assert code == 2 and "is not empty" in err


def test_score_as_json_has_nulls_and_no_nan(say, tmp_path):
    p, r = np.zeros((2, 8, 8, 8))
    p[2:4, 2:4, 2:4], r[3:5, 2:4, 2:4] = 1, 1
    p[6, 6, 6] = 2
    files = tmp_path / "guess.nii.gz", tmp_path / "case.nii.gz"
    for path, array in zip(files, (p, r), strict=True):
        nib.save(nib.Nifti1Image(array.astype(np.uint8), np.diag([1.0, 1.0, 2.0, 1.0])), path)
    arguments = ("score", "--prediction", files[0], "--reference", files[1], "--metrics", "dice,hd")
    code, out, _ = say(*arguments, "--json")
    rows = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    assert {"case": "case", "target": "1", "metric": "dice", "value": 0.5, "unit": "1"} in rows
    assert {"case": "case", "target": "2", "metric": "hd", "value": None, "unit": "mm"} in rows
    brats = json.loads(say(*arguments, "--empty", "brats", "--json")[1])
    (far,) = [row["value"] for row in brats if row["target"] == "2" and row["metric"] == "hd"]
    assert math.isclose(far, 373.13, abs_tol=0.01)
    code, text, _ = say(*arguments, "--verify")
    assert code == 0 and "0.5000" in text


WRONG = [
    (("plan", "nowhere.yaml"), "nowhere.yaml: no such file"),
    (("report", "nowhere.yaml", "--out", "OUT"), "nowhere.yaml: no such file"),
    (("check", NAME), "no --data DIR was given"),
    (("phantom", "nothing", "."), "no dataset named 'nothing'"),
    (("phantom", NAME, ".", "--cases", "0"), "--cases 0: needs at least 1"),
    (("score", "--prediction", "x.nii", "--reference", "y.nii"), "no such"),
    (
        ("score", *["--prediction", ".", "--reference", ".", "--metrics", "dise"]),
        "did you mean 'dice'",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(w[0]) for w in WRONG])
def test_a_wrong_request_exits_2_with_one_line(say, arguments, message):
    code, out, err = say(*arguments)
    assert code == 2 and message in err and not out
    assert err.count("\n") == 1 and err.startswith("bench: ")


UNKNOWN = {
    "rum x": "bench: command: no 'rum'; did you mean 'run'?",
    "list planets": "bench list: what: no 'planets'; one of methods, datasets",
    "list methds": "did you mean 'methods'?",
    "run x --scale pilt": "bench run: --scale: no 'pilt'; did you mean 'pilot'?",
    "run x --wrokers 2": "bench run: no flag '--wrokers'; did you mean --workers?",
    "plan x --no": "bench plan: no flag '--no'",
    "plan x --out=": "argument --out: is empty",
    "export 0 --to x --format nssl": "did you mean 'nnssl'?",
    "plan": "bench plan: the following arguments are required: PROTOCOL",
    "export 0123": "required: --to",
    "export --to x": "required: ROW",
    "verify a": "'a' is one word too many (",
    "init d --image a b": "'b' is one word too many; quote the pattern: --image '*/T1.nii.gz'",
    "--versoin": "bench: no flag '--versoin'; did you mean --version?",
}


@pytest.mark.parametrize(("words", "message"), UNKNOWN.items())
def test_a_command_that_does_not_parse_exits_2_with_one_line(say, words, message):
    code, out, err = say(*words.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err and "--help' shows all)" in err


TWICE = {
    "run x --out a --ou=b": "--out: given twice, a and b; give it once (",
    "run x --workers 1 --jobs 2": "--workers/--jobs: given twice, 1 and 2",
    "plan x --scale pilot --scale pilot": "--scale: given twice",
    "score --labels 1 --prediction a --prediction b --labels 2": "--labels: given twice, 1 and 2; give it once as 1,2",
    "run x --set a.b=1 --set c=1 --set a.b=2": "--set a.b: given twice, 1 and 2",
    "compete x --method a --params k=1 --params k=2": "--params k: given twice",
}


@pytest.mark.parametrize(("words", "message"), TWICE.items())
def test_a_second_value_is_refused(say, words, message):
    code, out, err = say(*words.split())
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err


def test_every_flag_adds_up_and_says_so_or_takes_one_value(say):
    """By the parser's own answer, whatever its lines state."""
    for name in blocks():
        (nested,) = (a for a in parser()._actions if isinstance(a.choices, dict))
        flags = [a for a in nested.choices[name]._actions if a.option_strings and a.nargs != 0]
        for action in flags:
            value = next(iter(action.choices)) if action.choices else "9"
            err = say(name, *(2 * (action.option_strings[0], value)))[2]
            assert ("given twice" in err) != action.help.endswith("; may be repeated"), err


def test_without_a_word_the_commands_are_printed(say):
    code, out, err = say()
    assert (code, err) == (0, "")
    for name, (text, *_) in blocks().items():
        assert re.search(rf"(?m)^  {name} +{re.escape(text)}$", out)


@pytest.mark.parametrize("words", ["check x --workers -1", "init x --workers 0"])
def test_every_command_needs_one_worker(say, words):
    code, _, err = say(*words.split())
    assert code == 2 and "needs at least 1" in err and err.count("\n") == 1


def test_jobs_is_workers_and_nnunet_is_nnssl(say):
    for words in (("--jobs", "3"), ("--workers", "3")):
        assert parser().parse_args(["run", "x", *words]).workers == 3
    code, _, err = say("export", "3f2a", "--to", "a.pth", "--format", "nnunet")
    assert code == 2 and "not an output folder" in err


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("lasc.yml", "no such file; did you mean 'pilot_lasc'?"),
        ("quickstrt", "no such file; did you mean 'quickstart'?"),
        ("voco", "did you mean 'voco_table1' or 'voco_table2'? (9 names begin with 'voco')"),
        (
            "pgl/table",
            "did you mean 'pgl_table1' or 'pgl_table2'? (8 names begin with 'pgl_table')",
        ),
        ("mine.ymal", "did you mean 'mine.yaml'?"),
        ("nothing_like_it.yaml", "'bench list protocols' prints all"),
    ],
)
def test_a_protocol_that_is_not_there_names_the_nearest(say, tmp_path, monkeypatch, text, hint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("title: x")
    code, _, err = say("plan", text)
    assert code == 2 and hint in err and err.count("\n") == 1


def test_a_name_that_may_be_a_plugins_says_how_one_is_named(protocol_file, say):
    code, _, err = say("plan", str(protocol_file({"rows": {"pair": {"method": "twins"}}})))
    assert code == 2 and "no method named 'twins'" in err and "by --plugins" in err


@pytest.mark.parametrize("saves", [True, False])  # what only waits for a cluster saves nothing
@pytest.mark.parametrize("number", STOPS)
def test_a_stopped_run_says_at_once_that_it_saves(number, saves, capfd):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stopping(saves=saves):
        os.kill(os.getpid(), number)
        time.sleep(5)
    line = f"\nbench: {number.name}: saving (up to 30 s)\n"
    if number == signal.SIGINT:
        line = "\nbench: saving (up to 30 s; again Ctrl-C leaves at once)\n"
    assert capfd.readouterr().err == (line if saves else "")
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", STOPS)
def test_a_run_that_is_stopped_before_it_runs_anything_says_so(
    number, say, protocol_file, monkeypatch
):
    monkeypatch.setattr("bench.run.make_plan", lambda *given, **more: os.kill(os.getpid(), number))
    code, _, err = say("run", protocol_file())
    assert (code, err) == (130, "\nbench: stopped; the same command goes on from here\n")


TWICE = """\
import multiprocessing, os, signal, sys, time
from bench.commands.stopping import stopping

def busy(pipe):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send("there")
    time.sleep(60)

if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=busy, args=(theirs,))
    with stopping(saves=True):
        child.start()
        ours.recv()
        try:
            print(child.pid, flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGINT)  # as `timeout` does: the same wish once more
            print("saving", flush=True)
            time.sleep(60)
"""


def test_a_second_ctrl_c_leaves_at_once(tmp_path):
    script = tmp_path / "twice.py"
    script.write_text(TWICE)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, str(script)], **pipes, text=True)
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "saving\n"
    time.sleep(0.8)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - began < 5
    assert "saving (up to 30 s" in said and "left at once; the same command goes on" in said
    assert "Traceback" not in said and started(child) == ""


@pytest.mark.parametrize(
    ("asked", "buffered"),
    [
        ("list metrics", {"PYTHONUNBUFFERED": "1"}),
        ("list metrics --json", {}),
        ("plan quickstart", {}),
    ],
)
def test_what_cannot_be_printed_is_told_as_such(asked, buffered, tmp_path):
    command = f"{sys.executable} -m bench.cli {asked} > /dev/full"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | buffered
    how = {"stderr": subprocess.PIPE, "text": True, "env": env, "cwd": tmp_path}
    ran = subprocess.run(["bash", "-c", command], **how)
    assert ran.returncode == 1
    assert (
        ran.stderr
        == "bench: standard output: No space left on device; correct this and run again\n"
    )


def test_a_closed_pipe_is_no_traceback(protocol_file, phantoms):
    command = f"{sys.executable} -m bench.cli list metrics --json | head -c 1"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout == "[" and "Traceback" not in ran.stderr
