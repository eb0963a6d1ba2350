"""Volume: boxes anywhere, padding with the minimum, and uniform corners."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.reader import Volume

SHAPE = (7, 6, 5)
RAW = np.random.default_rng(0).integers(0, 100, (2, *SHAPE)).astype(np.int16)
LABEL = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
STEP, OFFSET = 0.5, -20.0
VOLUME = Volume(RAW, LABEL, step=STEP, offset=OFFSET)
starts = st.tuples(*[st.integers(-12, 12)] * 3)
sizes = st.tuples(*[st.integers(1, 12)] * 3)


def by_voxel(array, start, size, outside):
    """The slow definition: each voxel on its own."""
    found = np.full((*array.shape[:-3], *size), outside, array.dtype)
    for place in np.ndindex(*size):
        at = np.add(start, place)
        if (at >= 0).all() and (at < array.shape[-3:]).all():
            found[(..., *place)] = array[(..., *at)]
    return found


@given(starts, sizes)
@settings(max_examples=80, deadline=None)
def test_a_crop_is_its_voxels_and_outside_is_the_stored_minimum(start, size):
    expected = by_voxel(
        RAW.astype(np.float32) * np.float32(STEP) + np.float32(OFFSET), start, size, OFFSET
    )
    found = VOLUME.crop(start, size)
    assert found.dtype == np.float32 and found.shape == (2, *size)
    np.testing.assert_array_equal(found, expected)


@given(starts, sizes)
@settings(max_examples=80, deadline=None)
def test_a_label_crop_is_its_voxels_and_background_outside(start, size):
    found = VOLUME.crop_label(start, size)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, by_voxel(LABEL, start, size, 0))


def test_the_whole_is_every_voxel():
    assert VOLUME.shape == SHAPE and VOLUME.channels == 2
    np.testing.assert_array_equal(VOLUME.whole(), RAW * np.float32(STEP) + np.float32(OFFSET))


def test_a_volume_without_label_says_so():
    with pytest.raises(ValueError, match="no label"):
        Volume(RAW).crop_label((0, 0, 0), (1, 1, 1))


@given(sizes, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_random_corner_fits_or_is_centred(size, seed):
    start = VOLUME.random_start(size, np.random.default_rng(seed))
    for a, n, length in zip(start, size, SHAPE, strict=True):
        if n <= length:
            assert 0 <= a <= length - n
        else:
            assert a == (length - n) // 2 < 0


def test_every_corner_is_drawn_about_equally_often():
    rng = np.random.default_rng(0)
    drawn = np.array([VOLUME.random_start((5, 6, 9), rng) for _ in range(3000)])
    assert set(drawn[:, 1]) == {0} and set(drawn[:, 2]) == {-2}
    share = np.bincount(drawn[:, 0], minlength=3) / 3000
    assert np.abs(share - 1 / 3).max() < 0.04


def test_a_random_crop_is_the_crop_at_the_random_corner():
    size = (3, 3, 3)
    start = VOLUME.random_start(size, np.random.default_rng(5))
    np.testing.assert_array_equal(
        VOLUME.random_crop(size, np.random.default_rng(5)), VOLUME.crop(start, size)
    )
