"""In-painting hides what it says, scores what it says, and learns to fill holes from around them."""

import pytest
import torch
from torch import nn
from volumes import read, view, volumes

from bench import registry
from bench.errors import BenchError
from bench.random import torch_generator

NAME = "inpainting2d"
WHOLE = {"area": (1.0, 1.0), "aspect": (1.0, 1.0)}  # a view is the slice as it is
CENTRE = {**WHOLE, "mask": "centre"}


class Says(nn.Module):
    """Stands for the decoder: gives what it holds."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, features):
        return self.value + torch.zeros_like(x)


@pytest.fixture(scope="module")
def scans():
    return volumes(4)


def batch_of(method, scans, seed=0):
    return view(method, read(method, scans), seed)


def test_the_centre_is_filled_and_the_rest_is_the_slice(build, scans):
    method = build(NAME, {**CENTRE, "fill": 0.25})
    raw = read(method, scans)
    batch = view(method, raw)
    assert torch.equal(batch["y"], raw["crop"])
    centre = batch["x"][:, :, 8:24, 8:24]
    assert centre.eq(0.25).all() and batch["hidden"].sum() == 4 * 16**2
    assert torch.equal(batch["x"] != batch["y"], batch["hidden"])


def test_all_slices_of_a_batch_and_of_its_parts_have_one_irregular_hole(build, scans):
    method = build(NAME)
    raw = read(method, scans)
    whole = method.views(raw, torch_generator("cpu", 0, "views"))
    assert 0.2 < whole["hidden"][0].double().mean() < 0.3
    assert all(torch.equal(row, whole["hidden"][0]) for row in whole["hidden"])
    part = method.views({"crop": raw["crop"][2:]}, torch_generator("cpu", 0, "views", 0, (1, 2)))
    assert torch.equal(part["hidden"], whole["hidden"][2:])
    other = method.views(raw, torch_generator("cpu", 0, "views", 1))
    assert not torch.equal(other["hidden"], whole["hidden"])


def test_what_is_hidden_cannot_reach_the_prediction(build, scans):
    method = build(NAME, CENTRE)
    raw = read(method, scans)
    changed = raw["crop"].clone()
    changed[:, :, 8:24, 8:24] = 5.0
    assert torch.equal(view(method, {"crop": changed})["x"], view(method, raw)["x"])


def test_a_ring_of_the_hole_stays_visible(build, scans):
    batch = batch_of(build(NAME, {**CENTRE, "ring": 3}), scans)
    assert batch["hole"].sum() == 4 * 16**2 and batch["hidden"].sum() == 4 * 10**2
    assert torch.equal(batch["x"] != batch["y"], batch["hidden"])


def test_a_perfect_prediction_costs_nothing(build, scans):
    for params in ({}, {"loss_region": "all"}, {"mask": "centre", "ring": 2}):
        method = build(NAME, params)
        batch = batch_of(method, scans)
        method.decoder = Says(batch["y"])
        terms = method.loss(batch)
        assert terms["total"] == terms["hidden"] == 0 < terms["flat"]


@pytest.mark.parametrize("mask", ["random", "centre"])
def test_predicting_the_mean_of_unit_variance_costs_one(build, scans, mask):
    method = build(NAME, {"mask": mask})
    batch = batch_of(method, scans)
    for y, hidden in zip(batch["y"], batch["hidden"], strict=True):
        y[hidden] = (y[hidden] - y[hidden].mean()) / y[hidden].std(correction=0) + 3
    method.decoder = Says(3.0)
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx(1, rel=1e-4)
    assert terms["flat"].item() == pytest.approx(1, rel=1e-4)


def test_only_the_hole_counts_unless_all_is_asked_for(build, scans):
    made = torch.zeros(4, 1, 32, 32, 1, requires_grad=True)
    for region in ("masked", "all"):
        method = build(NAME, {"loss_region": region})
        batch = batch_of(method, scans)
        moved = {**batch, "y": torch.where(batch["hidden"], batch["y"], batch["y"] + 1)}
        method.decoder = Says(made)
        total = method.loss(batch)["total"]
        grad = torch.autograd.grad(total, made)[0]
        assert (total == method.loss(moved)["total"]) == (region == "masked")
        assert torch.equal(grad[~batch["hidden"]].bool().any(), torch.tensor(region == "all"))
        assert grad[batch["hidden"]].all()
        assert method.loss(batch)["hidden"] == method.loss(moved)["hidden"]


def test_weights_by_hand(build, scans):
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
        batch = batch_of(method, scans)
        method.decoder = Says(batch["y"] + 1)
        terms = method.loss(batch)
        assert terms["total"].item() == pytest.approx(value, rel=1e-5)
        assert terms["hidden"].item() == pytest.approx(1, rel=1e-5)


def test_channels_are_averaged(build, scans):
    method = build(NAME, CENTRE)
    batch = batch_of(method, scans)
    two = {k: torch.cat([v, 2 * v], dim=1) if k in "xy" else v for k, v in batch.items()}
    method.encoder, method.decoder = nn.Identity(), Says(0.0)
    one, both = method.loss(batch), method.loss(two)
    assert both["total"].item() == pytest.approx(2.5 * one["total"].item(), rel=1e-5)
    assert both["flat"].item() == pytest.approx(2.5 * one["flat"].item(), rel=1e-5)


def test_gradient_reaches_encoder_and_decoder(build, scans):
    method = build(NAME)
    method.loss(batch_of(method, scans))["total"].backward()
    for part in (method.encoder, method.decoder):
        grads = [p.grad for p in part.parameters()]
        assert all(g is not None for g in grads) and sum(g.abs().sum() for g in grads) > 0


def test_hands_over_both_parts_or_the_encoder_alone(build):
    both, one = build(NAME).transfer(), build(NAME, {"transfer": "encoder"}).transfer()
    assert {k.split(".")[0] for k in both} == {"encoder", "decoder"}
    assert {k.split(".")[0] for k in one} == {"encoder"}


def test_the_decoder_gives_the_images_channels():
    cls = registry.load("method", NAME)
    assert cls.Params().out_channels(4, 9) == 4


def test_refuses_what_does_not_fit(build):
    with pytest.raises(BenchError, match="ring belongs to mask 'centre'"):
        build(NAME, {"ring": 4})
    with pytest.raises(BenchError, match="empty"):
        build(NAME, {"mask": "centre", "ring": 8})
    with pytest.raises(BenchError, match="between 0 and 1"):
        build(NAME, {"side": 1.0})


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["random", "centre"])
def test_learns_to_fill_holes_better_than_with_their_mean(build, mask):
    scans, held_out = volumes(24, (32, 32, 16), 3.0, 0.3), volumes(8, (32, 32, 16), 3.0, 0.3, 100)
    method = build(NAME, {"mask": mask, "area": (0.8, 1.0)})
    moved = torch.optim.AdamW(method.parameters(), 3e-3)
    test = batch_of(method, held_out, 999)
    with torch.no_grad():
        before = method.loss(test)
    for k in range(300):
        rows = torch.randperm(24, generator=torch.Generator().manual_seed(k))[:12].tolist()
        moved.zero_grad()
        method.loss(view(method, read(method, [scans[i] for i in rows], k), k))["total"].backward()
        moved.step()
    with torch.no_grad():
        after = method.loss(test)
    assert before["hidden"] > before["flat"]
    assert after["hidden"] < 0.8 * after["flat"]
