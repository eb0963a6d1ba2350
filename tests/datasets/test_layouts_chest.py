"""Layouts of the chest data sets: challenge folders, converted copies, masks beside the scans."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.data import split
from bench.data.check import check
from bench.errors import BenchError
from bench.volumes.reading import read_label, read_volume


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def load(name: str):
    return registry.load("dataset", name)()


# --- COVID-19-20 -----------------------------------------------------------------------------

CT, SEG = "volume-covid19-A-0003_ct.nii.gz", "volume-covid19-A-0003_seg.nii.gz"
TRAIN = f"COVID-19-20_v2/Train/{CT}", f"COVID-19-20_v2/Train/{SEG}"
MOVED = f"imagesTr/{CT}", f"labelsTr/{SEG}"


@pytest.mark.parametrize("pair", [TRAIN, MOVED, (CT, SEG), (f"a/{CT[:-3]}", f"b/{SEG}")])
def test_covid_scans_are_paired_by_name_in_any_folders(tmp_path, pair):
    touch(tmp_path, *pair, f"__MACOSX/{CT}", f"COVID-19-20_v2/Train/._{CT}", "notes.nii.gz")
    (case,) = load("covid_19_20").cases(tmp_path)
    assert (case.id, case.patient) == ("volume-covid19-A-0003", "0003")
    assert case.images == (tmp_path / pair[0],)
    assert case.label == tmp_path / pair[1]


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        ("COVID-19-20_v2/Validation", "validation"), ("COVID-19-20_TestSet", "testing"),
        ("imagesTs", "testing"),
    ],
)  # fmt: skip
def test_covid_scans_outside_the_training_folder_are_unlabelled(tmp_path, folder, part):
    touch(tmp_path, *TRAIN, f"{folder}/volume-covid19-A-0009_ct.nii.gz")
    first, second = load("covid_19_20").cases(tmp_path)
    assert (first.meta["part"], second.meta["part"]) == ("training", part)
    assert second.label is None
    assert load("covid_19_20").missing(tmp_path) == []


def test_a_folder_above_the_data_set_is_no_part_of_it(tmp_path):
    touch(tmp_path / "Validation/test/covid_19_20", *TRAIN)
    (case,) = load("covid_19_20").cases(tmp_path / "Validation/test/covid_19_20")
    assert case.meta["part"] == "training"


def test_repeat_scans_of_covid_are_one_patient(tmp_path):
    days = [name.replace("0003", "0003_day008") for name in TRAIN]
    touch(tmp_path, *TRAIN, *days)
    cases = load("covid_19_20").cases(tmp_path)
    assert [c.id for c in cases] == ["volume-covid19-A-0003", "volume-covid19-A-0003_day008"]
    assert {c.patient for c in cases} == {"0003"}


@pytest.mark.parametrize(("pair", "gone"), [(TRAIN, 0), (TRAIN, 1), (MOVED, 0), (MOVED, 1)])
def test_covid_names_the_missing_half_of_a_pair(tmp_path, pair, gone):
    touch(tmp_path, pair[1 - gone])
    found = load("covid_19_20").missing(tmp_path)
    assert found == [("volume-covid19-A-0003", str(tmp_path / pair[gone]))]


def test_a_covid_scan_in_two_places_is_ambiguous(tmp_path):
    touch(tmp_path, *TRAIN, MOVED[0])
    with pytest.raises(BenchError, match="keep one"):
        load("covid_19_20").cases(tmp_path)


def test_the_five_folds_of_covid_test_every_scan_once():
    folds = split.listed(load("covid_19_20"), "voco_5fold")
    assert [len(f.test) for f in folds] == [40, 40, 40, 40, 39]
    everyone = {p for f in folds for p in f.test}
    assert len(everyone) == 199
    assert all({*f.train, *f.test} == everyone for f in folds)


def test_covid_phantoms_carry_numbers_of_the_folds_and_validation_ones_do_not(tmp_path):
    dataset = load("covid_19_20")
    dataset.phantom(tmp_path, 6, 0)
    cases = dataset.cases(tmp_path)
    folds = split.listed(dataset, "voco_5fold")
    for fold in folds:
        assert len({c.patient for c in cases if c.label} & {*fold.test}) == 1
    (unlabelled,) = [c for c in cases if c.label is None]
    assert unlabelled.patient not in {p for f in folds for p in f.test}
    assert check(dataset, tmp_path) == []


# --- RibFrac ---------------------------------------------------------------------------------

RIBS = (
    "Part1/RibFrac1-image.nii.gz", "Part2/RibFrac301-image.nii.gz",
    "ribfrac-val-images/RibFrac421-image.nii.gz", "ribfrac-test-images/RibFrac501-image.nii.gz",
)  # fmt: skip


def test_ribfrac_is_read_from_its_archives_or_one_folder(tmp_path):
    touch(tmp_path / "a", *RIBS, "Part1/RibFrac1-label.nii.gz", "Part1/._RibFrac1-image.nii.gz")
    touch(tmp_path / "b", *(f"ribfrac-train-images/{Path(n).name}" for n in RIBS))
    for folder in "ab":
        cases = load("ribfrac").cases(tmp_path / folder)
        assert [(c.id, c.patient, c.meta["part"]) for c in cases] == [
            ("RibFrac1", "1", "training"), ("RibFrac301", "301", "training"),
            ("RibFrac421", "421", "validation"), ("RibFrac501", "501", "testing"),
        ]  # fmt: skip
        assert all(c.label is None for c in cases)


def test_ribfrac_comes_in_natural_order_and_twice_is_ambiguous(tmp_path):
    touch(tmp_path, *(f"Part1/RibFrac{n}-image.nii.gz" for n in (10, 2, 1)))
    assert [c.patient for c in load("ribfrac").cases(tmp_path)] == ["1", "2", "10"]
    touch(tmp_path, "copy/RibFrac2-image.nii.gz")
    with pytest.raises(BenchError, match="keep one"):
        load("ribfrac").cases(tmp_path)


def test_ribfracs_labels_are_known_and_not_read(tmp_path):
    dataset = load("ribfrac")
    dataset.phantom(tmp_path, 5, 0)
    images, labels = (sorted(tmp_path.glob(f"*/*-{kind}.nii.gz")) for kind in ("image", "label"))
    assert (len(images), len(labels)) == (5, 4)  # the test archive has none
    assert read_volume(images[0]).array.dtype == np.int32
    for path in labels:
        path.write_bytes(b"damaged")
    assert check(dataset, tmp_path) == []
    (tmp_path / "Part1/other.nii.gz").write_bytes(images[0].read_bytes())
    assert [f.kind for f in check(dataset, tmp_path)] == ["extra"]


def test_ribfracs_lists_name_the_instances_of_the_label_volumes(tmp_path):
    load("ribfrac").phantom(tmp_path, 8, 0)
    rows = [r for p in tmp_path.glob("*.csv") for r in csv.DictReader(p.read_text().splitlines())]
    assert {r["label_code"] for r in rows} <= {"0", "1", "2", "3", "4", "-1"}
    for path in tmp_path.glob("*/*-label.nii.gz"):
        listed = {int(r["label_id"]) for r in rows if r["public_id"] == path.name.split("-")[0]}
        assert listed == {0, *np.unique(read_label(path).array).tolist()}


# --- LUNA16 ----------------------------------------------------------------------------------

UIDS = [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{n}" for n in ("10", "9", "979083010707182900")]


@pytest.mark.parametrize("form", ["subset{}/{}.mhd", "subset_{}/{}.nii.gz", "SUBSET{}/{}.mha"])
def test_luna_is_read_as_unpacked_or_converted(tmp_path, form):
    touch(tmp_path, *(form.format(i, uid) for i, uid in enumerate(UIDS)), "subset0/notes.mhd")
    touch(tmp_path, f"seg-lungs-LUNA16/{UIDS[0]}.mhd", f"subset0/._{UIDS[0]}.mhd")
    cases = load("luna16").cases(tmp_path)
    assert [(c.id, c.meta["subset"]) for c in cases] == [
        (UIDS[1], "1"), (UIDS[0], "0"), (UIDS[2], "2"),
    ]  # fmt: skip
    assert all(c.patient == c.id and c.label is None for c in cases)


def test_luna_without_subsets_states_none(tmp_path):
    touch(tmp_path, f"images/{UIDS[0]}.mhd")
    assert load("luna16").cases(tmp_path)[0].meta == {}


def test_a_luna_series_in_two_formats_is_ambiguous(tmp_path):
    touch(tmp_path, f"subset0/{UIDS[0]}.mhd", f"subset_0/{UIDS[0]}.nii.gz")
    with pytest.raises(BenchError, match="keep one"):
        load("luna16").cases(tmp_path)


def test_lunas_lungs_are_no_extra_files_and_its_raw_must_be_there(tmp_path):
    dataset = load("luna16")
    dataset.phantom(tmp_path, 4, 0)
    assert len(list((tmp_path / "seg-lungs-LUNA16").glob("*.zraw"))) == 4
    assert check(dataset, tmp_path) == []
    (raw,) = (tmp_path / "subset2").glob("*.raw")
    raw.unlink()
    (found,) = check(dataset, tmp_path)
    assert (found.kind, found.file) == ("missing", str(raw))


def test_lunas_lungs_lie_on_their_scans(tmp_path):
    load("luna16").phantom(tmp_path, 4, 0)
    for path in tmp_path.glob("subset*/*.mhd"):
        image = read_volume(path)
        lungs = read_label(tmp_path / "seg-lungs-LUNA16" / path.name, image)
        np.testing.assert_allclose(lungs.affine, image.affine)
        assert set(np.unique(lungs.array)) == {0, 3, 4, 5}
        assert image.array[0][lungs.array > 2].mean() < -600
    assert {read_volume(p).original_axes for p in tmp_path.glob("subset*/*.mhd")} == {"LPS", "RAS"}


def test_lunas_nodules_are_where_the_list_says_in_lps(tmp_path):
    load("luna16").phantom(tmp_path, 8, 0)
    rows = list(csv.DictReader((tmp_path / "annotations.csv").read_text().splitlines()))
    assert {r["seriesuid"] for r in rows} == {p.stem for p in tmp_path.glob("subset*/*.mhd")}
    for row in rows:
        (path,) = tmp_path.glob(f"subset*/{row['seriesuid']}.mhd")
        volume = read_volume(path)
        x, y, z = (float(row[f"coord{a}"]) for a in "XYZ")
        at = np.rint(np.linalg.inv(volume.affine) @ [-x, -y, z, 1]).astype(int)[:3]
        assert (at > 0).all() and (at < volume.array.shape[1:]).all()
        around = tuple(slice(max(i - 1, 0), i + 2) for i in at)
        assert volume.array[0][around].max() > -400  # lung is -860
        assert float(row["diameter_mm"]) > 5


def test_tcia_volumes_of_one_patient_are_told_apart_in_both_ways_of_numbering(tmp_path):
    names = ("0318", "0318_1", "0721_day008")  # 39 of the 771 volumes carry a number, 121 a day
    touch(tmp_path, *(f"volume-covid19-A-{name}.nii.gz" for name in names))
    cases = registry.load("dataset", "covid19_ct")().cases(tmp_path)
    assert [(c.id[17:], c.patient) for c in cases] == list(zip(names, ("0318", "0318", "0721"), strict=True))
