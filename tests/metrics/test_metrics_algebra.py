"""What must hold for any pair of masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.metrics import score

ALL = ("dice", "iou", "hd", "hd95", "assd", "nsd@1.5mm")
CONVENTIONS = ("medpy", "monai", "deepmind")
quick = settings(max_examples=25, deadline=None)
steps = st.sampled_from([0.5, 1.0, 1.25, 3.0])
spacings = st.tuples(steps, steps, steps)
conventions = st.sampled_from(CONVENTIONS)


@st.composite
def pairs(draw) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    values = st.sampled_from([0, 0, 1, 2])
    return tuple(draw(arrays(np.uint8, shape, elements=values)) for _ in range(2))


def scores(a, b, spacing, convention="medpy", metrics=ALL, **options) -> dict:
    found = score(a, b, spacing, metrics, convention, labels=[1, 2], **options)
    return {(s.target, s.metric): (s.value, s.status) for s in found}


def same(one: dict, two: dict, factor: float = 1.0) -> None:
    for key, (number, status) in one.items():
        times = factor if key[1] in ("hd", "hd95", "assd") else 1.0
        expected = None if number is None else pytest.approx(number * times, rel=1e-9, abs=1e-9)
        assert two[key] == (expected, status), key


@quick
@given(pairs(), spacings, conventions, st.tuples(*[st.integers(1, 3)] * 6))
def test_translation_away_from_the_border_changes_nothing(pair, spacing, convention, margin):
    pads = list(zip(margin[::2], margin[1::2], strict=True))
    moved = [np.pad(volume, pads) for volume in pair]
    # `skip`, because the default penalty is the volume's diagonal, which does grow.
    same(
        scores(*pair, spacing, convention, empty="skip"),
        scores(*moved, spacing, convention, empty="skip"),
    )


@quick
@given(pairs(), spacings, st.sampled_from(["medpy", "monai"]), st.permutations(range(3)))
def test_axes_and_spacing_permute_together(pair, spacing, convention, order):
    turned = [volume.transpose(order) for volume in pair]
    same(
        scores(*pair, spacing, convention),
        scores(*turned, tuple(spacing[k] for k in order), convention),
    )


@quick
@given(pairs(), spacings, st.sampled_from(["medpy", "monai"]))
def test_distances_scale_with_the_spacing(pair, spacing, convention):
    metrics = ("dice", "iou", "hd", "hd95", "assd")
    doubled = tuple(2 * s for s in spacing)
    same(
        scores(*pair, spacing, convention, metrics),
        scores(*pair, doubled, convention, metrics),
        2.0,
    )


@quick
@given(pairs(), spacings, conventions)
def test_symmetric_metrics_are_symmetric(pair, spacing, convention):
    one = scores(*pair, spacing, convention)
    two = scores(*pair[::-1], spacing, convention)
    both = {key: found for key, found in one.items() if found[1] == "ok"}
    same(both, two)


@quick
@given(pairs(), spacings, conventions)
def test_a_mask_scored_against_itself_is_perfect(pair, spacing, convention):
    for (_, metric), (number, status) in scores(pair[0], pair[0], spacing, convention).items():
        if status == "ok":
            assert number == (1 if metric in ("dice", "iou", "nsd@1.5mm") else 0)
        else:
            assert (number, status) == (None, "both_empty")


@quick
@given(pairs(), spacings)
def test_the_metrics_keep_their_order(pair, spacing):
    for label in ("1", "2"):
        one = {m: v for (t, m), (v, s) in scores(*pair, spacing).items() if t == label and s == "ok"}
        if one:
            assert one["dice"] == pytest.approx(2 * one["iou"] / (1 + one["iou"]))
            assert one["hd95"] <= one["hd"] and one["assd"] <= one["hd"]


@quick
@given(pairs(), spacings)
def test_a_region_of_both_labels_is_the_merged_mask(pair, spacing):
    merged = [(volume > 0).astype(np.uint8) for volume in pair]
    region = score(*pair, spacing, ALL, regions={"1": (1, 2)})
    assert region == score(*merged, spacing, ALL, labels=[1])
