"""Layouts of the knee data set: MetaImage pairs in one folder, in parts, or converted."""

from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.data import split
from bench.data.check import check
from bench.data.recipe import prepare
from bench.errors import BenchError
from bench.volumes.reading import read_header, read_label, read_volume

PAIR = "image-001.mhd", "labels-001.mhd"
MOVED = "imagesTr/image-001.nii.gz", "labelsTr/labels-001.nii.gz"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.fixture
def dataset():
    return registry.load("dataset", "ski10")()


@pytest.mark.parametrize("pair", [PAIR, MOVED, tuple(f"TrainingData/{n}" for n in PAIR)])
def test_knees_are_paired_on_their_digits(dataset, tmp_path, pair):
    touch(tmp_path, *pair, "image-001.raw", "._image-001.mhd", "roi-001.mhd")
    (case,) = dataset.cases(tmp_path)
    assert (case.id, case.patient, case.meta["part"]) == ("001", "001", "training")
    assert case.images == (tmp_path / pair[0],)
    assert case.label == tmp_path / pair[1]


@pytest.mark.parametrize(
    ("test", "id"), [("image-101.mhd", "test-101"), ("TestData/image-001.mhd", "test-001")]
)
def test_test_scans_are_unlabelled_and_their_numbers_their_own(dataset, tmp_path, test, id):
    touch(tmp_path, *PAIR, test)
    cases = dataset.cases(tmp_path)
    assert [(c.id, c.label is None) for c in cases] == [("001", False), (id, True)]
    assert dataset.missing(tmp_path) == []


@pytest.mark.parametrize(("pair", "gone"), [(PAIR, 0), (PAIR, 1), (MOVED, 0), (MOVED, 1)])
def test_the_missing_half_of_a_pair_is_named(dataset, tmp_path, pair, gone):
    touch(tmp_path, pair[1 - gone])
    assert dataset.missing(tmp_path) == [("001", str(tmp_path / pair[gone]))]


def test_a_knee_in_two_formats_is_ambiguous(dataset, tmp_path):
    touch(tmp_path, *PAIR, MOVED[0])
    with pytest.raises(BenchError, match="keep one"):
        dataset.cases(tmp_path)


def test_the_unofficial_division_is_80_and_20(dataset):
    fold = split.listed(dataset, "kneeseg_80_20")[0]
    assert (len(fold.train), len(fold.test)) == (80, 20)
    assert {*fold.train, *fold.test} == {f"{n:03d}" for n in range(1, 101)}


def test_a_knee_may_never_be_shown_in_a_shared_page(dataset):
    assert dataset.redistribution is False


def test_phantoms_have_both_parts_of_the_division_and_sagittal_slices(dataset, tmp_path):
    dataset.phantom(tmp_path, 5, 0)
    fold = split.listed(dataset, "kneeseg_80_20")[0]
    cases = dataset.cases(tmp_path)
    ids = {c.patient for c in cases}
    assert (len(ids & {*fold.train}), len(ids & {*fold.test})) == (4, 1)
    assert check(dataset, tmp_path) == []
    for case in cases:
        image = read_volume(case.images[0])
        assert (image.original_axes, image.array.dtype) == ("PIL", np.int16)
        made = prepare(image, read_label(case.label, image), dataset.recipes["default"], dataset)
        assert set(np.unique(made.label)) == {0, 1, 2, 3, 4}
        femur, tibia = (np.argwhere(made.label == n)[:, 2].mean() for n in (1, 3))
        assert femur > tibia  # z grows to the head
    assert read_header(cases[0].images[0]).spacing == pytest.approx((3.0, 2.3, 2.3))


def test_damaged_knees_are_found_by_kind(dataset, tmp_path):
    dataset.phantom(tmp_path, 5, 0)
    (tmp_path / "image-001.raw").unlink()
    raw = (tmp_path / "labels-002.raw").read_bytes()
    (tmp_path / "labels-002.raw").write_bytes(raw[:-1])
    (tmp_path / "labels-003.raw").write_bytes(raw.replace(b"\4", b"\5"))
    header = (tmp_path / "image-006.mhd").read_text()
    (tmp_path / "image-006.mhd").write_text(
        header.replace("TransformMatrix = 0 1 0 ", "TransformMatrix = 0 2 0 ")
    )
    found = {(f.case, f.kind) for f in check(dataset, tmp_path)}
    assert found == {
        ("001", "missing"), ("002", "truncated"), ("003", "label_value"), ("006", "affine"),
    }  # fmt: skip
