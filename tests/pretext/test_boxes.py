"""Two boxes of several sizes that overlap enough."""

import numpy as np

from bench.pretext.boxes import overlapping

SIZES = ((96, 96, 64), (96, 96, 96), (112, 112, 64), (64, 64, 32))
RNG = np.random.default_rng


def iou(start, size):
    low, high = start.max(0), (start + size).min(0)
    common = np.clip(high - low, 0, None).prod()
    return common / (size.prod(1).sum() - common)


def test_two_boxes_overlap_by_more_than_asked_for_and_lie_inside():
    rng, shape = RNG(0), (160, 160, 100)
    drawn = [overlapping(shape, SIZES, 0.3, rng) for _ in range(100)]
    assert all(iou(start, size) > 0.3 for start, size in drawn)
    assert all((start >= 0).all() and (start + size <= shape).all() for start, size in drawn)
    assert {tuple(s) for _, size in drawn for s in size} == set(SIZES)
    assert len({tuple(start.ravel()) for start, _ in drawn}) == 100


def test_where_no_pair_is_found_both_boxes_are_the_same():
    start, size = overlapping((10_000,) * 3, ((8, 8, 8),), 0.9, RNG(0))
    assert iou(start, size) == 1 and (size == 8).all()


def test_boxes_are_cut_to_a_small_volume():
    start, size = overlapping((20, 90, 10), ((96, 96, 64),), 0.3, RNG(0))
    assert (start == 0).all() and (size == (20, 90, 10)).all()
