"""Prepare, stopped, killed, spread out or grown: each volume is decoded once, to the same bytes."""

import gzip
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bench import job, registry
from bench.data import index
from bench.data.contents import Contents
from bench.data.index import FRAMES, Index
from bench.data.prepared import Prepared
from bench.data.where import Roots, adapter
from bench.errors import BenchError
from bench.job import Job
from bench.jobs import prepare
from bench.jobs.context import RunOptions
from bench.jobs.execute import execute
from bench.store import Store

NAME = "msd04_hippocampus"
COUNT = 6


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / NAME
    registry.load("dataset", NAME).phantom(root, COUNT, 0)
    return root


@pytest.fixture
def root(phantoms, tmp_path):
    shutil.copytree(phantoms, tmp_path / NAME)
    return tmp_path / NAME


AGAIN = (  # in a process of its own
    "import sys; from bench.jobs.context import RunOptions; from bench.jobs.execute import execute\n"
    "out, job, name, root = sys.argv[1:]\n"
    "print(execute(out, job, RunOptions(roots={name: root})).state)"
)


class Tried:
    """One prepare job in an output folder."""

    def __init__(self, out, root, recipe=None):
        self.store, self.root = Store.open(out), root
        cases = adapter(NAME, Roots(None, {NAME: root})).cases(root)
        contents = Contents(None)
        self.spec = {
            "dataset": NAME, "dataset_version": 1, "recipe": recipe or {"scale": "zscore"},
            "contents": contents.digest(cases),
        }  # fmt: skip
        self.job = Job("prepare", self.spec)

    def run(self, loaders=0, stopping=lambda: False):
        described = {"kind": "prepare", "spec": self.spec, "needs": []}
        self.store.write_spec(self.job.id, {"job": described})
        options = RunOptions(roots={NAME: str(self.root)}, loaders=loaders)
        return execute(str(self.store.root), self.job.id, options, stopping)

    def done(self, loaders=0):
        assert self.run(loaders).state == "done"
        return self.folder

    @property
    def given(self):
        return [str(self.store.root), self.job.id, NAME, str(self.root)]

    @property
    def folder(self):
        return self.store.jobs / self.job.id

    @property
    def shards(self):
        return self.store.work / self.job.id / "shards"


def frames(folder):
    """Return every byte that a later job could read, by case and frame."""
    found = Index(folder)
    return {
        case: {
            "geometry": found.geometry(case), "step": found.row(case)["step"].item(),
            "offset": found.row(case)["offset"].item(),
            **{name: found.place(case, name).read() for name in FRAMES if found.has(case, name)},
        }
        for case in found.cases
    }  # fmt: skip


@pytest.fixture(scope="module")
def expected(phantoms, tmp_path_factory):
    return frames(Tried(tmp_path_factory.mktemp("whole") / "out", phantoms).done())


@pytest.fixture
def decoded(monkeypatch):
    """Return the cases decoded in this process, in order."""
    seen, real = [], prepare._made
    monkeypatch.setattr(
        prepare,
        "_made",
        lambda dataset, task, recipe: seen.append(task.case.id) or real(dataset, task, recipe),
    )
    return seen


def test_what_is_prepared_can_be_read(expected, root, tmp_path):
    folder = Tried(tmp_path / "out", root).done()
    prepared = Prepared(folder)
    ids = [c.id for c in adapter(NAME, Roots(None, {NAME: root})).cases(root)]
    assert [c.id for c in prepared.cases()] == ids == list(expected)
    assert [c.meta for c in prepared.cases()] == [
        c.meta for c in registry.load("dataset", NAME)().cases(root)
    ]
    assert {p.name for p in folder.iterdir()} == {"index.npz", "shard-0000.b2", "manifest.json", "log.txt"}
    for case in ids:
        volume, grid = prepared.volume(case), prepared.geometry(case)
        assert volume.shape == grid.shape and prepared.native(case).shape == grid.native_shape
        voxels = volume.foreground
        assert 0 < len(voxels) <= prepare.FOREGROUND and (prepared.label(case)[tuple(voxels.T)] > 0).all()
        assert prepared.fingerprint(case).dtype == np.uint8
        assert set(expected[case]) == {*FRAMES, "geometry", "step", "offset"}


def test_processes_make_the_same_bytes_in_the_same_order(expected, root, tmp_path):
    found = frames(Tried(tmp_path / "out", root).done(loaders=2))
    assert list(found) == list(expected) and found == expected


def test_stopped_after_every_case_each_is_decoded_once(expected, root, tmp_path, decoded):
    tried = Tried(tmp_path / "out", root)
    attempts = 0
    while tried.run(stopping=lambda: True).state == "stopped":
        attempts += 1
    assert attempts == COUNT - 1
    assert decoded == list(expected) and frames(tried.folder) == expected
    assert len(list(tried.folder.glob("*.b2"))) == 1


def test_the_next_attempt_may_have_another_number_of_processes(expected, root, tmp_path, decoded):
    tried = Tried(tmp_path / "out", root)
    looks = iter(range(100))
    assert tried.run(0, lambda: next(looks) == 2).state == "stopped"
    assert decoded == list(expected)[:3]
    assert "3 of 6 cases are there" in (log := _log(tried.done(2))) and "copied" not in log
    assert frames(tried.folder) == expected


def _log(folder):
    return (folder / "log.txt").read_text()


def test_a_killed_process_fails_the_job_and_keeps_what_is_finished(expected, root, tmp_path, decoded):
    tried = Tried(tmp_path / "out", root)

    def kill():
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        return False

    outcome = tried.run(1, kill)
    assert outcome.state == "failed"
    assert re.fullmatch(
        r"case hippocampus_\d+: its process died \(SIGKILL; out of memory\?\).*run again", outcome.reason
    )
    assert not tried.store.done(tried.job.id)
    assert frames(tried.done()) == expected
    assert len(decoded) == len(set(decoded)) <= COUNT


def test_the_whole_job_killed_goes_on_where_it_was(expected, root, tmp_path):
    tried = Tried(tmp_path / "out", root)
    code = (
        "import sys, bench.data.shards as s; s.FLUSH = 0.0\n"
        "from bench.jobs import prepare; real = prepare._made\n"
        "import time\n"
        "def slow(*given): time.sleep(0.3); return real(*given)\n"
        "prepare._made = slow\n"
        f"{AGAIN}"
    )
    tried.run(stopping=lambda: True)  # describes the job, makes one case
    process = subprocess.Popen([sys.executable, "-c", code, *tried.given])
    journals = lambda: sum(len(p.read_text().splitlines()) for p in tried.shards.glob("*.jsonl"))  # noqa: E731
    deadline = time.monotonic() + 60
    while journals() < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert 3 <= journals() < COUNT
    assert frames(tried.done()) == expected
    assert re.search(rf"[3-5] of {COUNT} cases are there", _log(tried.folder))


def test_killed_before_publishing_everything_is_there_for_the_next(expected, root, tmp_path, decoded):
    tried = Tried(tmp_path / "out", root)
    tried.run(stopping=lambda: True)  # describes the job, makes one case
    code = (
        "import os, sys; from bench.store import Store; Store.publish = lambda *_: os._exit(9)\n"
        "from bench.data import shards; shards.SMALL = 0\n"
        f"{AGAIN}"
    )
    given = [sys.executable, "-c", code, *tried.given]
    assert subprocess.run(given, check=False).returncode == 9
    (half,) = tried.shards.parent.glob("attempt-*")
    assert Index(half).cases == list(expected)
    decoded.clear()
    assert frames(tried.done()) == expected and decoded == []
    assert not tried.shards.exists()


def test_one_bad_case_fails_the_job_by_name_and_the_others_are_kept(root, tmp_path, decoded):
    path = root / "labelsTr" / "hippocampus_004.nii.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[-1000] = 77
    path.write_bytes(gzip.compress(bytes(raw), mtime=0))
    tried = Tried(tmp_path / "out", root)
    for loaders in (0, 1):
        outcome = tried.run(loaders)
        assert outcome.state == "failed" and "\n" not in outcome.reason
        assert re.match(r"case hippocampus_004: .*hippocampus_004\.nii\.gz: values 77", outcome.reason)
    assert decoded == [f"hippocampus_00{n}" for n in (1, 2, 3, 4)]


def grown(root, count):
    shutil.rmtree(root)
    registry.load("dataset", NAME).phantom(root, count, 0)


@pytest.mark.parametrize("loaders", [0, 2])
def test_a_data_set_that_grew_is_decoded_where_it_grew(expected, root, tmp_path, decoded, loaders):
    before = Tried(tmp_path / "out", root)
    before.done()
    decoded.clear()
    grown(root, COUNT + 1)
    after = Tried(tmp_path / "out", root)
    assert after.job.id != before.job.id
    found = frames(after.done(loaders))
    assert decoded == ([] if loaders else [f"hippocampus_00{COUNT + 1}"])
    assert len(found) == COUNT + 1 and {k: found[k] for k in expected} == expected
    assert f"{COUNT} of {COUNT + 1} cases were copied" in _log(after.folder)
    assert after.store.manifest(after.job.id)["copied"] == COUNT


def test_a_changed_file_alone_is_decoded_again(root, tmp_path, decoded):
    Tried(tmp_path / "out", root).done()
    decoded.clear()
    path = root / "imagesTr" / "hippocampus_002.nii.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[-10:] = bytes(10)
    path.write_bytes(gzip.compress(bytes(raw), mtime=0))
    Tried(tmp_path / "out", root).done()
    assert decoded == ["hippocampus_002"]


def test_another_recipe_or_version_takes_nothing(root, tmp_path, decoded, monkeypatch):
    Tried(tmp_path / "out", root).done()
    for change in ({"recipe": {"scale": "minmax"}}, {"version": 99}):
        decoded.clear()
        if "version" in change:
            monkeypatch.setitem(job.VERSIONS, "prepare", 99)
        Tried(tmp_path / "out", root, change.get("recipe")).done()
        assert len(decoded) == COUNT


def test_a_damaged_frame_is_not_copied_but_made_again(expected, root, tmp_path, decoded):
    before = Tried(tmp_path / "out", root)
    place = Index(before.done()).place("hippocampus_003", "image")
    shard = before.folder / "shard-0000.b2"
    raw = bytearray(shard.read_bytes())
    raw[place.start + place.length // 2] ^= 1
    shard.write_bytes(raw)
    decoded.clear()
    grown(root, COUNT + 1)
    found = frames(Tried(tmp_path / "out", root).done())
    assert decoded == ["hippocampus_003", f"hippocampus_00{COUNT + 1}"]
    assert {k: found[k] for k in expected} == expected


def test_an_earlier_job_that_is_damaged_is_passed_over(root, tmp_path, decoded):
    before = Tried(tmp_path / "out", root)
    (before.done() / index.NAME).write_bytes(b"PK")
    decoded.clear()
    grown(root, COUNT + 1)
    after = Tried(tmp_path / "out", root).done()
    assert len(decoded) == COUNT + 1 and f"nothing is taken from {before.job.id}" in _log(after)


def test_files_that_changed_since_the_plan_are_refused(root, tmp_path):
    tried = Tried(tmp_path / "out", root)
    grown(root, COUNT + 1)
    outcome = tried.run()
    assert outcome.state == "failed"
    assert outcome.reason == f"{NAME}: its files changed since the plan; run the protocol again"


def test_two_cases_of_one_id_are_refused(root, tmp_path, monkeypatch):
    real = type(adapter(NAME, Roots())).cases
    monkeypatch.setattr(type(adapter(NAME, Roots())), "cases", lambda self, root: real(self, root)[:2] * 2)
    outcome = Tried(tmp_path / "out", root).run()
    assert outcome.state == "failed" and "two of its 4 cases have one id" in outcome.reason


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_cases(tmp_path):
    peaks = {}
    for count in (4, 40):
        root = tmp_path / str(count) / NAME
        _cubes(root, count)
        tried = Tried(tmp_path / str(count) / "out", root)
        tried.run(stopping=lambda: True)
        code = AGAIN
        given = [sys.executable, "-c", code, *tried.given]
        assert subprocess.run(given, capture_output=True, text=True, check=True).stdout == "done\n"
        peaks[count] = tried.store.manifest(tried.job.id)["peak_memory_mb"]
    assert peaks[40] < 1.1 * peaks[4]


def _cubes(root, count):
    from bench.data.phantom import write_nifti

    array = np.random.default_rng(0).integers(0, 500, (128, 128, 128))
    names = [f"hippocampus_{n:03d}.nii.gz" for n in range(1, count + 1)]
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    write_nifti(root / "imagesTr" / names[0], array, (1, 1, 1), "int16")
    write_nifti(root / "labelsTr" / names[0], array > 480, (1, 1, 1), "uint8")
    for folder in ("imagesTr", "labelsTr"):
        for name in names[1:]:
            os.link(root / folder / names[0], root / folder / name)
    entries = [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names]
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    listing = {
        "name": "Hippocampus",
        "labels": labels,
        "modality": {"0": "MRI"},
        "training": entries,
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(listing))


@pytest.mark.slow
def test_a_hundred_thousand_cases_open_in_seconds(tmp_path):
    count = 100_000
    rows = np.zeros(count, index.ROW)
    for name, value in {"class": -1, "shape": 64, "native_shape": 64, "native_spacing": 1, "step": 1}.items():
        rows[name] = value
    rows["box"] = (0, 64)
    rows["frames"]["length"][:, 0] = 10
    rows["frames"]["start"][:, 0] = np.arange(count) * 10
    (tmp_path / "shard-0000.b2").write_bytes(bytes(10 * count))
    ids = [f"case_{n:06d}" for n in range(count)]
    index.write(tmp_path, rows, ids, [f"patient of {i}" for i in ids], ["shard-0000.b2"])
    began = time.perf_counter()
    found = Prepared(tmp_path)
    assert len(found.cases()) == count and found.patient(ids[-1]) == f"patient of {ids[-1]}"
    assert time.perf_counter() - began < 3
    with pytest.raises(BenchError, match="damaged"):
        found.volume(ids[5])
