"""UK Biobank's bulk zips as people have them: packed, unpacked, repeated, refused, damaged, without FLAIR."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.data import layout_visits
from bench.data.check import check
from bench.data.recipe import contiguous, prepare
from bench.errors import BenchError
from bench.volumes.reading import join_channels, read_label, read_volume

T1 = "T1/T1_brain.nii.gz"
SEG, PVESEG = "T1/T1_fast/T1_brain_seg.nii.gz", "T1/T1_fast/T1_brain_pveseg.nii.gz"
FLAIR = "T2_FLAIR/T2_FLAIR_brain.nii.gz"
REFUSED = "T1/unusable/T1.nii.gz"
A, B = "1000102_20252_2_0", "1000220_20252_2_0"


def load(name: str = "ukb_brain"):
    return registry.load("dataset", name)()


def zipped(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


def unpacked(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("visits")
    load().phantom(root, 8, 0)
    return root


def test_a_visit_is_read_from_its_zip_without_unpacking(phantom):
    first = load().cases(phantom)[0]
    home = phantom / "Brain MRI" / "T1" / "10" / f"{A}.zip"
    assert (first.id, first.patient) == ("1000102_2_0", "1000102")
    assert (first.images, first.label) == ((home / T1,), home / SEG)
    image = read_volume(first.images[0])
    assert image.original_axes == "LAS"  # as stored; read in RAS+
    label = read_label(first.label, image)
    assert set(np.unique(label.array)) == {0, 1, 2, 3}
    assert (image.array[0] != 0).sum() == (label.array != 0).sum()  # outside the brain is exactly 0
    assert sorted(p.name for p in home.parent.iterdir() if p.is_dir()) == []


def test_brain_and_label_lie_on_each_other(phantom):
    first = load().cases(phantom)[0]
    image = read_volume(first.images[0])
    tissue = contiguous(read_label(first.label, image), load().labels)
    means = [float(image.array[0][tissue == k].mean()) for k in (1, 2, 3)]
    assert means == sorted(means)  # in T1 fluid is darker than grey, grey than white matter
    assert np.diff(means).min() > 0.2 * means[2]


def test_the_phantom_has_repeats_unlabelled_and_refused_visits_and_passes_its_check(phantom):
    cases = load().cases(phantom)
    assert len(cases) == 8
    assert [c.id for c in cases if c.meta["instance"] == "3"] == ["1000135_3_0"]
    assert [c.patient for c in cases].count("1000135") == 2
    assert [c.id for c in cases if c.label is None] == ["1000168_2_0"]
    assert load().skipped(phantom) == [
        (id, f"T1/unusable/ in place of {T1}") for id in ("1000129_2_0", "1000162_2_0")
    ]
    assert check(load(), phantom) == []


def test_the_same_folder_read_as_pairs_holds_the_visits_with_t2_flair(phantom):
    dataset = load("ukb_brain_flair")
    cases = dataset.cases(phantom)
    assert [c.id for c in cases] == ["1000102_2_0", "1000124_2_0", "1000135_3_0", "1000168_2_0"]
    assert [p.parts[-3].split("_")[1] for p in cases[0].images] == ["20252", "20253"]
    t1, flair = (read_volume(p) for p in cases[0].images)
    made = prepare(join_channels([t1, flair]), None, dataset.recipes["coarse"], dataset)
    assert made.image.shape[0] == len(dataset.channels) == 2
    # The brain is the same, its contrast another one; 0 outside of it stays 0.
    assert ((made.image[0] != 0) == (made.image[1] != 0)).mean() > 0.99
    assert not np.allclose(made.image[0], made.image[1])
    assert ("1000113_2_0", "no field 20253") in dataset.skipped(phantom)
    assert dataset.missing(phantom) == []


def test_an_unpacked_visit_is_the_same_case(phantom, tmp_path):
    home = phantom / "Brain MRI" / "T1" / "10"
    with zipfile.ZipFile(home / f"{A}.zip") as archive:
        archive.extractall(tmp_path / "deep" / "er" / A)
    (case,) = load().cases(tmp_path)
    packed = load().cases(phantom)[0]
    assert (case.id, case.patient, case.meta) == (packed.id, packed.patient, packed.meta)
    assert case.images == (tmp_path / "deep" / "er" / A / T1,)
    both = [read_volume(c.images[0]).array for c in (case, packed)]
    assert np.array_equal(*both)
    assert check(load(), tmp_path) == []  # nothing else of the visit is a stray file


@pytest.mark.parametrize("second", ["folder", "zip"])
def test_one_visit_in_two_places_is_ambiguous(tmp_path, second):
    zipped(tmp_path / "a" / f"{A}.zip", T1)
    if second == "zip":
        zipped(tmp_path / "b" / f"{A}.zip", T1)
    else:
        unpacked(tmp_path / "a" / A, T1)
    with pytest.raises(BenchError, match="is the same visit; keep the zip or its folder, once") as caught:
        load().cases(tmp_path)
    assert str(caught.value).count(A) == 2


def test_instances_and_arrays_of_one_participant_are_cases_of_one_patient(tmp_path):
    for name in ("1000102_20252_3_0", "1000102_20252_2_1", A, B):
        zipped(tmp_path / f"{name}.zip", T1)
    cases = load().cases(tmp_path)
    assert [c.id for c in cases] == ["1000102_2_0", "1000102_2_1", "1000102_3_0", "1000220_2_0"]
    assert [c.patient for c in cases] == ["1000102"] * 3 + ["1000220"]
    assert [(c.meta["instance"], c.meta["array"]) for c in cases[:3]] == [("2", "0"), ("2", "1"), ("3", "0")]


def test_litter_other_fields_and_other_names_are_no_visits(tmp_path):
    zipped(tmp_path / f"{A}.zip", T1)
    zipped(tmp_path / f"._{B}.zip", T1)
    zipped(tmp_path / "__MACOSX" / f"{B}.zip", T1)
    zipped(tmp_path / "1000220_20253_2_0.zip", FLAIR)
    zipped(tmp_path / f"{B} (1).zip", T1)
    assert [c.id for c in load().cases(tmp_path)] == ["1000102_2_0"]
    assert load().missing(tmp_path) == load().skipped(tmp_path) == []


@pytest.mark.parametrize("make", [zipped, unpacked])
def test_what_a_visit_lacks_is_missing_unless_it_is_marked_unusable(tmp_path, make):
    suffix = ".zip" if make is zipped else ""
    make(tmp_path / f"{A}{suffix}", T1)
    make(tmp_path / f"{B}{suffix}", "T1/T1.json")
    make(tmp_path / f"1000330_20252_2_0{suffix}", REFUSED, "T1/T1.json")
    assert [c.id for c in load().cases(tmp_path)] == ["1000102_2_0"]
    assert load().missing(tmp_path) == [("1000220_2_0", str(tmp_path / f"{B}{suffix}" / T1))]
    assert load().skipped(tmp_path) == [("1000330_2_0", f"T1/unusable/ in place of {T1}")]


def test_an_unusable_partner_is_skipped_and_an_incomplete_one_missing(tmp_path):
    for person, content in (("1000102", FLAIR), ("1000220", "T2_FLAIR/unusable/x.nii.gz"), ("1000330", "x")):
        zipped(tmp_path / f"{person}_20252_2_0.zip", T1)
        zipped(tmp_path / f"{person}_20253_2_0.zip", content)
    zipped(tmp_path / "1000440_20253_2_0.zip", FLAIR)  # T2-FLAIR alone
    dataset = load("ukb_brain_flair")
    assert [c.id for c in dataset.cases(tmp_path)] == ["1000102_2_0"]
    assert dataset.missing(tmp_path) == [("1000330_2_0", str(tmp_path / "1000330_20253_2_0.zip" / FLAIR))]
    assert dataset.skipped(tmp_path) == [("1000220_2_0", f"T2_FLAIR/unusable/ in place of {FLAIR}")]


def test_the_partner_must_be_of_the_same_visit(tmp_path):
    zipped(tmp_path / f"{A}.zip", T1)
    zipped(tmp_path / "1000102_20253_3_0.zip", FLAIR)
    with pytest.raises(
        BenchError, match=r"no complete visit among 1, first 1000102_2_0: no field 20253; get"
    ):
        load("ukb_brain_flair").cases(tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"), [((SEG, PVESEG), SEG), ((PVESEG,), PVESEG), ((), None), (("T1/T1_fast/x",), None)]
)
def test_the_label_is_fasts_hard_map_or_else_that_of_partial_volumes(tmp_path, names, expected):
    zipped(tmp_path / f"{A}.zip", T1, *names)
    (case,) = load().cases(tmp_path)
    assert case.label == (expected and tmp_path / f"{A}.zip" / expected)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no zip at all" * 100])
def test_a_damaged_zip_hides_no_other_and_is_found_by_the_check(tmp_path, content):
    load().phantom(tmp_path, 1, 0)
    (tmp_path / f"{B}.zip").write_bytes(content)
    assert [c.id for c in load().cases(tmp_path)] == ["1000102_2_0", "1000220_2_0"]
    findings = check(load(), tmp_path)
    assert {f.case for f in findings} == {"1000220_2_0"}
    assert {f.kind for f in findings} <= {"unreadable", "truncated"}


def test_a_link_to_nowhere_hides_no_other_and_is_found_by_the_check(tmp_path):
    load().phantom(tmp_path, 1, 0)
    (tmp_path / f"{B}.zip").symlink_to(tmp_path / "gone.zip")
    assert len(load().cases(tmp_path)) == 2
    assert {(f.case, f.kind) for f in check(load(), tmp_path)} == {("1000220_2_0", "missing")}


def test_no_zip_is_opened_twice_however_often_the_cases_are_asked_for(tmp_path, monkeypatch):
    for n in range(20):
        zipped(tmp_path / f"{1000100 + n}_20252_2_0.zip", T1, SEG)
    asked = []
    monkeypatch.setattr(
        layout_visits.zipped, "names", lambda path: asked.append(path.name) or {T1: 0, SEG: 0}
    )
    for _ in range(3):
        assert len(load().cases(tmp_path)) == 20
        assert load().missing(tmp_path) == []
    assert len(asked) == len(set(asked)) == 20
    path = zipped(tmp_path / "1000100_20252_2_0.zip", REFUSED)
    os.utime(path, ns=(1, 1))
    load().cases(tmp_path)
    assert len(asked) == 21  # what changed is looked at again


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(layout_visits.os, "scandir", refuse)
    with pytest.raises(BenchError, match="cannot be listed"):
        load().cases(tmp_path)


def test_a_link_to_the_bulk_folder_will_do(phantom, tmp_path):
    (tmp_path / "ukb_brain_flair").symlink_to(phantom)
    assert len(load("ukb_brain_flair").cases(tmp_path / "ukb_brain_flair")) == 4
