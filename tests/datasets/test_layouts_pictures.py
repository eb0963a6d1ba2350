"""Data sets of pictures as people have them: zips, moved folders, resized copies, odd CSV files."""

import itertools
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import registry
from bench.data import split
from bench.data.check import check
from bench.data.recipe import prepare
from bench.errors import BenchError
from bench.phantoms.fundus import fundus
from bench.phantoms.slices import pneumonia
from bench.volumes.reading import read_volume


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def load(name: str):
    return registry.load("dataset", name)()


# --- CC-CCII ---------------------------------------------------------------------------------

SLICES = "206/1557/0000.jpg", "206/1557/0001.png", "206/1560/0000.tif"


@pytest.mark.parametrize(
    "home", ["NCP", "CC-CCII/NCP", "a/b/NCP", "NCP-6", "NCP-6/NCP", "ncp", "NCP-6.zip", "NCP-6.zip/NCP",
             "down/NCP-6.zip/x/NCP"],
)  # fmt: skip
def test_scans_are_found_in_any_layout(tmp_path, home):
    before, packed, inside = home.partition(".zip")
    if packed:
        archive = tmp_path / f"{before}.zip"
        archive.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(archive, "w") as file:
            for name in (*SLICES, "206/1557/._0000.jpg", "notes.txt"):
                file.writestr(f"{inside}/{name}".strip("/"), b"x")
            file.writestr("__MACOSX/NCP/9/9/0000.jpg", b"x")
    else:
        touch(tmp_path / home, *SLICES, "206/1557/._0000.jpg", ".DS_Store", "206/notes.txt")
    touch(tmp_path, "lesions_slices.csv", "unzip_filenames.csv", "metadata.csv")
    cases = load("cc_ccii").cases(tmp_path)
    assert [(c.id, c.patient, c.label) for c in cases] == [
        ("NCP_206_1557", "NCP_206", 2), ("NCP_206_1560", "NCP_206", 2),
    ]  # fmt: skip
    assert cases[0].images == (tmp_path / home / "206" / "1557",)
    assert load("cc_ccii").missing(tmp_path) == []


def test_a_number_stands_for_a_patient_of_each_class(tmp_path):
    touch(tmp_path, "NCP/7/1/0.jpg", "CP/7/1/0.jpg", "Normal/7/1/0.jpg", "NCP/7/2/0.jpg")
    cases = load("cc_ccii").cases(tmp_path)
    assert [(c.id, c.label) for c in cases] == [
        ("CP_7_1", 1), ("NCP_7_1", 2), ("NCP_7_2", 2), ("Normal_7_1", 0),
    ]  # fmt: skip
    assert {c.patient for c in cases} == {"CP_7", "NCP_7", "Normal_7"}


def test_a_refused_zip_is_told_and_does_not_hide_the_others(tmp_path):
    dataset = load("cc_ccii")
    dataset.phantom(tmp_path, 3, 0)
    (tmp_path / "NCP-9.zip").write_bytes(b"PK but no zip")
    cases = dataset.cases(tmp_path)
    assert [c.id for c in cases if c.label is None] == ["NCP-9.zip"]
    found = check(dataset, tmp_path)
    assert [(f.case, f.kind) for f in found] == [("NCP-9.zip", "unreadable")]
    assert "get it again" in found[0].detail


def test_the_class_inside_a_zip_overrules_the_zips_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "CP-6.zip", "w") as file:
        file.writestr("NCP/206/1557/0000.jpg", b"x")
        file.writestr("206/1558/0000.jpg", b"x")
    assert [c.id for c in load("cc_ccii").cases(tmp_path)] == ["CP_206_1558", "NCP_206_1557"]


def test_a_scan_unpacked_beside_its_zip_is_ambiguous(tmp_path):
    touch(tmp_path, "NCP/206/1557/0000.jpg")
    with zipfile.ZipFile(tmp_path / "NCP-6.zip", "w") as file:
        file.writestr("NCP/206/1557/0000.jpg", b"x")
    with pytest.raises(BenchError, match="keep one"):
        load("cc_ccii").cases(tmp_path)


def test_phantoms_read_the_same_from_zips(tmp_path):
    dataset = load("cc_ccii")
    dataset.phantom(tmp_path / "plain", 7, 0)
    for home in (tmp_path / "plain").iterdir():
        (tmp_path / "packed").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "packed" / f"{home.name}-1.zip", "w") as file:
            for path in home.rglob("*.*"):
                file.write(path, path.relative_to(home.parent))
    plain, packed = (dataset.cases(tmp_path / n) for n in ("plain", "packed"))
    assert [c.id for c in plain] == [c.id for c in packed]
    for a, b in zip(plain, packed, strict=True):
        np.testing.assert_array_equal(read_volume(a.images[0]).array, read_volume(b.images[0]).array)
    assert check(dataset, tmp_path / "packed") == []


def test_known_doubts_are_kept_with_their_reason(tmp_path):
    touch(tmp_path, "NCP/868/2395/0.jpg", "NCP/868/2394/0.jpg")
    other, doubtful = load("cc_ccii").cases(tmp_path)
    assert "COVIDx-CT" in doubtful.meta["doubtful"]
    assert "doubtful" not in other.meta
    assert len(load("cc_ccii").doubtful) == 8


def test_the_three_folds_are_vocos():
    folds = split.listed(load("cc_ccii"), "voco_3fold")
    assert [(len(f.train), len(f.val), len(f.test)) for f in folds] == [
        (1709, 0, 1033), (1689, 0, 1053), (1708, 0, 1034),
    ]  # fmt: skip
    everyone = {*folds[0].train, *folds[0].test}
    assert len(everyone) == 2742
    assert all({*f.train, *f.test} == everyone for f in folds)
    assert len(set.intersection(*(set(f.test) for f in folds))) == 189  # they are no partition
    assert {"NCP_206", "CP_2668", "Normal_2015"} <= everyone


def test_phantoms_mix_formats_and_repeat_a_patient(tmp_path):
    dataset = load("cc_ccii")
    dataset.phantom(tmp_path, 9, 0)
    cases = dataset.cases(tmp_path)
    assert {p.suffix for p in tmp_path.rglob("*.*")} == {".jpg", ".png", ".tif"}
    assert {c.label for c in cases} == {0, 1, 2}
    assert len({c.patient for c in cases}) == 8
    assert {c.patient for c in cases} <= {p for part in ("train", "test")
            for p in getattr(split.listed(dataset, "voco_3fold")[0], part)}  # fmt: skip
    assert check(dataset, tmp_path) == []
    with pytest.raises(BenchError, match="cc_ccii: 3199 phantoms at most"):
        dataset.phantom(tmp_path / "more", 3200, 0)


def test_findings_are_seen_in_the_lungs_of_their_class():
    shape, spacing = (88, 72, 16), (4.0, 4.4, 18.0)
    for index in range(3):
        none, faint, dense = (
            pneumonia(shape, spacing, 0, index, f).astype(int)
            for f in ("none", "ground glass", "consolidation")
        )
        assert (none.shape, none.min() >= 0) == ((16, 72, 88), True)
        more = faint - none > 30
        assert 0.002 < more.mean() < 0.1
        assert 80 < faint[more].mean() < 160  # neither air nor soft tissue
        assert dense[dense - none > 80].mean() > 170
        # As radiologists look at it: head first, the liver on the left of the screen, the spine below.
        row, column = np.argwhere((none > 100).any(0)).mean(0).round().astype(int)
        assert (none[-4:, :, :column] > 180).sum() > (none[-4:, :, column:] > 180).sum()
        middle = none[4:12, :, column - 6 : column + 6] > 225
        assert middle[:, row:].sum() > 5 * middle[:, :row].sum()


def test_faults_of_scans_are_found_by_kind(tmp_path):
    dataset = load("cc_ccii")
    dataset.phantom(tmp_path, 6, 0)
    a, b, c, d, e, f = (case.images[0] for case in dataset.cases(tmp_path))
    sorted(a.iterdir())[4].unlink()
    path = sorted(b.iterdir())[3]
    Image.open(path).resize((40, 40)).save(path)
    path = sorted(c.iterdir())[2]
    path.write_bytes(path.read_bytes()[:-40])
    shutil.rmtree(d)
    shutil.copytree(e, d)
    shutil.copy(sorted(f.iterdir())[0], tmp_path / "NCP" / "stray.png")
    found = {(finding.kind, finding.file) for finding in check(dataset, tmp_path)}
    assert found == {
        ("missing", str(a)), ("shape", str(b)), ("truncated", str(path)), ("duplicate", str(e)),
        ("extra", str(tmp_path / "NCP" / "stray.png")),
    }  # fmt: skip
    shutil.rmtree(f)
    f.mkdir()
    assert ("unreadable", str(f)) in {(finding.kind, finding.file) for finding in check(dataset, tmp_path)}


# --- APTOS 2019 ------------------------------------------------------------------------------

PNG = "train_images/0a1.png", "train_images/0a2.png", "test_images/0b1.png"
MOVED = "aptos/resized/0a1.jpg", "aptos/resized/0a2.jpg", "aptos/testing 224/0b1.jpeg"


def grades(root: Path, text: str = "id_code,diagnosis\n0a1,0\n0a2,4\n", name: str = "train.csv") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode())
    return root


@pytest.mark.parametrize("names", [PNG, MOVED, tuple(f"aptos2019/{n}" for n in PNG)])
@pytest.mark.parametrize(
    "text",
    ["id_code,diagnosis\n0a1,0\n0a2,4\n", "\ufeffid_code, diagnosis\r\n0a1, 0\r\n0a2, 4.0\r\n\r\n",
     'diagnosis,id_code,x\n"0",0a1.png,9\n4,0a2.png,\n'],
)  # fmt: skip
def test_pictures_are_paired_with_their_grades_by_name(tmp_path, names, text):
    touch(tmp_path, *names, "train_images/._0a1.png")
    grades(tmp_path, text, "sub/train.csv")
    grades(tmp_path, "id_code,diagnosis\n0b1,0\n", "sample_submission.csv")  # grades that nobody gave
    cases = load("aptos19").cases(tmp_path)
    assert [(c.id, c.patient, c.label, c.meta["part"]) for c in cases] == [
        ("0a1", "0a1", 0, "training"), ("0a2", "0a2", 4, "training"), ("0b1", "0b1", None, "testing"),
    ]  # fmt: skip
    assert [c.images[0] for c in cases] == [tmp_path / n for n in names]


def test_a_listed_picture_that_is_not_there_is_missing_and_an_unlisted_one_is_extra(tmp_path):
    dataset = load("aptos19")
    dataset.phantom(tmp_path, 6, 0)
    assert check(dataset, tmp_path) == []
    grades(tmp_path, (tmp_path / "train.csv").read_text() + "0c1,3\n")
    grades(tmp_path, (tmp_path / "test.csv").read_text() + "0d1\n", "test.csv")
    stray = tmp_path / "train_images" / "0e1.png"
    shutil.copy(next((tmp_path / "test_images").iterdir()), stray)
    found = check(dataset, tmp_path)
    assert [(f.case, f.kind, f.file) for f in found] == [
        ("0c1", "missing", str(tmp_path / "train_images" / "0c1.png")),
        ("0d1", "missing", str(tmp_path / "test_images" / "0d1.png")),
        ("", "extra", str(stray)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id_code,diagnosis\n0a1,5\n", "line 2: diagnosis must be 0 to 4, got '5'"),
        ("id_code,diagnosis\n0a1,0\n0a2,\n", "line 3: diagnosis must be 0 to 4, got ''"),
        ("id_code,diagnosis\n0a1,0\n0a2\n", "line 3: diagnosis must be"),
        ("id_code,diagnosis\n0a1,1.5\n", "got '1.5'"),
        ("id_code,diagnosis\n0a1,0\n0a2,1\n0a1,3\n", "line 4: 0a1 has grade 3, in train.csv, line 2, 0"),
        ("id_code,diagnosis\n../x,1\n", "line 2: '../x' is no id_code"),
        ("id_code,diagnosis\n" + "x" * 300 + ",1\n", "is no id_code"),
        ("image,level\n0a1,0\n", "no CSV file with the columns id_code and diagnosis"),
        ("", "no CSV file"),
    ],
)
def test_an_unusable_csv_is_one_line_that_names_it(tmp_path, text, words):
    touch(tmp_path, *PNG)
    with pytest.raises(BenchError) as caught:
        load("aptos19").cases(grades(tmp_path, text))
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_equal_line_is_no_conflict_and_two_pictures_of_a_name_are_one(tmp_path):
    touch(tmp_path, *PNG)
    grades(tmp_path, "id_code,diagnosis\n0a1,0\n0a1,0\n")
    assert [c.id for c in load("aptos19").cases(tmp_path)] == ["0a1", "0b1"]
    touch(tmp_path, "resized/0a1.jpg")
    with pytest.raises(BenchError, match="keep one"):
        load("aptos19").cases(tmp_path)


def test_a_grade_is_believed_before_a_list_without_grades(tmp_path):
    touch(tmp_path, *PNG)
    for first, second in (("a", "b"), ("b", "a")):
        grades(tmp_path, name=f"{first}.csv")
        grades(tmp_path, "id_code\n0a1\n", f"{second}.csv")
        assert [c.label for c in load("aptos19").cases(tmp_path)] == [0, 4, None]


def test_one_picture_with_two_grades_is_a_duplicate_that_says_so(tmp_path):
    dataset = load("aptos19")
    dataset.phantom(tmp_path, 3, 0)
    first, second, third = dataset.cases(tmp_path)
    shutil.copy(first.images[0], second.images[0])
    shutil.copy(first.images[0], third.images[0])
    found = {f.case: f for f in check(dataset, tmp_path)}
    assert [f.kind for f in found.values()] == ["duplicate", "duplicate"]
    for case in (second, third):
        assert f"{first.label} ({dataset.labels[first.label]})" in found[case.id].detail
        assert f"here {case.label} ({dataset.labels[case.label]})" in found[case.id].detail


def test_a_grey_photograph_has_too_few_channels(tmp_path):
    dataset = load("aptos19")
    dataset.phantom(tmp_path, 2, 0)
    path = dataset.cases(tmp_path)[0].images[0]
    Image.open(path).convert("L").save(path)
    assert [(f.kind, f.file) for f in check(dataset, tmp_path)] == [("shape", str(path))]


def test_every_grade_is_drawn_and_its_signs_grow_in_number(tmp_path):
    dataset = load("aptos19")
    dataset.phantom(tmp_path, 12, 0)
    cases = dataset.cases(tmp_path)
    assert {c.label for c in cases} == {*dataset.labels, None}
    assert sum(c.label is None for c in cases) == 2
    assert len({read_volume(c.images[0]).array.shape for c in cases}) == 3
    for index in range(4):
        shown = [fundus((128, 96), 0, index, grade=g) for g in range(5)]
        areas = [made.signs.sum() for made in shown]
        assert areas[0] == 0
        assert all(a < b for a, b in itertools.pairwise(areas))
        assert (shown[4].image[:4, :4] < 10).all()  # outside of the field
        same = ~shown[3].signs & ~shown[0].signs
        apart = np.abs(shown[3].image.astype(int) - shown[0].image)[same]
        assert np.median(apart) < 10  # the same person in every grade
    with pytest.raises(ValueError, match="grade must be 0 to 4"):
        fundus((16, 16), 0, 0, grade=5)


def test_the_black_border_is_cropped_and_the_papers_recipe_keeps_it(tmp_path):
    dataset = load("aptos19")
    dataset.phantom(tmp_path, 1, 0)
    image = read_volume(dataset.cases(tmp_path)[0].images[0])
    cropped, whole = (prepare(image, None, dataset.recipes[r], dataset) for r in ("default", "taleb"))
    assert cropped.image.shape == whole.image.shape == (3, 224, 224, 1)
    assert cropped.geometry.box[0][0] > 0 == whole.geometry.box[0][0]
    assert 0 <= whole.image.min() < whole.image.max() <= 1


# --- UK Biobank fundus -----------------------------------------------------------------------

LEFT, RIGHT = "1000102_21015_0_0", "1000102_21016_1_0"


@pytest.mark.parametrize(
    "folders",
    [("", ""), ("Fundus (left)/10/", "Fundus (right)/10/"),
     ("Bulk/Retinal Optical Coherence Tomography/Fundus (left)/10/",
      "Bulk/Retinal Optical Coherence Tomography/Fundus (right)/10/")],
)  # fmt: skip
def test_both_eyes_and_visits_are_one_patient(tmp_path, folders):
    names = f"{folders[0]}{LEFT}.png", f"{folders[1]}{RIGHT}.png"
    touch(tmp_path, *names, "1000102_21011_0_0.fds", "1000102_20252_2_0.zip", "logo.png", f"._{LEFT}.png")
    cases = load("ukb_fundus").cases(tmp_path)
    assert [(c.id, c.patient, c.label) for c in cases] == [
        (LEFT, "1000102", None), (RIGHT, "1000102", None),
    ]  # fmt: skip
    assert [c.meta for c in cases] == [
        {"eye": "left", "instance": "0", "array": "0"}, {"eye": "right", "instance": "1", "array": "0"},
    ]  # fmt: skip
    assert [c.images[0] for c in cases] == [tmp_path / n for n in names]
    assert {load("ukb_fundus").person(c) for c in cases} == {"ukb:1000102"}  # as of the brains
    touch(tmp_path, f"copy/{LEFT}.jpg")
    with pytest.raises(BenchError, match="keep one"):
        load("ukb_fundus").cases(tmp_path)


def test_an_unreadable_photograph_is_listed_and_the_others_are_judged(tmp_path):
    dataset = load("ukb_fundus")
    dataset.phantom(tmp_path, 6, 0)
    first, second = (c.images[0] for c in dataset.cases(tmp_path)[:2])
    first.write_bytes(first.read_bytes()[:-500])
    second.write_bytes(b"")
    assert [(f.kind, f.file) for f in check(dataset, tmp_path)] == [
        ("truncated", str(first)), ("truncated", str(second)),
    ]  # fmt: skip


def test_phantoms_have_two_eyes_and_some_second_visits(tmp_path):
    dataset = load("ukb_fundus")
    dataset.phantom(tmp_path, 10, 0)
    cases = dataset.cases(tmp_path)
    assert len({c.patient for c in cases}) == 4
    assert {c.meta["instance"] for c in cases} == {"0", "1"}
    for case in cases:  # the disc, the brightest, is on the side of the nose
        image = read_volume(case.images[0]).array[1, :, :, 0].astype(int)
        x = np.argwhere(image > np.percentile(image, 99))[:, 0].mean()
        assert (x < image.shape[0] / 2) == (case.meta["eye"] == "left")


@pytest.mark.parametrize("name", ["aptos19", "ukb_fundus"])
def test_pictures_of_persons_may_not_be_shown(name):
    assert load(name).redistribution is False
