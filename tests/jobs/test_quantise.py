"""What `prepare` stores: 16-bit integers, exact where the source has whole units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.data.reader import Volume
from bench.jobs.prepare.run import quantise


def read_back(image, step):
    step, offset, stored = quantise(image, step)
    return step, stored, Volume(stored, step=step, offset=offset)


@pytest.mark.parametrize(
    ("low", "high"), [(-1024, 3071), (0, 1), (-1024, 31_743), (-1024, 40_000), (5, 5)]
)
def test_whole_units_come_back_exactly(low, high):
    units = np.linspace(low, high, 4096).round().reshape(1, 16, 16, 16)
    step, stored, volume = read_back(units.astype(np.float32), 1.0)
    assert step == 1.0 and stored.dtype.itemsize == 2
    np.testing.assert_array_equal(volume.whole(), units)


@pytest.mark.parametrize("step", [None, 1e-6])
def test_without_whole_units_4096_levels_span_the_image(step):
    image = np.random.default_rng(0).normal(size=(1, 20, 20, 20)).astype(np.float32)
    found, stored, volume = read_back(image, step)
    assert (stored.min(), stored.max()) == (0, 4095)
    assert np.abs(volume.whole() - image).max() <= found / 2 * 1.001


@given(
    hnp.arrays(np.float32, (1, 3, 3, 3), elements=st.floats(-1e4, 1e4, width=32)),
    st.sampled_from([None, 0.1, 1.0]),
)
@settings(max_examples=80, deadline=None)
def test_the_error_is_at_most_half_a_step(image, step):
    found, _, volume = read_back(image, step)
    slack = 1e-6 * float(np.abs(image).max())  # of float32
    assert np.abs(volume.whole() - image).max() <= found / 2 * 1.001 + slack


@pytest.mark.parametrize("high", [100, 40_000, 200_000])
def test_outside_the_volume_is_the_images_minimum(high):
    image = np.linspace(-1000, high, 27, dtype=np.float32).reshape(1, 3, 3, 3)
    _, _, volume = read_back(image, 1.0)
    assert volume.crop((-2, 0, 0), (1, 1, 1)).item() == -1000
