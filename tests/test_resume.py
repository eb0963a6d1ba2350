"""Stopped or killed anywhere, and started again: the same weights, the same records, done once."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import reliability
import yaml
from described import describe, execute

from bench import registry, run
from bench.document import overlay
from bench.jobs.evaluate import run as evaluating
from bench.jobs.guard import spec as guard
from bench.method import Method
from bench.store import FinishedParts, Store

HEADS = {"hidden": 16, "out": 16, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
SMALL = {**HEADS, "grid": [2, 2, 1], "queue": 16}
OWN = {  # parameters of one method alone
    "rubik": {"grid": [2, 2, 2], "jitter": [4, 4, 0]},
    "cpc3d": {"patches_per_side": 2, "boundary": "zero", "code_size": 16, "gru": 8},
    "cpc2d": {"code_size": 16, "gru": 8},
    "rpl3d": {"jitter": 2},
    "mae_cnn3d": {"block": 8},
    "spark3d": {"block": 8},
    "rpl2d": {"jitter": 4},
    "vox2vec": {"voxels": 48},
    "gvsl": {"windows": 200, "window": 5, "features": 8},
    "rubikpp": {"widths": [8, 8]},
    "jigsaw3d": {"n": 2, "jitter": 2, "permutations": 20},
    "jigsaw2d": {"n": 2, "jitter": 4, "permutations": 20},
}
NETS = {  # what a method needs, or its dimensions: a network that fits, and a crop
    "features": ("unet3d", [16, 16, 16]),
    "tokens": ("unetr", [32, 32, 16]),
    "slices": ("unet2d", [32, 32, 1]),
    # of one method: of losses that read several cells, of encoders that read parts of a crop
    "position_label": ("unet3d", [32, 32, 32]),
    "jigsaw_clustering": ("unet3d", [32, 32, 16]),
    "cpc2d": ("unet2d", [16, 16, 1]),
    "rpl3d": ("genesis_unet3d", [32, 32, 32]),
    "rpl2d": ("unet2d", [64, 64, 1]),
    "jigsaw3d": ("genesis_unet3d", [32, 32, 32]),
    "jigsaw2d": ("unet2d", [48, 48, 1]),
}
STEPS = 5
DONE = ("prepare", "guard")  # kinds of which ``fresh`` leaves the results


def of_each_kind():
    """Return the methods that keep something from step to step, and one of each other kind of network and crop.

    That a state of a method is all that it resumes from is asked of every one by ``bench.conformance``.
    """
    classes = {name: registry.load("method", name) for name in registry.names("method")}
    pretrained = {name: cls for name, cls in classes.items() if cls.pretrains}
    kinds = {(cls.needs, cls.dims): name for name, cls in pretrained.items()}
    keeps = {name for name, cls in pretrained.items() if cls.after_step is not Method.after_step}
    return sorted(keeps | {*kinds.values()})


METHODS = of_each_kind()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return an output folder in which every data set is prepared, to be copied."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    plan, _ = planned(out, "simclr3d")
    for job in plan.jobs.values():
        if job.kind == "prepare":
            assert execute(str(out), job.id).state == "done"
    return out


def planned(out, method, changes=None):
    """Plan one method and fine-tuning from it; leave the jobs' descriptions in ``out``."""
    cls = registry.load("method", method)
    known = cls.Params.__dataclass_fields__
    masks = "tokens" if cls.needs in ("tokens", "patches") else "features"
    net, crop = NETS.get(method) or NETS["slices" if cls.dims == 2 else masks]
    network = {"network": net, "preset": "tiny", "crop": crop}
    params = {k: v for k, v in SMALL.items() if k in known}
    if isinstance(getattr(cls.Params, "hidden", 0), tuple):
        params["hidden"] = [16, 8]
    params |= OWN.get(method, {})
    row = {"method": method, "network": "net", "params": params}
    value = yaml.safe_load(reliability.SMOKE.replace("steps: 40", f"steps: {STEPS}"))
    value |= {"baseline": "none", "networks": {"net": network}, "rows": {method: row}}
    value["pretrain"] |= {"recipe": "resize", "snapshots": [2], "batch": max(2, cls.min_batch)}
    value["pretrain"]["datasets"][0] |= {"task": 1, "group": 1}
    value["finetune"][0] |= {"recipe": "resize", "fractions": [100]}
    value["phantoms"] = {"msd04_hippocampus": {"cases": 20, "seed": 0}}
    path = out.parent / f"{method}.yaml"
    path.write_text(yaml.safe_dump(overlay(value, changes or {})))
    store = Store.open(out)
    request = run.Request((path,), out)
    plan = run.make_plan(request, request.read(), need_data=True)
    describe(plan, store, run.todo(plan, store))
    return plan, store


def fresh(base, tmp_path, name, method, changes=None):
    out = tmp_path / name / "out"
    shutil.copytree(base, out)
    plan, store = planned(out, method, changes)
    kinds = {job.kind: job.id for job in plan.jobs.values()}
    for job in (j for j in plan.jobs.values() if j.kind == "guard"):  # as if they had found nothing
        (store.jobs / job.id).mkdir()
        guard.write(store.jobs / job.id, guard.GuardResult(0, {}, ()))
        (store.jobs / job.id / "manifest.json").write_text(json.dumps(job.plain()))
    return store, kinds


def interrupted(store, job, stops):
    """Run a job that is asked to stop after each of ``stops`` further steps."""
    for stop in stops:
        looks = iter(range(1, 100))
        outcome = execute(str(store.root), job, lambda looks=looks, stop=stop: next(looks) >= stop)
        if outcome.state == "done":
            return
        assert outcome.state == "stopped"
        assert store.owner(job) is None
    assert execute(str(store.root), job).state == "done"


def anywhere():
    """Return after how many further steps each to stop a job of ``STEPS``: three times, once two steps on."""
    return random.sample([1, 1, 2], 3)


def whole(base, tmp_path, method, kind, changes=None):
    """Return the jobs of a method, and what the one of a kind ends with where nobody stops it."""
    store, kinds = fresh(base, tmp_path, "whole", method, changes)
    assert execute(str(store.root), kinds[kind]).state == "done"
    return kinds[kind], results(store, kinds[kind])


def results(store, job):
    names = ("*.safetensors", "curve.csv", "embeddings.csv")
    return {p.name: p.read_bytes() for n in names for p in (store.jobs / job).glob(n)}


@pytest.mark.parametrize("method", METHODS)
def test_a_pretraining_stopped_anywhere_ends_with_the_same_bits(method, base, tmp_path):
    job, expected = whole(base, tmp_path, method, "pretrain")
    files = {"weights.safetensors", "weights-2.safetensors", "curve.csv", "embeddings.csv"}
    assert files <= set(expected)
    other, _ = fresh(base, tmp_path, "stopped", method)
    stops = anywhere()
    interrupted(other, job, stops)
    assert results(other, job) == expected, stops


def test_an_evaluation_stopped_after_any_case_goes_on_with_the_next_and_ends_with_the_same_bytes(
    base, tmp_path, monkeypatch
):
    store, kinds = fresh(base, tmp_path, "whole", "scratch")
    for kind in ("finetune", "evaluate"):
        assert execute(str(store.root), kinds[kind]).state == "done"

    def predictions(store):
        files = (store.jobs / kinds["evaluate"]).glob("prediction*")
        return {file.name: file.read_bytes() for file in files}

    other, _ = fresh(base, tmp_path, "stopped", "scratch")
    assert execute(str(other.root), kinds["finetune"]).state == "done"
    predicted, real, attempts = [], evaluating.slabs, 0
    monkeypatch.setattr(evaluating, "slabs", lambda *given: predicted.append(1) or real(*given))
    while execute(str(other.root), kinds["evaluate"], lambda: True).state == "stopped":
        attempts += 1
    cases = other.manifest(kinds["evaluate"])["cases"]
    assert attempts == cases - 1 > 0 and len(predicted) == cases  # none twice
    assert predictions(other) == predictions(store)


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "evaluate"])
def test_a_job_that_goes_on_counts_the_seconds_of_its_earlier_attempts(
    kind, base, tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCH_CHECKPOINT", "0")
    store, kinds = fresh(base, tmp_path, "out", "simclr3d")
    for before in [k for k in list(kinds)[: list(kinds).index(kind)] if k not in DONE]:
        assert execute(str(store.root), kinds[before]).state == "done"
    job, known = kinds[kind], []
    second = lambda: known.append(store.spent(job)) or len(known) == 2  # noqa: E731
    assert execute(str(store.root), job, second).state == "stopped"
    assert known[0] == 0 < store.spent(job)
    assert (known[1] > 0) == (kind != "evaluate")  # with each checkpoint: a kill tells nobody
    store.spend(job, 1000.0)
    assert execute(str(store.root), job).state == "done"
    assert 1000 < store.manifest(job)["seconds"] < 1100


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_kept_part_that_is_damaged_counts_as_none(damage, tmp_path):
    kept = FinishedParts(tmp_path)
    kept.put(3, {"a": np.arange(4)})
    assert np.array_equal(kept.get(3)["a"], np.arange(4)) and kept.get(2) is None
    (path,) = tmp_path.glob("kept-*")
    path.write_bytes(damage)
    assert kept.get(3) is None


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    damage, base, tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCH_CHECKPOINT", "0")
    job, expected = whole(base, tmp_path, "scratch", "finetune")
    other, _ = fresh(base, tmp_path, "damaged", "scratch")
    looks = iter(range(1, 100))
    assert execute(str(other.root), job, lambda: next(looks) >= 3).state == "stopped"
    first, last = sorted((other.work / job).glob("step-*"))  # more never pile up
    assert first.name.startswith("step-000000002")
    last.write_bytes(damage)
    assert execute(str(other.root), job).state == "done"
    assert results(other, job) == expected


def test_a_job_done_and_cleared_by_another_command_is_done_for_whoever_asks(base, tmp_path):
    store, kinds = fresh(base, tmp_path, "out", "scratch")
    job = kinds["finetune"]
    for _ in range(2):
        assert execute(str(store.root), job).state == "done"
        assert not (store.work / job).exists()
    describe(planned(store.root, "scratch")[0], store, [job])
    assert execute(str(store.root), job).state == "done"
    assert store.manifest(job)["attempts"] == 1
    assert not (store.work / job).exists()  # nothing is left of what is asked for again


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_an_attempt_that_was_taken_over_writes_no_checkpoint_more(
    kind, base, tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCH_CHECKPOINT", "0")
    store, kinds = fresh(base, tmp_path, "out", "simclr3d")
    if kind == "finetune":
        assert execute(str(store.root), kinds["pretrain"]).state == "done"
    job, seen = kinds[kind], []

    def taken():  # asked before each checkpoint
        folder = store.work / job
        seen.append({path.name for path in folder.glob("step-*.pt")})
        if len(seen) == 2:
            (folder / "claim-0002").write_text('{"host": "elsewhere", "pid": 1, "start": "1"}')
        return False

    assert execute(str(store.root), job, taken).state == "busy"
    assert len(seen) == 2 and len(seen[1]) == 1
    assert {path.name for path in (store.work / job).glob("step-*.pt")} == seen[1]


# Whole runs in processes of their own.


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the smoke protocol and the records of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = reliability.protocol(folder)
    ended(reliability.start(path, folder / "out"))
    return path, reliability.records(folder / "out")


def again(path, out, expected):
    """Start again; the records must be those of the undisturbed run, and nothing half-written."""
    assert reliability.half_written(out) == []
    ended(reliability.start(path, out))
    assert reliability.records(out) == expected and reliability.half_written(out) == []
    assert not list((out / "work").glob("*/claim-*"))


def until(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_work(out):
    """Tell whether some training has left a checkpoint and is not done."""
    return any((out / "work").glob("*/step-*.pt"))


def ended(process):
    """Wait for a run, which must end well and without a traceback; return what it said."""
    code, text = reliability.finish(process)
    assert code == 0 and "Traceback" not in text, text
    return text


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["group", "controller"])
def test_after_a_kill_in_the_middle_of_training_the_records_are_the_same(
    whom, undisturbed, tmp_path
):
    path, expected = undisturbed
    out = tmp_path / "out"
    process = reliability.start(path, out)
    until(lambda: at_work(out))
    assert reliability.kill(process, whom, random.Random(0))
    process.communicate() if whom == "group" else process.wait()
    again(path, out, expected)  # at once: an orphan may still be at work
    if whom == "controller":
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(12))
def test_after_a_kill_at_a_random_moment_the_records_are_the_same(number, undisturbed, tmp_path):
    path, expected = undisturbed
    rng = random.Random(number)
    whom = reliability.WHOM[number % 3]
    found = reliability.trial(path, tmp_path / "out", whom, rng, within=15.0)
    assert (found["exit"], found["half-written"]) == (0, 0), found["text"]
    assert reliability.records(tmp_path / "out") == expected


@pytest.mark.slow
def test_a_killed_worker_fails_its_job_says_so_and_the_next_run_mends_it(undisturbed, tmp_path):
    path, expected = undisturbed
    out = tmp_path / "out"
    process = reliability.start(path, out, "--workers", "1")
    until(lambda: at_work(out))
    (job,) = [p.parent.name for p in (out / "work").glob("*/step-*.pt")][:1]
    os.kill(reliability.workers(process)[0], signal.SIGKILL)
    code, text = reliability.finish(process)
    reason = "the worker process died (SIGKILL; out of memory?)"
    assert code == 1 and f", job {job}: {reason}" in text and "Traceback" not in text
    why = json.loads((out / "work" / job / "failed.json").read_text())
    assert why["reason"] == reason and reason in Path(why["log"]).read_text()
    done = {json.loads(p.read_text())["kind"] for p in (out / "jobs").glob("*/manifest.json")}
    assert "evaluate" in done  # the rest went on
    again(path, out, expected)
    manifest = json.loads((out / "jobs" / job / "manifest.json").read_text())
    assert manifest["attempts"] == 2


@pytest.mark.slow
def test_two_runs_at_once_do_each_job_once(undisturbed, tmp_path):
    path, expected = undisturbed
    out = tmp_path / "out"
    for process in [reliability.start(path, out, "--workers", "1") for _ in range(2)]:
        ended(process)
    manifests = (out / "jobs").glob("*/manifest.json")
    attempts = [json.loads(file.read_text())["attempts"] for file in manifests]
    assert reliability.records(out) == expected and set(attempts) == {1}
    logs = "".join(p.read_text() for p in (out / "jobs").glob("*/log.txt"))
    assert logs.count(", attempt ") == len(attempts)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ctrl-c", "terminate"])
def test_an_interrupted_run_saves_itself_within_seconds_and_goes_on(how, undisturbed, tmp_path):
    path, expected = undisturbed
    out = tmp_path / "out"
    process = reliability.start(path, out, every=3600)
    until(lambda: any(p.stat().st_size for p in (out / "work").glob("*/progress.json")))
    began = time.monotonic()
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    code, text = reliability.finish(process)
    assert code == 130 and time.monotonic() - began < 20 and "Traceback" not in text
    says = "saving (up to 30 s; again Ctrl-C leaves at once)"
    assert (says if how == "ctrl-c" else "SIGTERM: saving (up to 30 s)") in text
    assert "the same command goes on from here" in text
    again(path, out, expected)


@pytest.mark.slow
def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(tmp_path, undisturbed):
    path, expected = undisturbed
    size = sum(p.stat().st_size for p in (path.parent / "out").rglob("*") if p.is_file())
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size // 2048}k", "none", disk]
    mounted = subprocess.run(mount, capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        code, text = reliability.finish(reliability.start(path, disk / "out"))
        assert code in (1, 2) and "No space left on device" in text, text
        assert "Traceback" not in text, text
        half = reliability.half_written(disk / "out")
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        assert half == []
        ended(reliability.start(path, disk / "out"))
        assert reliability.records(disk / "out") == expected
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
