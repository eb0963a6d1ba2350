"""Every kind of damage to a data set is found, named by its kind and its file."""

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bench import registry
from bench.data import split
from bench.data.check import Finding, check
from bench.data.layout_msd import msd_folder
from bench.dataset import Case, Dataset, clean
from bench.phantoms.organs import write_nrrd
from bench.volumes.header import KINDS

IMAGE, LABEL = "imagesTr/case_2.nii.gz", "labelsTr/case_2.nii.gz"
NAN, INF = float("nan"), float("inf")
AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.0, 0, 4], [0, 0, 2.0, -3], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """Three cases in MSD layout: int16 CT, uint8 labels 0 to 2, stored along LAS axes."""
    root = tmp_path_factory.mktemp("sound")
    rng = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    names = [f"case_{i}" for i in (1, 2, 3)]
    for name in names:
        image = rng.integers(-1000, 1000, (10, 9, 8)).astype(np.int16)
        label = rng.integers(0, 3, (10, 9, 8)).astype(np.uint8)
        nib.save(nib.Nifti1Image(image, AFFINE), root / f"imagesTr/{name}.nii.gz")
        nib.save(nib.Nifti1Image(label, AFFINE), root / f"labelsTr/{name}.nii.gz")
    listing = {
        "name": "Tiny", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "a", "2": "b"},
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"}
                     for n in names],
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(listing))
    return root


@pytest.fixture
def root(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "tiny"))


def patch(at: int, form: str, *values) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into(form, data, at, *values)
        path.write_bytes(gzip.compress(bytes(data)))

    return damage


def rewrite(change: Callable, affine: np.ndarray = AFFINE) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        array = change(np.asarray(nib.load(path).dataobj))
        nib.save(nib.Nifti1Image(array, affine), path)

    return damage


def keep(n: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[:n]) and None


def put(value: float, dtype: type = np.float32) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(dtype)
        array[1, 2, 3] = value
        return array

    return change


def moved(*entries: tuple[int, int, float]) -> np.ndarray:
    affine = AFFINE.copy()
    for i, j, value in entries:
        affine[i, j] = value
    return affine


def bomb(path: Path) -> None:
    header = bytearray(gzip.decompress(path.read_bytes())[:352])
    struct.pack_into("<4h", header, 40, 3, 30000, 30000, 8)
    path.write_bytes(gzip.compress(bytes(header) + bytes(20_000_000)))


DAMAGE: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("image removed", IMAGE, Path.unlink, "missing"),
    ("label removed", LABEL, Path.unlink, "missing"),
    ("image empty", IMAGE, keep(0), "truncated"),
    ("image cut in the header", IMAGE, keep(60), "truncated"),
    ("image cut in the data", IMAGE, keep(-300), "truncated"),
    ("label cut in the data", LABEL, keep(-20), "truncated"),
    ("header declares more than the data", IMAGE, patch(42, "<h", 11), "truncated"),
    ("text under the name", IMAGE, lambda p: p.write_text("404 not found"), "unreadable"),
    ("plain under .gz", IMAGE, lambda p: p.write_bytes(gzip.decompress(p.read_bytes())),
     "unreadable"),
    ("gzip of something else", IMAGE, lambda p: p.write_bytes(gzip.compress(bytes(9999))),
     "unreadable"),
    ("magic", IMAGE, patch(344, "4s", b"xxx\0"), "unreadable"),
    ("datatype", IMAGE, patch(70, "<h", 1792), "unreadable"),
    ("vox_offset", IMAGE, patch(108, "<f", 1e9), "unreadable"),
    ("negative dimension", IMAGE, patch(42, "<h", -10), "shape"),
    ("dimensions of 32767", IMAGE, patch(42, "<3h", 32767, 32767, 32767), "shape"),
    ("gzip bomb", IMAGE, bomb, "shape"),
    ("two channels", IMAGE, rewrite(lambda a: np.stack([a, a], -1)), "shape"),
    ("label of another shape", LABEL, rewrite(lambda a: a[:-1]), "shape"),
    ("label with channels", LABEL, rewrite(lambda a: np.stack([a, a], -1)), "shape"),
    ("pixdim 0", IMAGE, patch(80, "<f", 0), "spacing"),
    ("pixdim negative", LABEL, patch(84, "<f", -1), "spacing"),
    ("pixdim is not the affine's", IMAGE, patch(88, "<f", 5), "spacing"),
    ("label of another spacing", LABEL, rewrite(lambda a: a, moved((2, 2, 3.0))), "spacing"),
    ("label of another spacing, as affine", LABEL, rewrite(lambda a: a, moved((2, 2, 3.0))),
     "affine"),
    ("NaN in the affine", IMAGE, patch(280, "<f", NAN), "affine"),
    ("affine of zeros", IMAGE, patch(280, "<4f", 0, 0, 0, 0), "affine"),
    ("label moved by 5 mm", LABEL, rewrite(lambda a: a, moved((0, 3, 14.0))), "affine"),
    ("label mirrored", LABEL, rewrite(lambda a: a, moved((0, 0, 1.0))), "affine"),
    ("label mirrored, as orientation", LABEL, rewrite(lambda a: a, moved((0, 0, 1.0))),
     "orientation"),
    ("no orientation stated", IMAGE, patch(252, "<2h", 0, 0), "orientation"),
    ("slope NaN", IMAGE, patch(112, "<f", NAN), "nonfinite"),
    ("intercept infinite", IMAGE, patch(116, "<f", INF), "nonfinite"),
    ("NaN voxel", IMAGE, rewrite(put(NAN)), "nonfinite"),
    ("infinite voxel", IMAGE, rewrite(put(-INF)), "nonfinite"),
    ("NaN label", LABEL, rewrite(put(NAN)), "nonfinite"),
    ("label 0.5", LABEL, rewrite(put(0.5)), "label_value"),
    ("label 3 of 2", LABEL, rewrite(put(3, np.uint8)), "label_value"),
    ("label -1", LABEL, rewrite(put(-1, np.int16)), "label_value"),
    ("label empty", LABEL, rewrite(np.zeros_like), "empty_label"),
]  # fmt: skip


def assert_found(findings: list[Finding], kind: str, path: Path) -> None:
    assert {f.kind for f in findings} <= set(KINDS)
    assert all("\n" not in f"{f.case}{f.file}{f.detail}" and f.detail for f in findings)
    assert kind in {f.kind for f in findings if Path(f.file) == path}, findings


def test_a_sound_folder_has_no_findings(root):
    seen: list[tuple[int, int]] = []
    assert check(msd_folder(root), root, on_progress=lambda *at: seen.append(at)) == []
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("file", "damage", "kind"), [d[1:] for d in DAMAGE],
                         ids=[d[0] for d in DAMAGE])  # fmt: skip
def test_damage_is_found_and_blames_only_its_file(root, file, damage, kind):
    damage(root / file)
    findings = check(msd_folder(root), root)
    assert_found(findings, kind, root / file)
    blamed = {root / IMAGE, root / LABEL} if file == IMAGE else {root / LABEL}
    assert {Path(f.file) for f in findings} <= blamed
    assert {f.case for f in findings} == {"case_2"}


def test_float_labels_a_hair_off_are_sound(root):
    rewrite(lambda a: a.astype(np.float64) * 0.9999999)(root / LABEL)
    assert check(msd_folder(root), root) == []


def test_a_label_stored_along_other_axes_is_sound(root):
    image = nib.as_closest_canonical(nib.load(root / LABEL))
    nib.save(image, root / LABEL)
    assert check(msd_folder(root), root) == []


def test_a_copied_case_is_a_duplicate_even_as_another_type(root):
    array = np.asarray(nib.load(root / "imagesTr/case_1.nii.gz").dataobj).astype(np.float32)
    path = root / "imagesTr/case_3.nii.gz"
    nib.save(nib.as_closest_canonical(nib.Nifti1Image(array, AFFINE)), path)
    found = [f for f in check(msd_folder(root), root) if f.kind == "duplicate"]
    assert [(f.case, Path(f.file)) for f in found] == [("case_3", path)]
    assert "case_1" in found[0].detail


def test_files_of_no_case_are_extra_and_litter_is_not(root):
    stray = root / "labelsTr" / "case_9.nii.gz"
    shutil.copy(root / LABEL, stray)
    shutil.copy(root / LABEL, root / "notes.nii.gz")
    for name in ("._case_1.nii.gz", ".DS_Store"):
        (root / "imagesTr" / name).write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    shutil.copy(root / LABEL, root / "__MACOSX" / "case_1.nii.gz")
    findings = check(msd_folder(root), root)
    assert {f.kind for f in findings} == {"extra"}
    assert {Path(f.file) for f in findings} == {stray, root / "notes.nii.gz"}


def test_every_fault_of_a_folder_is_listed_by_any_number_of_workers(root):
    keep(0)(root / "imagesTr/case_1.nii.gz")
    rewrite(put(9, np.uint8))(root / "labelsTr/case_1.nii.gz")
    keep(50)(root / IMAGE)
    (root / "labelsTr/case_3.nii.gz").unlink()
    alone, together = (check(msd_folder(root), root, workers=n) for n in (1, 3))
    assert alone == together
    assert [(f.case, f.kind) for f in alone] == [
        ("case_3", "missing"), ("case_1", "truncated"), ("case_1", "label_value"),
        ("case_2", "truncated"),
    ]  # fmt: skip


# --- NRRD, raw label values, splits ------------------------------------------------------------


@pytest.fixture
def atria(tmp_path) -> Path:
    dataset = registry.load("dataset", "lasc")
    ids = [*split.listed(dataset(), "uamt_80_20")[0].train[:1],
           *split.listed(dataset(), "uamt_80_20")[0].test[:1]]  # fmt: skip
    rng = np.random.default_rng(1)
    for id in ids:
        image, label = rng.integers(0, 255, (6, 5, 4)), rng.integers(0, 2, (6, 5, 4)) * 255
        write_nrrd(tmp_path / "lasc" / id / "lgemri.nrrd", image, (0.625,) * 3, "uint8")
        write_nrrd(tmp_path / "lasc" / id / "laendo.nrrd", label, (0.625,) * 3, "uint8")
    return tmp_path / "lasc"


def replaced(old: bytes, new: bytes) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new, 1))

    return damage


@pytest.mark.parametrize(
    ("file", "damage", "kind"),
    [
        ("lgemri.nrrd", keep(-12), "truncated"),
        ("lgemri.nrrd", keep(40), "truncated"),
        ("lgemri.nrrd", replaced(b"(0.625,0,0)", b"(nan,0,0)"), "affine"),
        ("lgemri.nrrd", replaced(b"encoding: gzip", b"encoding: bzip"), "unreadable"),
        ("lgemri.nrrd", replaced(b"sizes: 6 5 4", b"sizes: 6 5 0"), "shape"),
        ("laendo.nrrd", replaced(b"space origin: (0,0,0)", b"space origin: (9,0,0)"), "affine"),
        ("laendo.nrrd", replaced(b"(0.625,0,0)", b"(0.5,0,0)"), "spacing"),
        ("laendo.nrrd", lambda p: write_nrrd(p, np.full((6, 5, 4), 7), (0.625,) * 3, "uint8"),
         "label_value"),
        ("laendo.nrrd", Path.unlink, "missing"),
        ("lgemri.nrrd", Path.unlink, "missing"),
    ],
)  # fmt: skip
def test_a_damaged_nrrd_case_is_found(atria, file, damage, kind):
    dataset = registry.load("dataset", "lasc")()
    assert check(dataset, atria) == []
    path = sorted(atria.iterdir())[0] / file
    damage(path)
    assert_found(check(dataset, atria), kind, path)


def test_one_scan_on_two_sides_of_a_split_is_an_overlap(atria):
    first, second = sorted(atria.iterdir())
    shutil.copy(first / "lgemri.nrrd", second / "lgemri.nrrd")
    kinds = [f.kind for f in check(registry.load("dataset", "lasc")(), atria)]
    assert kinds == ["duplicate", "patient_overlap"]


def test_a_patient_listed_twice_in_a_split_is_an_overlap(atria, monkeypatch):
    fold = split.Fold("uamt_80_20", 0, ("a", "b"), (), ("b",))
    monkeypatch.setattr(split, "listed", lambda *_: [fold])
    found = check(registry.load("dataset", "lasc")(), atria)
    assert [f.kind for f in found] == ["patient_overlap"]
    assert "patient b is in train and test" in found[0].detail


# --- pictures and classes ----------------------------------------------------------------------


class Photographs(Dataset):
    """Classified pictures: the class is the name's first digit."""

    title, channels, task, labels = "Photographs", ("grey",), "classification", {0: "well", 1: "ill"}

    def cases(self, root: Path) -> list[Case]:
        found = [p for p in clean(root.iterdir()) if p.stem[0].isdigit()]
        return [Case(p.stem, p.stem, (p,), int(p.stem[0])) for p in found]


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs"
    (folder / "1s").mkdir(parents=True)
    for n, name in enumerate(("0a.png", "0b.png", "1a.png", "1s/1.png", "1s/2.png")):
        Image.fromarray(np.full((6, 5), 20 * n, np.uint8)).save(folder / name)
    return folder


def test_sound_pictures_and_slices_have_no_findings(photographs):
    assert [c.id for c in Photographs().cases(photographs)] == ["0a", "0b", "1a", "1s"]
    assert check(Photographs(), photographs, workers=3) == []


def test_a_picture_of_no_case_is_extra_only_among_pictures(photographs, root):
    shutil.copy(photographs / "0a.png", photographs / "logo.png")
    shutil.copy(photographs / "0a.png", photographs / "._0a.png")
    found = check(Photographs(), photographs)
    assert [(f.kind, Path(f.file)) for f in found] == [("extra", photographs / "logo.png")]
    shutil.copy(photographs / "0a.png", root / "preview.png")
    assert check(msd_folder(root), root) == []


def test_a_folder_of_strange_pictures_is_one_finding(photographs):
    shutil.copytree(photographs / "1s", photographs / "other" / "s")
    found = check(Photographs(), photographs)
    assert [(f.kind, Path(f.file)) for f in found] == [("extra", photographs / "other" / "s")]
    assert "its 2 pictures" in found[0].detail


def test_a_link_to_nothing_is_missing_and_says_where_it_leads(root):
    (root / IMAGE).unlink()
    (root / IMAGE).symlink_to("gone.nii.gz")
    (found,) = check(msd_folder(root), root)
    assert (found.kind, found.detail) == ("missing", "a link that leads to gone.nii.gz")


def test_a_class_that_is_not_declared_is_a_label_value(photographs):
    (photographs / "1a.png").rename(photographs / "7a.png")
    (found,) = check(Photographs(), photographs)
    assert (found.case, found.kind) == ("7a", "label_value")
    assert "class 7" in found.detail


@pytest.mark.parametrize(
    ("copy", "words"), [("0b", "the same voxels as case 0a"), ("1a", "0 (well), here 1 (ill)")]
)
def test_a_copied_picture_says_whether_the_classes_agree(photographs, copy, words):
    shutil.copy(photographs / "0a.png", photographs / f"{copy}.png")
    (found,) = check(Photographs(), photographs)
    assert (found.case, found.kind) == (copy, "duplicate")
    assert found.detail.endswith(words)


def test_doubts_about_slices_are_told_and_the_scan_is_still_compared(photographs):
    shutil.copytree(photographs / "1s", photographs / "0s")
    for folder in ("0s", "1s"):
        (photographs / folder / "2.png").rename(photographs / folder / "4.png")
    found = check(Photographs(), photographs)
    assert [(f.case, f.kind) for f in found] == [("0s", "missing"), ("1s", "missing"), ("1s", "duplicate")]
