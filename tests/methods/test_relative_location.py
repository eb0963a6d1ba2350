"""Relative patch location in two and three dimensions: classes, places, and what the query alone tells."""

from itertools import product

import numpy as np
import pytest
import torch
from small_methods import Gives, batch_of, build, ramp, raw_of, read, view

from bench import nets, registry
from bench.data.reader import Volume
from bench.pretext.relative_location import another

CROPS = {"rpl3d": (30, 24, 27), "rpl2d": (30, 24, 1)}
NETWORKS = {"rpl3d": "taleb_unet3d", "rpl2d": "taleb_unet2d"}
both = pytest.mark.parametrize("name", CROPS)


def params(name, **given):
    return registry.load("method", name).make_params({"jitter": 2, **given})


def offsets(name):
    """Return which way each class lies from the middle, in cells, in raster order."""
    steps = product((-1, 0, 1), (-1, 0, 1), (-1, 0, 1) if name == "rpl3d" else (0,))
    return [step for step in steps if any(step)]


@both
def test_a_class_says_which_way_a_query_lies_from_the_middle(name):
    crop, way = CROPS[name], offsets(name)
    p = params(name, queries_per_image=len(way))
    cell = np.array([n // 3 if n > 1 else 1 for n in crop])
    for seed in range(5):
        made = p.read(Volume(ramp(40, 40, 40)), crop, np.random.default_rng(seed))
        assert made["patches"].shape[2:] == tuple(np.where(cell > 1, cell - 2, 1)) == p.patch(crop)
        corner = made["patches"][:, :, 0, 0, 0]
        assert sorted(made["label"].tolist()) == list(range(len(way)))
        gap = corner[1:] - corner[0] - cell * np.array([way[c] for c in made["label"]])
        assert np.abs(gap).max() in (1, 2) and (gap[:, cell == 1] == 0).all()
    # seen the other way round: the opposite class
    assert [tuple(-s for s in w) for w in way] == way[::-1]


@both
def test_every_class_is_asked_alike_often(name):
    p, scan = params(name), Volume(ramp(31, 30, 30))
    drawn = [p.read(scan, CROPS[name], np.random.default_rng(s))["label"][0] for s in range(400)]
    assert np.bincount(drawn).min() > 400 / len(offsets(name)) / 3
    assert len(set(drawn)) == len(offsets(name))


@pytest.mark.parametrize(("place", "first"), [("random", (0, 20)), ("corner", (0, 2))])
@both
def test_the_grid_lies_anywhere_or_begins_at_the_first_voxel(name, place, first):
    p = params(name, place=place, queries_per_image=8)
    scan, crop = Volume(ramp(48, 24, 29)), CROPS[name]
    rows = [p.read(scan, crop, np.random.default_rng(s))["patches"] for s in range(60)]
    middle = np.stack(rows)[:, 0, :, 0, 0, 0]
    low, high = middle.min(0), middle.max(0)
    assert low[0] == pytest.approx(10 + first[0], abs=3 * (place == "random"))
    assert high[0] == pytest.approx(10 + first[1], abs=3 * (place == "random"))
    assert (low[1], high[1]) == (8, 10)
    if name == "rpl2d":
        assert high[2] - low[2] > 20  # which slice is drawn in either case


def oracle(method, relative):
    """Let it see where patches lie, and name the class by where the query lies, from the middle or at all."""
    way = torch.tensor(offsets(method.name()), dtype=torch.float32)
    cell = torch.tensor([n // 3 if n > 1 else 1 for n in method.crop])

    def told(x, kept):
        seen = x[:, 3:] - x[:, :3] if relative else x[:, 3:] - 1.5 * cell
        return -torch.cdist(seen / cell, way)

    method.head = Gives(told)
    method.encoder.embed = lambda x: x.mean((2, 3, 4))


@pytest.mark.parametrize(("relative", "low", "high"), [(True, 0.0, 0.2), (False, 1.0, 1.0)])
@both
def test_beside_anothers_middle_only_absolute_places_are_still_named(name, relative, low, high):
    crop = (96, 96, 96 if name == "rpl3d" else 1)
    network = nets.network(NETWORKS[name], "tiny", 3, 2, crop)
    method = build(name, {"place": "corner", "jitter": 2, "queries_per_image": 8}, network=network)
    oracle(method, relative)
    # scans lie far from each other where only the relation is looked at, and at one place where it is not
    scans = [Volume(ramp(*crop, shift=500.0 * i * relative)) for i in range(4)]
    terms = method.loss(view(method, read(method, scans)))
    assert terms["accuracy"] == 1 and low <= terms["alone"] <= high
    assert terms["chance"].item() == pytest.approx(1 / len(offsets(name)))


@pytest.mark.parametrize(
    ("origin", "of"),
    [([0, 1, 0, 1], [2, 3, 0, 1]), ([0, 0, 1, 0], [1, 3, 2, 0]), (None, [1, 2, 3, 0])],
)
def test_another_middle_is_the_next_of_the_same_origin(origin, of):
    origin = None if origin is None else torch.tensor(origin)
    assert another(torch.arange(4.0)[:, None], origin).flatten().tolist() == of


@pytest.mark.parametrize("pool", ["mean", "max"])
@both
def test_the_loss_reads_the_middle_first_and_every_patch_trains_the_encoder(name, pool):
    method = build(name, {"pool": pool, "queries_per_image": 2})
    batch = batch_of(method)
    maps = [method.encoder(batch["patches"][:, i])[-1].flatten(2) for i in range(3)]
    seen = [m.mean(2) if pool == "mean" else m.amax(2) for m in maps]
    rows = torch.cat([torch.cat([seen[0], seen[k]], 1) for k in (1, 2)])
    logits = method.head(rows, torch.cat(batch["kept"].unbind(1)))
    expected = -logits.log_softmax(1)[range(8), torch.cat(batch["label"].unbind(1))].mean()
    patches = batch["patches"].requires_grad_()
    total = method.loss(batch)["total"]
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    total.backward()
    assert (patches.grad.flatten(2).abs().sum(2) > 0).all()


@both
def test_dropped_units_are_drawn_with_the_views(name):
    method = build(name, {"hidden": (300, 100), "dropout": 0.3, "queries_per_image": 3})
    raw = raw_of(method)
    kept = view(method, raw)["kept"]
    assert kept.shape == (4, 3, 400)
    assert (kept > 0).float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert not torch.equal(view(method, raw, 1)["kept"], kept)
    assert build(name, {"dropout": 0.0}).params.kept(2, 1, torch.Generator()).all()
