"""What a check finds beyond the damage of ``tests/datasets/test_damaged.py``, and in which order."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bench import registry
from bench.data import split
from bench.data.check import check
from bench.data.layout_msd import msd_folder
from bench.dataset import Case, Dataset

AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.0, 0, 4], [0, 0, 2.0, -3], [0, 0, 0, 1]])
IMAGE, LABEL = "imagesTr/case_2.nii.gz", "labelsTr/case_2.nii.gz"


@pytest.fixture
def root(tmp_path) -> Path:
    """Return three cases in MSD layout: int16 CT, uint8 labels 0 to 2, stored along LAS axes."""
    rng = np.random.default_rng(0)
    for folder, low, high, dtype in (
        ("imagesTr", -1000, 1000, np.int16),
        ("labelsTr", 0, 3, np.uint8),
    ):
        (tmp_path / folder).mkdir()
        for number in (1, 2, 3):
            array = rng.integers(low, high, (10, 9, 8)).astype(dtype)
            nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / f"{folder}/case_{number}.nii.gz")
    listing = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "a", "2": "b"}}
    (tmp_path / "dataset.json").write_text(json.dumps(listing))
    return tmp_path


def test_a_sound_folder_has_no_findings_even_with_a_label_along_other_axes(root):
    nib.save(nib.as_closest_canonical(nib.load(root / LABEL)), root / LABEL)
    seen = []
    assert check(msd_folder(root), root, on_progress=lambda *at: seen.append(at)) == []
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_header_with_nan_that_others_read_is_found_and_the_case_is_used(root):
    """Masks of fMRIPrep (its issue 2507), and an sform that a program could not compute."""
    for file, at in ((IMAGE, 300), (LABEL, 112)):
        image = nib.load(root / file)
        image.set_qform(AFFINE, 1)
        raw = bytearray(image.to_bytes())
        raw[at : at + 4] = np.float32(np.nan).tobytes()
        (root / file).write_bytes(gzip.compress(raw))
    seen = []
    found = check(msd_folder(root), root, look=lambda case, *_: seen.append(case.id))
    assert [(f.case, f.file, f.kind) for f in found] == [
        ("case_2", str(root / IMAGE), "affine"),
        ("case_2", str(root / LABEL), "nonfinite"),
    ]
    assert seen == ["case_1", "case_2", "case_3"]


def test_a_spacing_that_is_not_the_affines_is_found(root):
    image = nib.load(root / IMAGE)
    image.header["pixdim"][3] = 5
    (root / IMAGE).write_bytes(image.to_bytes())
    (root / IMAGE).rename(root / IMAGE.removesuffix(".gz"))
    (found,) = check(msd_folder(root), root)
    assert (found.case, found.kind) == ("case_2", "spacing")
    assert found.detail == "pixdim says 1, 1, 5 mm, the affine 1, 1, 2 mm"


def test_what_nobody_labelled_is_no_fault_and_no_label(root):
    listing = {"modality": {"0": "CT"}, "labels": {"background": 0, "a": 1, "ignore": 2}}
    (root / "dataset.json").write_text(json.dumps(listing))
    assert check(msd_folder(root), root) == []
    nib.save(nib.Nifti1Image(np.full((10, 9, 8), 2, np.uint8), AFFINE), root / LABEL)
    (found,) = check(msd_folder(root), root)
    assert (found.case, found.kind) == ("case_2", "empty_label")


def test_every_fault_of_a_folder_is_listed_by_any_number_of_workers(root):
    for file in ("imagesTr/case_1.nii.gz", IMAGE):
        (root / file).write_bytes((root / file).read_bytes()[:50])
    nib.save(
        nib.Nifti1Image(np.full((10, 9, 8), 9, np.uint8), AFFINE), root / "labelsTr/case_1.nii.gz"
    )
    (root / "labelsTr/case_3.nii.gz").unlink()
    alone, together = (check(msd_folder(root), root, workers=n) for n in (1, 3))
    assert alone == together
    assert [(f.case, f.kind) for f in alone] == [
        ("case_3", "missing"),
        ("case_1", "truncated"),
        ("case_1", "label_value"),
        ("case_2", "truncated"),
    ]


def test_a_patient_listed_twice_in_a_split_is_an_overlap(tmp_path, monkeypatch):
    dataset = registry.load("dataset", "lasc")()
    dataset.phantom(tmp_path, 2, 0)
    fold = split.Fold("uamt_80_20", 0, ("a", "b"), (), ("b",))
    monkeypatch.setattr(split, "listed", lambda *_: [fold])
    (found,) = check(dataset, tmp_path)
    assert found.kind == "patient_overlap"
    assert "patient b is in train and test" in found.detail


def test_dicom_in_the_place_of_an_image_is_named(root):
    (root / IMAGE).unlink()
    (root / "imagesTr/slices").write_bytes(b"\0" * 128 + b"DICM")
    (found,) = check(msd_folder(root), root)
    assert found.kind == "missing" and "DICOM; convert it with dcm2niix" in found.detail


def test_a_label_that_states_nothing_or_lies_a_tenth_of_a_millimetre_off_is_no_finding(root):
    array = np.asarray(nib.load(root / LABEL).dataobj)
    nib.save(nib.Nifti1Image(array, None), root / LABEL)
    moved = AFFINE + np.outer([0.1, 0.1, 0.1, 0], [0, 0, 0, 1])
    nib.save(nib.Nifti1Image(array, moved), root / "labelsTr/case_1.nii.gz")
    assert check(msd_folder(root), root) == []


class Photographs(Dataset):
    """Classified pictures: the class is the name's first digit."""

    title, channels, task, labels = (
        "Photographs",
        ("grey",),
        "classification",
        {0: "well", 1: "ill"},
    )

    def cases(self, root: Path) -> list[Case]:
        return [Case(p.stem, p.stem, (p,), int(p.stem)) for p in sorted(root.iterdir())]


def test_a_class_that_is_not_declared_is_found(tmp_path):
    for number in (0, 1, 7):
        Image.fromarray(np.full((6, 5), number, np.uint8)).save(tmp_path / f"{number}.png")
    (found,) = check(Photographs(), tmp_path)
    assert (found.case, found.kind, "class 7" in found.detail) == ("7", "label_value", True)


def test_a_constant_channel_is_no_copy_of_another(root):
    listing = {
        "channel_names": {"0": "T1", "1": "T2", "2": "T3"},
        "labels": {"background": 0, "a": 1, "b": 2},
    }
    (root / "dataset.json").write_text(json.dumps(listing))
    for number in (1, 2, 3):
        whole = root / f"imagesTr/case_{number}.nii.gz"
        whole.rename(root / f"imagesTr/case_{number}_0000.nii.gz")
        for channel in (1, 2):
            empty = nib.Nifti1Image(np.zeros((10, 9, 8), np.int16), AFFINE)
            nib.save(empty, root / f"imagesTr/case_{number}_000{channel}.nii.gz")
    assert check(msd_folder(root), root) == []
