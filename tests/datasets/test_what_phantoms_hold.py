"""What the phantom of one data set holds as its real files do: parts, headers, odd values, lists beside."""

import csv
import json

import nibabel
import numpy as np
import pytest
from folders import load
from test_layouts import TASKS

from bench import registry
from bench.data import split
from bench.data.check import check
from bench.data.recipe import contiguous, prepare
from bench.errors import BenchError
from bench.volumes.reading import read_header, read_label, read_volume

MOST = {
    "acdc": 300,
    "brats18": 351,
    "brats21": 1251,
    "btcv": 50,
    "cc_ccii": 3199,
    "kits19": 300,
    "lasc": 100,
    "lits": 201,
    "mmwhs": 40,
    "mnms": 300,
    "msd01_brain_tumour": 750,
    "msd02_heart": 30,
    "msd03_liver": 201,
    "msd05_prostate": 48,
    "msd06_lung": 95,
    "msd07_pancreas": 420,
    "msd08_hepatic_vessel": 443,
    "msd09_spleen": 61,
    "msd10_colon": 190,
    "ribfrac": 320,
    "ski10": 100,
}
FOUR = {"msd01_brain_tumour": 4, "msd05_prostate": 2}  # channels, in one 4-D file


def drawn(name, root, cases):
    """Write phantoms and return their data set with its cases."""
    dataset = load(name)
    dataset.phantom(root, cases, 0)
    return dataset, dataset.cases(root)


def labels_of(cases):
    return [
        np.unique(read_label(case.label).array).tolist() for case in cases if case.label is not None
    ]


@pytest.mark.parametrize(("name", "most"), MOST.items())
def test_more_phantoms_than_scans_are_refused_before_any_is_written(name, most, tmp_path):
    with pytest.raises(BenchError, match=f"{name}: {most} phantoms at most"):
        registry.load("dataset", name).phantom(tmp_path, most + 1, 0)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in TASKS if name != "msd04_hippocampus"])
def test_a_task_of_the_decathlon_has_its_names_classes_and_unlabelled_tests(name, tmp_path):
    dataset, cases = drawn(name, tmp_path, 6)
    assert cases[0].id == TASKS[name][1]
    assert [c.meta["part"] for c in cases] == ["training"] * 5 + ["test"]
    assert [c.label is None for c in cases] == [False] * 5 + [True]
    assert {p.parent.name for c in cases for p in c.images} == {"imagesTr", "imagesTs"}
    listing = json.loads((tmp_path / "dataset.json").read_text())
    assert (listing["numTraining"], listing["numTest"]) == (5, 1)
    assert listing["test"] == [f"./imagesTs/{cases[5].id}.nii.gz"]
    assert listing["tensorImageSize"] == ("4D" if name in FOUR else "3D")
    assert labels_of(cases) == [[0, *dataset.labels]] * 5
    for case in cases:
        assert len(case.images) == 1
        assert read_volume(case.images[0]).array.shape[0] == FOUR.get(name, 1)
        assert sum(p.stat().st_size for p in (*case.images, case.label) if p) < 205_000


@pytest.mark.parametrize(
    ("name", "cases", "gone"),
    [
        ("msd01_brain_tumour", 10, 3),
        ("msd03_liver", 10, 2),
        ("msd05_prostate", 16, 1),
        ("lits", 10, 2),
        ("brats18", 8, 4),
    ],
)
def test_a_part_that_some_real_labels_lack_is_lacking_in_one_phantom(name, cases, gone, tmp_path):
    dataset, found = drawn(name, tmp_path, cases)
    assert sum(gone not in values for values in labels_of(found)) == 1
    assert check(dataset, tmp_path) == []


def test_the_tumour_of_the_decathlon_is_seen_in_the_channels_that_show_it(tmp_path):
    dataset, cases = drawn("msd01_brain_tumour", tmp_path, 2)
    assert dataset.regions == {
        "WT": (1, 2, 3),
        "TC": (2, 3),
        "ET": (3,),
    }  # 1 is oedema, unlike BraTS
    for case in cases:
        channels = dict(zip(dataset.channels, read_volume(case.images[0]).array, strict=True))
        label = read_label(case.label).array
        means = {
            name: [image[label == v].mean() for v in (1, 2, 3)] for name, image in channels.items()
        }
        assert np.argmax(means["FLAIR"]) == 0  # oedema
        assert np.argmax(means["T1gd"]) == 2  # enhancing
        assert (channels["T1w"][channels["FLAIR"] == 0] == 0).all()  # skull-stripped


@pytest.mark.parametrize("name", ["brats18", "brats21"])
def test_values_1_2_4_of_brats_become_its_regions(tmp_path, name):
    dataset, (case,) = drawn(name, tmp_path, 1)
    raw = np.asarray(nibabel.load(case.label).dataobj)
    assert set(np.unique(raw)) == {0, 1, 2, 4}
    classes = contiguous(read_label(case.label), dataset)
    for region, values in (("ET", (4,)), ("TC", (1, 4)), ("WT", (1, 2, 4))):
        assert np.array_equal(np.isin(classes, dataset.regions[region]), np.isin(raw, values))


def test_low_grades_of_brats18_lie_apart_and_are_not_in_the_list_of_survival(tmp_path):
    _, cases = drawn("brats18", tmp_path, 9)
    # one of the 66, without a mask
    (held,) = [c for c in cases if c.meta == {"part": "validation"}]
    assert held.label is None and len(held.images) == 4
    assert sorted(c.meta["grade"] for c in cases if c is not held) == ["HGG"] * 6 + ["LGG"] * 2
    rows = (tmp_path / "MICCAI_BraTS_2018_Data_Training/survival_data.csv").read_text().split()
    assert len(rows) == 1 + 6


@pytest.mark.parametrize(
    ("name", "listed"),
    [("ski10", "kneeseg_80_20"), ("lasc", "uamt_80_20"), ("covid_19_20", "voco_5fold")],
)
def test_any_five_labelled_phantoms_are_on_both_sides_of_every_fold(name, listed, tmp_path):
    dataset, cases = drawn(name, tmp_path, 6)
    for fold in split.listed(dataset, listed):
        labelled = {c.patient for c in cases if c.label is not None}
        assert len(labelled & {*fold.test}) == 1
        assert labelled <= {*fold.train, *fold.test}
        assert not {c.patient for c in cases if c.label is None} & {*fold.train, *fold.test}


# --- headers and values ----------------------------------------------------------------------


def test_lits_is_plain_in_two_directions_and_has_scans_without_spacing(tmp_path):
    _, cases = drawn("lits", tmp_path, 6)
    volumes = {c.id: c.images[0] for c in cases}
    assert all(path.suffix == ".nii" and path.stat().st_size < 200_000 for path in volumes.values())
    assert [volumes[f"volume-{n}"].parent.name for n in (0, 28)] == [
        "Training Batch 1",
        "Training Batch 2",
    ]
    assert (nibabel.load(volumes["volume-28"]).affine == np.eye(4)).all()
    assert read_header(volumes["volume-0"]).spacing == (7, 7, 6.5)
    assert [read_header(volumes[f"volume-{n}"]).original_axes for n in (0, 1)] == ["RAS", "LPS"]
    assert [c.id for c in cases if c.label is None] == ["test-volume-0"]
    for case in cases[:3]:
        image = read_volume(case.images[0])
        label = read_label(case.label, image).array
        assert (
            np.argwhere(label > 0)[:, 0].mean() > label.shape[0] / 2
        )  # the liver, whatever the direction
        assert (
            80 < image.array[0][label == 1].mean() < 140
        )  # HU: the image is turned as its label is


def test_kits_counts_slices_first(tmp_path):
    _, cases = drawn("kits19", tmp_path, 6)
    assert [c.id for c in cases if c.label is None] == ["case_00210"]
    stored = nibabel.load(cases[0].images[0])
    assert nibabel.aff2axcodes(stored.affine) == ("I", "P", "L")
    assert (stored.affine[:3, 3] == 0).all()
    listing = {
        row["case_id"]: row for row in json.loads((tmp_path / "data" / "kits.json").read_text())
    }
    row = listing["case_00000"]
    thickness, width = row["captured_slice_thickness"], row["captured_pixel_width"]
    assert stored.header.get_zooms() == pytest.approx((thickness, width, width))
    header = read_header(cases[0].images[0])
    assert header.shape == stored.shape[::-1]
    assert header.spacing == pytest.approx((width, width, thickness))
    image = read_volume(cases[0].images[0])
    label = read_label(cases[0].label, image).array
    assert image.array[0][label == 1].mean() > 110  # HU: the image is turned as its label is
    sides = np.unique(np.argwhere(label == 1)[:, 0] > label.shape[0] / 2)
    assert sides.tolist() == [False, True]  # both kidneys
    assert np.argwhere(label > 0)[:, 1].mean() < label.shape[1] / 2  # at the back


def test_value_421_of_mmwhs_is_the_left_atrium_and_mr_has_no_units(tmp_path):
    dataset, cases = drawn("mmwhs", tmp_path, 3)
    seen = []
    for case in cases:
        raw = read_label(case.label)
        values = sorted(np.unique(raw.array))
        classes = contiguous(raw, dataset)
        assert [int(np.unique(classes[raw.array == v])[0]) for v in values] == list(range(8))
        expected = (0, 205, 420, 500, 550, 600, 820, 850)
        assert [420 if v == 421 else v for v in values] == list(expected)
        seen.append(
            (case.meta["modality"], 421 in values, read_volume(case.images[0]).array.min() < 0)
        )
    assert seen == [("CT", False, True), ("CT", False, True), ("MR", True, False)]


def test_knees_are_sagittal_and_the_femur_is_above_the_tibia(tmp_path):
    dataset, cases = drawn("ski10", tmp_path, 3)
    for case in cases:
        image = read_volume(case.images[0])
        assert (image.original_axes, image.array.dtype) == ("PIL", np.int16)
        made = prepare(image, read_label(case.label, image), dataset.recipes["default"], dataset)
        assert set(np.unique(made.label)) == {0, 1, 2, 3, 4}
        femur, tibia = (np.argwhere(made.label == n)[:, 2].mean() for n in (1, 3))
        assert femur > tibia  # z grows to the head
    assert read_header(cases[0].images[0]).spacing == pytest.approx((3.0, 2.3, 2.3))


# --- lists beside the scans ------------------------------------------------------------------


def test_ribfracs_lists_name_the_instances_of_the_label_volumes(tmp_path):
    drawn("ribfrac", tmp_path, 5)
    images, labels = (sorted(tmp_path.glob(f"*/*-{kind}.nii.gz")) for kind in ("image", "label"))
    assert (len(images), len(labels)) == (5, 4)  # the test archive has none
    assert read_volume(images[0]).array.dtype == np.int32
    rows = [r for p in tmp_path.glob("*.csv") for r in csv.DictReader(p.read_text().splitlines())]
    assert {r["label_code"] for r in rows} <= {"0", "1", "2", "3", "4", "-1"}
    for path in labels:
        listed = {int(r["label_id"]) for r in rows if r["public_id"] == path.name.split("-")[0]}
        assert listed == {0, *np.unique(read_label(path).array).tolist()}


def test_lunas_lungs_lie_on_their_scans_and_its_nodules_where_the_list_says_in_lps(tmp_path):
    drawn("luna16", tmp_path, 8)
    scans = {path.stem: read_volume(path) for path in tmp_path.glob("subset*/*.mhd")}
    assert {image.original_axes for image in scans.values()} == {"LPS", "RAS"}
    for uid, image in scans.items():
        lungs = read_label(tmp_path / "seg-lungs-LUNA16" / f"{uid}.mhd", image)
        np.testing.assert_allclose(lungs.affine, image.affine)
        assert set(np.unique(lungs.array)) == {0, 3, 4, 5}
        assert image.array[0][lungs.array > 2].mean() < -600
    rows = list(csv.DictReader((tmp_path / "annotations.csv").read_text().splitlines()))
    assert {r["seriesuid"] for r in rows} == {*scans}
    for row in rows:
        volume = scans[row["seriesuid"]]
        x, y, z = (float(row[f"coord{a}"]) for a in "XYZ")
        at = np.rint(np.linalg.inv(volume.affine) @ [-x, -y, z, 1]).astype(int)[:3]
        assert (at > 0).all() and (at < volume.array.shape[1:]).all()
        around = tuple(slice(max(i - 1, 0), i + 2) for i in at)
        assert volume.array[0][around].max() > -400  # lung is -860
        assert float(row["diameter_mm"]) > 5


# --- pictures --------------------------------------------------------------------------------


def test_cc_ccii_mixes_formats_and_repeats_a_patient_of_its_lists(tmp_path):
    dataset, cases = drawn("cc_ccii", tmp_path, 9)
    assert {p.suffix for p in tmp_path.rglob("*.*")} == {".jpg", ".png", ".tif"}
    assert {c.label for c in cases} == {0, 1, 2}
    fold = split.listed(dataset, "voco_3fold")[0]
    assert len({c.patient for c in cases}) == 8
    assert {c.patient for c in cases} <= {*fold.train, *fold.test}
    assert check(dataset, tmp_path) == []


def test_aptos_has_every_grade_and_several_sizes_and_its_black_border_is_cropped(tmp_path):
    dataset, cases = drawn("aptos19", tmp_path, 12)
    assert {c.label for c in cases} == {*dataset.labels, None}
    assert sum(c.label is None for c in cases) == 2
    assert len({read_volume(c.images[0]).array.shape for c in cases}) == 3
    image = read_volume(cases[0].images[0])
    cropped, whole = (
        prepare(image, None, dataset.recipes[r], dataset) for r in ("default", "taleb")
    )
    assert cropped.image.shape == whole.image.shape == (3, 224, 224, 1)
    assert cropped.geometry.box[0][0] > 0 == whole.geometry.box[0][0]  # the paper's recipe keeps it
    assert 0 <= whole.image.min() < whole.image.max() <= 1


def test_ukb_fundus_has_two_eyes_and_some_second_visits(tmp_path):
    _, cases = drawn("ukb_fundus", tmp_path, 10)
    assert len({c.patient for c in cases}) == 4
    assert {c.meta["instance"] for c in cases} == {"0", "1"}
    for case in cases:  # the disc, the brightest, is on the side of the nose
        image = read_volume(case.images[0]).array[1, :, :, 0].astype(int)
        x = np.argwhere(image > np.percentile(image, 99))[:, 0].mean()
        assert (x < image.shape[0] / 2) == (case.meta["eye"] == "left")
