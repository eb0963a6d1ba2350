"""Files to rows: pairing, refusals, and the check against MedPy."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import bench.score
from bench.errors import BenchError
from bench.metrics import Score, score
from bench.score import as_text, score_files, verifiable

METRICS = ("dice", "hd95")


def write(path: Path, array: np.ndarray, spacing: tuple = (1.0, 1.0, 2.0), flip: bool = False):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    if flip:  # the same voxels in the world, stored from right to left
        affine[0] *= -1
        array = array[::-1]
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array), affine), path)
    return path


def organ(at: int = 2) -> np.ndarray:
    volume = np.zeros((12, 10, 8), np.uint8)
    volume[at : at + 4, 3:7, 2:6] = 1
    volume[at, 3, 2] = 4
    return volume


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for case, at in (("case_1", 2), ("case_2", 4)):
        write(tmp_path / "p" / f"{case}.nii.gz", organ(3))
        write(tmp_path / "r" / f"{case}.nii.gz", organ(at))
    return tmp_path / "p", tmp_path / "r"


def test_two_volumes_give_one_row_per_label_and_metric(tmp_path):
    p = write(tmp_path / "guess.nii.gz", organ(3))
    r = write(tmp_path / "case_7.nii.gz", organ(2))
    rows, differences = score_files(p, r, METRICS)
    assert [list(row) for row in rows] == [["case", "target", "metric", "value", "unit"]] * 4
    expected = score(organ(3), organ(2), (1.0, 1.0, 2.0), METRICS)
    assert [(row["case"], row["target"], row["metric"], row["value"], row["unit"]) for row in rows] == [
        ("case_7", s.target, s.metric, s.value, s.unit) for s in expected
    ]
    assert differences == []


def test_the_stored_orientation_does_not_matter(tmp_path):
    r = write(tmp_path / "r.nii.gz", organ(2))
    plain, _ = score_files(write(tmp_path / "p.nii.gz", organ(3)), r, METRICS)
    turned, _ = score_files(write(tmp_path / "q.nii.gz", organ(3), flip=True), r, METRICS)
    assert turned == plain


def test_folders_pair_by_name_and_ignore_litter(folders):
    p, r = folders
    (p / "._case_1.nii.gz").write_bytes(b"litter")
    (r / "notes.txt").write_text("no volume")
    rows, _ = score_files(p, r, ("dice",))
    assert [row["case"] for row in rows] == ["case_1", "case_1", "case_2", "case_2"]


def test_a_lone_volume_is_named(folders):
    p, r = folders
    (p / "case_2.nii.gz").unlink()
    with pytest.raises(BenchError, match=r"p: no volume named like .*r/case_2.nii.gz \(1 of 2"):
        score_files(p, r, METRICS)
    with pytest.raises(BenchError, match=r"p: no volume named like .*r/case_2.nii.gz"):
        score_files(r, p, METRICS)


def test_unlike_grids_are_refused_with_both_names(tmp_path):
    r = write(tmp_path / "r.nii.gz", organ())
    small = write(tmp_path / "small.nii.gz", organ()[:5])
    thick = write(tmp_path / "thick.nii.gz", organ(), spacing=(1.0, 1.0, 2.5))
    with pytest.raises(BenchError, match=r"small.nii.gz: shape .*/r.nii.gz"):
        score_files(small, r, METRICS)
    with pytest.raises(BenchError, match=r"thick.nii.gz: spacing .*/r.nii.gz"):
        score_files(thick, r, METRICS)


def test_missing_paths_and_mixed_kinds_are_refused(folders, tmp_path):
    p, r = folders
    with pytest.raises(BenchError, match="no such"):
        score_files(tmp_path / "nowhere", r, METRICS)
    with pytest.raises(BenchError, match="one of each"):
        score_files(p / "case_1.nii.gz", r, METRICS)
    (tmp_path / "void").mkdir()
    with pytest.raises(BenchError, match="holds no volume"):
        score_files(tmp_path / "void", r, METRICS)
    write(r / "case_1.nii", organ())
    with pytest.raises(BenchError, match="keep one"):
        score_files(p, r, METRICS)


def test_verify_finds_nothing_wrong_and_catches_a_wrong_number(folders, monkeypatch):
    every = ("dice", "iou", "hd", "hd95", "assd", "asd", "nsd@1mm")
    rows, differences = score_files(*folders, every, verify=True)
    assert len(rows) == 2 * 2 * len(every) and differences == []

    def wrong(*arguments, **options) -> list[Score]:
        found = score(*arguments, **options)
        return [Score(s.target, s.metric, s.value + 2e-6, s.unit, s.status) for s in found]

    monkeypatch.setattr(bench.score, "score", wrong)
    rows, differences = score_files(*folders, every, verify=True)
    assert len(differences) == 2 * 2 * (len(every) - 1)  # MedPy has no NSD
    assert differences[0].startswith("case_1, label 1: dice 0.7")


def test_the_text_has_a_line_per_target_and_a_dash_for_undefined(tmp_path):
    p, r = organ(3), organ(2)
    r[r == 4] = 0  # label 4 is in the prediction only
    files = write(tmp_path / "p.nii.gz", p), write(tmp_path / "case.nii.gz", r)
    rows, _ = score_files(*files, METRICS)
    lines = [line.split() for line in as_text(rows).splitlines()]
    assert lines[0] == ["case", "target", "dice", "hd95", "(mm)"]
    assert lines[3] == ["case", "4", "0.0000", "-"]
    assert len(lines) == 4


def test_verify_refuses_what_medpy_does_not_define(folders):
    assert verifiable(("dice", "hd95", "hd"), "monai") == ("dice", "hd")
    with pytest.raises(BenchError, match="MedPy has none of nsd@1mm"):
        score_files(*folders, ("nsd@1mm",), verify=True)
    with pytest.raises(BenchError, match="under convention deepmind"):
        score_files(*folders, ("hd95",), "deepmind", verify=True)


def test_every_real_organ_scores_as_medpy():
    """The prediction is the reference moved by one voxel, in the box of each label."""
    root = os.environ.get("BENCH_DATA")
    if not root:
        pytest.skip("BENCH_DATA is not set: real label maps are read from there")
    files = sorted((Path(root) / "own_ct_multiorgan" / "labelsTr").glob("[!.]*.nii.gz"))
    if not files:
        pytest.skip(f"{root} holds no own_ct_multiorgan")
    volume = bench.score.read_label(files[0])
    labels = np.unique(volume.array)
    assert labels.size > 20
    moved = np.roll(volume.array, 1, axis=0)
    every = ("dice", "iou", "hd", "hd95", "assd", "asd")
    found = score(moved, volume.array, volume.spacing, every)
    assert {s.target for s in found} == {str(v) for v in labels if v}
    whole = (moved, volume.array, volume.spacing)
    assert bench.score._differences("real", found, whole, every) == []
