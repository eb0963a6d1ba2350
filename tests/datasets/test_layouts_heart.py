"""ACDC, M&Ms and MM-WHS as people have them: frames by Info.cfg or CSV, odd values, both modalities."""

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


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def load(name: str):
    return registry.load("dataset", name)()


# --- ACDC ------------------------------------------------------------------------------------


def patient(root: Path, folder: str, info: str, *frames: str) -> Path:
    name = Path(folder).name
    touch(root, *(f"{folder}/{name}_frame{f}.nii.gz" for f in frames))
    touch(root, f"{folder}/{name}_4d.nii.gz", f"{folder}/._Info.cfg")
    (root / folder / "Info.cfg").write_text(info)
    return root / folder


@pytest.mark.parametrize("above", ["ACDC/database/training/", "database/training/", "training/", ""])
def test_acdc_has_two_cases_of_one_patient(tmp_path, above):
    info = "ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
    home = patient(tmp_path, f"{above}patient001", info, "01", "01_gt", "12", "12_gt")
    ed, es = load("acdc").cases(tmp_path)
    assert (ed.id, es.id) == ("patient001_frame01", "patient001_frame12")
    assert ed.patient == es.patient == "patient001"
    assert ed.meta == {"part": "training", "group": "DCM", "phase": "ED"}
    assert es.images == (home / "patient001_frame12.nii.gz",)
    assert es.label == home / "patient001_frame12_gt.nii.gz"


def test_acdc_end_systole_may_be_the_earlier_frame(tmp_path):
    patient(tmp_path, "patient090", "ED:11\r\nES:4\r\n", "04", "04_gt", "11", "11_gt")
    cases = load("acdc").cases(tmp_path)
    assert [(c.id[-2:], c.meta["phase"]) for c in cases] == [("04", "ES"), ("11", "ED")]


def test_acdc_names_the_frame_that_info_promises(tmp_path):
    home = patient(tmp_path, "training/patient001", "ED: 1\nES: 12\n", "01", "01_gt", "12")
    absent = str(home / "patient001_frame12_gt.nii.gz")
    assert load("acdc").missing(tmp_path) == [("patient001_frame12", absent)]


def test_acdc_without_info_goes_on_and_says_what_is_missing(tmp_path):
    home = patient(tmp_path, "patient001", "", "01", "01_gt", "12", "12_gt")
    (home / "Info.cfg").unlink()
    cases = load("acdc").cases(tmp_path)
    assert [(c.id[-2:], c.meta["phase"]) for c in cases] == [("01", "unknown"), ("12", "unknown")]
    assert load("acdc").missing(tmp_path) == [("patient001", str(home / "Info.cfg"))]


def test_acdc_test_patients_are_labelled_where_the_masks_are(tmp_path):
    patient(tmp_path, "testing/patient101", "ED: 1\nES: 14\n", "01", "01_gt", "14")
    labelled, without = load("acdc").cases(tmp_path)
    assert (labelled.meta["part"], without.meta["part"]) == ("testing", "testing")
    assert labelled.label is not None
    assert without.label is None


@pytest.mark.parametrize("info", ["", "ES: 12", "ED: one", "ED: 1\nES: -4", "ED: 1\nES: " + "9" * 5000])
def test_acdc_refuses_an_info_without_frame_numbers(tmp_path, info):
    home = patient(tmp_path, "patient001", info + "\n", "01", "01_gt")
    with pytest.raises(BenchError, match=r"frame number") as caught:
        load("acdc").cases(tmp_path)
    assert str(home / "Info.cfg") in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(home))


def test_acdc_with_a_patient_twice_is_ambiguous(tmp_path):
    for above in ("training", "copy"):
        patient(tmp_path, f"{above}/patient001", "ED: 1\n", "01", "01_gt")
    with pytest.raises(BenchError, match="same patient; keep one"):
        load("acdc").cases(tmp_path)


def test_acdc_knows_the_whole_cine_and_no_other_volume(tmp_path):
    load("acdc").phantom(tmp_path, 2, 0)
    (folder,) = tmp_path.glob("database/training/*")
    frame = (folder / "patient001_frame01.nii.gz").read_bytes()
    (folder / "patient001_4d.nii.gz").write_bytes(frame)
    assert check(load("acdc"), tmp_path) == []
    (folder / "patient001_frame05.nii.gz").write_bytes(frame)
    assert [f.kind for f in check(load("acdc"), tmp_path)] == ["extra"]


def test_the_division_of_acdc_is_by_patient():
    (fold,) = split.listed(load("acdc"), "ssl4mis_70_10_20")
    assert (len(fold.train), len(fold.val), len(fold.test)) == (70, 10, 20)
    every = [f"patient{i:03d}" for i in range(1, 101)]
    assert sorted([*fold.train, *fold.val, *fold.test]) == every


# --- M&Ms ------------------------------------------------------------------------------------

CSV = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
HEAD = ",External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology,Sex,Height,Weight"


def table(root: Path, *rows: str, name: str = CSV) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([HEAD, *rows]) + "\n")


def test_mnms_has_two_frames_of_one_file(tmp_path):
    home = "OpenDataset/Training/Labeled/A0S9V9/A0S9V9"
    touch(tmp_path, f"{home}_sa.nii.gz", f"{home}_sa_gt.nii.gz")
    table(tmp_path / "OpenDataset", "0,A0S9V9,Siemens,A,1,0,9,52,HCM,M,1.8,80", "1,B0H7V0,GE,C,5,22,8,,,,,")
    ed, es = load("mnms").cases(tmp_path)
    assert [(c.id, c.patient, c.frame) for c in (ed, es)] == [
        ("A0S9V9_ed", "A0S9V9", 0), ("A0S9V9_es", "A0S9V9", 9),
    ]  # fmt: skip
    assert ed.images == es.images
    assert es.label == tmp_path / f"{home}_sa_gt.nii.gz"
    assert es.meta == {"part": "training", "vendor": "A", "centre": "1", "phase": "ES"}


def test_mnms_parts_and_the_empty_masks_of_unlabelled_scans(tmp_path):
    parts = {"Training/Labeled": "training", "Training/Unlabeled": "unlabelled",
             "Validation": "validation", "Testing": "testing"}  # fmt: skip
    load("mnms").phantom(tmp_path, 8, 0)
    made = sorted((tmp_path / "OpenDataset/Training/Labeled").iterdir())
    for folder, part in zip(made, parts, strict=True):
        target = tmp_path / "OpenDataset" / part / folder.name
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    dataset = load("mnms")
    assert [c.meta["part"] for c in dataset.cases(tmp_path)] == [p for p in parts.values() for _ in "ab"]
    assert {c.meta["part"] for c in dataset.cases(tmp_path) if c.label is None} == {"unlabelled"}
    (mask,) = (tmp_path / "OpenDataset/Training/Unlabeled").glob("*/*_gt.nii.gz")
    empty = nibabel.load(mask)
    nibabel.save(nibabel.Nifti1Image(np.zeros(empty.shape, np.uint8), empty.affine), mask)
    assert check(dataset, tmp_path) == []


def test_mnms_unlabelled_scans_may_have_no_phases(tmp_path):
    touch(tmp_path, "Training/Unlabeled/A1A1A1/A1A1A1_sa.nii.gz")
    table(tmp_path, "0,A1A1A1,Canon,D,6,,,,,,,")
    (case,) = load("mnms").cases(tmp_path)
    assert (case.label, case.frame) == (None, 0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["0,B0H7V0,GE,C,5,22,8,,,,,"], "no row for A0S9V9"),
        (["0,A0S9V9,GE,C,5,first,8,,,,,"], "column ED must hold a frame number, got 'first'"),
        (["0,A0S9V9,GE,C,5,0,-1,,,,,"], "column ES must hold a frame number"),
    ],
)
def test_mnms_refuses_a_csv_that_does_not_tell_the_frames(tmp_path, rows, words):
    touch(tmp_path, "A0S9V9/A0S9V9_sa.nii.gz", "A0S9V9/A0S9V9_sa_gt.nii.gz")
    table(tmp_path, *rows)
    with pytest.raises(BenchError, match=words) as caught:
        load("mnms").cases(tmp_path)
    assert CSV in str(caught.value)


def test_mnms_names_a_csv_that_is_none(tmp_path):
    touch(tmp_path, "A0S9V9/A0S9V9_sa.nii.gz")
    (tmp_path / "broken.csv").write_text("a,b\n" + "x" * 200_000)
    with pytest.raises(BenchError, match=r"broken.csv: not a CSV file"):
        load("mnms").cases(tmp_path)


def test_mnms_needs_one_csv(tmp_path):
    touch(tmp_path, "A0S9V9/A0S9V9_sa.nii.gz", "A0S9V9/A0S9V9_sa_gt.nii.gz")
    table(tmp_path, "")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BenchError, match="no CSV file with the columns"):
        load("mnms").cases(tmp_path)
    for name in ("M_Ms.csv", "copy/M&Ms.csv"):
        table(tmp_path, "0,A0S9V9,GE,C,5,0,8,,,,,", name=name)
    with pytest.raises(BenchError, match="2 CSV files with the columns"):
        load("mnms").cases(tmp_path)
    (tmp_path / "M_Ms.csv").unlink()
    assert len(load("mnms").cases(tmp_path)) == 2


def test_a_frame_beyond_the_cine_is_a_finding(tmp_path):
    load("mnms").phantom(tmp_path, 2, 0)
    (path,) = tmp_path.rglob("*.csv")
    path.write_text(path.read_text().replace(",0,2,", ",0,4,"))
    found = check(load("mnms"), tmp_path)
    assert {(f.case[-3:], f.kind) for f in found} == {("_es", "shape")}
    assert "frame 4 of 4" in found[0].detail


def test_the_ventricles_of_mnms_and_acdc_are_numbered_the_other_way_round():
    names = {name: {v: k for k, v in load(name).labels.items()} for name in ("acdc", "mnms")}
    assert (names["acdc"]["left ventricle"], names["acdc"]["right ventricle"]) == (3, 1)
    assert (names["mnms"]["left ventricle"], names["mnms"]["right ventricle"]) == (1, 3)


# --- MM-WHS ----------------------------------------------------------------------------------

RAW = (205, 420, 500, 550, 600, 820, 850)


@pytest.mark.parametrize("above", ["ct_train/", "MM-WHS 2017 Dataset/ct_train/", ""])
def test_mmwhs_scans_say_their_modality(tmp_path, above):
    touch(tmp_path, f"{above}ct_train_1001_image.nii.gz", f"{above}ct_train_1001_label.nii.gz")
    touch(tmp_path, "mr_train/mr_train_1001_image.nii.gz", "mr_train/mr_train_1001_label.nii.gz")
    touch(tmp_path, "ct_test/ct_test_2001_image.nii.gz", "ct_train/._ct_train_1001_image.nii.gz")
    cases = load("mmwhs").cases(tmp_path)
    assert [(c.id, c.meta["modality"], c.label is None) for c in cases] == [
        ("ct_2001", "CT", True), ("ct_1001", "CT", False), ("mr_1001", "MR", False),
    ]  # fmt: skip
    assert len({c.patient for c in cases}) == 3  # 1001 in CT and 1001 in MR are two persons


@pytest.mark.parametrize("gone", ["image", "label"])
def test_mmwhs_names_the_missing_half(tmp_path, gone):
    kept = "label" if gone == "image" else "image"
    touch(tmp_path, f"ct_train/ct_train_1001_{kept}.nii.gz")
    absent = tmp_path / "ct_train" / f"ct_train_1001_{gone}.nii.gz"
    assert load("mmwhs").missing(tmp_path) == [("ct_1001", str(absent))]


def test_mmwhs_value_421_is_the_left_atrium(tmp_path):
    dataset = load("mmwhs")
    dataset.phantom(tmp_path, 3, 0)
    seen = []
    for case in dataset.cases(tmp_path):
        raw = read_label(case.label)
        values = sorted(np.unique(raw.array))
        classes = contiguous(raw, dataset.labels, dataset.raw_labels)
        assert [int(np.unique(classes[raw.array == v])[0]) for v in values] == list(range(8))
        assert [421 if v == 420 and 421 in values else v for v in (0, *RAW)] == values
        seen.append(421 in values)
    assert seen == [False, False, True]


def test_mmwhs_phantoms_are_ct_in_hu_and_mr_without_units(tmp_path):
    load("mmwhs").phantom(tmp_path, 2, 0)
    ct, mr = (np.asarray(nibabel.load(c.images[0]).dataobj) for c in load("mmwhs").cases(tmp_path))
    assert ct.min() < -900
    assert mr.min() >= 0


@pytest.mark.parametrize(
    ("name", "sizes", "test"),
    [
        ("ct_voco_16_4", (16, 4), [f"ct_{i}" for i in range(1001, 1005)]),
        ("mr_voco_followup_15_5", (15, 5), [f"mr_{i}" for i in range(1016, 1021)]),
    ],
)
def test_the_divisions_of_mmwhs_are_of_one_modality(name, sizes, test):
    (fold,) = split.listed(load("mmwhs"), name)
    assert (len(fold.train), len(fold.test)) == sizes
    assert sorted(fold.test) == test
    assert {p[:2] for p in (*fold.train, *fold.test)} == {name[:2]}
