"""Pairs of boxes obey their rule wherever the volume lets them."""

import numpy as np
import pytest

from bench.data.reader import Volume
from bench.pretext.pair import Pairing, draw_pair, read_pair

CROP = (96, 96, 16)  # the views of PGL, whose text has 16 x 96 x 96


def shared(start, size):
    low, high = start.max(0), (start + size).min(0)
    return np.clip(high - low, 0, None)


@pytest.mark.parametrize("seed", range(30))
def test_crops_of_a_ct_scan_overlap_by_a_tenth_and_stay_inside(seed):
    rule = Pairing((1.1, 1.4), overlap=0.1)
    start, size = draw_pair((512, 512, 120), CROP, rule, np.random.default_rng(seed))
    ratio = size / np.asarray(CROP)
    assert (ratio > 1.09).all() and (ratio < 1.41).all()
    assert shared(start, size).prod() >= 0.1 * size.prod(1).min()
    assert (start >= 0).all() and (start + size <= (512, 512, 120)).all()


@pytest.mark.parametrize("seed", range(10))
def test_overlap_per_axis(seed):
    rule = Pairing(axis_overlap=0.5)
    start, size = draw_pair((200, 200, 80), (64, 64, 64), rule, np.random.default_rng(seed))
    assert (shared(start, size) >= 32).all()


def test_the_second_box_falls_back_on_the_first():
    rule = Pairing((1.0, 1.0), overlap=1.0)  # no drawn place will do in so large a volume
    start, _ = draw_pair((10_000,) * 3, (8, 8, 8), rule, np.random.default_rng(0))
    assert np.array_equal(start[0], start[1])


def test_small_volumes_are_centred():
    start, size = draw_pair((100, 200, 10), CROP, Pairing((1.4, 1.4)), np.random.default_rng(0))
    assert size.tolist() == [[134, 134, 22]] * 2
    assert start[:, 0].tolist() == [-17, -17] and start[:, 2].tolist() == [-6, -6]


def test_isotropic_boxes_share_one_scale():
    rule = Pairing((1.1, 1.4), isotropic=True)
    _, size = draw_pair((999,) * 3, (100, 100, 100), rule, np.random.default_rng(0))
    assert all(len(set(row)) == 1 for row in size.tolist())


def test_read_pair_stacks_and_starts_at_the_box():
    image = np.arange(40 * 40 * 40, dtype=np.float32).reshape(1, 40, 40, 40)
    rule = Pairing((1.1, 1.4), overlap=0.1)
    for seed in range(5):
        got = read_pair(Volume(image), (16, 16, 8), rule, np.random.default_rng(seed))
        assert got["pair"].shape == (2, 1, 22, 22, 11)
        for view, (x, y, z) in zip(got["pair"], got["start"], strict=True):
            assert view[0, 0, 0, 0] == image[0, x, y, z]


def test_slices_keep_their_thickness_and_a_pair_its_slice():
    rule = Pairing((1.1, 2.0), overlap=0.1)
    for seed in range(10):
        start, size = draw_pair((64, 64, 500), (32, 32, 1), rule, np.random.default_rng(seed))
        assert (size[:, 2] == 1).all() and start[0, 2] == start[1, 2]
        assert not np.array_equal(start[0], start[1])


def test_no_box_is_empty_however_small_its_scale():
    _, size = draw_pair((9, 9, 9), (4, 4, 4), Pairing((0.01, 0.02)), np.random.default_rng(0))
    assert (size == 1).all()
