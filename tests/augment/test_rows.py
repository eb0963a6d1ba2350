"""What is done row by row on the CPU equals the plain formula along every axis, in place or in a copy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from seeded import generator

from bench import augment
from bench.augment import rows, values
from bench.random import torch_generator

SHAPES = [(11, 9, 10), (12, 10, 1), (9, 1, 8), (6, 5, 130), (40, 37, 1), (110, 100, 1), (5, 12, 3)]
CHANGES = {
    "scale": lambda x, g, **k: augment.scale(x, 0.5, 0.1, g, **k),
    "shift": lambda x, g, **k: augment.shift(x, 0.5, 0.1, g, **k),
    "contrast": lambda x, g, **k: augment.contrast(x, 0.5, (0.5, 0.9), g, **k),
    "gamma": lambda x, g, **k: augment.gamma(x, 0.5, (0.7, 1.5), g, **k),
    "noise": lambda x, g, **k: augment.gaussian_noise(x, 0.5, (0.1, 0.2), g, **k),
    "blur": lambda x, g, **k: augment.gaussian_blur(x, 0.5, (0.1, 2.0), g, **k),
    "flip": lambda x, g, **k: augment.random_flip(x, 0.5, g, **k)[0],
    "rot90": lambda x, g, **k: augment.random_rot90(x, 0.7, g, **k)[0],
    "both": lambda x, g, **k: augment.random_flip_rot90(x, 0.5, 0.5, g, **k)[0],
}
every = pytest.mark.parametrize("act", list(CHANGES.values()), ids=list(CHANGES))


def batch(shape, n=4, channels=2):
    return torch.randn(n, channels, *shape, generator=generator(9))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [2, 3, 4])
def test_weighted_sums_along_an_axis(shape, axis):
    x, terms, count = batch(shape), 3, 7
    index = torch.randint(
        0, x.shape[axis], (4, count, terms), generator=generator(), dtype=torch.int32
    )
    weight = torch.randn(4, count, terms, generator=generator(1))
    matrix = torch.zeros(4, count, x.shape[axis]).scatter_add_(2, index.long(), weight)
    expected = torch.einsum("njl,nlabc->njabc", matrix, x.movedim(axis, 1)).movedim(1, axis)
    found = rows.summed(x, axis, index, weight)
    assert found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("out", [(7, 13, 5), (96, 40, 1)])
def test_boxes_read_what_grid_sample_reads(shape, out):
    x, whole = batch(shape), torch.tensor(shape)
    start = torch.rand(4, 3, generator=generator()) * whole * 0.6 - 1
    size = torch.rand(4, 3, generator=generator(1)) * whole
    start[1], size[1] = start[1] + size[1], -size[1]  # mirrored
    size[2] = whole * 3  # beyond the volume
    # double precision is left to grid_sample
    expected = augment.resize_box(x.double(), start, size, out)
    assert torch.allclose(augment.resize_box(x, start, size, out).double(), expected, atol=2e-5)


def test_boxes_pass_a_gradient_on():
    x = batch((6, 6, 6)).requires_grad_()
    augment.resize_box(x, torch.ones(4, 3), torch.full((4, 3), 3.0), (3, 3, 3)).sum().backward()
    assert torch.allclose(x.grad[:, :, 1:4, 1:4, 1:4], torch.tensor(1.0), atol=1e-4)
    assert x.grad.sum() == pytest.approx(4 * 2 * 27, rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_of_every_sigma_is_cut_at_four_of_its_own(shape):
    x, sigma = batch(shape, channels=1), torch.tensor([0.1, 0.55, 1.3, 2.0])
    apart, together = values.smooth(x, sigma, 2.0), values.smooth(x.double(), sigma, 2.0)
    for row, found, other, s in zip(x, apart, together, sigma.tolist(), strict=True):
        expected = gaussian_filter(row[0].double().numpy(), s, mode="nearest", truncate=4.0)
        assert np.allclose(found[0].numpy(), expected, atol=1e-5)
        assert np.allclose(other[0].numpy(), expected, atol=1e-5)


def test_powers_equal_torchs():
    x = torch.cat([torch.zeros(1), torch.rand(999, generator=generator()), torch.ones(1)])
    for power in (0.7, 1.0, 1.5, 2.0):
        assert torch.allclose(rows.raised(x, torch.tensor(power)), x**power, atol=1e-6)


@every
@pytest.mark.parametrize("shape", [(8, 8, 6), (40, 40, 1), (80, 80, 48)])
def test_in_place_changes_the_batch_itself_and_else_nothing(act, shape):
    x = batch(shape, channels=1)
    before = x.clone()
    y = act(x, generator())
    assert torch.equal(x, before) and not torch.equal(y, x)
    assert act(x, generator(), inplace=True) is x and torch.equal(x, y)


@every
@pytest.mark.parametrize("shape", [(8, 8, 6), (40, 40, 1)])
def test_a_row_depends_on_its_own_draws_alone(act, shape):
    x = batch(shape, 8)
    whole = act(x, torch_generator("cpu", 1, "views", 2))
    parts = [
        act(x[i : i + 2], torch_generator("cpu", 1, "views", 2, (i // 2, 4)))
        for i in range(0, 8, 2)
    ]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)


def test_two_fields_of_noise_are_not_alike():
    x, g = torch.zeros(6, 1, 12, 12, 12), generator()
    one, two = (augment.gaussian_noise(x, 1.0, (1.0, 1.0), g).flatten(1) for _ in range(2))
    for a, b in [*pairwise(one), *zip(one, two, strict=True)]:
        assert torch.corrcoef(torch.stack([a, b]))[0, 1].abs() < 0.1


@pytest.mark.parametrize("act", [CHANGES["flip"], CHANGES["rot90"]], ids=["flip", "rot90"])
def test_moves_are_the_same_where_a_gradient_is_wanted(act):
    x = batch((6, 6, 4), 12)
    with_gradient = act(x.clone().requires_grad_(), generator())
    assert with_gradient.requires_grad and torch.equal(with_gradient, act(x, generator()))
