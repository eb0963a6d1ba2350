"""An amount is what its scale says, whatever scale a recipe leaves; what fits is taken as it is."""

import dataclasses

import pytest
import torch
from seeded import generator

from bench import augment
from bench.pretext.slice_views import SliceViews, slice_views
from bench.pretext.units import unit_of
from bench.pretext.volume_views import VolumeViews

X = torch.tensor([[0.0, 1.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]]).view(2, 1, 4, 1, 1)
Z, NOT = torch.tensor([True, True]), torch.tensor([False, False])


@pytest.mark.parametrize(
    ("stated", "zscored", "expected"),
    [
        ("unit", None, None),
        ("unit", NOT, None),
        ("zscore", Z, None),
        ("unit", Z, [4, 0]),  # maximum - minimum of the view
        ("zscore", NOT, [2.5**0.5, 0]),  # its standard deviation
        ("zscore", torch.tensor([False, True]), [2.5**0.5, 1]),
    ],
)
def test_one_of_a_scale_by_hand(stated, zscored, expected):
    found = unit_of(X, stated, zscored)
    assert found is None if expected is None else found.tolist() == pytest.approx(expected)


def test_a_shift_stated_for_the_unit_range_is_a_tenth_of_a_z_scored_views_range():
    x = torch.randn(6, 1, 8, 8, 8, generator=generator())
    low, span = x.amin((1, 2, 3, 4), keepdim=True), (x.amax((1, 2, 3, 4)) - x.amin((1, 2, 3, 4)))
    in_unit = (x - low) / span.view(-1, 1, 1, 1, 1)
    moved = augment.shift(in_unit, 1.0, 0.1, generator(1)) - in_unit
    one = unit_of(x, "unit", torch.ones(6, dtype=torch.bool))
    scaled = augment.shift(x, 1.0, 0.1 * one, generator(1)) - x
    torch.testing.assert_close(scaled, moved * span.view(-1, 1, 1, 1, 1), atol=1e-5, rtol=1e-4)
    assert scaled.abs().max() > 0.1  # as it used to be: at most .1 of a standard deviation


NOISY = VolumeViews(
    flip=0.0, noise=1.0, noise_variance=(0.1, 0.1), blur=0.0, brightness=0.0, gamma=0.0
)


def boxes(image):
    """Return a batch of one pair per row of (B, 1, X, Y, Z), both boxes the whole image."""
    b, size = len(image), torch.tensor(image.shape[2:])
    pair = image[:, None].expand(-1, 2, -1, -1, -1, -1).contiguous()
    return {
        "pair": pair,
        "start": torch.zeros(b, 2, 3).long(),
        "size": size.expand(b, 2, 3).contiguous(),
    }


@pytest.mark.parametrize("flat", [False, True])
def test_noise_stated_for_z_scores_follows_what_the_recipe_leaves(flat):
    z = torch.randn(3, 1, 16, 16, 1 if flat else 16, generator=generator())
    data = {"z-scores": z, "unit": 0.5 + 0.1 * z}
    added = {}
    for name, x in data.items():
        zscored = torch.full((3,), name == "z-scores")
        if flat:
            still = SliceViews(area=(1.0, 1.0), aspect=(1.0, 1.0), blur=0.0, noise=0.0)
            noisy = dataclasses.replace(still, noise=1.0, noise_std=(0.3, 0.3))
            added[name] = slice_views(x, (16, 16, 1), noisy, generator(), zscored)[0] - x
        else:
            raw = {**boxes(x), "zscored": zscored}
            added[name] = (NOISY.views(raw, (16, 16, 16), generator())["views"] - raw["pair"])[:, 0]
    spread = {name: change.std().item() / data[name].std().item() for name, change in added.items()}
    assert spread["unit"] == pytest.approx(spread["z-scores"], rel=0.05)
    assert added["z-scores"].std().item() == pytest.approx(0.3 if flat else 0.1**0.5, rel=0.05)
