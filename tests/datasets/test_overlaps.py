"""What data sets share: said from both sides, by one name per person where a rule is known; lists; doubts."""

import json
from pathlib import Path

import pytest

from bench import registry
from bench.data import case_filter
from bench.dataset import Case, Dataset

NAMES = registry.names("dataset")
SPLITS = registry.folder("dataset") / "splits"
HSSL = ("msd02_heart", "lits", "msd05_prostate", "msd07_pancreas", "msd09_spleen", "ski10", "acdc", "mnms")
STRIPPED = ("brats18", "brats21", "msd01_brain_tumour", "ukb_brain", "ukb_brain_flair")


def load(name: str) -> Dataset:
    return registry.load("dataset", name)()


def person(name: str, patient: str) -> str:
    return load(name).person(Case(patient, patient, (Path("x.nii.gz"),)))


@pytest.mark.parametrize("name", NAMES)
def test_an_overlap_is_declared_from_both_sides_and_says_which(name):
    for other, which in load(name).overlaps.items():
        assert other in NAMES
        assert other != name
        assert name in load(other).overlaps, f"{other} says nothing of {name}"
        assert len(which.split()) > 2


def test_the_known_overlaps_are_declared():
    pairs = {frozenset((name, other)) for name in NAMES for other in load(name).overlaps}
    assert {frozenset(p.split()) for p in (
        "msd03_liver lits", "msd01_brain_tumour brats18", "msd01_brain_tumour brats21", "brats18 brats21",
        "covid19_ct covid_19_20", "msd07_pancreas msd08_hepatic_vessel", "msd08_hepatic_vessel msd10_colon",
        "ukb_brain ukb_brain_flair",
    )} <= pairs  # fmt: skip
    # The challenges of 2013 (msd02_heart) and 2018 (lasc) are different scans.
    assert frozenset(("lasc", "msd02_heart")) not in pairs


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("lits", "volume-12"), ("msd03_liver", "liver_12")),
        (("lits", "volume-0"), ("msd03_liver", "liver_0")),
        (("lits", "volume-130"), ("msd03_liver", "liver_130")),
        (("covid19_ct", "0269"), ("covid_19_20", "0269")),
        (("ukb_brain", "1000102"), ("ukb_brain_flair", "1000102")),
    ],
)
def test_a_person_of_two_data_sets_has_one_name(one, other):
    assert person(*one) == person(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("lits", "volume-12"), ("msd03_liver", "liver_13")),
        (("lits", "test-volume-12"), ("lits", "volume-12")),
        (("lits", "test-volume-1"), ("msd03_liver", "liver_132")),  # which is which was not published
        (("brats18", "00003"), ("brats21", "00003")),
        (("covid_19_20", "0012"), ("ski10", "0012")),
        (("msd02_heart", "la_003"), ("lasc", "la_003")),
    ],
)
def test_who_is_not_known_to_be_the_same_has_another_name(one, other):
    assert person(*one) != person(*other)


def test_repeat_scans_are_one_person_in_both_covid_sets(tmp_path):
    for file in ("a/volume-covid19-A-0721_day008.nii.gz", "a/volume-covid19-A-0721.nii.gz"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    dataset = load("covid19_ct")
    assert {dataset.person(c) for c in dataset.cases(tmp_path / "a")} == {"tcia_covid19:0721"}


def test_all_labelled_scans_of_the_lesion_challenge_are_in_the_pretraining_list():
    folds = json.loads((SPLITS / "covid_19_20.voco_5fold.json").read_text())["folds"]
    cases = json.loads((SPLITS / "covid19_ct.swin_unetr_ssl.json").read_text())["cases"]
    listed = {case.split("-")[-1][:4] for part in cases.values() for case in part}
    tested = {patient for fold in folds for patient in fold["test"]}
    assert len(tested) == 199
    assert tested <= listed


@pytest.mark.parametrize(
    ("name", "which", "train", "val"),
    [
        ("luna16", "swin_unetr_ssl", 843, 45),
        ("covid19_ct", "swin_unetr_ssl", 722, 49),
        ("btcv", "voco_ssl", 24, 6),
    ],
)
def test_pretraining_lists_name_cases_once_and_their_source(name, which, train, val):
    dataset = load(name)
    assert dataset.lists[which] == f"{name}.{which}.json"
    read = json.loads((SPLITS / dataset.lists[which]).read_text())
    assert read["source"]
    assert set(read["cases"]) == {"train", "val"}
    assert (len(read["cases"]["train"]), len(read["cases"]["val"])) == (train, val)
    everyone = [case for part in read["cases"].values() for case in part]
    assert len(everyone) == len(set(everyone))
    assert case_filter.listed(dataset, name, which) == tuple(read["cases"]["train"])


def test_every_list_file_is_registered():
    files = {f for name in NAMES for f in (*load(name).splits.values(), *load(name).lists.values())}
    assert {path.name for path in SPLITS.glob("*.json")} == files


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("covid19_ct", "volume-covid19-A-0721_day008.nii.gz"),
        ("covid19_ct", "volume-covid19-A-0318_1.nii.gz"),
        ("luna16", "subset_0/1.3.6.1.4.1.14519.5.2.1.6279.6001.979083010707182900091062408058.nii.gz"),
        ("btcv", "RawData/Training/img/img0001.nii.gz"),
    ],
)
def test_lists_name_cases_as_the_adapter_does(tmp_path, name, file):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    (case,) = load(name).cases(tmp_path)
    (listed,) = load(name).lists
    assert case.id in case_filter.listed(load(name), name, listed)


def test_eight_patients_stand_on_both_sides_of_the_covid_list():
    read = json.loads((SPLITS / "covid19_ct.swin_unetr_ssl.json").read_text())
    train, val = ({c.split("-")[-1][:4] for c in read["cases"][part]} for part in ("train", "val"))
    assert len(train | val) == 661
    assert all(patient in read["note"] for patient in train & val)
    assert f"{len(train & val)} patients" in read["note"]
    scans = [c for part in read["cases"].values() for c in part if c.split("-")[-1][:4] in train & val]
    assert f"{len(scans)} scans" in read["note"]


def test_the_pretraining_list_of_btcv_holds_no_scan_that_papers_score():
    read = json.loads((SPLITS / "btcv.unetr_24_6.json").read_text())
    assert sorted(case_filter.listed(load("btcv"), "btcv", "voco_ssl")) == sorted(read["train"])


@pytest.mark.parametrize("name", NAMES)
def test_doubtful_cases_say_why(name):
    assert all(case and len(why.split()) > 2 for case, why in load(name).doubtful.items())


@pytest.mark.parametrize(
    ("name", "number"), [("kits19", 10), ("lits", 20), ("msd03_liver", 20)]
)  # fmt: skip
def test_doubts_name_cases_that_the_adapter_yields(name, number, tmp_path):
    dataset = load(name)
    assert len(dataset.doubtful) == number
    listed = {p for f in dataset.splits.values() for p in _patients(SPLITS / f)}
    assert dataset.doubtful.keys() <= listed


def _patients(file: Path) -> list[str]:
    read = json.loads(file.read_text())
    return [p for part in ("train", "val", "test") for p in read.get(part, ())]


@pytest.mark.parametrize("name", HSSL)
def test_hssl_reads_slices_of_192_by_192_in_all_of_its_tasks(name):
    assert load(name).recipes["hssl"].resize == (192, 192, 0)


@pytest.mark.parametrize(
    "name", [*HSSL, "brats18", "brats21", "msd01_brain_tumour"]
)  # fmt: skip
def test_what_changed_its_numbers_on_purpose_changed_its_version(name):
    assert load(name).version == 2


@pytest.mark.parametrize("name", STRIPPED)
def test_a_z_score_of_skull_stripped_scans_counts_the_brain_alone(name):
    assert all(recipe.nonzero or recipe.scale == "minmax" for recipe in load(name).recipes.values())
