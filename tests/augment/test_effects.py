"""Each effect on intensities equals its formula, row by row, and leaves the other rows alone."""

import math

import pytest
import torch
from seeded import generator
from torch.nn import functional

from bench.augment import values
from bench.augment.draw import around_one
from bench.augment.views import intensities
from bench.protocol import Augment

ALL = {
    "noise": 1.0,
    "blur": 1.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "lowres": 1.0,
    "gamma_inverted": 1.0,
    "gamma": 1.0,
}
AXES = (2, 3, 4)


def batch(shape=(6, 2, 8, 8, 6)):
    return torch.randn(shape, generator=generator(9)) + 0.5


def applied(x, seed=0, **settings):
    return intensities(x, Augment(**settings), generator(seed))


@pytest.mark.parametrize("shape", [(4, 2, 8, 8, 6), (4, 3, 9, 7, 1)])
def test_amounts_of_nothing_change_nothing(shape):
    x = batch(shape)
    still = {
        "noise_range": (0.0, 0.0),
        "blur_sigma": (0.01, 0.01),
        "brightness_range": (1.0, 1.0),
        "contrast_range": (1.0, 1.0),
        "lowres_range": (1.0, 1.0),
        "gamma_range": (1.0, 1.0),
    }
    for keep in ("range", "moments"):
        assert torch.allclose(applied(x, **ALL, **still, gamma_keep=keep), x, atol=2e-6)


@pytest.mark.parametrize(("unit", "spread"), [("std", 0.3), ("variance", math.sqrt(0.3))])
def test_noise_has_the_stated_spread_and_one_level_for_all_channels(unit, spread):
    x = batch((2, 3, 24, 24, 24))
    noise = applied(x, noise=1.0, noise_range=(0.3, 0.3), noise_unit=unit) - x
    assert torch.allclose(noise.std(AXES), torch.tensor(spread), rtol=0.02)
    assert noise.mean(AXES).abs().max() < 0.02
    varied = (applied(x, noise=1.0, noise_range=(0.0, 1.0)) - x).std(AXES)
    assert torch.allclose(varied, varied[:, :1].expand(-1, 3), rtol=0.03)
    assert not torch.allclose(varied[0], varied[1], rtol=0.1)


def test_brightness_multiplies_every_channel_by_its_own_factor():
    x = batch()
    ratio = applied(x, brightness=1.0) / x
    first = ratio[:, :, :1, :1, :1]
    assert torch.allclose(ratio, first.expand_as(ratio), rtol=1e-4)
    assert first.min() >= 0.75 and first.max() <= 1.25 and first.flatten().unique().numel() == 12
    clipped = applied(x, brightness=1.0, brightness_range=(2.0, 2.0), brightness_clip=True)
    assert torch.equal(clipped.amax(AXES), x.amax(AXES)) and torch.equal(
        clipped.amin(AXES), x.amin(AXES)
    )


def test_contrast_stretches_about_the_mean_of_each_channel_and_keeps_its_range():
    x = batch((2, 2, 8, 8, 8))
    less = applied(x, contrast=1.0, contrast_range=(0.5, 0.5))  # nothing is cut off below 1
    assert torch.allclose(less.mean(AXES), x.mean(AXES), atol=1e-6)
    assert torch.allclose(less.std(AXES), x.std(AXES) / 2, atol=1e-6)
    more = applied(x, contrast=1.0, contrast_range=(3.0, 3.0))
    assert torch.equal(more.amax(AXES), x.amax(AXES)) and torch.equal(more.amin(AXES), x.amin(AXES))


def test_gamma_by_hand():
    x = torch.tensor([1.0, 2.0, 5.0]).view(1, 1, 3, 1, 1)
    two = torch.tensor([2.0])
    assert torch.allclose(values.power(x, two, "unit").flatten(), torch.tensor([0.0, 1 / 16, 1.0]))
    assert torch.allclose(values.power(x, two, "range").flatten(), torch.tensor([1.0, 1.25, 5.0]))
    kept = values.power(x, two, "moments").flatten()
    raised = torch.tensor([1.0, 1.25, 5.0])
    assert torch.allclose(kept, (raised - raised.mean()) * (x.std() / raised.std()) + x.mean())
    assert kept.mean() == pytest.approx(8 / 3) and kept.std() == pytest.approx(x.std())


def test_inverted_gamma_is_that_of_the_negative():
    x = torch.tensor([1.0, 2.0, 5.0]).view(1, 1, 3, 1, 1)
    powers = {"gamma_range": (2.0, 2.0), "gamma_keep": "range"}
    # -x is (-1, -2, -5): scaled (1, 3/4, 0), squared (1, 9/16, 0), back (-1, -5 + 4 * 9/16, -5)
    assert torch.allclose(
        applied(x, gamma_inverted=1.0, **powers).flatten(), torch.tensor([1.0, 2.75, 5.0])
    )
    assert torch.allclose(applied(x, gamma=1.0, **powers).flatten(), torch.tensor([1.0, 1.25, 5.0]))


def test_blur_spreads_a_point_by_its_sigma_and_keeps_the_sum():
    x = torch.zeros(1, 1, 21, 21, 21)
    x[..., 10, 10, 10] = 1
    sigma = torch.tensor([[0.5, 0.8, 1.0]])
    y = values.blur(x, sigma, 4)
    assert y.sum() == pytest.approx(1, abs=1e-5)
    at = torch.arange(21.0) - 10
    for axis in range(3):
        line = y.sum([i + 2 for i in range(3) if i != axis]).flatten()
        weights = torch.exp(-0.5 * (at / sigma[0, axis]) ** 2)
        assert torch.allclose(line, weights / weights.sum(), atol=1e-4)  # cut at 4 voxels


@pytest.mark.parametrize("shape", [(9, 8, 7), (9, 8, 1)])
def test_low_resolution_equals_thinning_and_interpolating_each_row(shape):
    x = batch((5, 1, *shape))
    share = torch.tensor([0.5, 0.61, 0.77, 0.93, 1.0])
    flat = shape[2] == 1
    y = values.coarsen(x, share, (0, 1) if flat else (0, 1, 2))
    for row, s, result in zip(x, share.tolist(), y, strict=True):
        size = [round(n * s) for n in shape[:2]] + [1 if flat else round(shape[2] * s)]
        small = functional.interpolate(row[None], size, mode="nearest-exact")
        expected = functional.interpolate(small, shape, mode="trilinear")[0]
        assert torch.allclose(result, expected, atol=1e-5)


def test_low_resolution_and_blur_leave_the_third_axis_of_flat_crops_and_slices():
    column = torch.randn(1, 1, 1, 1, 4, generator=generator()).expand(3, 1, 16, 16, 4).contiguous()
    assert torch.allclose(applied(column, lowres=1.0), column, atol=1e-6)
    slices = batch((3, 1, 8, 8, 1))
    for effect in ({"blur": 1.0}, {"lowres": 1.0}):
        beside = applied(slices.expand(-1, -1, -1, -1, 8).contiguous(), **effect, plane=True)
        assert torch.allclose(applied(slices, **effect), beside[..., :1], atol=1e-5)


def test_channels_of_a_chosen_sample_are_chosen_by_themselves():
    x = batch((400, 3, 4, 4, 4))
    for name in ("blur", "lowres"):
        changed = (
            (applied(x, **{name: 0.5}, channel=0.5, lowres_range=(0.5, 0.7)) != x).flatten(2).any(2)
        )
        assert changed.float().mean() == pytest.approx(0.25, abs=0.04)
        assert changed.any(1).float().mean() == pytest.approx(0.5 * (1 - 0.5**3), abs=0.06)
    assert (applied(x, contrast=0.5, channel=0.0) != x).any()


def test_balanced_factors_are_below_one_as_often_as_above():
    drawn = around_one(20000, (0.7, 1.5), generator())
    assert drawn.lt(1).float().mean() == pytest.approx(0.5, abs=0.01)
    assert 0.7 <= drawn.min() < 0.701 and 1.499 < drawn.max() <= 1.5
    assert drawn[drawn < 1].mean() == pytest.approx(0.85, abs=0.005)
    assert drawn[drawn > 1].mean() == pytest.approx(1.25, abs=0.01)
    beyond = around_one(2000, (1.2, 1.5), generator())
    assert beyond.min() >= 1.2 and beyond.max() <= 1.5
