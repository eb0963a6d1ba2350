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
from dataclasses import replace

import numpy as np
import pytest
from by_hand import a_job

from bench import registry
from bench.data import index
from bench.data.contents import Contents
from bench.data.index import FRAMES, Index
from bench.data.parts import Entry, Take
from bench.data.prepared import Prepared
from bench.data.roots import Roots, adapter
from bench.errors import BenchError
from bench.jobs.context import RunOptions
from bench.jobs.inputs import mixed, part
from bench.jobs.prepare import run as preparing
from bench.phantoms.organs import write_nifti
from bench.runtime.execute import execute
from bench.store import Store
from bench.volumes.header import TooLargeError

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
    "import sys; from bench.jobs.context import RunOptions; from bench.runtime.execute import execute\n"
    "out, job, name, root = sys.argv[1:]\n"
    "print(execute(out, job, RunOptions(roots={name: root})).state)"
)


class Tried:
    """One prepare job in an output folder."""

    def __init__(self, out, root, recipe=None):
        self.store, self.root = Store.open(out), root
        cases = adapter(NAME, Roots(None, {NAME: root})).cases(root)
        spec = {"dataset": NAME, "recipe": recipe or {"scale": "zscore"}}
        self.job = a_job("prepare", {**spec, "contents": Contents(None).digest(cases)})

    def run(self, loaders=0, stopping=lambda: False):
        self.store.write_spec(self.job.id, {"job": self.job.plain()})
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
    stored, read = Index(folder), {}
    for case in stored.cases:
        names = (name for name in FRAMES if stored.has(case, name))
        read[case] = {name: stored.place(case, name).read() for name in names}
        read[case] |= {name: stored.row(case)[name].item() for name in ("step", "offset")}
        read[case]["geometry"] = stored.geometry(case)
    return read


@pytest.fixture(scope="module")
def expected(phantoms, tmp_path_factory):
    return frames(Tried(tmp_path_factory.mktemp("whole") / "out", phantoms).done())


@pytest.fixture
def tried(root, tmp_path):
    """Return a job over the data set as it is when the test begins."""
    return Tried(tmp_path / "out", root)


@pytest.fixture
def decoded(monkeypatch):
    """Return the cases decoded in this process, in order."""
    seen, real = [], preparing._prepared
    work = lambda *given: seen.append(given[1].case.id) or real(*given)  # noqa: E731
    monkeypatch.setattr(preparing, "_prepared", work)
    return seen


def test_what_is_prepared_can_be_read(expected, root, tmp_path):
    folder = Tried(tmp_path / "out", root).done()
    prepared = Prepared(folder)
    there = adapter(NAME, Roots(None, {NAME: root})).cases(root)
    ids = [c.id for c in there]
    assert [(c.id, c.meta) for c in prepared.cases()] == [(c.id, c.meta) for c in there]
    assert ids == list(expected)
    files = {"index.npz", "shard-0000.b2", "manifest.json", "log.txt"}
    assert {p.name for p in folder.iterdir()} == files
    for case in ids:
        volume, grid = prepared.volume(case), prepared.geometry(case)
        assert volume.shape == grid.shape and prepared.native(case).shape == grid.native_shape
        voxels = volume.foreground
        assert 0 < len(voxels) <= preparing.FOREGROUND
        assert (prepared.label(case)[tuple(voxels.T)] > 0).all()
        assert prepared.fingerprint(case).dtype == np.uint8
        assert set(expected[case]) == {*FRAMES, "geometry", "step", "offset"}


def test_the_next_attempt_may_have_another_number_of_processes(expected, decoded, tried):
    looks = iter(range(100))
    assert tried.run(0, lambda: next(looks) == 2).state == "stopped"
    assert decoded == list(expected)[:3]
    assert "3 of 6 cases were prepared" in (log := _log(tried.done(2))) and "copied" not in log
    assert list(found := frames(tried.folder)) == list(expected) and found == expected


def _log(folder):
    return (folder / "log.txt").read_text()


def test_a_killed_process_fails_the_job_and_keeps_what_is_finished(expected, decoded, tried):
    others = multiprocessing.active_children()  # of fixtures that tests share

    def kill():
        for child in {*multiprocessing.active_children()} - {*others}:
            os.kill(child.pid, signal.SIGKILL)
        return False

    outcome = tried.run(1, kill)
    assert outcome.state == "failed"
    said = r"case hippocampus_\d+: its process died \(SIGKILL; out of memory\?\).*run again"
    assert re.fullmatch(said, outcome.reason)
    assert not tried.store.done(tried.job.id)
    assert frames(tried.done()) == expected
    assert len(decoded) == len(set(decoded)) <= COUNT


def test_the_whole_job_killed_goes_on_where_it_was(expected, tried):
    code = (
        "import sys, bench.data.shards as s; s.FLUSH = 0.0\n"
        "from bench.jobs.prepare import run as preparing; real = preparing._prepared\n"
        "import time\n"
        "def slow(*given): time.sleep(0.3); return real(*given)\n"
        "preparing._prepared = slow\n"
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
    assert re.search(rf"[3-5] of {COUNT} cases were prepared", _log(tried.folder))


def test_killed_before_publishing_everything_is_there_for_the_next(expected, decoded, tried):
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


def spoil(path):
    """Change one byte of the voxels: of a mask, to a value that is no label."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[-1000] = 77
    path.write_bytes(gzip.compress(bytes(raw), mtime=0))


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_bad_case_is_recorded_with_the_reason_and_the_others_are_made(
    expected, root, tmp_path, loaders
):
    spoil(root / "labelsTr" / "hippocampus_004.nii.gz")
    for name in ("002", "005"):  # cut within the voxels: the header is whole
        path = root / "imagesTr" / f"hippocampus_{name}.nii.gz"
        path.write_bytes(path.read_bytes()[:-200])
    tried = Tried(tmp_path / "out", root)
    prepared = Prepared(tried.done(loaders))
    assert list(prepared.faults) == [f"hippocampus_{n}" for n in ("002", "004", "005")]
    fault = prepared.faults["hippocampus_004"]
    assert fault.startswith("labelsTr/hippocampus_004.nii.gz: values 77")
    found = frames(tried.folder)
    whole = [case for case in expected if case not in prepared.faults]
    assert [found[case] for case in whole] == [expected[case] for case in whole]
    assert [c.label for c in prepared.cases()] == [0] * COUNT  # a split divides as the plan did
    assert tried.store.manifest(tried.job.id)["unread"] == 3
    assert "3 of 6 cases cannot be used" in _log(tried.folder)
    entry = Entry(dataset=NAME, part="all")
    first = "first hippocampus_002: imagesTr/"
    with pytest.raises(BenchError, match=rf"3 of 6 cases cannot be used, {first}.*leave them"):
        part(prepared, entry, str(root))
    with pytest.raises(BenchError, match="3 of 6 cases"):
        mixed([prepared], [entry], Take(), 0, {NAME: str(root)})
    left = replace(entry, exclude=tuple(prepared.faults))
    assert part(prepared, left, str(root)) == whole
    assert len(mixed([prepared], [left], Take(), 0, {NAME: str(root)})) == 3
    with pytest.raises(BenchError, match=r"hippocampus_005.*could not be read"):
        prepared.volume("hippocampus_005")


def test_each_case_is_decoded_once_over_stops_and_a_bad_one_again_when_the_data_grew(
    expected, root, tmp_path, decoded
):
    path = root / "imagesTr" / "hippocampus_001.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    tried = Tried(tmp_path / "out", root)
    attempts = 0
    while tried.run(stopping=lambda: True).state == "stopped":
        attempts += 1
    assert attempts == COUNT - 1 and decoded == list(expected)  # each once
    made = frames(tried.folder)
    assert list(Prepared(tried.folder).faults) == ["hippocampus_001"]
    assert all(made[case] == expected[case] for case in decoded[1:])
    assert len(list(tried.folder.glob("*.b2"))) == 1
    decoded.clear()
    grown(root, COUNT + 1)
    path.write_bytes(path.read_bytes()[:-200])
    after = Tried(tmp_path / "out", root)
    assert list(Prepared(after.done()).faults) == ["hippocampus_001"]
    assert decoded == ["hippocampus_001", f"hippocampus_00{COUNT + 1}"]


def test_a_data_set_without_a_usable_case_fails(root, tmp_path):
    for path in (root / "imagesTr").iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    outcome = Tried(tmp_path / "out", root).run()
    said = f"{NAME}: none of its {COUNT} cases can be used, first hippocampus_001: "
    assert outcome.state == "failed" and outcome.reason.startswith(said)


def test_no_memory_is_no_fault_of_a_case(root, tmp_path, monkeypatch):
    def small(path, frame=None):
        raise TooLargeError(path, "shape", "no memory")

    monkeypatch.setattr(preparing, "read_volume", small)
    tried = Tried(tmp_path / "out", root)
    assert tried.run().state == "failed" and not tried.store.done(tried.job.id)


class Switched:
    """A data set behind a link that leads elsewhere while something is done, and then back."""

    def __init__(self, root, place):
        self.link, self.old, self.new = place / "link" / NAME, root, place / "new" / NAME
        registry.load("dataset", NAME).phantom(self.new, COUNT, 1)
        self.link.parent.mkdir()
        self.link.symlink_to(root)

    def to(self, target):
        self.link.unlink()
        self.link.symlink_to(target)

    def during(self, real, when=lambda *given: True):
        def work(*given):
            if not when(*given):
                return real(*given)
            self.to(self.new)
            try:
                return real(*given)
            finally:
                self.to(self.old)

        return work


def test_data_replaced_while_a_case_is_made_is_no_ones(expected, root, tmp_path, monkeypatch):
    """The old data are back before anybody looks: only what was decoded can tell."""
    switched = Switched(root, tmp_path)
    tried = Tried(tmp_path / "out", switched.link)
    third = lambda *given: given[1].case.id == "hippocampus_003"  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "_prepared", switched.during(preparing._prepared, third))
        outcome = tried.run()
    assert outcome.state == "failed"
    assert outcome.reason == "case hippocampus_003 changed while it was prepared; run again"
    assert not tried.store.done(tried.job.id)
    kept = "".join(p.read_text() for p in tried.shards.glob("*.jsonl"))
    assert "hippocampus_002" in kept and "hippocampus_003" not in kept
    assert frames(tried.done()) == expected


def test_a_case_is_made_of_the_bytes_that_were_hashed(expected, root, tmp_path, monkeypatch):
    switched = Switched(root, tmp_path)
    for name in ("read_volume", "read_label"):
        monkeypatch.setattr(preparing, name, switched.during(getattr(preparing, name)))
    assert frames(Tried(tmp_path / "out", switched.link).done()) == expected


def test_data_replaced_between_two_looks_are_not_taken_for_what_was_planned(
    root, tmp_path, monkeypatch
):
    """The digest of all and the digests of each come from one look."""
    switched = Switched(root, tmp_path)
    tried = Tried(tmp_path / "out", switched.link)
    monkeypatch.setattr(Contents, "each", switched.during(Contents.each))
    monkeypatch.setattr(preparing, "_prepared", switched.during(preparing._prepared))
    outcome = tried.run()
    assert outcome.state == "failed" and "changed while it was prepared" in outcome.reason


def test_a_memory_that_misled_is_dropped(root, tried):
    """Other bytes of the same size and time: the stamp cannot tell, the decoded bytes do."""
    memory = Contents(tried.store.root / "contents.json")
    memory.digest(adapter(NAME, Roots(None, {NAME: root})).cases(root))
    memory.save()
    path = root / "imagesTr" / "hippocampus_002.nii.gz"
    before, raw = path.stat(), bytearray(path.read_bytes())
    raw[9] ^= 1  # the system on which it was written, says gzip
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tried.run().reason == "case hippocampus_002 changed while it was prepared; run again"
    left = json.loads((tried.store.root / "contents.json").read_text())
    dropped = {str(root / folder / path.name) for folder in ("imagesTr", "labelsTr")}
    assert left.keys() == memory._records.keys() - dropped
    assert tried.run().reason == f"{NAME}: its files changed since the plan; run the protocol again"


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
    spoil(root / "imagesTr" / "hippocampus_002.nii.gz")
    Tried(tmp_path / "out", root).done()
    assert decoded == ["hippocampus_002"]


def test_another_recipe_or_version_takes_nothing(root, tmp_path, decoded, monkeypatch):
    Tried(tmp_path / "out", root).done()
    Tried(tmp_path / "out", root, {"scale": "minmax"}).done()
    monkeypatch.setattr("bench.jobs.prepare.spec.PrepareSpec.version", 99)
    Tried(tmp_path / "out", root).done()
    assert len(decoded) == 3 * COUNT


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
    assert len(decoded) == COUNT + 1 and f"no cases are copied from {before.job.id}" in _log(after)


def test_two_cases_of_one_id_are_refused(root, tmp_path, monkeypatch):
    dataset = type(adapter(NAME, Roots()))
    cases = dataset.cases
    monkeypatch.setattr(dataset, "cases", lambda self, root: cases(self, root)[:2] * 2)
    outcome = Tried(tmp_path / "out", root).run()
    assert outcome.state == "failed" and "gives two cases the id" in outcome.reason


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_cases(tmp_path):
    peaks = {}
    for count in (4, 40):
        root = tmp_path / str(count) / NAME
        _cubes(root, count)
        tried = Tried(tmp_path / str(count) / "out", root)
        tried.run(stopping=lambda: True)
        given = [sys.executable, "-c", AGAIN, *tried.given]
        assert subprocess.run(given, capture_output=True, text=True, check=True).stdout == "done\n"
        peaks[count] = tried.store.manifest(tried.job.id)["peak_memory_mb"]
    assert peaks[40] < 1.1 * peaks[4]


def _cubes(root, count):
    """Write phantoms of which every file is one and the same large cube."""
    registry.load("dataset", NAME).phantom(root, count, 0)
    cube = np.random.default_rng(0).integers(0, 500, (128, 128, 128))
    for folder, array, kind in (("imagesTr", cube, "int16"), ("labelsTr", cube > 480, "uint8")):
        first, *others = sorted((root / folder).iterdir())
        write_nifti(first, array, (1, 1, 1), kind)
        for path in others:
            path.unlink()
            os.link(first, path)
