"""BraTS as people have it: official folders, flat copies, validation cases, other years' names."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench import registry
from bench.data import split
from bench.data.check import check
from bench.data.recipe import contiguous
from bench.errors import BenchError
from bench.volumes.reading import read_label

KINDS = ("flair", "t1", "t1ce", "t2", "seg")
A, B = "Brats18_CBICA_AAB_1", "Brats18_TCIA13_654_1"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def load(name: str):
    return registry.load("dataset", name)()


def files(folder: str, kinds: tuple[str, ...] = KINDS) -> list[str]:
    return [f"{folder}/{Path(folder).name}_{kind}.nii.gz" for kind in kinds]


def test_brats18_is_one_case_per_patient_with_its_grade(tmp_path):
    home = "MICCAI_BraTS_2018_Data_Training"
    touch(tmp_path, *files(f"{home}/HGG/{A}"), *files(f"{home}/LGG/{B}"), f"{home}/survival_data.csv")
    touch(tmp_path, f"{home}/HGG/{A}/._{A}_t1.nii.gz", f"__MACOSX/{home}/HGG/{A}/._{A}_t1.nii.gz")
    first, second = load("brats18").cases(tmp_path)
    assert (first.id, first.patient, first.meta["grade"]) == ("CBICA_AAB_1", "CBICA_AAB_1", "HGG")
    assert (second.id, second.meta) == ("TCIA13_654_1", {"part": "training", "grade": "LGG"})
    assert [p.name for p in first.images] == [f"{A}_{kind}.nii.gz" for kind in KINDS[:4]]
    assert first.label == tmp_path / home / "HGG" / A / f"{A}_seg.nii.gz"


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        ("MICCAI_BraTS_2018_Data_Validation", "validation"),
        ("validation", "validation"),
        ("Testing", "testing"),
        ("test", "testing"),
    ],
)
def test_a_folder_named_after_validation_or_test_holds_no_masks(tmp_path, folder, part):
    touch(tmp_path, *files(f"{folder}/{A}", KINDS[:4]), *files(f"HGG/{B}"))
    unlabelled, labelled = load("brats18").cases(tmp_path)
    assert (unlabelled.label, unlabelled.meta["part"]) == (None, part)
    assert labelled.label is not None
    assert load("brats18").missing(tmp_path) == []


def test_the_word_test_in_the_path_above_the_data_hides_no_mask(tmp_path):
    root = tmp_path / "testing" / "brats21"
    touch(root, *files("latest/BraTS2021_00003", KINDS[:4]))
    assert load("brats21").cases(root)[0].meta["part"] == "training"
    assert [case for case, _ in load("brats21").missing(root)] == ["00003"]


@pytest.mark.parametrize("gone", KINDS)
def test_a_missing_contrast_or_mask_is_named(tmp_path, gone):
    touch(tmp_path, *files(f"LGG/{B}", tuple(k for k in KINDS if k != gone)))
    absent = tmp_path / "LGG" / B / f"{B}_{gone}.nii.gz"
    assert load("brats18").missing(tmp_path) == [("TCIA13_654_1", str(absent))]


@pytest.mark.parametrize(
    "home",
    [
        "RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021/BraTS2021_00003",
        "TrainingData/BraTS2021_00003",
        "BraTS2021_00003",
    ],
)
def test_brats21_is_found_in_the_archive_in_monais_folder_and_flat(tmp_path, home):
    touch(tmp_path, *files(home))
    (case,) = load("brats21").cases(tmp_path)
    assert (case.id, case.label.name) == ("00003", "BraTS2021_00003_seg.nii.gz")
    # flair, t1ce, t1, t2: Swin-UNETR's order, and the declared channels' one
    assert [p.name.split("_")[2][:-7] for p in case.images] == ["flair", "t1ce", "t1", "t2"]


def test_plain_nifti_and_a_folder_around_the_file_are_read(tmp_path):
    load("brats21").phantom(tmp_path, 1, 0)
    for path in sorted(tmp_path.rglob("*.nii.gz")):
        if path.stem.endswith("_t2.nii"):
            inner = path.read_bytes()
            path.unlink()
            touch(path, path.name)
            (path / path.name).write_bytes(inner)
        elif path.stem.endswith("_flair.nii"):
            nibabel.save(nibabel.load(path), path.with_suffix(""))
            path.unlink()
    assert check(load("brats21"), tmp_path) == []


def test_a_case_in_two_folders_is_ambiguous(tmp_path):
    touch(tmp_path, *files("a/BraTS2021_00003"), *files("b/BraTS2021_00003"))
    with pytest.raises(BenchError, match=r"same file of case 00003; keep one"):
        load("brats21").cases(tmp_path)


def test_the_names_of_later_years_are_another_data_set(tmp_path):
    touch(tmp_path, "BraTS-GLI-00003-000/BraTS-GLI-00003-000-t1n.nii.gz")
    with pytest.raises(BenchError, match="no files BraTS2021_"):
        load("brats21").cases(tmp_path)


@pytest.mark.parametrize("name", ["brats18", "brats21"])
def test_values_1_2_4_become_classes_and_3_is_refused(tmp_path, name):
    dataset = load(name)
    dataset.phantom(tmp_path, 1, 0)
    path = dataset.cases(tmp_path)[0].label
    raw = np.asarray(nibabel.load(path).dataobj)
    assert set(np.unique(raw)) == {0, 1, 2, 4}
    classes = contiguous(read_label(path), dataset.labels, dataset.raw_labels)
    assert np.array_equal(np.isin(classes, dataset.regions["ET"]), raw == 4)
    assert np.array_equal(np.isin(classes, dataset.regions["TC"]), np.isin(raw, (1, 4)))
    assert np.array_equal(np.isin(classes, dataset.regions["WT"]), raw > 0)
    nibabel.save(nibabel.Nifti1Image(np.where(raw == 4, 3, raw), nibabel.load(path).affine), path)
    assert [f.kind for f in check(dataset, tmp_path)] == ["label_value"]


def test_phantoms_of_low_grade_lie_apart_and_one_in_ten_does_not_enhance(tmp_path):
    dataset = load("brats18")
    dataset.phantom(tmp_path, 8, 0)
    cases = dataset.cases(tmp_path)
    assert sorted(c.meta["grade"] for c in cases) == ["HGG"] * 6 + ["LGG"] * 2
    enhances = {c.id: bool((read_label(c.label).array == 4).any()) for c in cases}
    assert [c for c, found in enhances.items() if not found] == ["TCIA10_103_1"]
    rows = (tmp_path / "MICCAI_BraTS_2018_Data_Training/survival_data.csv").read_text().split()
    assert len(rows) == 1 + 6


def test_the_five_folds_of_brats21_test_everyone_once():
    folds = split.listed(load("brats21"), "swinunetr_5fold")
    assert [len(fold.test) for fold in folds] == [251, 250, 250, 250, 250]
    everyone = [patient for fold in folds for patient in fold.test]
    assert len(everyone) == len(set(everyone)) == 1251
    assert all({*fold.train} == {*everyone} - {*fold.test} for fold in folds)
    # One copy of the list puts this case into a sixth fold of its own.
    assert [fold.index for fold in folds if "01619" in fold.test] == [1]
    assert (
        "01619"
        in json.loads((registry.folder("dataset") / "splits/brats21.swinunetr_5fold.json").read_text())[
            "note"
        ]
    )
