"""In-painting hides what it says, scores what it says, and learns to fill holes from around them."""

import pytest
import torch
from seeded import generator
from torch import nn
from volumes import batch_of, functions_of, raw_of, says, shown, trained, view, volumes

from bench.random import torch_generator

NAME = "inpainting2d"
WHOLE = {"area": (1.0, 1.0), "aspect": (1.0, 1.0)}  # a view is the slice as it is
CENTRE = {**WHOLE, "mask": "centre"}


def test_the_centre_is_filled_and_the_rest_is_the_slice(build):
    method = build(NAME, {**CENTRE, "fill": 0.25})
    raw = raw_of(method)
    batch = view(method, raw)
    assert torch.equal(batch["y"], raw["crop"])
    centre = batch["x"][:, :, 8:24, 8:24]
    assert centre.eq(0.25).all() and batch["hidden"].sum() == 4 * 16**2
    assert torch.equal(batch["x"] != batch["y"], batch["hidden"])


def test_all_slices_of_a_batch_and_of_its_parts_have_one_irregular_hole(build):
    method = build(NAME)
    raw = raw_of(method)
    whole = method.views(raw, torch_generator("cpu", 0, "views"))
    assert 0.2 < whole["hidden"][0].double().mean() < 0.3
    assert all(torch.equal(row, whole["hidden"][0]) for row in whole["hidden"])
    part = method.views({"crop": raw["crop"][2:]}, torch_generator("cpu", 0, "views", 0, (1, 2)))
    assert torch.equal(part["hidden"], whole["hidden"][2:])
    other = method.views(raw, torch_generator("cpu", 0, "views", 1))
    assert not torch.equal(other["hidden"], whole["hidden"])


def test_a_ring_of_the_hole_stays_visible(build):
    batch = batch_of(build(NAME, {**CENTRE, "ring": 3}))
    assert batch["hole"].sum() == 4 * 16**2 and batch["hidden"].sum() == 4 * 10**2
    assert torch.equal(batch["x"] != batch["y"], batch["hidden"])


@pytest.mark.parametrize("mask", ["random", "centre"])
def test_predicting_the_mean_of_unit_variance_costs_one(build, mask):
    method = build(NAME, {"mask": mask})
    batch = batch_of(method)
    for y, hidden in zip(batch["y"], batch["hidden"], strict=True):
        y[hidden] = (y[hidden] - y[hidden].mean()) / y[hidden].std(correction=0) + 3
    method.decoder = says(3.0)
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx(1, rel=1e-4)
    assert terms["flat"].item() == pytest.approx(1, rel=1e-4)


def test_weights_by_hand(build):
    # a hole of 16 x 16, of which the ring leaves 12 x 12; the prediction is wrong by 1 everywhere
    for params, value in (
        ({}, (144 + 10 * 112) / 256),
        ({"ring_weight": 3.0}, (144 + 3 * 112) / 256),
        ({"loss_region": "all"}, (144 + 10 * 112 + 768) / 1024),
        ({"loss_region": "all", "visible_weight": 10.0}, (144 + 10 * 112 + 7680) / 1024),
        ({"ring": 0}, 1.0),
        ({"ring": 0, "loss_region": "all", "visible_weight": 10.0}, (256 + 7680) / 1024),
    ):
        method = build(NAME, {**CENTRE, "ring": 2, **params})
        batch = batch_of(method)
        method.decoder = says(batch["y"] + 1)
        terms = method.loss(batch)
        assert terms["total"].item() == pytest.approx(value, rel=1e-5)
        assert terms["hidden"].item() == pytest.approx(1, rel=1e-5)


def test_channels_are_averaged(build):
    method = build(NAME, CENTRE)
    batch = batch_of(method)
    two = {k: torch.cat([v, 2 * v], dim=1) if k in "xy" else v for k, v in batch.items()}
    method.encoder, method.decoder = nn.Identity(), says(0.0)
    one, both = method.loss(batch), method.loss(two)
    assert both["total"].item() == pytest.approx(2.5 * one["total"].item(), rel=1e-5)
    assert both["flat"].item() == pytest.approx(2.5 * one["flat"].item(), rel=1e-5)


CPU = torch.device("cpu")
CODE = (0.25, 0.06, (0.2, 0.3))


bicubic, blobs, centre_hole = (getattr(functions_of(NAME), k) for k in ("bicubic", "blobs", "centre_hole"))


def test_the_centre_hole_lies_in_the_centre_of_odd_slices_too():
    hole = centre_hole((33, 17), 0.5, 0, CPU)
    assert torch.equal(hole, hole.flip(0)) and torch.equal(hole, hole.flip(1))
    assert hole.double().mean().item() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("shape", [(192, 192), (128, 128), (64, 48)])
def test_irregular_holes_cover_a_fifth_to_three_tenths(shape):
    shares = [blobs(shape, *CODE, generator(i)).double().mean().item() for i in range(40)]
    assert min(shares) > 0.2 and max(shares) < 0.3
    assert len(set(shares)) > 35


def test_irregular_holes_are_large_and_touch_everything_at_some_time():
    holes = torch.stack([blobs((64, 64), *CODE, generator(i)) for i in range(300)]).double()
    border = holes.diff(dim=1).abs().mean() + holes.diff(dim=2).abs().mean()
    assert border < 0.12  # pixels thrown in alone: 2 * 2 * .25 * .75 = .75
    assert holes.mean(0).min() > 0.1 and holes.mean(0).max() < 0.4


def test_where_no_pattern_fits_the_nearest_is_taken():
    hole = blobs((64, 64), 0.25, 0.06, (0.999, 1.0), generator())
    assert 0.2 < hole.double().mean() < 1


def spline(p, t):
    """Return Catmull and Rom's spline between the second and the third of four numbers."""
    a, b, c, d = p
    slope, square, cube = (c - a) / 2, a - 2.5 * b + 2 * c - d / 2, (d - a) / 2 + 1.5 * (b - c)
    return b + t * (slope + t * (square + t * cube))


def test_pixels_between_cells_are_on_the_spline():
    cells = torch.rand(9, generator=generator(), dtype=torch.float64)
    weights = bicubic(20, 9, 0.25, torch.tensor([0.0, 0.6], dtype=torch.float64))
    for row, phase in zip(weights, (0.0, 0.6), strict=True):
        assert torch.allclose(row.sum(1), torch.ones(20, dtype=torch.float64))
        for i, value in enumerate(row @ cells):
            at = 1 + phase + 0.25 * i
            k = int(at)
            assert value.item() == pytest.approx(spline(cells[k - 1 : k + 3].tolist(), at - k), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["random", "centre"])
def test_learns_to_fill_holes_better_than_with_their_mean(build, mask):
    scans, held_out = volumes(24, (32, 32, 16), 3.0, 0.3), volumes(8, (32, 32, 16), 3.0, 0.3, 100)
    method = build(NAME, {"mask": mask, "area": (0.8, 1.0)})
    before = shown(method, held_out, [999])
    trained(method, scans, 300, 3e-3)
    after = shown(method, held_out, [999])
    assert before["hidden"] > before["flat"]
    assert after["hidden"] < 0.8 * after["flat"]
