"""Intensity augmentations do what they say to some samples and nothing to the others."""

import pytest
import torch
from seeded import generator

from bench import augment

ALL = {
    "brightness": lambda x, p, g: augment.brightness(x, p, (0.75, 0.9), g),
    "contrast": lambda x, p, g: augment.contrast(x, p, (0.75, 0.9), g),
    "gamma": lambda x, p, g: augment.gamma(x, p, (1.2, 1.5), g),
    "gaussian_blur": lambda x, p, g: augment.gaussian_blur(x, p, (0.5, 1.0), g),
    "gaussian_noise": lambda x, p, g: augment.gaussian_noise(x, p, (0.05, 0.1), g),
    "scale": lambda x, p, g: augment.scale(x, p, 0.1, g),
    "shift": lambda x, p, g: augment.shift(x, p, 0.1, g),
}
every = pytest.mark.parametrize("change", list(ALL.values()), ids=list(ALL))


def batch(n=8, size=6):
    return torch.randn(n, 2, size, size, size, generator=generator(9))


@every
def test_probability_zero_changes_no_bit_and_one_changes_every_sample(change):
    x = batch()
    assert torch.equal(change(x, 0.0, generator()), x)
    assert (change(x, 1.0, generator()) != x).flatten(1).any(1).all()


@every
def test_samples_that_are_not_chosen_stay_as_they_were(change):
    x = batch(200, 3)
    changed = (change(x, 0.3, generator()) != x).flatten(1).any(1)
    assert 0.15 < changed.float().mean() < 0.45


@every
def test_a_constant_view_stays_finite(change):
    assert torch.isfinite(change(torch.full((4, 1, 3, 3, 3), 0.4), 1.0, generator())).all()


def test_brightness_multiplies_and_is_cut_off_at_the_former_range():
    x = torch.tensor([0.0, 1.0, 2.0, 4.0]).view(1, 1, 4, 1, 1)
    up = augment.brightness(x, 1.0, (1.25, 1.25), generator())
    assert up.flatten().tolist() == [0, 1.25, 2.5, 4]
    free = augment.brightness(x, 1.0, (1.25, 1.25), generator(), clip=False)
    assert free.flatten().tolist() == [0, 1.25, 2.5, 5]


def test_gamma_on_the_unit_range_and_on_the_views_own():
    x = torch.tensor([-2.0, 0.0, 2.0]).view(1, 1, 3, 1, 1)
    unit = augment.gamma(x, 1.0, (2.0, 2.0), generator(), keep="unit")
    assert unit.flatten().tolist() == pytest.approx([0, 0.25, 1])
    own = augment.gamma(x, 1.0, (2.0, 2.0), generator())
    assert own.flatten().tolist() == pytest.approx([-2, -1, 2])


def test_scale_and_shift_stay_within_a_tenth():
    ones = torch.ones(500, 1, 1, 1, 1)
    for change in (augment.scale, augment.shift):
        y = change(ones, 1.0, 0.1, generator()).flatten()
        assert 0.9 <= y.min() < 0.91 and 1.09 < y.max() <= 1.1


def test_a_blur_of_no_width_changes_nothing():
    x = torch.randn(2, 1, 6, 6, 6)
    assert torch.equal(augment.gaussian_blur(x, 1.0, (0.0, 0.0), torch.Generator()), x)
