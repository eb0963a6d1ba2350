"""Registered divisions and lists, what data sets share, said from both sides, doubts, versions."""

import json
from pathlib import Path

import pytest
from folders import laid, load

from bench import registry
from bench.data import case_filter, split
from bench.dataset import Case, natural

NAMES = registry.names("dataset")
SPLITS = registry.folder("dataset") / "splits"
STRIPPED = ("brats18", "brats21", "msd01_brain_tumour", "ukb_brain", "ukb_brain_flair")
SIZES = {  # train, validate, test
    ("acdc", "ssl4mis_70_10_20"): [(70, 10, 20)],
    ("brats21", "swinunetr_5fold"): [(1000, 0, 251), *[(1001, 0, 250)] * 4],
    **{("btcv", listed): [(24, 0, 6)] for listed in ("unetr_24_6", "unetr_24_6_b")},
    ("btcv", "transunet_18_12"): [(18, 0, 12)],
    ("btcv", "pgl_15_15"): [(12, 3, 15)],
    ("cc_ccii", "voco_3fold"): [(1709, 0, 1033), (1689, 0, 1053), (1708, 0, 1034)],
    ("covid_19_20", "voco_5fold"): [*[(159, 0, 40)] * 4, (160, 0, 39)],
    ("kits19", "pgl_105_105"): [(84, 21, 105)],
    ("lasc", "uamt_80_20"): [(80, 0, 20)],
    ("own_sunnybrook", "challenge_15_30"): [(15, 0, 30)],
    ("own_sunnybrook", "challenge_11_24"): [(11, 0, 24)],
    **{(name, "voco_followup_108_23"): [(108, 0, 23)] for name in ("lits", "msd03_liver")},
    ("lits", "voco_followup_no_ircad"): [(88, 0, 23)],
    ("lits", "batches_103_28"): [(103, 0, 28)],
    ("mmwhs", "ct_voco_16_4"): [(16, 0, 4)],
    ("mmwhs", "mr_voco_followup_15_5"): [(15, 0, 5)],
    ("msd01_brain_tumour", "voco_followup_387_97"): [(387, 0, 97)],
    ("msd02_heart", "voco_followup_16_4"): [(16, 0, 4)],
    ("msd03_liver", "pgl_66_65"): [(53, 13, 65)],
    ("msd06_lung", "voco_followup_50_13"): [(50, 0, 13)],
    ("msd07_pancreas", "voco_followup_257_24"): [(257, 0, 24)],
    ("msd08_hepatic_vessel", "voco_followup_242_61"): [(242, 0, 61)],
    **{("msd09_spleen", listed): [(32, 0, 9)] for listed in ("monai_32_9", "voco_followup_32_9")},
    ("msd09_spleen", "pgl_20_21"): [(16, 4, 21)],
    ("msd10_colon", "voco_followup_100_26"): [(100, 0, 26)],
    ("ski10", "kneeseg_80_20"): [(80, 0, 20)],
}


def divided(name, listed):
    """Return the folds of a registered division, and everyone in the first of them."""
    folds = split.listed(load(name), listed)
    return folds, {*folds[0].train, *folds[0].val, *folds[0].test}


# --- divisions -------------------------------------------------------------------------------


def test_every_registered_division_has_its_papers_sizes():
    found = {
        (name, listed): divided(name, listed)[0] for name in NAMES for listed in load(name).splits
    }
    sizes = {
        key: [(len(f.train), len(f.val), len(f.test)) for f in folds]
        for key, folds in found.items()
    }
    assert sizes == SIZES


@pytest.mark.parametrize(
    ("name", "listed", "everyone"),
    [
        ("acdc", "ssl4mis_70_10_20", {f"patient{n:03d}" for n in range(1, 101)}),
        ("ski10", "kneeseg_80_20", {f"{n:03d}" for n in range(1, 101)}),
        ("mmwhs", "ct_voco_16_4", {f"ct_{n}" for n in range(1001, 1021)}),
        ("mmwhs", "mr_voco_followup_15_5", {f"mr_{n}" for n in range(1001, 1021)}),
        ("lits", "batches_103_28", {f"volume-{n}" for n in range(131)}),
        ("lits", "voco_followup_108_23", {f"volume-{n}" for n in range(131)}),
        (
            "lits",
            "voco_followup_no_ircad",
            {f"volume-{n}" for n in range(131)} - {*load("lits").doubtful},
        ),
        ("btcv", "transunet_18_12", divided("btcv", "unetr_24_6")[1]),
        ("btcv", "unetr_24_6_b", divided("btcv", "unetr_24_6")[1]),
        ("kits19", "pgl_105_105", {f"case_{n:05d}" for n in range(210)}),
    ],
)
def test_a_division_is_of_all_labelled_patients(name, listed, everyone):
    assert divided(name, listed)[1] == everyone


@pytest.mark.parametrize(
    ("name", "listed", "tested"),
    [
        ("btcv", "unetr_24_6", [f"00{n}" for n in range(35, 41)]),
        ("btcv", "unetr_24_6_b", ["0032", "0034", "0036", "0037", "0039", "0040"]),
        ("mmwhs", "ct_voco_16_4", [f"ct_{n}" for n in range(1001, 1005)]),
        ("mmwhs", "mr_voco_followup_15_5", [f"mr_{n}" for n in range(1016, 1021)]),
        ("lits", "batches_103_28", [f"volume-{n}" for n in range(28)]),
    ],
)
def test_a_division_tests_whom_its_source_names(name, listed, tested):
    assert sorted(divided(name, listed)[0][0].test, key=natural) == tested


@pytest.mark.parametrize(
    ("name", "listed", "number"),
    [("brats21", "swinunetr_5fold", 1251), ("covid_19_20", "voco_5fold", 199)],
)
def test_five_folds_test_everyone_once(name, listed, number):
    folds, everyone = divided(name, listed)
    tested = [patient for fold in folds for patient in fold.test]
    assert len(tested) == len(everyone) == number
    assert all({*fold.train} == everyone - {*fold.test} for fold in folds)
    # One copy of the list of BraTS puts this case into a sixth fold of its own.
    assert name != "brats21" or [fold.index for fold in folds if "01619" in fold.test] == [1]
    assert (
        name != "brats21"
        or "01619" in json.loads((SPLITS / f"{name}.{listed}.json").read_text())["note"]
    )


def test_the_three_folds_of_cc_ccii_are_no_partition():
    folds, everyone = divided("cc_ccii", "voco_3fold")
    assert len(everyone) == 2742 and all({*f.train, *f.test} == everyone for f in folds)
    assert len(set.intersection(*(set(f.test) for f in folds))) == 189
    assert {"NCP_206", "CP_2668", "Normal_2015"} <= everyone


@pytest.mark.parametrize(
    ("name", "listed"),
    [("kits19", "pgl_105_105"), ("msd03_liver", "pgl_66_65"), ("msd09_spleen", "pgl_20_21")],
)
def test_pgls_divisions_are_drawn_by_their_stated_rule(name, listed):
    (fold,), everyone = divided(name, listed)
    order, train = split.ranked(everyone, listed, 0), len(fold.train)
    assert {*fold.train} == {*order[:train]}
    assert {*fold.val} == {*order[train : train + len(fold.val)]}


def test_the_tutorials_spleen_list_is_the_last_nine_sorted_as_text():
    (tutorial,), everyone = divided("msd09_spleen", "monai_32_9")
    (other,), _ = divided("msd09_spleen", "voco_followup_32_9")
    assert list(tutorial.test) == sorted(sorted(everyone)[-9:], key=natural)
    assert {*tutorial.test} & {*other.test} == {"spleen_56"}  # two lists of 32 and 9, kept apart


def test_lits_and_the_decathlons_liver_share_their_list():
    ours, theirs = (divided(name, "voco_followup_108_23")[0][0] for name in ("lits", "msd03_liver"))
    assert [p.replace("liver_", "volume-") for p in theirs.test] == list(ours.test)
    assert divided("lits", "voco_followup_no_ircad")[0][0].test == ours.test


# --- lists -----------------------------------------------------------------------------------


def test_every_list_file_is_registered():
    files = {f for name in NAMES for f in (*load(name).splits.values(), *load(name).lists.values())}
    assert {path.name for path in SPLITS.glob("*.json")} == files


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
    assert {part: len(cases) for part, cases in read["cases"].items()} == {
        "train": train,
        "val": val,
    }
    everyone = [case for part in read["cases"].values() for case in part]
    assert len(everyone) == len(set(everyone))
    assert case_filter.listed(dataset, name, which) == tuple(read["cases"]["train"])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("covid19_ct", "volume-covid19-A-0721_day008.nii.gz"),
        ("covid19_ct", "volume-covid19-A-0318_1.nii.gz"),
        (
            "luna16",
            "subset_0/1.3.6.1.4.1.14519.5.2.1.6279.6001.979083010707182900091062408058.nii.gz",
        ),
        ("btcv", "RawData/Training/img/img0001.nii.gz"),
    ],
)
def test_lists_name_cases_as_the_adapter_does(tmp_path, name, file):
    (case,) = load(name).cases(laid(tmp_path, [file]))
    (listed,) = load(name).lists
    assert case.id in case_filter.listed(load(name), name, listed)


def test_all_labelled_scans_of_the_lesion_challenge_are_in_the_pretraining_list():
    """And eight patients stand on both sides of it, as its note says."""
    read = json.loads((SPLITS / "covid19_ct.swin_unetr_ssl.json").read_text())
    train, val = ({c.split("-")[-1][:4] for c in read["cases"][part]} for part in ("train", "val"))
    assert divided("covid_19_20", "voco_5fold")[1] <= train | val
    assert len(train | val) == 661
    assert all(patient in read["note"] for patient in train & val)
    assert f"{len(train & val)} patients" in read["note"]
    scans = [
        c for part in read["cases"].values() for c in part if c.split("-")[-1][:4] in train & val
    ]
    assert f"{len(scans)} scans" in read["note"]


def test_the_pretraining_list_of_btcv_holds_no_scan_that_papers_score():
    ((fold,), _) = divided("btcv", "unetr_24_6")
    assert sorted(case_filter.listed(load("btcv"), "btcv", "voco_ssl")) == sorted(fold.train)


# --- persons of two data sets ----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_overlap_is_declared_from_both_sides_and_a_doubt_says_why(name):
    for other, which in load(name).overlaps.items():
        assert other in NAMES
        assert other != name
        assert name in load(other).overlaps, f"{other} says nothing of {name}"
        assert len(which.split()) > 2
    assert all(case and len(why.split()) > 2 for case, why in load(name).doubtful.items())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("lits", "volume-12"), ("msd03_liver", "liver_12"), True),
        (("lits", "volume-0"), ("msd03_liver", "liver_0"), True),
        (("lits", "volume-130"), ("msd03_liver", "liver_130"), True),
        (("covid19_ct", "0269"), ("covid_19_20", "0269"), True),
        (("ukb_brain", "1000102"), ("ukb_brain_flair", "1000102"), True),
        (("ukb_brain", "1000102"), ("ukb_fundus", "1000102"), True),
        (("lasc", "0RZDK210BSMWAA6467LU"), ("lasc", "CMPXO4J23G58J53Q98SZ"), True),
        (("lits", "volume-12"), ("msd03_liver", "liver_13"), False),
        (("lits", "test-volume-12"), ("lits", "volume-12"), False),
        (
            ("lits", "test-volume-1"),
            ("msd03_liver", "liver_132"),
            False,
        ),  # which is which was not published
        (("brats18", "00003"), ("brats21", "00003"), False),
        (("covid_19_20", "0012"), ("ski10", "0012"), False),
        (("msd02_heart", "la_003"), ("lasc", "la_003"), False),
    ],
)
def test_a_person_of_two_data_sets_has_one_name_where_it_is_known(one, other, same):
    first, second = (load(name).person(Case(p, p, (Path("x.nii.gz"),))) for name, p in (one, other))
    assert (first == second) is same


@pytest.mark.parametrize(
    ("name", "number"),
    [("kits19", 7), ("lits", 20), ("msd03_liver", 20), ("cc_ccii", 8), ("lasc", 1)],
)
def test_doubts_name_cases_of_the_registered_lists(name, number):
    dataset = load(name)
    assert len(dataset.doubtful) == number
    listed = {patient for listed in dataset.splits for patient in divided(name, listed)[1]}
    known = {case.rpartition("_")[0] if name == "cc_ccii" else case for case in dataset.doubtful}
    assert known <= listed  # a list of CC-CCII names patients, a doubt a scan


# --- recipes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRIPPED)
def test_a_z_score_of_skull_stripped_scans_counts_the_brain_alone(name):
    assert all(recipe.nonzero or recipe.scale == "minmax" for recipe in load(name).recipes.values())
