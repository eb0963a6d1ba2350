"""Scores by patient, run and target, and two rows' scores side by side, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from bench.report.cells import MEAN, Key, aggregate
from bench.report.scores import Scores, aligned

NAN = float("nan")
BAD = {"status": "failed", "value": NAN, "case": ""}
ALL_TARGETS = {"metric": "auc", "target": "all", "case": "", "patient": "", "value": 0.7}


def row(value=0.5, patient="p1", seed=0, **given):
    return {"case": f"case of {patient}", "patient": patient, "seed": seed, "value": value, **given}


def key(target=MEAN, row="a", metric="dice", fraction=100):
    return Key(row, 0, fraction, target, metric)


ARRAYS = {  # rows, key, values by patient, run and target, patients, runs, targets
    "all targets that the section has, whichever row has them": (
        [row(0.4, target="spleen"), row(0.3, "p2"), row(0.8, row="b", target="aorta")],
        key(),
        [[[NAN, NAN, 0.4]], [[NAN, 0.3, NAN]]],
        ("p1", "p2"),
        ((0, 0),),
        ("aorta", "liver", "spleen"),
    )
}
NONE = {
    "nothing ran": ([row()], key(row="b")),
    "another fraction": ([row()], key(fraction=10)),
    "a target that the row has not": ([row(), row(row="b", target="spleen")], key("spleen")),
    "all failed": ([BAD, row(row="b")], key()),
    "over all cases at once": ([row(), ALL_TARGETS], key("all", metric="auc")),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_scores_are_what_was_worked_out_by_hand(protocol, records, what):
    rows, where, values, patients, runs, targets = ARRAYS[what]
    actual = aggregate(protocol(), records(*rows)).scores(where)
    np.testing.assert_allclose(actual.values, values, rtol=1e-15)
    assert (actual.patients, actual.runs, actual.targets) == (patients, runs, targets)


@pytest.mark.parametrize("what", NONE)
def test_where_no_case_has_a_score_there_is_no_array(protocol, records, what):
    rows, where = NONE[what]
    assert aggregate(protocol(), records(*rows)).scores(where) is None


def scores(runs, values, patients=("p1", "p2"), targets=("liver",)):
    return Scores(
        np.array(values, float).reshape(len(patients), len(runs), len(targets)),
        patients,
        runs,
        targets,
    )


def of(cases, *args):
    """Return scores whose values are means of these cases, each named by a number."""
    unnamed = scores(*args)
    return replace(unnamed, cases=np.array(cases, np.uint64).reshape(unnamed.values.shape))


SCRATCH = scores(((0, 0), (0, 1)), [1, 2, 3, 4])
CROSSED = scores(((0, 0), (0, 1), (5, 0), (5, 1)), range(8))
ALIGNED = {  # a, b, values of both, patients, runs
    "of one pretraining seed each, whatever it is": (
        SCRATCH,
        scores(((7, 1), (7, 2)), [5, 6, 7, 8]),
        [[[2]], [[4]]],
        [[[5]], [[7]]],
        ("p1", "p2"),
        ((0, 1),),
    ),
    "scratch is repeated for every pretraining seed": (
        CROSSED,
        SCRATCH,
        [[[0], [1], [2], [3]], [[4], [5], [6], [7]]],
        [[[1], [2], [1], [2]], [[3], [4], [3], [4]]],
        ("p1", "p2"),
        CROSSED.runs,
    ),
    "and on the other side": (
        SCRATCH,
        CROSSED,
        [[[1], [2], [1], [2]], [[3], [4], [3], [4]]],
        [[[0], [1], [2], [3]], [[4], [5], [6], [7]]],
        ("p1", "p2"),
        CROSSED.runs,
    ),
    "two crossed rows share both seeds": (
        CROSSED,
        scores(((5, 1), (6, 0)), [9, 8, 7, 6]),
        [[[3]], [[7]]],
        [[[9]], [[7]]],
        ("p1", "p2"),
        ((5, 1),),
    ),
    "patients and targets in common, undefined on both sides": (
        scores(((0, 0),), [1, 2, NAN, 4], targets=("aorta", "liver")),
        scores(((0, 0),), [NAN, 6, 7, 8], ("p2", "p3"), ("aorta", "liver")),
        [[[NAN, 4]]],
        [[[NAN, 6]]],
        ("p2",),
        ((0, 0),),
    ),
    "means of other cases of a patient are no pair": (
        of([1, 2], ((0, 0),), [1, 2]),
        of([1, 3], ((0, 0),), [5, 6]),
        [[[1]], [[NAN]]],
        [[[5]], [[NAN]]],
        ("p1", "p2"),
        ((0, 0),),
    ),
    "nothing in common": (
        SCRATCH,
        scores(((0, 2),), [5], ("p3",)),
        np.zeros((0, 0, 1)),
        np.zeros((0, 0, 1)),
        (),
        (),
    ),
}


@pytest.mark.parametrize("what", ALIGNED)
def test_two_rows_are_aligned_as_by_hand(what):
    a, b, *expected = ALIGNED[what]
    for actual, wanted in zip(aligned(a, b), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted) if isinstance(actual, np.ndarray) else None
        assert isinstance(actual, np.ndarray) or actual == wanted
    assert SCRATCH.values[0, 0, 0] == 1  # what was given is left as it was
