"""In-painting hides what it says, scores what it says, and learns to fill holes from around them."""

import pytest
import torch
from seeded import generator
from small_methods import MAPS, agree, batch_of, build, functions_of, raw_of, says, view
from torch import nn

from bench.random import torch_generator

NAME = "inpainting2d"
WHOLE = {"area": (1.0, 1.0), "aspect": (1.0, 1.0)}  # a view is the slice as it is
CENTRE = {**WHOLE, "mask": "centre"}


def test_the_centre_is_filled_and_the_rest_is_the_slice():
    method = build(NAME, {**CENTRE, "fill": 0.25})
    raw = raw_of(method)
    batch = view(method, raw)
    assert torch.equal(batch["y"], raw["crop"])
    centre = batch["x"][:, :, 8:24, 8:24]
    assert centre.eq(0.25).all() and batch["hidden"].sum() == 4 * 16**2
    assert torch.equal(batch["x"] != batch["y"], batch["hidden"])


@pytest.mark.parametrize(("mask", "low", "high"), [("random", 0.2, 0.3), ("blocks", 0.05, 0.2501)])
def test_all_slices_of_a_batch_and_of_its_parts_have_one_irregular_hole(mask, low, high):
    method = build(NAME, {"mask": mask})
    raw = raw_of(method)
    whole = method.views(raw, torch_generator("cpu", 0, "views"))
    assert low < whole["hidden"][0].double().mean() < high
    assert torch.equal(whole["hidden"], whole["hole"])
    assert all(torch.equal(row, whole["hidden"][0]) for row in whole["hidden"])
    part = method.views({"crop": raw["crop"][2:]}, torch_generator("cpu", 0, "views", 0, (1, 2)))
    assert torch.equal(part["hidden"], whole["hidden"][2:])
    other = method.views(raw, torch_generator("cpu", 0, "views", 1))
    assert not torch.equal(other["hidden"], whole["hidden"])


def test_a_ring_of_the_hole_stays_visible():
    batch = batch_of(build(NAME, {**CENTRE, "ring": 3}))
    assert batch["hole"].sum() == 4 * 16**2 and batch["hidden"].sum() == 4 * 10**2
    assert torch.equal(batch["x"] != batch["y"], batch["hidden"])


@pytest.mark.parametrize("mask", ["random", "blocks", "centre"])
def test_predicting_the_mean_of_unit_variance_costs_one(mask):
    method = build(NAME, {"mask": mask})
    batch = batch_of(method)
    for y, hidden in zip(batch["y"], batch["hidden"], strict=True):
        y[hidden] = (y[hidden] - y[hidden].mean()) / y[hidden].std(correction=0) + 3
    method.decoder = says(3.0)
    terms = method.loss(batch)
    agree(terms, rel=0.0001, total=1, flat=1)


def seen(mask="centre", **params):
    """Return a method with an adversary, a batch of it, and its decoder's images, wrong by 1."""
    method = build(
        NAME, {**WHOLE, "mask": mask, "adversary": 0.25, "adversary_widths": (4, 8), **params}
    )
    batch = batch_of(method)
    made = (batch["y"] + 1).requires_grad_()
    method.decoder = says(made)
    return method, batch, made


@pytest.mark.parametrize(("mask", "area"), [("centre", 256), ("random", 1024)])
def test_the_adversary_sees_a_centre_hole_alone_or_the_slice(mask, area):
    method, batch, made = seen(mask)
    terms = method.loss(batch)
    (there,) = torch.autograd.grad(terms["deceived"], made, retain_graph=True)
    assert there[0].ne(0).sum() == area
    assert mask == "random" or there[:, :, 8:24, 8:24].ne(0).all()
    (there,) = torch.autograd.grad(terms["judged"], made, allow_unused=True)
    assert there is None  # judging trains the adversary alone


def test_an_adversarys_cost_by_hand():
    params = build(NAME, {"adversary": 0.1, "mask": "centre", "adversary_widths": [2, 3]}).params
    # of 16 x 16 pixels: 8 x 8 outputs of 16 x 2 weights, 4 x 4 of 16 x 2 x 3; two operations each. Ways of
    # the first layer: 3 forward, 1 to the image that deceives, 2 to weights; of the second 2 more to what it reads
    first, second = 2 * 64 * 32 * (3 + 1 + 2), 2 * 16 * 96 * (3 + 1 + 2 + 2)
    assert params.head_flops((32, 32, 1), MAPS) == pytest.approx((first + second) / 3)


def test_channels_are_averaged():
    method = build(NAME, CENTRE)
    batch = batch_of(method)
    two = {k: torch.cat([v, 2 * v], dim=1) if k in "xy" else v for k, v in batch.items()}
    method.encoder, method.decoder = nn.Identity(), says(0.0)
    one, both = method.loss(batch), method.loss(two)
    agree(both, total=2.5 * one["total"].item(), flat=2.5 * one["flat"].item())


CPU = torch.device("cpu")
CODE = (0.25, 0.06, (0.2, 0.3))


bicubic, blobs, centre_hole, squares = (
    getattr(functions_of(NAME), k) for k in ("bicubic", "blobs", "centre_hole", "squares")
)


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


def test_one_block_is_a_square_of_its_side_somewhere():
    holes = torch.stack(
        [squares((32, 16), 1, (0.25, 0.25), 0.25, generator(i)) for i in range(300)]
    )
    assert holes.sum((1, 2)).eq(8 * 4).all()
    assert holes.any(2).sum(1).eq(8).all() and holes.any(1).sum(1).eq(4).all()
    assert holes.any(0).all()  # everywhere, the corners included


def test_blocks_overlap_and_cover_what_is_allowed_at_most():
    for i in range(40):
        few, many = (squares((64, 64), n, (1 / 8, 1 / 4), 0.25, generator(i)) for n in (8, 200))
        # of many, one more would be too much
        assert few.sum() < 0.2501 * 64**2 < many.sum() + 16**2
    one = squares((64, 64), 8, (0.25, 0.25), 0.0, generator())
    assert one.sum() == 16**2  # a hole there is in any case
    two = [squares((64, 64), 2, (0.25, 0.25), 1.0, generator(i)).sum().item() for i in range(60)]
    assert max(two) == 2 * 16**2 > min(two) > 16**2


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
            assert value.item() == pytest.approx(
                spline(cells[k - 1 : k + 3].tolist(), at - k), abs=1e-12
            )
