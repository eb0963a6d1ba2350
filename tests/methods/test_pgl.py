"""PGL: the loss's range, alignment in the method's own hands, stopped gradient, target, no collapse."""

from functools import partial

import pytest
import torch
from small_methods import (
    Gives,
    always,
    batch_of,
    build,
    ramp,
    read,
    shown,
    tiny,
    train,
    view,
    volumes,
)
from torch import nn

from bench import nets
from bench.data.reader import Volume
from bench.pretext.losses import unit_distance

CALM = {"noise": 0.0, "blur": 0.0, "brightness": 0.0, "gamma": 0.0}
SAME = {**CALM, "use_flip": False, "use_crop_scale": False}  # both views are one crop
LARGE = (32, 32, 32)  # whose deepest map but one has 4^3 cells in the tiny network


def test_equal_views_without_a_predictor_cost_nothing():
    method = build("pgl", {**SAME, "predictor": False})
    batch = batch_of(method)
    assert torch.equal(batch["views"][:, 0], batch["views"][:, 1])
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx(0, abs=1e-5)
    assert terms["matched"] == 1


def test_loss_is_the_mean_over_places_of_both_directions():
    method = build("pgl", {**SAME, "predictor": False})
    batch = batch_of(method)
    drawn = torch.randn(2, 4, 32, 2, 2, 2)
    method.projector, method.slow.projector = Gives(drawn[0]), Gives(drawn[1])
    a, b = (d / d.norm(dim=1, keepdim=True) for d in drawn)
    by_hand = (
        sum(
            (a[n, :, i, j, k] - b[n, :, i, j, k]).square().sum()
            for n in range(4)
            for i in range(2)
            for j in range(2)
            for k in range(2)
        )
        / 32
    )
    assert method.loss(batch)["total"].item() == pytest.approx(2 * by_hand.item(), rel=1e-5)
    method.projector = Gives(7.5 * drawn[0])
    assert method.loss(batch)["total"].item() == pytest.approx(2 * by_hand.item(), rel=1e-5)


def places(tiny, params=None, count=12):
    """Return the aligned maps of both views where the network gives each cell its mean voxel index."""
    method = build("pgl", {**CALM, **(params or {})}, network=tiny(crop=LARGE, channels=3))
    assert method.cells == (2, 2, 2)
    method.cells = (8, 8, 8)  # finer than this network's: few cells lie all inside
    batch = view(method, read(method, [Volume(ramp(70, 74, 66))] * count))
    maps = [nn.functional.avg_pool3d(v, 4) for v in batch["views"].unbind(1)]
    return [method.aligned(m, batch, i) for i, m in enumerate(maps)]


def inner(one, two):
    """Return how far apart the middle places are: none of them is cut off at a border."""
    return (one - two).abs().amax(1)[:, 2:6, 2:6, 2:6]


def test_aligned_features_of_read_and_augmented_views_come_from_the_same_voxels():
    assert inner(*places(tiny)).max() < 1e-3


@pytest.mark.parametrize(
    "wrong", [{"coordinates": "literal"}, {"align_flip": False}, {"align_crop": False}]
)
def test_without_a_part_of_the_alignment_they_do_not(wrong):
    assert inner(*places(tiny, wrong)).mean() > 1


@pytest.mark.parametrize("left_out", ["use_flip", "use_crop_scale"])
def test_an_ablation_leaves_out_the_transformation_with_its_aligner(left_out):
    assert inner(*places(tiny, {left_out: False})).max() < 1e-3


def test_ablations_change_what_they_name_and_nothing_else():
    full, still, whole = (
        build("pgl", p) for p in ({}, {"use_flip": False}, {"use_crop_scale": False})
    )
    a, b, c = (batch_of(m) for m in (full, still, whole))
    assert a["flipped"].any() and not b["flipped"].any() and c["flipped"].any()
    assert torch.equal(a["start"], b["start"]) and torch.equal(a["size"], b["size"])
    assert torch.equal(c["start"][:, 0], c["start"][:, 1]) and (c["size"] == 16).all()
    assert not torch.equal(a["start"][:, 0], a["start"][:, 1])


def test_pooled_to_one_cell_without_flips_and_crops_it_is_byol():
    local, wide = build("pgl", SAME).double(), build("byol3d", {**CALM, "flip": 0.0}).double()
    wide.encoder.load_state_dict(local.encoder.state_dict())
    wide.slow.encoder.load_state_dict(local.slow.encoder.state_dict())
    for part in ("projector", "predictor", "slow.projector"):
        state = local.get_submodule(part).state_dict()
        flat = {k: v.flatten(1) if v.ndim > 1 else v for k, v in state.items()}
        wide.get_submodule(part).load_state_dict(flat)
    for side in (local, local.slow):
        side.encoder = Gives(partial(pooled, side.encoder))
    batch = {"views": batch_of(wide)["views"].double()}
    expected = wide.loss(batch)["total"].item()
    assert expected > 0.1
    batch |= {k: torch.zeros(4, 2, 3) for k in ("flipped", "start", "size")}
    assert local.loss(batch)["total"].item() == pytest.approx(expected, abs=1e-6)


def pooled(encoder, x):
    """Return as every map the last one, averaged over space."""
    maps = encoder(x)
    return [maps[-1].mean((2, 3, 4), keepdim=True)] * len(maps)


def test_map_is_the_last_of_several_cells_or_the_one_asked_for():
    with torch.device("meta"):
        method = build("pgl", network=nets.network("pgl_resnet50", "base", 1, 2, (96, 96, 16)))
    assert method.level == 4 and method.cells == (6, 6, 2)
    for crop, level, cells in (((16, 16, 16), -2, 2), (LARGE, -1, 2)):
        network = tiny(crop=crop)
        method = build("pgl", network=network)
        assert (method.level, method.cells) == (len(network.encoder.widths) + level, (cells,) * 3)
    assert build("pgl", {"level": 0}, network=tiny()).cells == (16, 16, 16)


def test_compares_many_places_at_most():
    method = build("pgl", {"level": 0, "predictor": False})  # 4096 places
    method.projector = method.slow.projector = always(1.0, 0.0)
    terms = method.loss(batch_of(method, 2))
    assert terms["matched"].item() == pytest.approx(1 / 1024)


@pytest.mark.slow
def test_training_matches_places_and_keeps_directions_apart():
    scans = volumes(24, noise=1.5)
    # 8^3 cells; a short run needs a quick target
    near = {"level": 1, "overlap": 0.5, "tau": 0.99, "hidden": 256, "out": 64}
    method, fallen = (build("pgl", near, network=tiny()) for _ in range(2))
    before = shown(method, scans, [99])
    train(method, scans, 150, 1e-3)
    train(fallen, scans, 60, 1e-3, loss=_without_stop)
    after, collapsed = (shown(m, scans, [99]) for m in (method, fallen))
    assert after["matched"] > 2 * max(1 / 512, before["matched"])
    assert after["total"] < before["total"] - 1
    assert min(after["std"], after["spatial"]) > 0.5 / 64**0.5
    assert collapsed["std"] < 0.5 * after["std"] and collapsed["spatial"] < 0.5 * after["spatial"]


def _without_stop(method, batch):
    """Both sides the online network, gradient through both: nothing keeps it from collapsing."""
    maps = [method.projector(method.encoder(v)[method.level]) for v in batch["views"].unbind(1)]
    one, two = (method.aligned(m, batch, i) for i, m in enumerate(maps))
    return unit_distance(method.predictor(one), two) + unit_distance(method.predictor(two), one)
