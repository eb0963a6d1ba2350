"""What must hold for any pair of masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.metrics import CONVENTIONS, score
from bench.metrics.grid import Grid
from bench.metrics.request import COUNTED, Request, Wanted
from bench.metrics.volume import compare

MM = ("hd", "hd95", "assd", "asd")
ALL = (*COUNTED, *MM, "nsd@1.5mm")
PERFECT = {"dice": 1, "iou": 1, "nsd@1.5mm": 1}  # of the others 0
quick = settings(max_examples=25, deadline=None)
steps = st.sampled_from([0.5, 1.0, 1.25, 3.0])
spacings = st.tuples(steps, steps, steps)
conventions = st.sampled_from(CONVENTIONS)
rules = st.sampled_from(["default", "brats", "skip"])


@st.composite
def pairs(draw) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps so small that most of their masks touch the border, and some are empty."""
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    values = st.sampled_from([0, 0, 1, 2])
    return tuple(draw(arrays(np.uint8, shape, elements=values)) for _ in range(2))


def scores(a, b, spacing, convention="medpy", metrics=ALL, labels=(1, 2), **options) -> dict:
    result = score(a, b, spacing, metrics, convention, labels=labels, **options)
    return {(s.target, s.metric): (s.value, s.status) for s in result}


def same(first: dict, second: dict, factor: float = 1.0) -> None:
    """Compare two results of one order; lengths of the second are ``factor`` times as long."""
    power = dict.fromkeys(MM, 1) | {"volume_error": 3}
    for (key, (number, status)), other in zip(first.items(), second.values(), strict=True):
        times = factor ** power.get(key[1], 0)
        expected = None if number is None else pytest.approx(number * times, rel=1e-9, abs=1e-9)
        assert other == (expected, status), key


@quick
@given(pairs(), spacings, conventions, st.tuples(*[st.integers(0, 3)] * 6))
def test_translation_away_from_the_border_changes_nothing(pair, spacing, convention, margin):
    # A slice is a picture, and no longer one where another slice is added: its axis stays as it is.
    sides = zip(pair[0].shape, margin[::2], margin[1::2], strict=True)
    pads = [(low, high) if n > 1 else (0, 0) for n, low, high in sides]
    shifted = [np.pad(volume, pads) for volume in pair]
    # `skip`, because the default penalty is the volume's diagonal, which does grow.
    same(
        scores(*pair, spacing, convention, empty="skip"),
        scores(*shifted, spacing, convention, empty="skip"),
    )


@quick
@given(pairs(), spacings, conventions, st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_axes_and_spacing_permute_together_and_mirrors_change_nothing(
    pair, spacing, convention, order, flips
):
    turned = [np.flip(volume, tuple(flips)).transpose(order) for volume in pair]
    same(
        scores(*pair, spacing, convention),
        scores(*turned, tuple(spacing[k] for k in order), convention),
    )


@quick
@given(pairs(), spacings, conventions, st.sampled_from([0.5, 2.0, 8.0]))
def test_lengths_and_volumes_scale_with_the_spacing_and_overlaps_do_not(
    pair, spacing, convention, factor
):
    scaled = tuple(factor * s for s in spacing)
    longer = (*COUNTED, *MM, f"nsd@{1.5 * factor}mm")
    same(scores(*pair, spacing, convention), scores(*pair, scaled, convention, longer), factor)


@quick
@given(pairs(), spacings, conventions)
def test_symmetric_metrics_are_symmetric_and_the_relative_volume_error_turns_into_its_inverse(
    pair, spacing, convention
):
    first, two = (scores(*p, spacing, convention) for p in (pair, pair[::-1]))
    both = {
        k: v
        for k, v in first.items()
        if v[1] == "ok" and k[1] not in ("asd", "relative_volume_error")
    }
    same(both, {key: two[key] for key in both})
    for key, (number, status) in first.items():
        if key[1] == "relative_volume_error" and status == "ok":
            assert (1 + number) * (1 + two[key][0]) == pytest.approx(1)


@quick
@given(pairs(), spacings, conventions)
def test_a_mask_scored_against_itself_is_perfect(pair, spacing, convention):
    for (_, metric), (number, status) in scores(pair[0], pair[0], spacing, convention).items():
        expected = (PERFECT.get(metric, 0), "ok") if status == "ok" else (None, "both_empty")
        assert (number, status) == expected


@quick
@given(pairs(), spacings, conventions, rules, st.permutations([1, 2, 7, 300]))
def test_labels_are_names_only(pair, spacing, convention, rule, names):
    codes = np.array([0, *names[:2]], np.uint16)
    renamed = [codes[volume] for volume in pair]
    same(
        scores(*pair, spacing, convention, empty=rule),
        scores(*renamed, spacing, convention, labels=names[:2], empty=rule),
    )


@quick
@given(pairs(), spacings, conventions, rules, st.booleans())
def test_an_empty_mask_says_so_and_leaves_the_other_label_alone(
    pair, spacing, convention, rule, of_prediction
):
    lacking = [np.where(volume == 1, 0, volume) for volume in pair]
    first = [lacking[0], pair[1]] if of_prediction else [pair[0], lacking[1]]
    before, after = (scores(*p, spacing, convention, empty=rule) for p in (pair, first))
    assert {k: v for k, v in before.items() if k[0] == "2"} == {
        k: v for k, v in after.items() if k[0] == "2"
    }
    gone = [result for (target, _), result in after.items() if target == "1"]
    assert all(
        status != "ok" and (number is None or np.isfinite(number)) for number, status in gone
    )


@quick
@given(pairs(), spacings, st.lists(conventions, min_size=1, max_size=3), rules)
def test_several_conventions_at_once_are_each_alone(pair, spacing, several, rule):
    requests = tuple(Request.checked(ALL, convention, rule) for convention in several)
    together = compare(*pair, Grid.of(pair[0].shape, spacing), requests, Wanted())
    assert together == [
        score(*pair, spacing, ALL, convention, empty=rule) for convention in several
    ]


@quick
@given(pairs(), spacings)
def test_a_region_of_both_labels_is_the_merged_mask_and_metrics_keep_their_order(pair, spacing):
    merged = [(volume > 0).astype(np.uint8) for volume in pair]
    region = score(*pair, spacing, ALL, regions={"1": (1, 2)})
    assert region == score(*merged, spacing, ALL, labels=[1])
    if region[0].status == "ok":
        first = {result.metric: result.value for result in region}
        assert first["dice"] == pytest.approx(2 * first["iou"] / (1 + first["iou"]))
        assert first["hd95"] <= first["hd"] and first["assd"] <= first["hd"]
