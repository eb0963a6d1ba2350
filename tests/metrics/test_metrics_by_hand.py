"""Metrics against numbers worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from one_line import refused

from bench.metrics import CONVENTIONS, score

SPACING = (1.0, 2.0, 3.0)


def value(a: np.ndarray, b: np.ndarray, metric: str, spacing: tuple = SPACING, **options):
    (result,) = score(a, b, spacing, (metric,), **options)
    return result.value


def voxels(*where: tuple[int, int, int]) -> np.ndarray:
    volume = np.zeros((8, 8, 8), dtype=np.uint8)
    volume[tuple(np.transpose(where))] = 1
    return volume


def test_volumes_are_in_ml_and_tell_too_much_from_too_little():
    # 5 and 2 voxels of 1 x 2 x 3 mm: 0.030 and 0.012 ml, wherever they lie.
    a, b = np.zeros((9, 4, 4), np.uint8), np.zeros((9, 4, 4), np.uint8)
    a[:5, 0, 0], b[6:8, 3, 3] = 1, 1
    for convention in CONVENTIONS:
        options = {"convention": convention}
        assert value(a, b, "volume_error", **options) == pytest.approx(0.018, abs=1e-15)
        assert value(b, a, "volume_error", **options) == pytest.approx(0.018, abs=1e-15)
        assert value(a, b, "relative_volume_error", **options) == pytest.approx(1.5)
        assert value(b, a, "relative_volume_error", **options) == pytest.approx(-0.6)


def test_a_longer_rod_gives_the_pooled_and_the_directed_numbers():
    # Rods along x at 0..3 and 0..9: forward all 0 (4 points), backward 0 x4, then 1, 2 .. 6.
    a, b = np.zeros((10, 3, 3), np.uint8), np.zeros((10, 3, 3), np.uint8)
    a[:4, 1, 1], b[:, 1, 1] = 1, 1
    unit = (1.0, 1.0, 1.0)
    assert value(a, b, "hd", unit) == 6
    assert value(a, b, "assd", unit) == pytest.approx(21 / 14)  # pooled, MedPy 0.5.2
    assert value(a, b, "asd", unit) == 0
    assert value(b, a, "asd", unit) == pytest.approx(21 / 10)
    # Rank 0.95 * 13 = 12.35 of 0 x8, 1..6; directed: rank 0.95 * 9 = 8.55 of 0 x4, 1..6.
    assert value(a, b, "hd95", unit) == pytest.approx(5.35)
    assert value(a, b, "hd95", unit, convention="monai") == pytest.approx(5.55)
    assert value(a, b, "nsd@2mm", unit) == pytest.approx((4 + 6) / 14)
    assert value(a, b, "nsd@2.5mm", unit) == pytest.approx((4 + 6) / 14)
    assert value(a, b, "nsd@0mm", unit) == pytest.approx((4 + 4) / 14)


def test_regions_may_overlap_and_keep_their_order():
    a, b = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    a[0, 0, 0], a[0, 0, 1], b[0, 0, 0], b[0, 0, 1] = 1, 2, 1, 3
    regions = {"whole": (1, 2, 3), "core": (1, 3), "one": (1,), "none": ()}
    result = score(a, b, SPACING, ("dice",), regions=regions)
    assert [(s.target, s.value) for s in result] == [
        ("whole", 1.0),
        ("core", 2 / 3),
        ("one", 1.0),
        ("none", None),
    ]
    result = score(a, b, SPACING, ("dice",), labels=[3, 1], regions={"core": (1, 3)})
    assert [(s.target, s.value) for s in result] == [("3", 0.0), ("1", 1.0), ("core", 2 / 3)]


def test_labels_default_to_every_value_of_either_array():
    a, b = voxels((1, 1, 1)) * 7, voxels((1, 1, 1)).astype(np.int64) * 300
    result = score(a, b, SPACING, ("dice", "hd"))
    assert [(s.target, s.metric) for s in result] == [
        ("7", "dice"),
        ("7", "hd"),
        ("300", "dice"),
        ("300", "hd"),
    ]
    result = score(a, a, SPACING, ("dice",), labels=[0, 7])
    assert [(s.target, s.value) for s in result] == [("0", 1.0), ("7", 1.0)]


EMPTY_METRICS = ("dice", "hd", "nsd@1mm", "volume_error", "relative_volume_error")
EMPTY_TABLE = {  # rule: {which is empty: values}; the diagonal of 8 x 8 x 8 at SPACING, one voxel of 6 mm3
    "default": {
        "both_empty": (None,) * 5,
        "empty_reference": (0, None, 0, 0.006, None),
        "empty_prediction": (0, 8 * math.sqrt(14), 0, 0.006, -1),
    },
    "brats": {
        "both_empty": (1, 0, 1, 0, 0),
        "empty_reference": (0, 373.13, 0, 0.006, None),
        "empty_prediction": (0, 373.13, 0, 0.006, -1),
    },
    "skip": dict.fromkeys(("both_empty", "empty_reference", "empty_prediction"), (None,) * 5),
}


@pytest.mark.parametrize("convention", ["medpy", "monai", "deepmind"])
@pytest.mark.parametrize("rule", EMPTY_TABLE)
def test_empty_masks_follow_the_rule_asked_for(rule, convention):
    subset, none = voxels((2, 2, 2)), np.zeros((8, 8, 8), np.uint8)
    pairs = {
        "both_empty": (none, none),
        "empty_reference": (subset, none),
        "empty_prediction": (none, subset),
    }
    for status, (a, b) in pairs.items():
        result = score(a, b, SPACING, EMPTY_METRICS, convention, labels=[1], empty=rule)
        assert {s.status for s in result} == {status}
        assert [s.value for s in result] == [
            v if v is None else pytest.approx(v) for v in EMPTY_TABLE[rule][status]
        ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrics": ("dcie",)}, "did you mean 'dice'"),
        ({"metrics": ("nsd@1",)}, "nsd@1mm"),
        ({"metrics": ()}, "none asked for"),
        ({"metrics": ("dice", "auc")}, "'auc' judges a classification, .*; use dice, iou, hd"),
        ({"convention": "medpi"}, "did you mean 'medpy'"),
        ({"empty": "brat"}, "did you mean 'brats'"),
        ({"prediction": np.zeros((2, 2, 2), int)}, "shape"),
        ({"prediction": np.full((8, 8, 8), 0.5)}, "fractional"),
        ({"prediction": np.full((8, 8, 8), np.nan)}, "nan"),
        ({"prediction": np.full((8, 8, 8), -1)}, "renumber"),
        ({"prediction": np.full((8, 8, 8), 70000)}, "renumber"),
        ({"spacing": (1, 1)}, "3 positive"),
        ({"spacing": (1, 0, 1)}, "3 positive"),
        ({"affine": np.eye(2)}, "invertible matrix for the 3 axes"),
        ({"affine": np.diag([1.0, 1.0, 0.0, 1.0])}, "invertible matrix"),
    ],
)
def test_a_wrong_request_is_one_line(change, says):
    given = {"prediction": voxels((1, 1, 1)), "reference": voxels((1, 1, 1)), "spacing": SPACING}
    with refused(says):
        score(**(given | change))


def test_two_dimensional_maps_have_everything_but_ml():
    a, b = np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.uint8)
    a[1, 1], b[4, 5] = 1, 1
    assert {value(a, b, "hd", (1.0, 1.0), convention=name) for name in CONVENTIONS} == {5}
    assert value(a, b, "relative_volume_error", (1.0, 1.0)) == 0
    with refused("3-D"):
        value(a, b, "volume_error", (1.0, 1.0))


def test_the_thickness_of_a_slice_is_no_distance():
    # 3 x 4 pixels of 1 x 2 mm: the diagonal is that of 3 x 8 mm, however thick the slice; its volume is not
    none, subset = np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8)
    for axis in range(3):
        pair = [np.expand_dims(part, axis) for part in (none, subset)]
        spacing = tuple(np.insert([1.0, 2.0], axis, 999.0))
        assert value(*pair, "hd", spacing, labels=[1]) == pytest.approx(math.hypot(3, 8))
        assert value(*pair, "volume_error", spacing) == pytest.approx(12 * 2 * 999 / 1000)
    # Two thin axes leave a line; its surface is its ends, 0 and 3, 0 and 9: 0, 3, 0, 6 mm to the nearest
    a, b = np.zeros((10, 1, 1), np.uint8), np.ones((10, 1, 1), np.uint8)
    a[:4] = 1
    for turn in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        spacing = tuple(np.array([1.0, 7.0, 999.0])[list(turn)])
        line = a.transpose(turn), b.transpose(turn)
        assert value(*line, "assd", spacing) == 9 / 4 and value(*line, "hd", spacing) == 6
    lone = np.ones((1, 1, 1), np.uint8)
    assert value(lone, lone, "hd") == 0 and value(0 * lone, lone, "hd", labels=[1]) == 1.0


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_within_a_tolerance_does_not_turn_on_the_last_bit_of_a_header(convention):
    # A cube moved by one voxel: no voxel of a surface lies farther than that from the other surface
    a = np.zeros((12, 12, 12), np.uint8)
    a[3:8, 3:8, 3:8] = 1
    b = np.roll(a, 1, 0)
    for length in (0.6, 0.7, 0.8, 1.0, 1.1, 1.2):
        metric, options = f"nsd@{length}mm", {"convention": convention}
        for stored in (length, float(np.float32(length)), length * (1 + 5e-6), length * (1 - 5e-6)):
            assert value(a, b, metric, (stored,) * 3, **options) == 1.0, stored
        assert value(a, b, metric, (length * 1.001,) * 3, **options) < 1.0
        assert value(a, b, "nsd@0mm", (length,) * 3, **options) < 1.0


def test_a_percentile_by_area_does_not_turn_on_the_rounding_of_a_sum():
    # 19 of 20 elements of one size are at 0 mm: their share is 0.95, however their sizes round
    from bench.metrics.hausdorff import Distances, distance

    near = np.zeros(20)
    near[-1] = 7.0
    for size in np.linspace(0.1, 3.1, 31):
        result = Distances(near, near, np.full(20, size), np.full(20, size))
        assert distance("hd95", result, "deepmind") == 0.0
        assert distance("hd", result, "deepmind") == 7.0


def test_void_voxels_count_nowhere():
    # Along x; without the two void voxels the reference is 1 1 0 . . 1, the prediction 1 0 1 . . 1
    a, b = np.zeros((6, 3, 3), np.uint8), np.zeros((6, 3, 3), np.uint8)
    b[:, 1, 1], a[:, 1, 1] = (1, 1, 0, 9, 9, 1), (1, 0, 1, 1, 2, 1)
    result = {
        (s.target, s.metric): s.value for s in score(a, b, (1, 1, 1), ("dice", "hd"), ignore=9)
    }
    # label 2 is in the void alone
    assert result == {("1", "dice"): 2 * 2 / (3 + 3), ("1", "hd"): 1.0}
    a[2, 1, 1] = 9  # a prediction that says void where there is none says background
    result = {(s.target, s.metric): s.value for s in score(a, b, (1, 1, 1), ("dice",), ignore=9)}
    assert result == {("1", "dice"): 2 * 2 / (2 + 3)}
    with refused("label 9 cannot be both ignored and scored"):
        score(a, b, (1, 1, 1), ("dice",), labels=[1, 9], ignore=9)


SHEARS = {
    "gantry": [
        [1, 0, 0],
        [0, 1, 3 * math.sin(math.radians(20))],
        [0, 0, 3 * math.cos(math.radians(20))],
    ],
    "all axes": [[0.7, 0.2, -0.3], [0.1, 0.8, 0.5], [0, -0.2, 2.1]],
    "flat": [[1, 0.9, 0], [0, 0.3, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("shear", SHEARS)
def test_a_sheared_grid_has_the_distances_and_volumes_of_its_voxels(shear):
    matrix = np.array(SHEARS[shear])
    rng = np.random.default_rng(4)
    a, b = (rng.random((9, 8, 7)) < share for share in (0.08, 0.3))
    a[:, :, 4:] = b[:4] = False  # so that some voxels lie far from the other mask
    for pair, affine in (((a, b), matrix), ((a[:, :, 2], b[:, :, 2]), matrix)):
        masks = [np.pad(mask, 1) if mask.ndim == 3 else np.pad(mask, 1)[..., None] for mask in pair]
        surfaces = [np.argwhere(mask & ~_inner(mask)) @ affine.T for mask in masks]
        apart = np.linalg.norm(surfaces[0][:, None] - surfaces[1][None], axis=-1)
        both = [apart.min(1), apart.min(0)]
        spacing = tuple(np.linalg.norm(affine, axis=0))
        shown = [mask[..., None] if mask.ndim == 2 else mask for mask in pair]
        options = {
            "affine": np.block([[affine, np.ones((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
        }
        assert value(*shown, "hd", spacing, **options) == pytest.approx(max(map(np.max, both)))
        assert value(*shown, "assd", spacing, **options) == pytest.approx(
            np.concatenate(both).mean()
        )
        assert value(*shown, "hd95", spacing, **options) == pytest.approx(
            np.percentile(np.concatenate(both), 95)
        )
        more = abs(int(pair[0].sum()) - int(pair[1].sum()))
        assert value(*shown, "volume_error", spacing, **options) == pytest.approx(
            more * abs(np.linalg.det(affine)) / 1000
        )


def _inner(mask: np.ndarray) -> np.ndarray:
    """Return the voxels whose face neighbours along the axes of several voxels all are in the mask."""
    inner = mask.copy()
    for axis in [axis for axis, n in enumerate(mask.shape) if n > 1]:
        inner &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return inner


def test_the_elements_of_a_sheared_grid_have_sheared_areas():
    # Half of the corners are inside: the element is the whole side of a voxel, spanned by its two other edges
    from bench.metrics.area import element_sizes

    # x, y, and z that leans along y
    sizes = element_sizes(np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 1]]))
    corners = [*np.ndindex(2, 2, 2)]
    halves = [
        sum(1 << 7 - k for k, corner in enumerate(corners) if corner[axis]) for axis in range(3)
    ]
    assert [sizes[code] for code in halves] == pytest.approx([1.0, math.sqrt(2), 1.0])
