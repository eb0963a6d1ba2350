"""Jigsaw puzzles in two and three dimensions: which patch lies where, and what a label means."""

from math import prod

import numpy as np
import pytest
import torch
from small_methods import batch_of, build, raw_of, view

from bench import registry
from bench.data.reader import Volume

both = pytest.mark.parametrize("name", ["jigsaw3d", "jigsaw2d"])


def params(name, **given):
    return registry.load("method", name).make_params({"jitter": 2, **given})


@pytest.mark.parametrize("n", [2, 3])
@both
def test_at_place_s_lies_the_patch_that_the_permutation_names(name, n):
    crop = (24, 30, 24 if name == "jigsaw3d" else 1)
    p = params(name, n=n, permutations=20)
    scan = Volume(
        np.stack(np.meshgrid(*map(np.arange, (40, 40, 40)), indexing="ij")).astype(np.float32)
    )
    rows = [p.read(scan, crop, np.random.default_rng(s))["patches"] for s in range(6)]
    raw = torch.from_numpy(np.stack(rows))
    made = p.views({"patches": raw}, crop, torch.Generator().manual_seed(0))
    orders = p.orders(crop)
    for grid, shuffled, label in zip(raw, made["patches"], made["label"], strict=True):
        assert torch.equal(shuffled, grid[orders[label]])
        # the inverse puts it together again
        assert torch.equal(shuffled[np.argsort(orders[label])], grid)
        # who sees where patches lie names the permutation: their ranks along raster order
        at = shuffled[:, :, 0, 0, 0] - grid[0, :, 0, 0, 0] + 2
        cell = torch.tensor([s // n if s > 1 else 1 for s in crop])
        i, j, k = (at // cell).long().unbind(1)
        index = (i * n + j) * n + k if name == "jigsaw3d" else i * n + j
        close = (torch.from_numpy(orders) == index).float().mean(1)
        assert close.argmax() == label


@both
def test_every_label_is_drawn(name):
    crop = (12, 12, 12 if name == "jigsaw3d" else 1)
    p = params(name, n=2, permutations=20)
    batch = {"patches": torch.rand(600, prod(p.grid(crop)), 1, *p.patch(crop))}
    label = p.views(batch, crop, torch.Generator().manual_seed(0))["label"]
    assert torch.bincount(label, minlength=20).min() > 10 and label.max() < 20


@both
def test_mode_and_seed_choose_other_permutations(name):
    crop = (24, 24, 24 if name == "jigsaw3d" else 1)
    given = [{}, {"perm_seed": 1}, {"perm_mode": "least"}, {"perm_mode": "random"}]
    orders = [params(name, permutations=30, **g).orders(crop) for g in given]
    assert len({o.tobytes() for o in orders}) == 4
    assert all((np.sort(o, axis=1) == np.arange(o.shape[1])).all() for o in orders)


@both
def test_the_loss_joins_patches_as_they_lie_and_every_one_trains_the_encoder(name):
    method = build(name)
    batch = batch_of(method)
    count = batch["patches"].shape[1]
    seen = torch.cat([method.encoder.embed(batch["patches"][:, i]) for i in range(count)], dim=1)
    logits = method.head(seen, batch["kept"])
    patches = batch["patches"].requires_grad_()
    terms = method.loss(batch)
    expected = -logits.log_softmax(1)[range(4), batch["label"]].mean()
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["accuracy"].item() == (logits.argmax(1) == batch["label"]).float().mean()
    terms["total"].backward()
    assert (patches.grad.flatten(2).abs().sum(2) > 0).all()


@both
def test_dropped_units_are_drawn_with_the_views(name):
    method = build(name, {"hidden": (300, 100), "dropout": 0.3})
    raw = raw_of(method)
    kept = view(method, raw)["kept"]
    assert kept.shape == (4, 400)
    assert (kept > 0).float().mean().item() == pytest.approx(0.7, abs=0.05)
