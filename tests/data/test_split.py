"""Divisions of patients: the rule's formula, nested fractions, and empty parts."""

import hashlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_line import refused

import bench
from bench import registry
from bench.data import case_filter, split
from bench.data.parts import Entry
from bench.dataset import Case

names = st.lists(
    st.text("abcdef0123456789_", min_size=1, max_size=8), min_size=1, max_size=60, unique=True
)


@dataclass
class Declared:
    splits: dict = field(default_factory=dict)


def cases_of(patients, label=0):
    return [Case(f"{p}_a", p, (), label) for p in patients]


def test_the_rule_is_the_formula_computed_by_hand():
    # printf 'rule:msd04_hippocampus:hippocampus_001' | sha256sum: the first 13 digits
    for patient, digits in (
        ("hippocampus_001", "a04d6d2702d52"),
        ("hippocampus_002", "6101ab9f8cc84"),
        ("p", "ea6df7981276f"),
    ):
        assert split.unit("rule", "msd04_hippocampus", patient) == int(digits, 16) / 16**13


@given(names)
def test_the_rule_divides_at_0_7_and_0_8_whoever_else_is_there(patients):
    patients += [f"anchor{i}" for i in range(40)]  # so that no part is empty
    (fold,) = split.folds(Declared(), "d", cases_of(patients), "rule")
    for p in patients:
        u = int(hashlib.sha256(f"rule:d:{p}".encode()).hexdigest()[:13], 16) / 16**13
        part = "train" if u < 0.7 else "val" if u < 0.8 else "test"
        assert p in getattr(fold, part)
    assert sorted(fold.train + fold.val + fold.test) == sorted(patients)


@pytest.mark.parametrize("name", ["by_scan", "by_scan_5fold"])
def test_by_scan_keeps_crops_of_one_scan_on_one_side(name):
    dataset = registry.load("dataset", "msd04_hippocampus")()
    numbers = [n for n in range(1, 395) if n % 7]  # of some scans one crop is there
    cases = cases_of([f"hippocampus_{n:03d}" for n in numbers])
    found = split.folds(dataset, "msd04_hippocampus", cases, name)
    for fold in found:
        sides = {(int(p[-3:]) + 1) // 2: part for part in split.SIDES for p in getattr(fold, part)}
        for part in split.SIDES:
            assert all(sides[(int(p[-3:]) + 1) // 2] == part for p in getattr(fold, part))
        assert len(fold.train) > len(fold.test) > 20 and fold.val
    assert sorted(p for fold in found for p in fold.test) == sorted(c.patient for c in cases) or (
        name == "by_scan"
    )
    (fold,) = split.folds(dataset, "msd04_hippocampus", cases, "rule")
    scans = [{(int(p[-3:]) + 1) // 2 for p in part} for part in (fold.train, fold.test)]
    assert scans[0] & scans[1]  # what it is for


def test_by_scan_needs_a_data_set_that_names_scans_and_five_to_test():
    with refused(r"'by_scan': data set 'btcv' does not say which cases"):
        split.folds(
            bench.dataset("btcv"), "btcv", cases_of([f"p{n}" for n in range(90)]), "by_scan"
        )
    dataset = registry.load("dataset", "msd04_hippocampus")()
    cases = cases_of([f"hippocampus_{n:03d}" for n in range(1, 21)])
    with refused(r"use 'split: by_scan_5fold'$"):
        split.folds(dataset, "msd04_hippocampus", cases, "by_scan")


def test_a_key_that_no_list_has_is_refused(monkeypatch):
    read = {"train": ["a"], "vall": ["b"], "test": ["c"]}
    monkeypatch.setattr(split, "read_list", lambda *_: read)
    with refused(r"vall: no key named 'vall'; did you mean 'val'\?"):
        split.listed(bench.dataset("btcv"), "unetr_24_6")


def test_by_scan_an_unlabelled_crop_of_a_scan_that_is_held_out_is_not_read():
    name, dataset = "msd04_hippocampus", registry.load("dataset", "msd04_hippocampus")()
    cases = [
        Case(f"hippocampus_{n:03d}", f"hippocampus_{n:03d}", (), None if n % 3 == 0 else 0)
        for n in range(1, 391)
    ]
    (fold,) = split.folds(dataset, name, cases, "by_scan")
    held = {dataset.scan(c) for c in cases if c.patient in {*fold.val, *fold.test}}
    entry = Entry(dataset=name, part="train", unlabelled=True)
    read = case_filter.selected(cases, entry, dataset, fold, 0)
    assert len(read) > len(fold.train) and not held & {dataset.scan(c) for c in read}


@given(names)
def test_even_counts_out_7_1_2_in_the_order_of_its_hash(patients):
    n = len(patients)
    if n < 5:  # floor(0.1 n + 0.5) is 0
        with refused(r"split 'even' leaves no \w+ patient.*'split: leave_one_out'"):
            split.folds(Declared(), "d", cases_of(patients), "even")
        return
    (fold,) = split.folds(Declared(), "d", cases_of(patients), "even")
    order = sorted(patients, key=lambda p: hashlib.sha256(f"even:d:{p}".encode()).hexdigest()[:13])
    # floor(0.2 n + 1/2), floor(0.1 n + 1/2)
    test, val = (max(1, (4 * n + 10) // 20), (2 * n + 10) // 20)
    assert (fold.name, fold.index) == ("even", 0)
    assert (set(fold.test), set(fold.val)) == (set(order[:test]), set(order[test : test + val]))
    assert set(fold.train) == set(order[test + val :])
    assert split.folds(Declared(), "d", cases_of(patients[::-1]), "even") == [fold]


def test_the_rule_needs_five_test_patients():
    u = {p: split.unit("rule", "d", p) for p in map(str, range(200))}
    others, tested = [p for p in u if u[p] < 0.8], [p for p in u if u[p] >= 0.8]
    with refused(r"'rule' draws each .* 4 to test.*'split: even'.*'cv5'"):
        split.folds(Declared(), "d", cases_of(others + tested[:4]), "rule")
    assert len(split.folds(Declared(), "d", cases_of(others + tested[:5]), "rule")[0].test) == 5


def test_five_folds_test_every_patient_once():
    patients = [f"p{i}" for i in range(400)]
    found = split.folds(Declared(), "d", cases_of(patients), "rule_5fold")
    assert [f.index for f in found] == [0, 1, 2, 3, 4]
    assert sorted(p for f in found for p in f.test) == sorted(patients)
    for fold in found:
        assert sorted(fold.train + fold.val + fold.test) == sorted(patients)
        assert 50 <= len(fold.test) <= 110 and 20 <= len(fold.val) <= 60
    for p in found[2].test:
        u = int(hashlib.sha256(f"rule_5fold:d:{p}".encode()).hexdigest()[:13], 16) / 16**13
        assert 0.4 <= u < 0.6
    more = split.folds(Declared(), "d", cases_of([*patients, "new"]), "rule_5fold")
    assert all(set(a.train) <= set(b.train) for a, b in zip(found, more, strict=True))


@given(names)
def test_folds_are_dealt_in_turn_in_the_order_of_the_hash(patients):
    if len(patients) < 5:
        with refused(r"leaves no (test|train) patient.*use 'split: leave_one_out'$"):
            split.folds(Declared(), "d", cases_of(patients), "cv5")
        return
    cases = [Case(f"{p}_{scan}", p, (), 0) for p in patients for scan in "ab"]
    found = split.folds(Declared(), "d", [*cases, Case("q", "q", ())], "cv5")
    order = sorted(patients, key=lambda p: hashlib.sha256(f"cv5:d:{p}".encode()).hexdigest()[:13])
    assert [sorted(f.test) for f in found] == [sorted(order[k::5]) for k in range(5)]
    assert [f.index for f in found] == [0, 1, 2, 3, 4] and {f.name for f in found} == {"cv5"}
    for fold in found:
        assert sorted(fold.train + fold.test) == sorted(patients) and fold.val == ()
    assert (
        split.folds(Declared(), "d", cases_of(patients[::-1]), "cv5") == found
    )  # no order of files matters


def test_held_back_shares_by_hand():
    patients = [str(i) for i in range(10)]
    assert split.parted(patients, 0.2) == (patients[:8], patients[8:])
    assert split.parted(patients, 0.25) == (patients[:7], patients[7:])  # 2.5 are 3
    assert split.parted(patients, 0.04) == (patients[:9], patients[9:])  # never nobody
    assert split.parted(patients, 0.0) == (patients, []) and split.parted([], 0.0) == ([], [])
    for few, share in ((patients[:1], 0.2), (patients, 0.95)):
        with refused(r"leaves none to train.*'holdout: 0'"):
            split.parted(few, share)


@given(names, st.integers(1, 100), st.integers(0, 3), st.sampled_from(["rule", "other"]))
def test_a_fraction_begins_the_ranking_and_less_than_half_a_patient_is_refused(
    patients, percent, seed, name
):
    n = len(patients)
    if percent * n < 50:
        with refused(r"less than half a patient; use at least \d+ %") as caught:
            split.fraction(patients, percent, name, seed, "d")
        least = int(str(caught.value).split("at least ")[1].split(" ")[0])
        assert least * n >= 50 > (least - 1) * n
    else:
        count = max(1, (2 * percent * n + 100) // 200)  # floor(p n / 100 + 1/2), in integers
        ranked = split.ranked(patients, name, seed)
        assert split.fraction(patients, percent, name, seed, "d") == ranked[:count]


@pytest.mark.parametrize(
    ("n", "percent", "count"),
    [(10, 5, 1), (30, 5, 2), (24, 5, 1), (50, 5, 3), (18, 25, 5), (1, 50, 1)],
)
def test_fractions_by_hand(n, percent, count):
    assert len(split.fraction([str(i) for i in range(n)], percent, "rule", 0, "d")) == count


def test_the_ranking_is_sha256_of_split_seed_and_patient():
    patients = ["a", "b", "c", "d"]
    by_hash = sorted(patients, key=lambda p: hashlib.sha256(f"rule:7:{p}".encode()).hexdigest())
    assert split.ranked(patients, "rule", 7) == by_hash
    rankings = {tuple(split.ranked([str(i) for i in range(20)], "rule", s)) for s in range(5)}
    assert len(rankings) == 5


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_part_names_leave_one_out(part):
    low = [p for p in map(str, range(40)) if split.unit("rule", "d", p) < 0.8]
    patients = low if part == "test" else sorted({*map(str, range(40))} - {*low})
    with refused(rf"no {part} .* {len(patients)};.*leave_one_out"):
        split.folds(Declared(), "d", cases_of(patients), "rule")


def test_leave_one_out_tests_each_patient_once_in_natural_order():
    folds = split.folds(Declared(), "d", cases_of(["p10", "p9", "p1"]), "leave_one_out")
    assert [(f.index, f.test) for f in folds] == [(0, ("p1",)), (1, ("p9",)), (2, ("p10",))]
    assert [set(f.train) for f in folds] == [{"p9", "p10"}, {"p1", "p10"}, {"p1", "p9"}]
    assert all(f.val == () for f in folds)


@pytest.mark.parametrize(
    ("name", "patients", "said"),
    [
        ("leave_one_out", [], "has a label"),
        ("rule", [], "leave_one_out|has a label"),
        ("leave_one_out", ["p1"], "no train patient among 1; add cases$"),
    ],
)
def test_too_few_patients_are_refused(name, patients, said):
    with refused(said):
        split.folds(Declared(), "d", cases_of(patients), name)


def test_a_digest_knows_the_division_and_not_its_order():
    one = split.Fold("s", 0, ("a", "b"), ("c",), ("d",))
    assert split.Fold("t", 3, ("b", "a"), ("c",), ("d",)).digest == one.digest
    assert split.Fold("s", 0, ("a", "b"), (), ("c", "d")).digest != one.digest


def test_a_registered_list_is_read_and_what_is_lacking_is_counted():
    btcv = bench.dataset("btcv")
    (fold,) = split.listed(btcv, "unetr_24_6")
    there = sorted({*fold.train, *fold.val, *fold.test})
    assert split.folds(btcv, "btcv", cases_of(there), "unetr_24_6") == [fold]
    with refused(r"2 .*are not in the folder|2 of"):
        split.folds(btcv, "btcv", cases_of(there[2:]), "unetr_24_6")
    with refused(r"no split of data set 'btcv'.*did you mean 'unetr_24_6'"):
        split.folds(btcv, "btcv", cases_of(there), "unetr_24_7")


def stated(patients, part, label=0):
    return [Case(f"{p}_a", p, (), label, {"part": part} if part else {}) for p in patients]


def test_given_are_the_parts_that_the_cases_say():
    train, tests = [f"p{i:02d}" for i in range(20)], ["q0", "q1", "q2"]
    every = [
        *stated(train, "training"),
        *stated(tests, "test"),
        *stated(["u"], "testing", label=None),
    ]
    assert split.gives(every) and not split.gives([*every[:20], every[-1]])
    (fold,) = split.folds(Declared(), "d", every, "given")
    assert fold.test == ("q0", "q1", "q2") and len(fold.val) == 2
    assert sorted((*fold.train, *fold.val)) == train
    (fold,) = split.folds(Declared(), "d", [*every, *stated(["v"], "validation")], "given")
    assert fold.val == ("v",) and list(fold.train) == train


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (stated(["p9"], ""), "case p9_a is of part ''"),
        (
            [Case("p0_b", "p0", (), 0, {"part": "testing"})],
            "case p0_b shows patient p0 of another part",
        ),
        ([], "leaves no test patient among 3"),
    ],
)
def test_given_parts_that_divide_nothing_are_told(more, told):
    with refused(told):
        split.folds(Declared(), "d", [*stated(["p0", "p1", "p2"], "training"), *more], "given")
