"""UK Biobank's bulk zips as people have them: packed, unpacked, refused, damaged, without FLAIR."""

import os
import zipfile

import numpy as np
import pytest
from folders import laid, load

from bench.data import layout_visits
from bench.data.check import check
from bench.data.recipe import contiguous, prepare
from bench.volumes.reading import join_channels, read_label, read_volume

T1, FLAIR = "T1/T1_brain.nii.gz", "T2_FLAIR/T2_FLAIR_brain.nii.gz"
SEG = "T1/T1_fast/T1_brain_seg.nii.gz"
REFUSED = "T1/unusable/T1.nii.gz"
A, B = "1000102_20252_2_0", "1000220_20252_2_0"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("visits")
    load("ukb_brain").phantom(root, 8, 0)
    return root


def test_a_visit_is_read_from_its_zip_without_unpacking(phantom):
    dataset = load("ukb_brain")
    first = dataset.cases(phantom)[0]
    home = phantom / "Brain MRI" / "T1" / "10" / f"{A}.zip"
    assert (first.id, first.patient) == ("1000102_2_0", "1000102")
    assert (first.images, first.label) == ((home / T1,), home / SEG)
    image = read_volume(first.images[0])
    assert image.original_axes == "LAS"  # as stored; read in RAS+
    label = read_label(first.label, image)
    assert set(np.unique(label.array)) == {0, 1, 2, 3}
    assert (image.array[0] != 0).sum() == (label.array != 0).sum()  # outside the brain is exactly 0
    assert not any(path.is_dir() for path in home.parent.iterdir())
    tissue = contiguous(label, dataset)
    means = [float(image.array[0][tissue == k].mean()) for k in (1, 2, 3)]
    assert (
        np.diff(means).min() > 0.2 * means[2]
    )  # in T1 fluid is darker than grey, grey than white matter


def test_the_phantom_has_repeats_unlabelled_and_refused_visits_and_passes_its_check(phantom):
    dataset = load("ukb_brain")
    cases = dataset.cases(phantom)
    assert len(cases) == 8
    assert [c.id for c in cases if c.meta["instance"] == "3"] == ["1000135_3_0"]
    assert [c.patient for c in cases].count("1000135") == 2
    assert [c.id for c in cases if c.label is None] == ["1000168_2_0"]
    why = f"T1/unusable/ in place of {T1}"
    assert dataset.skipped(phantom) == [("1000129_2_0", why), ("1000162_2_0", why)]
    assert check(dataset, phantom) == []


def test_the_same_folder_linked_and_read_as_pairs_holds_the_visits_with_t2_flair(phantom, tmp_path):
    dataset, root = load("ukb_brain_flair"), tmp_path / "ukb_brain_flair"
    root.symlink_to(phantom)
    cases = dataset.cases(root)
    assert [c.id for c in cases] == ["1000102_2_0", "1000124_2_0", "1000135_3_0", "1000168_2_0"]
    assert [p.parts[-3].split("_")[1] for p in cases[0].images] == ["20252", "20253"]
    t1, flair = (read_volume(p) for p in cases[0].images)
    made = prepare(join_channels([t1, flair]), None, dataset.recipes["coarse"], dataset)
    assert made.image.shape[0] == len(dataset.channels) == 2
    # The brain is the same, its contrast another one; 0 outside of it stays 0.
    assert ((made.image[0] != 0) == (made.image[1] != 0)).mean() > 0.99
    assert not np.allclose(made.image[0], made.image[1])
    assert ("1000113_2_0", "no field 20253") in dataset.skipped(root)
    assert dataset.missing(root) == []


def test_an_unpacked_visit_is_the_same_case(phantom, tmp_path):
    dataset, home = load("ukb_brain"), tmp_path / "deep" / "er" / A
    with zipfile.ZipFile(phantom / "Brain MRI" / "T1" / "10" / f"{A}.zip") as archive:
        archive.extractall(home)
    (case,), packed = dataset.cases(tmp_path), dataset.cases(phantom)[0]
    assert (case.id, case.patient, case.meta) == (packed.id, packed.patient, packed.meta)
    assert case.images == (home / T1,)
    assert np.array_equal(*(read_volume(c.images[0]).array for c in (case, packed)))
    assert check(dataset, tmp_path) == []  # nothing else of the visit is a stray file


@pytest.mark.parametrize("suffix", [".zip", ""])
def test_what_a_visit_lacks_is_missing_unless_it_is_marked_unusable(tmp_path, suffix):
    refused = [f"1000330_20252_2_0{suffix}/{name}" for name in (REFUSED, "T1/T1.json")]
    laid(tmp_path, [f"{A}{suffix}/{T1}", f"{B}{suffix}/T1/T1.json", *refused])
    dataset = load("ukb_brain")
    assert [c.id for c in dataset.cases(tmp_path)] == ["1000102_2_0"]
    assert dataset.missing(tmp_path) == [("1000220_2_0", str(tmp_path / f"{B}{suffix}" / T1))]
    assert dataset.skipped(tmp_path) == [("1000330_2_0", f"T1/unusable/ in place of {T1}")]


def test_an_unusable_partner_is_skipped_and_an_incomplete_one_missing(tmp_path):
    persons = {"1000102": FLAIR, "1000220": "T2_FLAIR/unusable/x.nii.gz", "1000330": "x"}
    laid(tmp_path, [f"{person}_20252_2_0.zip/{T1}" for person in persons])
    laid(tmp_path, [f"{person}_20253_2_0.zip/{content}" for person, content in persons.items()])
    laid(tmp_path, [f"1000440_20253_2_0.zip/{FLAIR}"])  # T2-FLAIR alone
    dataset = load("ukb_brain_flair")
    assert [c.id for c in dataset.cases(tmp_path)] == ["1000102_2_0"]
    assert dataset.missing(tmp_path) == [
        ("1000330_2_0", str(tmp_path / "1000330_20253_2_0.zip" / FLAIR))
    ]
    assert dataset.skipped(tmp_path) == [("1000220_2_0", f"T2_FLAIR/unusable/ in place of {FLAIR}")]


def test_no_zip_is_opened_twice_however_often_the_cases_are_asked_for(tmp_path, monkeypatch):
    dataset = load("ukb_brain")
    laid(tmp_path, [f"{1000100 + n}_20252_2_0.zip/{T1}" for n in range(20)])
    asked = []
    monkeypatch.setattr(
        layout_visits.zipped, "names", lambda path: asked.append(path.name) or {T1: 0, SEG: 0}
    )
    for _ in range(3):
        assert len(dataset.cases(tmp_path)) == 20
        assert dataset.missing(tmp_path) == []
    assert len(asked) == len(set(asked)) == 20
    os.utime(tmp_path / "1000100_20252_2_0.zip", ns=(1, 1))
    dataset.cases(tmp_path)
    assert len(asked) == 21  # what changed is looked at again
