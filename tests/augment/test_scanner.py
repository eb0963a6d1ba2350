"""What scanners do: by NumPy's transforms and by hand."""

import numpy as np
import pytest
import torch
from seeded import generator

from bench.augment.scanner import bias_field, ghosting, ringing, within

SHAPE = (8, 6, 10)


def volumes(count=3, low=-1.0):
    x = torch.rand(count, 2, *SHAPE, generator=generator(0), dtype=torch.float64)
    return low + 2 * x


def by_numpy(row, axis, gain):
    """Multiply a row's frequencies along an axis, moved up to 0 and back."""
    floor = min(row.min(), 0)
    shape = [1, 1, 1, 1]
    shape[axis + 1] = -1
    waves = np.fft.fftn(row - floor, axes=(1, 2, 3)) * np.reshape(gain, shape)
    return np.abs(np.fft.ifftn(waves, axes=(1, 2, 3))) + floor


@pytest.mark.parametrize("low", [-1.0, 3.0])
def test_ghosting_weakens_every_so_many_planes_but_the_last(low):
    x, axis, every = volumes(low=low), [0, 1, 2], [2, 5, 3]
    strength = torch.tensor([0.5, 0.9, 0.85], dtype=torch.float64)
    y = ghosting(x, strength, torch.tensor(every), torch.tensor(axis))
    for i in range(3):
        gain = np.ones(SHAPE[axis[i]])
        gain[0 : -1 : every[i]] = strength[i]
        assert np.allclose(y[i], by_numpy(x[i].numpy(), axis[i], gain))


def test_ringing_keeps_the_lowest_frequencies():
    x, axis, counts, even = volumes(), [2, 0, 1], [4, 5, 1], [4, 6, 2]  # an odd count rounds up
    y = ringing(x, torch.tensor(counts), torch.tensor(axis))
    for i in range(3):
        order = np.fft.fftfreq(SHAPE[axis[i]], 1 / SHAPE[axis[i]])  # 0, 1, ..., -2, -1
        gain = (order >= -even[i] // 2) & (order < even[i] // 2)
        assert np.allclose(y[i], by_numpy(x[i].numpy(), axis[i], gain))
    complete = ringing(x, torch.tensor([10, 8, 6]), torch.tensor([2, 0, 1]))
    assert torch.allclose(complete, x)


def test_a_bias_field_is_1_at_its_centre_and_falls_with_the_square():
    x = torch.ones(2, 1, *SHAPE)
    y = bias_field(x, torch.tensor([[0.0, 0.0, 0.0], [4.0, 3.0, 9.0]]))
    assert y[0, 0, 0, 0, 0] == 1 and y[1, 0, 4, 3, 9] == 1
    assert y[0, 0, 7, 5, 9].item() == pytest.approx(1 - 49 / 64 - 25 / 36 - 81 / 100)
    assert y[1, 0, 0, 3, 9].item() == pytest.approx(1 - 16 / 64)


def test_a_row_stays_within_its_range():
    x = volumes()
    y = within(5 * x, x)
    assert torch.equal(y.flatten(1).amax(1), x.flatten(1).amax(1))
    assert torch.equal(y.flatten(1).amin(1), x.flatten(1).amin(1))
