"""KiTS19 and LiTS as people have them: renamed folders, litter, copies, headers of their own kind."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from bench import registry
from bench.data import split
from bench.data.check import check
from bench.errors import BenchError
from bench.volumes.reading import read_header, read_label, read_volume


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def load(name):
    return registry.load("dataset", name)()


# --- LiTS ------------------------------------------------------------------------------------

OFFICIAL = "Training Batch 1/volume-3.nii", "Training Batch 1/segmentation-3.nii"


@pytest.mark.parametrize(
    "pair",
    [
        OFFICIAL,
        ("media/nas/01_Datasets/CT/LITS/Training_Batch1/volume-3.nii.gz",
         "media/nas/01_Datasets/CT/LITS/Training_Batch1/segmentation-3.nii.gz"),
        ("volume_pt1/volume-3.nii", "segmentations/segmentation-3.nii"),
        ("volume-3.nii/volume-3.nii", "segmentation-3.nii/segmentation-3.nii"),
    ],
)  # fmt: skip
def test_lits_is_paired_on_its_numbers_in_any_folders(tmp_path, pair):
    touch(tmp_path, *pair, "__MACOSX/volume-9.nii", "x/._volume-3.nii", "readme.txt")
    (case,) = load("lits").cases(tmp_path)
    assert (case.id, case.patient, case.meta["batch"]) == ("volume-3", "volume-3", "1")
    whole = [tmp_path / p for p in pair]
    assert case.images[0] in (whole[0], whole[0].parent)
    assert case.label in (whole[1], whole[1].parent)


def test_lits_names_with_other_zeros_are_the_same_scan(tmp_path):
    touch(tmp_path, *OFFICIAL, "copy/volume-003.nii")
    with pytest.raises(BenchError, match="the same scan; keep one"):
        load("lits").cases(tmp_path)


def test_a_test_scan_of_lits_is_no_training_scan_of_its_number(tmp_path):
    touch(tmp_path, *OFFICIAL, "test/test-volume-3.nii", "test/test-volume-12.nii")
    cases = load("lits").cases(tmp_path)
    assert [c.id for c in cases] == ["volume-3", "test-volume-3", "test-volume-12"]
    assert [c.label is None for c in cases] == [False, True, True]
    assert len({c.patient for c in cases}) == 3


@pytest.mark.parametrize("gone", [0, 1])
def test_lits_names_the_missing_half_of_a_pair(tmp_path, gone):
    touch(tmp_path, OFFICIAL[1 - gone])
    assert load("lits").missing(tmp_path) == [("volume-3", str(tmp_path / OFFICIAL[gone]))]


def test_lits_keeps_the_scans_without_a_spacing_and_says_which(tmp_path):
    touch(tmp_path, *(f"a/{kind}-{n}.nii" for n in (27, 28, 47, 48) for kind in ("volume", "segmentation")))
    cases = load("lits").cases(tmp_path)
    assert [("doubtful" in c.meta, c.meta["batch"]) for c in cases] == [
        (False, "1"), (True, "2"), (True, "2"), (False, "2"),
    ]  # fmt: skip


def test_the_phantom_of_lits_has_its_quirks(tmp_path):
    registry.load("dataset", "lits").phantom(tmp_path, 6, 0)
    volumes = {p.stem: p for p in tmp_path.rglob("*volume-*")}
    assert all(p.suffix == ".nii" for p in volumes.values())
    assert volumes["volume-0"].parent.name == "Training Batch 1"
    assert volumes["volume-28"].parent.name == "Training Batch 2"
    assert (nibabel.load(volumes["volume-28"]).affine == np.eye(4)).all()
    assert read_header(volumes["volume-28"]).spacing == (1, 1, 1)
    assert read_header(volumes["volume-0"]).spacing == (7, 7, 6.5)
    assert [read_header(volumes[f"volume-{n}"]).original_axes for n in (0, 1)] == ["RAS", "LPS"]
    assert all(p.stat().st_size < 200_000 for p in volumes.values())
    cases = load("lits").cases(tmp_path)
    assert [c.id for c in cases if c.label is None] == ["test-volume-0"]


def test_both_directions_of_lits_show_the_liver_on_the_same_side(tmp_path):
    dataset = load("lits")
    dataset.phantom(tmp_path, 3, 0)
    for case in dataset.cases(tmp_path):
        image = read_volume(case.images[0])
        label = read_label(case.label, image).array
        assert np.argwhere(label > 0)[:, 0].mean() > label.shape[0] / 2
        assert 80 < image.array[0][label == 1].mean() < 140  # HU: the image is turned as its label is


def test_some_phantoms_of_lits_have_no_tumour(tmp_path):
    dataset = load("lits")
    dataset.phantom(tmp_path, 10, 0)
    found = [read_label(c.label).array.max() for c in dataset.cases(tmp_path) if c.label]
    assert sorted(found) == [1] + [2] * 8
    assert check(dataset, tmp_path) == []


def test_the_registered_lists_of_lits_say_what_becomes_of_ircad():
    dataset = load("lits")
    whole, without, batches = (split.listed(dataset, n)[0] for n in dataset.splits)
    assert (len(whole.train), len(whole.test)) == (108, 23)
    assert {*whole.train, *whole.test} - {*without.train, *without.test} == {*dataset.doubtful}
    assert whole.test == without.test
    assert (len(batches.train), len(batches.test)) == (103, 28)
    assert "volume-27" in batches.test
    assert {*batches.train, *batches.test} == {*whole.train, *whole.test}


def test_lits_and_the_decathlons_liver_share_their_list():
    ours = split.listed(load("lits"), "voco_followup_108_23")[0]
    theirs = split.listed(load("msd03_liver"), "voco_followup_108_23")[0]
    assert [p.replace("liver_", "volume-") for p in theirs.test] == list(ours.test)


# --- KiTS19 ----------------------------------------------------------------------------------

CASE = "data/case_00007/imaging.nii.gz", "data/case_00007/segmentation.nii.gz"
COPY = "imagesTr/case_00007_0000.nii.gz", "labelsTr/case_00007.nii.gz"


@pytest.mark.parametrize("pair", [CASE, tuple(f[5:] for f in CASE), tuple(f"kits19/{f}" for f in CASE), COPY])
def test_kits_is_read_as_cloned_or_as_nnunet_copies_it(tmp_path, pair):
    touch(tmp_path, *pair, "data/case_00007/._imaging.nii.gz", "imagesTr/._case_00008_0000.nii.gz")
    touch(tmp_path, "data/kits.json", "data/LICENSE", "starter_code/utils.py")
    (case,) = load("kits19").cases(tmp_path)
    assert (case.id, case.patient, case.meta["part"]) == ("case_00007", "case_00007", "training")
    assert case.images == (tmp_path / pair[0],)
    assert case.label == tmp_path / pair[1]


def test_kits_in_both_layouts_is_ambiguous(tmp_path):
    touch(tmp_path, *CASE, *COPY)
    with pytest.raises(BenchError, match="keep one layout"):
        load("kits19").cases(tmp_path)


@pytest.mark.parametrize(("pair", "gone"), [(CASE, 0), (CASE, 1), (COPY, 0), (COPY, 1)])
def test_a_clone_without_the_fetched_images_misses_them(tmp_path, pair, gone):
    touch(tmp_path, pair[1 - gone])
    assert load("kits19").missing(tmp_path) == [("case_00007", str(tmp_path / pair[gone]))]


def test_the_test_scans_of_kits_are_unlabelled(tmp_path):
    touch(tmp_path, *CASE, "data/case_00210/imaging.nii.gz", "data/case_00299/imaging.nii.gz")
    cases = load("kits19").cases(tmp_path)
    assert [(c.id, c.label is None) for c in cases] == [
        ("case_00007", False), ("case_00210", True), ("case_00299", True),
    ]  # fmt: skip


def test_a_later_kits_is_refused(tmp_path):
    touch(tmp_path, *CASE, "data/case_00400/imaging.nii.gz")
    with pytest.raises(BenchError, match="a later KiTS"):
        load("kits19").cases(tmp_path)


def test_kits_keeps_its_doubtful_cases_with_their_reasons(tmp_path):
    touch(tmp_path, *(f.replace("00007", n) for f in CASE for n in ("00160", "00161")))
    doubtful, other = load("kits19").cases(tmp_path)
    assert doubtful.meta["doubtful"] == "slices of 512 x 796"
    assert "doubtful" not in other.meta


def test_the_phantom_of_kits_counts_slices_first(tmp_path):
    dataset = load("kits19")
    dataset.phantom(tmp_path, 6, 0)
    cases = dataset.cases(tmp_path)
    assert [c.id for c in cases if c.label is None] == ["case_00210"]
    stored = nibabel.load(cases[0].images[0])
    assert nibabel.aff2axcodes(stored.affine) == ("I", "P", "L")
    assert (stored.affine[:3, 3] == 0).all()
    listing = {row["case_id"]: row for row in json.loads((tmp_path / "data" / "kits.json").read_text())}
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


def test_pgls_division_of_kits_is_drawn_by_its_stated_rule():
    (fold,) = split.listed(load("kits19"), "pgl_105_105")
    order = split.ranked((f"case_{n:05d}" for n in range(210)), "pgl_105_105", 0)
    assert [{*fold.train}, {*fold.val}, {*fold.test}] == [
        {*order[:84]}, {*order[84:105]}, {*order[105:]},
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "most"), [("lits", 201), ("kits19", 300)])
def test_more_phantoms_than_scans_are_refused(name, most, tmp_path):
    with pytest.raises(BenchError, match=f"{name}: {most} phantoms at most"):
        registry.load("dataset", name).phantom(tmp_path, most + 1, 0)
    assert not any(tmp_path.iterdir())


def test_a_case_of_kits_turns_up_where_its_folder_is_linked(tmp_path):
    touch(tmp_path / "elsewhere", *CASE)
    (tmp_path / "kits19").mkdir()
    (tmp_path / "kits19" / "data").symlink_to(tmp_path / "elsewhere" / "data")
    assert len(load("kits19").cases(tmp_path / "kits19")) == 1
    shutil.rmtree(tmp_path / "elsewhere")
    with pytest.raises(BenchError, match="starter_code"):
        load("kits19").cases(tmp_path / "kits19")
