"""Damage that headers and lists show stops a plan and a run in one line, before anything is computed.

Damage that only voxels show leaves a hole with its reason, and nothing that was finished is lost.
"""

import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from damage import (
    PAGE,
    Trees,
    both,
    field,
    flip,
    folder,
    half,
    holding,
    keep,
    on,
    patch,
    put,
    text,
    voxels,
)

from bench.cli import main
from bench.executors import local
from bench.jobs.execute import execute

PROTOCOL = {
    "title": "damaged", "scale": "smoke", "scales": {"smoke": {}}, "metrics": ["dice"],
    "networks": {"net": {"network": "unet3d", "preset": "tiny", "crop": [16, 16, 16]}},
    "rows": {"scratch": {"method": "scratch", "network": "net"}},
    "layout": {"columns": "fractions"},
}  # fmt: skip
FINETUNE = {"split": "even", "fractions": [100], "steps": 2, "batch": 2, "precision": "fp32"}
HIPPOCAMPUS = "msd04_hippocampus"


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    return Trees(tmp_path_factory.mktemp("trees"), cases=9)


@pytest.fixture
def here(trees, tmp_path, monkeypatch):
    """Return a function that lays out a data set and a protocol on it in an empty folder."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def laid(name):
        Path("data").mkdir()
        plan = {**PROTOCOL, "finetune": [{"dataset": name, **FINETUNE}]}
        Path("damaged.yaml").write_text(yaml.safe_dump(plan))
        return trees.copy(name, Path("data").absolute())

    return laid


@pytest.fixture
def inline(monkeypatch):
    """Run jobs in this process: the same ``execute``, without the seconds of a worker's imports."""

    def run(store, queue, count, on_outcome, on_start):
        while queue.open():
            job = queue.take()
            on_start(job)
            outcome = execute(str(store.root), job)
            queue.finish(outcome)
            on_outcome(outcome)

    monkeypatch.setattr(local, "run", run)


def command(verb):
    return [verb, "damaged.yaml", "--data", "data", "--out", "out"]


CONTRAST = "MICCAI_BraTS_2018_Data_Training/HGG/Brats18_CBICA_AAB_1/Brats18_CBICA_AAB_1_t2.nii.gz"
CSV = "OpenDataset/211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
GT = "OpenDataset/Training/Labeled/A00A9P/A00A9P_sa_gt.nii.gz"
INFO = "database/training/patient001/Info.cfg"
IMAGE, LABEL = (f"{folder}/hippocampus_003.nii.gz" for folder in ("imagesTr", "labelsTr"))


def metres(path):
    read = nibabel.load(path)
    affine = np.diag([0.001, 0.001, 0.001, 1.0]) @ read.affine
    nibabel.save(nibabel.Nifti1Image(np.asarray(read.dataobj).copy(), affine), path)


REFUSED = {
    "a contrast gone": ("brats18", on(CONTRAST, Path.unlink), "1 file(s) missing, first"),
    "a contrast smaller": ("brats18", on(CONTRAST, voxels(lambda a: a[:-1])),
                           "(59, 60, 39) voxels, its image"),
    "a contrast of two": ("brats18", on(CONTRAST, voxels(lambda a: np.stack([a, a], -1))), "5 channel(s)"),
    "a frame in words": ("acdc", on(INFO, text("ES: 8", "ES: eight")), "got 'eight'"),
    "no list of frames": ("acdc", on(INFO, Path.unlink), "Info.cfg (case patient001)"),
    "a frame beyond the cine": ("mnms", on(CSV, text(",0,2,50", ",0,9,50")), "frame 9 of 4 (counted from 0)"),
    "masks of two frames": ("mnms", on(GT, voxels(lambda a: a[..., :2])), "frame 2 of 2"),
    "no CSV": ("mnms", on(CSV, Path.unlink), "0 CSV files with the columns"),
    "voxels gone": ("ski10", on("image-002.raw", Path.unlink), "image-002.raw: no such file"),
    "voxels cut by a byte": ("ski10", on("image-002.raw", keep(-1)), "the file holds at most"),
    "a spacing with commas": ("ski10", on("image-002.mhd", field("ElementSpacing", "0,4 0,4 1")),
                              "ElementSpacing"),
    "a plain file cut": ("lits", on("Training Batch 1/volume-1.nii", half), "the file holds at most"),
    "a later year's case": ("kits19",
                            on("data/case_00001", lambda p: shutil.copytree(p, p.with_name("case_00300"))),
                            "KiTS19 ends with case_00299"),
    "a login page": (HIPPOCAMPUS, on(IMAGE, holding(PAGE)), "the name says gzip"),
    "a folder for a file": (HIPPOCAMPUS, on(IMAGE, folder), "a folder of 0 volumes"),
    "no quaternion": (HIPPOCAMPUS, on(IMAGE, patch(252, "2h", 1, 0), patch(256, "f", 5.0)), "field quatern"),
    "metres": (HIPPOCAMPUS, both(on(IMAGE, metres), on(LABEL, metres)), "in metres?"),
    "list of cases cut": (HIPPOCAMPUS, on("dataset.json", keep(100)), "dataset.json: not JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "words"), REFUSED.values(), ids=REFUSED)
def test_damage_that_shows_early_stops_before_any_work(here, name, change, words, capsys):
    root = here(name)
    change(root)
    for verb in ("plan", "run"):
        assert main(command(verb)) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert re.fullmatch(r"bench: .+\n", told.err), told.err
        assert words in told.err
    left = sorted(p.name for p in Path("out").rglob("*") if p.is_file())
    assert left == ["bench.json"] or left == ["bench.json", "files.json"], left


HOLES = {
    "another checksum": (on(IMAGE, flip(-6)), "the compressed stream is damaged"),
    "a bit that lengthens a label": (on(LABEL, flip(400)), "the compressed stream is damaged"),
    "a voxel that no 32 bits hold": (on(IMAGE, put(1e300, "f8")), "1 voxels"),
    "a label transposed": (on(LABEL, voxels(lambda a: a.transpose(1, 0, 2))), "is not (32, 42, 34)"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), HOLES.values(), ids=HOLES)
def test_damage_that_shows_late_is_a_hole_with_its_reason(here, change, words, capsys, inline):
    change(here(HIPPOCAMPUS))
    assert main(command("run")) == 1
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err
    (line,) = [x for x in told.out.splitlines() if x.startswith("failed: ")]
    assert words in line
    assert "hippocampus_003" in line


def finished():
    return {p: p.stat().st_mtime_ns for p in Path("out/jobs").rglob("*") if p.is_file()}


def test_nothing_that_was_finished_is_lost_to_later_damage(here, capsys, inline):
    root = here(HIPPOCAMPUS)
    assert main(command("run")) == 0
    before = finished()
    assert before
    content = (root / IMAGE).read_bytes()
    for change, code in ((flip(-6), 1), (keep(40), 2), (Path.unlink, 2)):
        (root / IMAGE).write_bytes(content)
        change(root / IMAGE)
        assert main(command("run")) == code
        assert before.items() <= finished().items()
    (root / IMAGE).write_bytes(content)
    capsys.readouterr()
    assert main(command("run")) == 0
    assert finished() == before
    assert "failed" not in capsys.readouterr().out
