"""Scores that come in slabs give the label map that the whole stack would, cut wherever they are."""

import weakref
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.slabs import restore_slabs, unchanged
from bench.volumes.resampling import Geometry, linear

SIDES = st.tuples(*[st.integers(1, 9)] * 3)


def lying(native, prepared, margin=(0, 0, 0)):
    """Return the geometry of a crop that lies ``margin`` inside its native grid."""
    box = tuple((m, m + n) for n, m in zip(native, margin, strict=True))
    return Geometry(
        tuple(n + 2 * m for n, m in zip(native, margin, strict=True)), (1.0,) * 3, box, prepared
    )


def cut(scores, *places):
    """Yield the slabs between some planes."""
    inner = {p for p in places if 0 < p < scores.shape[3]}
    edges = [0, *sorted(inner), scores.shape[3]]
    return [scores[..., a:b] for a, b in pairwise(edges)]


def drawn(classes, shape, seed, background=0.0):
    scores = np.random.default_rng(seed).normal(size=(classes, *shape)).astype(np.float32)
    scores[0] += background
    return scores


@given(
    SIDES,
    SIDES,
    st.lists(st.integers(1, 8), max_size=4),
    st.integers(0, 999),
    st.sampled_from([0, 2, 9]),
)
@settings(max_examples=150, deadline=None)
def test_the_highest_of_the_whole_stack_wins_wherever_it_is_cut(
    native, prepared, places, seed, background
):
    geometry = lying(native, prepared, (2, 0, 1))
    # The others win anywhere, here and there, never.
    scores = drawn(4, prepared, seed, background)
    expected = np.stack([linear(s, native) for s in scores]).argmax(0)
    found = restore_slabs(cut(scores, *places), geometry)
    np.testing.assert_array_equal(found[geometry.inside], expected)
    found[geometry.inside] = 0
    assert not found.any() and found.dtype == np.uint8


@given(SIDES, SIDES, st.lists(st.integers(1, 8), max_size=4), st.integers(0, 999))
@settings(max_examples=100, deadline=None)
def test_regions_are_painted_in_order_wherever_they_are_cut(native, prepared, places, seed):
    scores = drawn(3, prepared, seed)
    expected = np.zeros(native, np.uint8)
    for channel, label in ((2, 1), (0, 7), (1, 200)):
        expected[linear(scores[channel], native) > 0] = label
    found = restore_slabs(cut(scores, *places), lying(native, prepared), [[2, 1], [0, 7], [1, 200]])
    np.testing.assert_array_equal(found, expected)


def test_smaller_regions_lie_over_larger_ones_and_a_voxel_may_be_in_none():
    logits = np.full((3, 1, 1, 4), -1.0, np.float32)
    logits[0, ..., :3] = 2.0  # the whole
    logits[1, ..., 1:3] = 0.1  # its core, weaker and still over it
    logits[2, ..., 2] = 5.0
    nested = [(0, 2), (1, 1), (2, 3)]
    assert restore_slabs([logits], unchanged((1, 1, 4)), nested).ravel().tolist() == [2, 1, 3, 0]
    assert restore_slabs([logits], unchanged((1, 1, 4)), nested[::-1]).ravel().tolist() == [
        2,
        2,
        2,
        0,
    ]


def test_a_logit_of_0_is_a_probability_of_one_half_and_outside():
    logits = np.array([-1e-6, 0.0, 1e-6], np.float32).reshape(1, 1, 1, 3)
    assert restore_slabs([logits], unchanged((1, 1, 3)), [(0, 5)]).ravel().tolist() == [0, 0, 5]


def test_logits_are_resampled_not_probabilities():
    logits = np.array([-1.0, 9.0], np.float32).reshape(1, 1, 1, 2)
    found = restore_slabs(cut(logits, 1), lying((1, 1, 8), (1, 1, 2)), [(0, 1)])
    # Centres at -0.375, -0.125, 0.125, ... between planes 0 and 1: the line is above 0 from 0.1 on;
    # of the probabilities 0.269 and 0.9999 it would be above 0.5 from 0.32 on.
    assert found.ravel().tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_a_tie_goes_to_the_lower_class_and_slabs_are_left_as_they_were():
    assert not restore_slabs([np.ones((3, 2, 2, 2))], unchanged((2, 2, 2))).any()
    scores = drawn(4, (5, 4, 3), 0)
    kept = scores.copy()
    restore_slabs([scores], unchanged((5, 4, 3)))
    np.testing.assert_array_equal(scores, kept)


@pytest.mark.parametrize("native", [(6, 5, 40), (6, 5, 13), (9, 9, 97)])
def test_no_more_than_two_slabs_are_held(native):
    made = []

    class Slab(np.ndarray):
        pass

    def passing():
        for n in range(10):
            assert sum(slab() is not None for slab in made) <= 1, "an earlier slab is still held"
            slab = drawn(3, (6, 5, 4), n).view(Slab)
            made.append(weakref.ref(slab))
            yield slab
            del slab

    restore_slabs(passing(), lying(native, (6, 5, 40)))


@pytest.mark.parametrize("native", [(6, 5, 40), (6, 5, 13), (9, 9, 97)])
def test_slabs_may_come_in_the_same_memory(native):
    scores, memory = drawn(3, (6, 5, 40), 0), np.empty((3, 6, 5, 4), np.float32)

    def passing():
        for slab in cut(scores, *range(4, 40, 4)):
            memory[...] = slab
            yield memory

    geometry = lying(native, (6, 5, 40))
    np.testing.assert_array_equal(
        restore_slabs(passing(), geometry), restore_slabs([scores], geometry)
    )


@pytest.mark.parametrize(
    ("shapes", "paint", "said"),
    [
        ([(2, 2, 2, 2)], None, "end after 2 planes"),
        ([], None, "end after 0 planes"),
        ([(2, 2, 2, 2), (2, 2, 2, 2)], None, "at plane 2"),
        ([(2, 2, 1, 3)], None, "classes on"),
        ([(0, 2, 2, 3)], None, "classes on"),
        ([(257, 2, 2, 3)], None, "classes on"),
        *(([(2, 2, 2, 3)], [pair], "channel") for pair in ((2, 1), (-1, 1), (0, 256))),
    ],
)
def test_slabs_that_do_not_fit_are_refused(shapes, paint, said):
    with pytest.raises(ValueError, match=said):
        restore_slabs(
            [np.zeros(shape, np.float32) for shape in shapes], unchanged((2, 2, 3)), paint
        )
