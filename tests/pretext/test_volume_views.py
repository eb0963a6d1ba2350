"""Two views of a volume carry where they lie; slices stay slices; every step obeys its switch."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.data.reader import Volume
from bench.pretext.align import centres
from bench.pretext.volume_views import VolumeViews

STILL = VolumeViews(flip=0.0, noise=0.0, blur=0.0, brightness=0.0, gamma=0.0)
CROP = (16, 16, 8)


def places(shape=(40, 44, 30)):
    """Return a volume whose three channels are each voxel's own index."""
    return Volume(np.stack(np.indices(shape)).astype(np.float32))


def batch(volume, crop, views, count=8):
    rows = [views.read(volume, crop, np.random.default_rng(i)) for i in range(count)]
    return {k: torch.from_numpy(np.stack([r[k] for r in rows])) for k in rows[0]}


def made(raw, crop, views, seed=0):
    found = views.views(raw, crop, torch.Generator().manual_seed(seed))
    return found["views"], found["flipped"]


def test_views_show_what_their_geometry_says():
    rule = dataclasses.replace(STILL, flip=0.5)
    raw = batch(places(), CROP, rule)
    views, flipped = made(raw, CROP, rule)
    assert views.shape == (8, 2, 3, *CROP) and flipped.shape == (8, 2, 3)
    assert flipped.any(0).any(0).all() and not flipped.all(0).any()
    at = centres(*(v.flatten(0, 1) for v in (raw["start"], raw["size"], flipped)), CROP)
    assert torch.allclose(views.flatten(0, 1).movedim(1, -1), at, atol=1e-4)


@pytest.mark.parametrize("step", ["noise", "blur", "brightness", "gamma"])
def test_each_step_changes_intensities_and_only_when_asked(step):
    image = np.random.default_rng(0).normal(size=(1, 40, 40, 20)).astype(np.float32)
    raw = batch(Volume(image), CROP, STILL)
    still, _ = made(raw, CROP, STILL)
    changed, _ = made(raw, CROP, dataclasses.replace(STILL, **{step: 1.0}))
    assert ((changed - still).abs().flatten(2).amax(2) > 1e-3).all()


def test_gamma_gives_a_view_its_own_range_back_or_leaves_it_in_the_unit_range():
    image = 5 * np.random.default_rng(0).normal(size=(1, 40, 40, 20)).astype(np.float32)
    raw = batch(Volume(image), CROP, STILL)
    unit, _ = made(raw, CROP, dataclasses.replace(STILL, gamma=1.0, gamma_keep="unit"))
    own, _ = made(raw, CROP, dataclasses.replace(STILL, gamma=1.0))
    still, _ = made(raw, CROP, STILL)
    assert unit.min() == 0 and unit.max() == pytest.approx(1)
    assert torch.allclose(own.flatten(2).amin(2), still.flatten(2).amin(2), atol=1e-5)


@pytest.mark.parametrize(("unit", "std"), [("variance", 0.3), ("std", 0.09)])
def test_the_draw_of_the_noise_is_its_variance_or_its_standard_deviation(unit, std):
    rule = dataclasses.replace(STILL, noise=1.0, noise_variance=(0.09, 0.09), noise_unit=unit)
    raw = batch(Volume(np.zeros((1, 40, 40, 20), np.float32)), CROP, rule)
    assert made(raw, CROP, rule)[0].std().item() == pytest.approx(std, rel=0.02)


def test_both_views_of_a_slice_are_boxes_of_that_slice():
    crop, rule = (16, 16, 1), dataclasses.replace(STILL, crop_scale=(1.1, 1.9), flip=1.0)
    raw = batch(places(), crop, rule, 30)
    views, _ = made(raw, crop, rule)
    assert (raw["size"][..., 2] == 1).all() and (
        raw["start"][:, 0, 2] == raw["start"][:, 1, 2]
    ).all()
    assert raw["start"][..., 2].unique().numel() > 10  # slices from all over the volume
    assert raw["pair"].shape[-1] == 1 and views.shape[-3:] == crop
    assert torch.equal(views[:, :, 2, 0, 0, 0], raw["start"][..., 2].float())
