"""Metrics of lesions against panoptica's numbers and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics import METRICS, score
from bench.metrics.ranking import standings
from bench.metrics.request import named
from bench.report.names import is_ranked, lower_is_better, metric_title

SPACING = (2.0, 1.0, 5.0)
# The metric of each of panoptica's entries.
ENTRIES = {
    "n_ref_instances": "lesion_reference",
    "n_pred_instances": "lesion_predicted",
    "tp": "lesion_matched",
    "fn": "lesion_missed",
    "fp": "lesion_false",
    "rec": "lesion_recall",
    "prec": "lesion_precision",
    "rq": "lesion_rq",
    "sq": "lesion_sq",
    "pq": "lesion_pq",
    "sq_dsc": "lesion_dice",
    # with bounds of 100 and 500 mm3
    "rec_q0": "lesion_recall@0-0.1ml",
    "rec_q1": "lesion_recall@0.1-0.5ml",
    "rec_q2": "lesion_recall@0.5+ml",
}


def speckled(shape: tuple[int, ...], seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks of noise, summed twice over cubes of three, that share four fifths of it."""
    raw = np.random.Philox(seed).random_raw(2 * int(np.prod(shape))) % np.uint64(1000)
    fields = raw.astype(np.int64).reshape(2, *shape)
    for axis in range(1, len(shape) + 1):
        for _ in range(2):
            fields = fields + np.roll(fields, 1, axis) + np.roll(fields, -1, axis)
    masks = []
    for field in (4 * fields[0] + fields[1], fields[0]):
        rank = int(share * field.size)
        masks.append((field > np.partition(field.ravel(), rank)[rank]).astype(np.uint8))
    return masks[0], masks[1]


def placed() -> tuple[np.ndarray, np.ndarray]:
    """Return boxes whose matches can be told by hand, in the comments."""
    pred, ref = np.zeros((2, 40, 40, 40), np.uint8)
    ref[2:8, 2:8, 2:8] = pred[2:8, 2:8, 2:8] = 1  # IoU 1
    ref[2:8, 20:26, 2:8] = pred[2:8, 20:26, 2:6] = 1  # 4 of 6
    # split: 4 and 5 of 10; the second, which is 0.5, matches
    ref[20:30, 2:8, 2:8] = pred[20:24, 2:8, 2:8] = pred[25:30, 2:8, 2:8] = 1
    # merged: 4 of 14 and 8 of 14; the second matches
    ref[20:24, 20:26, 2:8] = ref[26:34, 20:26, 2:8] = pred[20:34, 20:26, 2:8] = 1
    ref[2:4, 2:4, 30:32] = ref[4:6, 4:6, 32:34] = 1  # one lesion by its corner, missed
    pred[30:33, 30:33, 30:33] = 1  # false
    ref[10:14, 30:34, 30:34] = pred[12:14, 30:34, 30:34] = 1  # 0.5
    return pred, ref


def picture() -> tuple[np.ndarray, np.ndarray]:
    pred, ref = np.zeros((2, 24, 24), np.uint8)
    ref[2:6, 2:6] = ref[6:10, 6:10] = 1  # two in a picture, though their corners touch
    pred[2:6, 2:6] = pred[6:10, 6:9] = 1
    ref[15:20, 2:6] = pred[18:23, 2:6] = 1
    return pred, ref


def boxes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    none, box, apart = np.zeros((3, 12, 12, 12), np.uint8)
    box[3:6, 3:6, 3:6], apart[7:9, 7:9, 7:9] = 1, 1
    return none, box, apart


NONE, BOX, APART = boxes()
PAIRS = {  # prediction, reference
    "placed": placed(),
    "many": speckled((36, 40, 30), 7, 0.93),
    "few": speckled((48, 32, 20), 11, 0.97),
    "picture": picture(),
    "both empty": (NONE, NONE),
    "no reference": (BOX, NONE),
    "no prediction": (NONE, BOX),
    "no match": (APART, BOX),
}
# What panoptica 2.1.7 gives for these arrays: Panoptica_Evaluator of SEMANTIC input with
# ConnectedComponentsInstanceApproximator() and NaiveThresholdMatching(), the entries in the order of ENTRIES.
# NaN and a division by zero are None.
PANOPTICA = {
    "placed": (
        *(7, 7, 5, 2, 2, 0.7142857142857143, 0.7142857142857143, 0.7142857142857143),
        *(0.6476190476190476, 0.46258503401360546, 0.7721212121212121, None, 0, 0.8333333333333334),
    ),
    "many": (
        *(111, 109, 67, 44, 42, 0.6036036036036037, 0.6146788990825688, 0.6090909090909091),
        *(0.7131279255167269, 0.4343597364510973, 0.8238419639940538),
        *(0.46875, 0.7586206896551724, 0.8333333333333334),
    ),
    "few": (
        *(68, 69, 38, 30, 31, 0.5588235294117647, 0.5507246376811594, 0.5547445255474452),
        *(0.7007617586262334, 0.38874374931090316, 0.8118907468395022),
        *(0.5652173913043478, 0.55, 0.5),
    ),
    "picture": (
        *(3, 3, 2, 1, 1, 0.6666666666666666, 0.6666666666666666, 0.6666666666666666),
        *(0.875, 0.5833333333333333, 0.9285714285714286),
    ),
    "both empty": (*(0, 0, 0, 0, 0), *(None,) * 9),
    "no reference": (0, 1, 0, 0, 1, None, 0, 0, 0, 0, 0, None, None, None),
    "no prediction": (1, 0, 0, 1, 0, 0, None, 0, 0, 0, 0, None, 0, None),
    "no match": (1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, None, 0, None),
}


def values(pair: tuple[np.ndarray, np.ndarray], *metrics: str, **options) -> list[float | None]:
    spacing = SPACING[: pair[0].ndim]
    options = {"labels": [1]} | options
    return [s.value for s in score(*pair, spacing, metrics, **options)]


@pytest.mark.parametrize("name", PAIRS)
def test_lesion_metrics_are_those_of_panoptica(name):
    expected = PANOPTICA[name]
    metrics = [*ENTRIES.values()][: len(expected)]  # of a picture none by ml
    ours = values(PAIRS[name], *metrics)
    assert dict(zip(metrics, ours, strict=True)) == {
        metric: v if v is None else pytest.approx(v, rel=1e-12)
        for metric, v in zip(metrics, expected, strict=True)
    }


def test_split_and_merged_lesions_by_hand():
    # One true lesion has two partners, one predicted lesion covers two true ones. Panoptica counts neither.
    assert values(PAIRS["placed"], "lesion_split", "lesion_merged") == [1, 1]
    pred, ref = PAIRS["placed"]
    assert values((ref, pred), "lesion_split", "lesion_merged") == [1, 1]
    assert values((ref, ref), "lesion_split", "lesion_merged", "lesion_pq") == [0, 0, 1]


def test_lesions_of_a_size_from_its_first_bound_on():
    # 10 mm3 a voxel: the boxes of `placed` have 16 (corner), 64, 144, 216, 216, 288 and 360 voxels.
    sizes = ("0-0.1ml", "0.1-0.16ml", "0.16-0.64ml", "0.64-2.16ml", "2.16+ml")
    counts = values(PAIRS["placed"], *(f"lesion_reference@{size}" for size in sizes))
    assert counts == [0, 0, 1, 2, 4]
    matched = values(PAIRS["placed"], *(f"lesion_matched@{size}" for size in sizes))
    assert matched == [0, 0, 0, 1, 4]
    missed = values(PAIRS["placed"], *(f"lesion_missed@{size}" for size in sizes))
    assert missed == [0, 0, 1, 1, 0]
    quality = ("lesion_recall@0.64-2.16ml", "lesion_sq@0.64-2.16ml", "lesion_dice@0.64-2.16ml")
    assert values(PAIRS["placed"], *quality) == [0.5, 0.5, pytest.approx(2 / 3)]
    assert values(PAIRS["placed"], "lesion_sq@0.16-0.64ml", "lesion_split@2.16+ml") == [0, 1]
    (no_such,) = score(*PAIRS["placed"], SPACING, ["lesion_recall@9+ml"], labels=[1])
    assert (no_such.value, no_such.status) == (None, "empty_reference")


def test_each_label_has_lesions_of_its_own():
    pred, ref = PAIRS["placed"]
    both = [np.where(np.arange(40)[:, None, None] < 15, a, 2 * a) for a in (pred, ref)]
    counts = [
        (s.target, s.value) for s in score(*both, SPACING, ["lesion_reference", "lesion_matched"])
    ]
    assert counts == [("1", 4), ("1", 3), ("2", 3), ("2", 2)]
    united = values(both, "lesion_reference", labels=None, regions={"any": (1, 2)})
    assert united == [7]


@pytest.mark.parametrize(
    ("rule", "both_empty", "one_empty"),
    [("brats", [0, 1, 1, 1], [1, 0, 0, None]), ("skip", [None] * 4, [None] * 4)],
)
def test_other_rules_of_empty_masks(rule, both_empty, one_empty):
    metrics = ("lesion_false", "lesion_pq", "lesion_dice", "lesion_recall")
    assert values(PAIRS["both empty"], *metrics, empty=rule) == both_empty
    assert values(PAIRS["no reference"], *metrics, empty=rule) == one_empty


@pytest.mark.parametrize(
    ("pair", "metric", "says"),
    [
        ("picture", "lesion_recall@0-1ml", "a size in ml needs 3-D volumes; leave the size out"),
        (
            "few",
            "lesion_pq@0-1ml",
            "a size can be set only for metrics of reference lesions; use one of lesion_",
        ),
        ("few", "lesion_recall@1-0.1ml", "size 1-0.1 ml: the first number must be below"),
        ("few", "lesion_recal@0-1ml", "did you mean 'lesion_recall'"),
        ("few", "lesion_recal", "did you mean 'lesion_recall'"),
    ],
)
def test_what_is_no_metric_of_lesions_is_refused(pair, metric, says):
    with pytest.raises(BenchError, match=says):
        values(PAIRS[pair], metric)


def test_groups_of_metrics():
    lesions = [name for name in METRICS if name.startswith("lesion_")]
    assert len(lesions) == 13
    assert named("dice,lesions") == ("dice", *lesions)
    assert named("lesions_by_size")[:2] == ("lesion_reference@0-0.1ml", "lesion_recall@0-0.1ml")
    assert len(named("lesions_by_size")) == 8
    assert "dice" in named("all") and not {*named("all")} & {*lesions}


def test_what_is_better_and_what_is_no_merit():
    assert metric_title("lesion_recall@1-10ml") == "Lesion recall, 1 to 10 ml"
    assert metric_title("lesion_recall@10+ml") == "Lesion recall, 10 ml or more"
    assert lower_is_better("lesion_missed@0-1ml", "count")
    assert not lower_is_better("lesion_matched", "count")
    assert not is_ranked("lesion_predicted") and is_ranked("lesion_false")
    row = {"case": "a", "target": "1", "unit": "count", "convention": "medpy"}
    rows = [
        row | {"metric": metric, "prediction": name, "value": value}
        for metric in ("lesion_predicted", "lesion_missed")
        for name, value in (("x", 3.0), ("y", 1.0))
    ]
    assert [s.ranks for s in standings(rows)] == [{"x": None, "y": None}, {"x": 2, "y": 1}]
