"""Models Genesis deforms as often as released, restores every voxel, and beats copying and averaging."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_methods import Gives, agree, build, raw_of, says, view
from torch import nn

from bench import registry
from bench.data.reader import Volume
from bench.dataset import Recipe
from bench.errors import BenchError

NAME = "models_genesis"
CHEAP = {"windows": 1, "bezier_points": 9}  # for many rows
STILL = {**CHEAP, "local_rate": 0.0, "nonlinear_rate": 0.0, "paint_rate": 0.0, "flip_rate": 0.0}


def test_without_deformations_the_input_is_the_target_and_copying_is_perfect():
    method = build(NAME, {**STILL, "sigmoid": False})
    raw = raw_of(method)
    batch = view(method, raw)
    assert torch.equal(batch["x"], batch["y"])
    method.decoder = Gives(lambda x, features: x)
    terms = method.loss(batch)
    assert terms["total"] == terms["copied"] == 0 < terms["flat"] <= terms["chance"]


@pytest.mark.parametrize("axes", ["xyz", "code"])
def test_flipped_axes(axes):
    method = build(NAME, {**STILL, "flip_rate": 0.4, "flip_axes": axes, "scale_unit": "none"})
    crop = torch.arange(8.0).view(1, 1, 2, 2, 2).expand(4_000, 1, 2, 2, 2)
    batch = view(method, {"crop": crop})
    assert torch.equal(batch["x"], batch["y"])  # input and target alike
    y = batch["y"].flatten(1)
    shares = [(y[:, 0].long() & bit > 0).double().mean().item() for bit in (4, 2, 1)]
    each = 0.24 / 3 + 0.096 * 4 / 9 + 0.064 * (12 + 1) / 27  # drawn an odd number of times
    assert shares == pytest.approx([each, each, each if axes == "xyz" else 0], abs=0.02)


def test_a_crop_is_painted_around_or_inside_or_not_as_often_as_released():
    method = build(NAME, {**CHEAP, "nonlinear_rate": 0.0, "scale_unit": "none", "box_rate": 1.0})
    batch = view(method, {"crop": torch.full((10_000, 1, 8, 8, 8), 2.0)})
    assert batch["y"].eq(2).all()  # painting leaves the target alone
    changed = batch["x"] != 2
    outer = changed[:, 0, 0, 0, 0]
    inner = changed.flatten(1).any(1) & ~outer
    shares = [m.double().mean().item() for m in (outer, inner, ~outer & ~inner)]
    assert shares == pytest.approx([0.72, 0.18, 0.10], abs=0.015)


@pytest.mark.parametrize(("rate", "share"), [("local_rate", 0.5), ("nonlinear_rate", 0.9)])
def test_shuffling_and_curves_are_as_often_as_released(rate, share):
    method = build(NAME, {**STILL, rate: share, "windows": 100, "scale_unit": "none"})
    batch = view(
        method, {"crop": torch.rand(3_000, 1, 20, 4, 4, generator=torch.Generator().manual_seed(1))}
    )
    changed = (batch["x"] != batch["y"]).flatten(1).any(1).double().mean().item()
    assert changed == pytest.approx(share, abs=0.03)
    assert getattr(method.Params(), rate) == share


def test_the_papers_crop_is_deformed_and_the_raw_batch_left_alone():
    method = build(NAME)
    raw = torch.randn(6, 1, 96, 96, 16, generator=torch.Generator().manual_seed(0))
    before = raw.clone()
    batch = view(method, {"crop": raw})
    assert torch.equal(raw, before)
    assert not torch.equal(batch["x"], batch["y"])
    assert all(b.min() >= 0 and b.max() <= 1 for b in batch.values())
    assert batch["y"].flatten(1).amin(1).eq(0).all() and batch["y"].flatten(1).amax(1).eq(1).all()


def test_deform_keeps_prepared_intensities():
    method = build(NAME, {"scale_unit": "deform", "sigmoid": False, "flip_rate": 0.0})
    raw = raw_of(method)
    batch = view(method, raw)
    assert torch.equal(batch["y"], raw["crop"])
    low, high = raw["crop"].flatten(1).aminmax(dim=1)
    now = batch["x"].flatten(1).aminmax(dim=1)
    assert (now[0] >= low - 1e-5).all() and (now[1] <= high + 1e-5).all()


def test_each_channel_has_its_own_range_and_a_constant_one_is_zero():
    crop = torch.rand(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    crop[:, 1] *= 100
    crop[:, 2] = 7
    y = view(build(NAME, STILL), {"crop": crop})["y"].flatten(2)
    assert y.amin(2).eq(0).all() and y.amax(2).tolist() == [[1, 1, 0]] * 2


def test_loss_of_a_constant_is_its_mean_square_over_all_voxels():
    y = torch.rand(8, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    method = build(NAME)
    method.decoder = says(0.0)  # the sigmoid of 0 is a half
    terms = method.loss({"x": y.clone(), "y": y})
    assert terms["total"].item() == pytest.approx(1 / 12, abs=2e-3)
    assert terms["total"].item() == pytest.approx(((y - 0.5) ** 2).mean().item(), rel=1e-5)
    assert terms["chance"] == terms["total"]  # an untrained sigmoid, by hand
    agree(terms, rel=0.0001, flat=y.flatten(1).var(1, correction=0).mean())


def test_mask_only_counts_and_trains_changed_voxels_alone():
    y = torch.zeros(2, 1, 2, 2, 1)
    x = y.clone()
    x[0, 0, 0, 1] = 0.5
    method = build(NAME, {"sigmoid": False, "mask_only": True})
    made = torch.full_like(y, 0.3).requires_grad_()
    method.encoder, method.decoder = nn.Identity(), says(made)
    terms = method.loss({"x": x, "y": y})
    # the second crop has nothing to restore
    agree(terms, total=0.09 / 2)
    terms["total"].backward()
    assert torch.equal(made.grad != 0, x != y)


def test_a_constant_crop_is_drawn_again():
    image = np.zeros((1, 64, 16, 16), np.float32)
    image[:, 56:] = np.random.default_rng(0).normal(size=(1, 8, 16, 16))
    scan, cls = Volume(image), registry.load("method", NAME)
    flat = {}
    for tries in (1, 30):
        params = cls.make_params({"tries": tries})
        crops = [
            params.read(scan, (16, 16, 16), np.random.default_rng(i))["crop"] for i in range(60)
        ]
        flat[tries] = np.mean([c.std() == 0 for c in crops])
    assert flat[1] > 0.7 and flat[30] < 0.1
    empty = cls.Params().read(Volume(0 * image), (16, 16, 16), np.random.default_rng(0))["crop"]
    assert empty.shape == (1, 16, 16, 16)
    with pytest.raises(BenchError, match="tries"):
        cls.make_params({"tries": 0})


def test_tissue_counts_where_it_is_and_half_where_the_next_slice_has_it():
    params = registry.load("method", NAME).make_params
    seen = np.zeros((2, 2, 2, 6), np.float32)
    seen[1] = 1  # the first channel decides
    seen[0, 0, 0, 1] = 0.425  # one voxel, and half of the one before it
    seen[0, 1, 1, 5] = 0.9  # beyond the crop: half of its last one
    seen[0, 1, 0, 2:4] = 0.5  # two, and half of the one before them
    share = (1 + 0.5 + 0.5 + 2 + 0.5) / 20
    assert params({"lung_filter": share}).passes(seen)
    assert not params({"lung_filter": share - 0.01}).passes(seen)
    assert params({}).passes(np.ones_like(seen))


def test_crops_of_too_much_tissue_are_drawn_again():
    cls = registry.load("method", NAME)
    image = np.random.default_rng(0).uniform(0.0, 0.1, (1, 64, 16, 24)).astype(np.float32)
    image[:, 20:] += 0.6  # of the 49 places along x seven show little enough of it
    scan, tissue = Volume(image), {}
    for name, given in (("any", {}), ("lung", {"lung_filter": 0.15, "tries": 60})):
        params = cls.make_params(given)
        crops = [
            params.read(scan, (16, 16, 16), np.random.default_rng(i))["crop"] for i in range(60)
        ]
        assert {c.shape for c in crops} == {(1, 16, 16, 16)}
        tissue[name] = np.mean([(c >= 0.425).mean() > 0.15 for c in crops])
    assert tissue["any"] > 0.7 and tissue["lung"] < 0.1
    solid = cls.make_params({"lung_filter": 0.0, "tries": 2})
    found = solid.read(Volume(image + 1), (16, 16, 24), np.random.default_rng(0))["crop"]
    assert found.shape == (1, 16, 16, 24)  # of none the last counts


def test_looks_for_lung_in_ct_alone_and_where_minus_150_hu_lies():
    lung = registry.load("method", NAME).make_params({"lung_filter": 0.15})
    lung.check((16, 16, 16), Recipe(window=(-1000.0, 1000.0)))
    replace(lung, tissue=0.4857).check((16, 16, 16), Recipe(window=(-1000.0, 750.0)))
    replace(lung, lung_filter=None).check((16, 16, 16), Recipe(scale="zscore"))
    for recipe, word in (
        (Recipe(scale="zscore", window=(-1000.0, 1000.0)), "scale: window"),
        (Recipe(), "scale: window"),
        (Recipe(window=(-100.0, 300.0)), "window that contains"),
        (Recipe(window=(-1000.0, 750.0)), "turns -150 HU into 0.4857"),
    ):
        with pytest.raises(BenchError, match=word):
            lung.check((16, 16, 16), recipe)
