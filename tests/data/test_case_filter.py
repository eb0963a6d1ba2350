"""Which cases take part: filters, lists, shares by one ranking."""

import hashlib
from typing import ClassVar

import pytest
from one_line import refused

from bench.data import case_filter
from bench.data.parts import Entry, Take
from bench.data.split import Fold, ranked
from bench.dataset import Case

CASES = [
    Case(f"p{i:02d}_{k}", f"p{i:02d}", (), 0, {"modality": "CT" if i % 2 else "MR"})
    for i in range(20)
    for k in "ab"
]


class Declared:
    """What `choice` asks of a data set."""

    doubtful: ClassVar = {"p03_a": "moved", "p04_b": "cut", "gone": "not here"}
    lists: ClassVar = {}


def share(take, ranking="r", seed=0):
    return [c.id for c in case_filter.taken(CASES, lambda case: case.patient, take, ranking, seed)]


def test_filters_ask_the_meta_and_leave_cases_out():
    found = case_filter.matching(CASES, {"modality": "CT"}, ())
    assert {c.patient for c in found} == {f"p{i:02d}" for i in range(1, 20, 2)}
    assert len(case_filter.matching(CASES, {}, ["p03_a"])) == 39
    assert case_filter.matching(CASES, {"scanner": "x"}, ()) == []


def test_doubtful_is_what_the_data_set_declares_and_has():
    found = case_filter.excluded(Declared(), "d", ["doubtful", "p10_a"], CASES)
    assert found == ["p03_a", "p04_b", "p10_a"]
    with refused("did you mean 'p03_a'"):
        case_filter.excluded(Declared(), "d", ["p03_aa"], CASES)
    without_data = case_filter.excluded(Declared(), "d", ["doubtful"], ())
    assert without_data == ["gone", "p03_a", "p04_b"]


def test_percents_are_of_patients_in_the_ranking_of_label_fractions():
    order = ranked({c.patient for c in CASES}, "r", 0)
    assert {c[:3] for c in share("20 %")} == set(order[:4])
    assert len(share("20 %")) == 8  # both cases of each
    assert share("100 %") == [c.id for c in CASES] == share("")
    assert {c[:3] for c in share("3 %")} == set(order[:1])  # 0.6 of a patient is one
    assert share("20 %", seed=1) != share("20 %") != share("20 %", ranking="other")


def test_cases_are_taken_patient_by_patient_and_cut_off():
    order = ranked({c.patient for c in CASES}, "r", 0)
    assert set(share("5 cases")) == {f"{p}_{k}" for p in order[:2] for k in "ab"} | {
        f"{order[2]}_a"
    }
    assert len(share("40cases")) == 40


@pytest.mark.parametrize("take", ["41 cases", "2 %", "101 %"])
def test_an_impossible_share_is_refused(take):
    with refused("take"):
        share(take)


def test_a_list_names_cases_and_what_lacks_is_counted():
    found = case_filter.of_list(CASES, ["p01_a", "p02_b"], "d: list 'l'", absent="refuse")
    assert [c.id for c in found] == ["p01_a", "p02_b"]
    with refused(r"lists 3 cases, but 2 of them are not in the folder \(x, y\)"):
        case_filter.of_list(CASES, ["p01_a", "x", "y"], "d: list 'l'", absent="refuse")
    assert len(case_filter.of_list(CASES, ["p01_a", "x", "y"], "d", absent="allow")) == 1
    with refused("pretraining list"):
        case_filter.listed(Declared(), "d", "none")


def test_an_entry_of_a_spec_selects_by_all_of_them():
    fold = Fold("rule", 0, ("p01", "p02", "p03"), (), ("p05",))
    data = Entry(dataset="d", part="train", where={"modality": "CT"}, exclude=("p03_a",))
    found = case_filter.selected(CASES, data, Declared(), fold, 0)
    assert [c.id for c in found] == ["p01_a", "p01_b", "p03_b"]
    unlabelled = [Case("p01_c", "p01", ())]
    assert (
        case_filter.selected(unlabelled, Entry(dataset="d", part="train"), Declared(), fold, 0)
        == []
    )
    whole = Entry(dataset="d", part="all")
    assert case_filter.selected(unlabelled, whole, Declared(), None, 0) == unlabelled


def test_a_share_of_a_mixture_is_ranked_over_all_its_data_sets():
    mixed = [(name, case) for name in ("a", "b") for case in CASES]
    found = case_filter.shared(mixed, Take("25 %", "m"), 3)
    key = [f"{n}/p{i:02d}" for n in "ab" for i in range(20)]
    key.sort(key=lambda p: hashlib.sha256(f"m:3:{p}".encode()).hexdigest())
    assert {f"{n}/{c.patient}" for n, c in found} == set(key[:10])
    assert case_filter.shared(mixed, Take(), 3) == mixed


def test_unlabelled_scans_are_of_nobody_who_is_held_out():
    cases = [
        Case("a1", "a", (), 1),
        Case("a2", "a", ()),
        Case("v1", "v", (), 1),
        Case("v2", "v", ()),
        Case("t1", "t", (), 1),
        Case("t2", "t", ()),
        Case("n", "n", ()),
    ]
    fold = Fold("even", 0, ("a",), ("v",), ("t",))

    def read(unlabelled):
        entry = Entry(dataset="x", part="train", unlabelled=unlabelled)
        return [case.id for case in case_filter.selected(cases, entry, None, fold, 0)]

    assert (read(False), read(True)) == (["a1"], ["a1", "a2", "n"])
