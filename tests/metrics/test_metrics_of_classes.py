"""Accuracy, AUC and kappa: by hand, against definitions written out in full, and what must always hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from one_line import refused

from bench.metrics import METRICS, Score
from bench.metrics.classes import accuracy, auc, qwk, score_classes
from bench.metrics.request import check_tasks, fitting

CLASSES = tuple(name for name, metric in METRICS.items() if metric.task == "classification")
quick = settings(max_examples=60, deadline=None)


def one_hot(classes, count):
    return np.eye(count)[np.asarray(classes)]


def of_two(high):
    """Scores of two classes from those of class 1."""
    return np.stack([1 - np.array(high), high], 1)


@st.composite
def gradings(draw):
    """Two lists of grades of up to 20 cases, and how many grades there are."""
    count, cases = draw(st.integers(2, 5)), draw(st.integers(1, 20))
    a, b = (draw(arrays(np.int64, cases, elements=st.integers(0, count - 1))) for _ in range(2))
    return a, b, count


@st.composite
def scored(draw):
    """Scores in few steps, so that many tie, and classes of which each occurs."""
    count, more = draw(st.integers(2, 4)), draw(st.integers(0, 12))
    rest = draw(arrays(np.int64, more, elements=st.integers(0, count - 1)))
    reference = np.concatenate([np.arange(count), rest])
    steps = st.sampled_from([0.0, 0.25, 0.5, 0.75])
    return draw(arrays(np.float64, (len(reference), count), elements=steps)), reference


def test_accuracy_by_hand_is_one_number_per_case_and_a_tie_goes_to_the_lower_class():
    assert accuracy([0, 2, 1, 1], [0, 1, 1, 2]).tolist() == [1, 0, 1, 0]
    tied = score_classes(np.full((2, 2), 0.5), np.array([0, 1]))
    assert [first.value for _, first in tied] == [1.0, 0.0]


def test_auc_by_hand():
    # of 4 pairs one is swapped
    assert auc(of_two([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert auc(of_two([0.5, 0.5, 0.9]), np.array([0, 1, 1])) == 0.75  # a tie is half a pair
    assert auc(of_two([0.9, 0.1]), np.array([0, 1])) == 0.0
    scores = np.array([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.5, 0.1, 0.4], [0.2, 0.1, 0.7]])
    # class 0: 1 > all of 3 rest; class 1: the same; class 2: {.4, .7} against {.1, .2}
    assert auc(scores, np.array([0, 1, 2, 2])) == 1.0
    # class 0: {.7, .5} against {.2, .2} = 1; class 1: .6 = 1; class 2: .7 = 1, then swapped to case 0
    assert auc(scores, np.array([2, 1, 0, 2])) == pytest.approx(np.mean([2 / 3, 1, 2 / 4]))


def test_kappa_by_hand():
    # observed 0 + 1 + 0 + 1 = 2; expected (1 + 8 + 1 + 2 + 8 + 2) / 4 = 5.5
    assert qwk(np.array([0, 2, 2, 1]), np.array([0, 1, 2, 2]), 3) == pytest.approx(1 - 2 / 5.5)
    assert qwk(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), 2) == 0.0  # what chance gives
    assert qwk(np.array([0, 1]), np.array([1, 0]), 2) == -1.0
    assert qwk(np.array([4, 0]), np.array([0, 4]), 5) == -1.0


def written_out(a, b, count):
    """Cohen's (1968) weighted kappa with Kaggle's weights, (i - j)^2 / (N - 1)^2, in loops."""
    observed = expected = 0.0
    for i in range(count):
        for j in range(count):
            weight = (i - j) ** 2 / (count - 1) ** 2
            observed += weight * sum(x == i and y == j for x, y in zip(a, b, strict=True)) / len(a)
            expected += weight * sum(a == i) * sum(b == j) / len(a) ** 2
    return 1 - observed / expected if expected else None


@quick
@given(gradings())
def test_kappa_is_the_definition_symmetric_and_one_where_both_agree(case):
    a, b, count = case
    assert qwk(a, b, count) == pytest.approx(written_out(a, b, count))
    assert qwk(a, b, count) == qwk(b, a, count) == qwk(a, b, count + 3)
    if len(set(a)) > 1:
        assert qwk(a, a, count) == 1.0
    assert (qwk(a, b, count) is None) == (len({*a, *b}) == 1)
    turned = qwk(count - 1 - a, count - 1 - b, count)
    assert turned == qwk(a, b, count)


def pairs_won(scores, reference, of):
    inside, rest = scores[reference == of, of], scores[reference != of, of]
    return np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in rest])


@quick
@given(scored())
def test_auc_is_the_share_of_pairs_won_and_knows_only_the_order(case):
    scores, reference = case
    each = [pairs_won(scores, reference, k) for k in range(scores.shape[1])]
    result = auc(scores, reference)
    assert result == pytest.approx(each[1] if len(each) == 2 else np.mean(each))
    assert auc(np.exp(3 * scores), reference) == result
    assert auc(-scores, reference) == pytest.approx(1 - result)
    order = np.random.default_rng(0).permutation(len(reference))
    assert auc(scores[order], reference[order]) == pytest.approx(result)


def test_what_is_undefined_is_null_and_says_why():
    (_, area), (_, kappa) = score_classes(one_hot([1, 1], 3), np.array([1, 1]), ("auc", "qwk"))
    assert area == Score("all", "auc", None, "1", "empty_reference")
    assert kappa == Score("all", "qwk", None, "1", "both_empty")
    assert qwk(np.array([0, 0]), np.array([0, 1]), 2) == 0.0  # one side alone is defined


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrics": ("dice",)}, "'dice' judges a segmentation, .*; use accuracy, auc, qwk"),
        ({"metrics": ("acuracy",)}, "did you mean 'accuracy'"),
        ({"reference": np.array([0, 1])}, r"give scores \(N, K\)"),
        ({"scores": np.zeros((3, 1))}, "K 2 or more"),
        ({"scores": np.zeros(3)}, r"give scores \(N, K\)"),
        ({"scores": np.zeros((0, 2)), "reference": np.zeros(0, int)}, "no case"),
        ({"scores": np.full((3, 2), np.nan)}, "not finite"),
        ({"reference": np.array([0, 1, 2])}, "from 0 to 1"),
        ({"reference": np.array([0, 1, -1])}, "from 0 to 1"),
        ({"reference": np.array([0.0, 1.0, 0.5])}, "whole numbers"),
    ],
)
def test_a_wrong_request_of_classes_is_one_line(change, says):
    requested = {"scores": np.zeros((3, 2)), "reference": np.array([0, 1, 1]), "metrics": CLASSES}
    with refused(says):
        score_classes(**(requested | change))


def test_a_data_set_is_scored_by_the_metrics_of_its_task():
    assert fitting((), "segmentation") == ("dice",) and fitting((), "classification") == (
        "accuracy",
    )
    requested = ("hd95", "accuracy", "nsd@2mm", "qwk")
    assert fitting(requested, "segmentation") == ("hd95", "nsd@2mm")
    assert fitting(requested, "classification") == ("accuracy", "qwk")
    check_tasks(requested, {"organs": "segmentation", "grades": "classification"})
    check_tasks((), {"grades": "classification"})


@pytest.mark.parametrize(
    ("metrics", "tasks", "says"),
    [
        (
            ("dice",),
            {"grades": "classification"},
            "metric 'dice': section 'grades' is for classification",
        ),
        (("accuracy", "dice"), {"grades": "classification"}, "metric 'dice'"),
        (("auc",), {"organs": "segmentation"}, "use dice, iou, hd"),
        (
            ("dice",),
            {"organs": "segmentation", "grades": "classification"},
            "'grades' .* dice cannot judge",
        ),
        (("dcie",), {"organs": "segmentation"}, "did you mean 'dice'"),
    ],
)
def test_metrics_that_fit_no_data_set_are_refused_in_one_line(metrics, tasks, says):
    with refused(says):
        check_tasks(metrics, tasks)
