"""The Decathlon's tasks as people have them: archives, litter, copies of nnU-Net, wrong folders."""

import json

import numpy as np
import pytest

from bench import registry
from bench.data import split
from bench.data.check import check
from bench.dataset import natural
from bench.errors import BenchError
from bench.volumes.reading import read_label, read_volume

# name: folder of the archive, how its cases are named, channels, training cases, phantoms at most
TASKS = {
    "msd01_brain_tumour": ("Task01_BrainTumour", "BRATS_001", 4, 484, 750),
    "msd02_heart": ("Task02_Heart", "la_003", 1, 20, 30),
    "msd03_liver": ("Task03_Liver", "liver_0", 1, 131, 201),
    "msd05_prostate": ("Task05_Prostate", "prostate_00", 2, 32, 48),
    "msd06_lung": ("Task06_Lung", "lung_001", 1, 63, 95),
    "msd07_pancreas": ("Task07_Pancreas", "pancreas_001", 1, 281, 420),
    "msd08_hepatic_vessel": ("Task08_HepaticVessel", "hepaticvessel_001", 1, 303, 443),
    "msd09_spleen": ("Task09_Spleen", "spleen_2", 1, 41, 61),
    "msd10_colon": ("Task10_Colon", "colon_001", 1, 126, 190),
}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def load(name):
    return registry.load("dataset", name)()


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


def test_the_archives_own_folder_is_read_and_its_litter_is_not(name, tmp_path):
    folder, stem, *_ = TASKS[name]
    files = f"imagesTr/{stem}.nii.gz", f"labelsTr/{stem}.nii.gz"
    touch(tmp_path / folder, *files, *(f.replace(stem, f"._{stem}") for f in files), "._dataset.json")
    (case,) = load(name).cases(tmp_path)
    assert (case.id, case.patient) == (stem, stem)
    assert case.images == (tmp_path / folder / files[0],)
    assert case.label == tmp_path / folder / files[1]


def test_nnunets_copy_has_a_file_per_channel(name, tmp_path):
    _, stem, channels, *_ = TASKS[name]
    images = [f"imagesTr/{stem}_{c:04d}.nii.gz" for c in range(channels)]
    touch(tmp_path, *images, f"labelsTr/{stem}.nii.gz")
    (case,) = load(name).cases(tmp_path)
    assert case.id == stem
    assert [p.name for p in case.images] == [i.rpartition("/")[2] for i in images]
    assert len(case.images) == len(load(name).channels)


def test_the_folder_of_another_task_is_refused(name, tmp_path):
    touch(tmp_path, "imagesTr/hippocampus_001.nii.gz", "labelsTr/hippocampus_001.nii.gz")
    with pytest.raises(BenchError, match="another task's folder") as caught:
        load(name).cases(tmp_path)
    assert str(tmp_path / "imagesTr" / "hippocampus_001.nii.gz") in str(caught.value)
    assert TASKS[name][0] in str(caught.value)


def test_two_archives_under_one_name_are_ambiguous(tmp_path):
    touch(tmp_path, "Task09_Spleen/imagesTr/spleen_2.nii.gz", "copy/imagesTr/spleen_2.nii.gz")
    with pytest.raises(BenchError, match="no folder imagesTr"):
        load("msd09_spleen").cases(tmp_path)


def test_the_phantom_has_the_tasks_own_names_and_unlabelled_tests(name, tmp_path):
    _, stem, channels, *_ = TASKS[name]
    kind = registry.load("dataset", name)
    kind.phantom(tmp_path, 6, 0)
    cases = kind().cases(tmp_path)
    assert cases[0].id == stem
    assert [c.meta["part"] for c in cases] == ["training"] * 5 + ["test"]
    assert [c.label is None for c in cases] == [False] * 5 + [True]
    assert {p.parent.name for c in cases for p in c.images} == {"imagesTr", "imagesTs"}
    listing = json.loads((tmp_path / "dataset.json").read_text())
    assert (listing["numTraining"], listing["numTest"]) == (5, 1)
    assert listing["test"] == [f"./imagesTs/{cases[5].id}.nii.gz"]
    assert listing["tensorImageSize"] == ("4D" if channels > 1 else "3D")
    for case in cases:
        assert len(case.images) == 1
        assert read_volume(case.images[0]).array.shape[0] == channels
        assert sum(p.stat().st_size for p in (*case.images, case.label) if p) < 205_000


def test_every_class_occurs_in_the_phantoms(name, tmp_path):
    dataset = load(name)
    dataset.phantom(tmp_path, 4, 0)
    for case in dataset.cases(tmp_path):
        values = np.unique(read_label(case.label).array)
        assert values.tolist() == [0, *dataset.labels]


def test_registered_lists_divide_the_tasks_labelled_cases(name):
    dataset = load(name)
    assert dataset.splits or name == "msd05_prostate"
    for listed in dataset.splits:
        (fold,) = split.listed(dataset, listed)
        everyone = {*fold.train, *fold.val, *fold.test}
        assert len(everyone) == TASKS[name][3]
        assert all(patient.startswith(dataset.stems) for patient in everyone)


@pytest.mark.parametrize("name", ["msd02_heart", "msd09_spleen"])
def test_all_phantoms_together_hold_every_registered_list(name, tmp_path):
    dataset = load(name)
    dataset.phantom(tmp_path, TASKS[name][4], 0)
    cases = dataset.cases(tmp_path)
    assert len(cases) == TASKS[name][4]
    assert sum(c.label is not None for c in cases) == TASKS[name][3]
    for listed in dataset.splits:
        assert split.folds(dataset, name, cases, listed)


def test_more_phantoms_than_scans_are_refused(name, tmp_path):
    with pytest.raises(BenchError, match=f"{name}: {TASKS[name][4]} phantoms at most"):
        registry.load("dataset", name).phantom(tmp_path, TASKS[name][4] + 1, 0)


def test_pgls_divisions_are_drawn_by_their_stated_rule():
    for name, listed, train, val in (
        ("msd03_liver", "pgl_66_65", 53, 13),
        ("msd09_spleen", "pgl_20_21", 16, 4),
    ):
        (fold,) = split.listed(load(name), listed)
        order = split.ranked({*fold.train, *fold.val, *fold.test}, listed, 0)
        assert set(fold.train) == set(order[:train])
        assert set(fold.val) == set(order[train : train + val])


def test_the_tutorials_spleen_list_is_the_last_nine_sorted_as_text():
    dataset = load("msd09_spleen")
    tutorial, other = (split.listed(dataset, n)[0] for n in ("monai_32_9", "voco_followup_32_9"))
    assert list(tutorial.test) == sorted(sorted([*tutorial.train, *tutorial.test])[-9:], key=natural)
    assert {*tutorial.test} & {*other.test} == {"spleen_56"}  # two lists of 32 and 9, kept apart


def test_the_regions_of_brain_tumours_follow_the_decathlons_label_order():
    regions = load("msd01_brain_tumour").regions
    assert regions == {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}


def test_the_phantoms_tumour_is_seen_in_the_channels_that_show_it(tmp_path):
    dataset = load("msd01_brain_tumour")
    dataset.phantom(tmp_path, 2, 0)
    for case in dataset.cases(tmp_path):
        channels = dict(zip(dataset.channels, read_volume(case.images[0]).array, strict=True))
        label = read_label(case.label).array
        means = {name: [image[label == v].mean() for v in (1, 2, 3)] for name, image in channels.items()}
        assert np.argmax(means["FLAIR"]) == 0  # oedema
        assert np.argmax(means["T1gd"]) == 2  # enhancing
        assert (channels["T1w"][channels["FLAIR"] == 0] == 0).all()  # skull-stripped


def test_parts_that_some_real_labels_lack_are_lacking_in_some_phantoms(tmp_path):
    for name, cases, gone in (
        ("msd01_brain_tumour", 10, 3),
        ("msd03_liver", 10, 2),
        ("msd05_prostate", 16, 1),
    ):
        dataset = load(name)
        dataset.phantom(tmp_path / name, cases, 0)
        found = [np.unique(read_label(c.label).array) for c in dataset.cases(tmp_path / name) if c.label]
        assert sum(gone not in values for values in found) == 1
        assert check(dataset, tmp_path / name) == []
