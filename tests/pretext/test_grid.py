"""Overlap targets equal hand-computed areas and agree with the order of the tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.reader import Volume
from bench.errors import BenchError
from bench.pretext.grid import overlaps, read_tiled

GRID, SIZE = (4, 4, 1), (96, 96, 96)


def at(x, y):
    return overlaps((x - 48, y - 48, 0), SIZE, GRID)


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        ((48, 48), {0: 1.0}),
        ((192, 192), {5: 0.25, 6: 0.25, 9: 0.25, 10: 0.25}),
        ((96, 96), {0: 0.25, 1: 0.25, 4: 0.25, 5: 0.25}),
        ((100, 150), {1: 0.4296875, 2: 0.0286458, 5: 0.5078125, 6: 0.0338542}),
        ((336, 336), {15: 1.0}),
    ],
)
def test_overlaps_at_known_centres(centre, expected):
    found = at(*centre)
    assert set(np.flatnonzero(found)) == set(expected)
    assert [found[i] for i in expected] == pytest.approx(list(expected.values()), abs=1e-7)


@given(
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.floats(0, 1)] * 3),
)
def test_overlaps_sum_to_one_inside_the_window(grid, size, place):
    start = [int(p * (g - 1) * s) for p, g, s in zip(place, grid, size, strict=True)]
    found = overlaps(start, size, grid)
    assert found.sum() == pytest.approx(1, abs=1e-6)
    assert (found > 0).sum() <= 8


def test_targets_equal_voxels_counted_in_a_labelled_volume():
    grid, size = (4, 4, 2), (6, 5, 4)
    label = np.repeat(np.arange(32), 6 * 5 * 4).reshape(4, 4, 2, 6, 5, 4)
    label = label.transpose(0, 3, 1, 4, 2, 5).reshape(1, 24, 20, 8).astype(np.float32)
    got = read_tiled(Volume(label), size, grid, 20, np.random.default_rng(0), last=True)
    crops, bases = got["boxes"][:20], got["boxes"][20:]
    assert np.array_equal(
        bases, np.broadcast_to(np.arange(32).reshape(-1, 1, 1, 1, 1), (32, 1, *size))
    )
    counted = [np.bincount(c.astype(int).ravel(), minlength=32) / c.size for c in crops]
    assert got["target"] == pytest.approx(np.stack(counted), abs=1e-6)


def test_a_volume_that_cannot_hold_the_grid_is_refused_with_the_sizes():
    small = Volume(np.zeros((1, 300, 384, 96), np.float32))
    with pytest.raises(BenchError, match=r"\(384, 384, 96\) voxels .* \(300, 384, 96\)"):
        read_tiled(small, SIZE, GRID, 2, np.random.default_rng(0), last=True)
