"""PGL: the loss's range, alignment in the method's own hands, stopped gradient, target, no collapse."""

import numpy as np
import pytest
import torch
from torch import nn
from volumes import read, view, volumes

from bench import nets, registry
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.pretext.losses import unit_distance

CALM = {"noise": 0.0, "blur": 0.0, "brightness": 0.0, "gamma": 0.0}
SAME = {**CALM, "use_flip": False, "use_crop_scale": False}  # both views are one crop
LARGE = (32, 32, 32)  # whose deepest map but one has 4^3 cells in the tiny network


@pytest.fixture(scope="module")
def scans():
    return volumes(4)


class Constant(nn.Module):
    """Gives every cell of every map the same vector."""

    def __init__(self, vector):
        super().__init__()
        self.vector = torch.tensor(vector)

    def forward(self, x):
        return self.vector.view(1, -1, 1, 1, 1).expand(len(x), -1, *x.shape[2:])


@pytest.mark.parametrize(
    ("mine", "slow", "value"),
    [([1.0, 0.0], [2.0, 0.0], 0), ([1.0, 0.0], [0.0, 1.0], 4), ([1.0, 0.0], [-1.0, 0.0], 8)],
)
@pytest.mark.parametrize("symmetric", [True, False])
def test_loss_of_equal_orthogonal_and_opposite_vectors(build, scans, mine, slow, value, symmetric):
    method = build("pgl", {"predictor": False, "symmetric": symmetric})
    method.projector, method.slow.projector = Constant(mine), Constant(slow)
    terms = method.loss(view(method, read(method, scans)))
    assert terms["total"].item() == pytest.approx(value / (1 if symmetric else 2), abs=1e-6)
    assert terms["std"].item() == pytest.approx(0, abs=1e-7)
    assert terms["spatial"].item() == pytest.approx(0, abs=1e-7)
    assert terms["matched"] == 1 / 8 <= terms["chance"]


def test_loss_starts_near_four_although_the_copies_are_equal(build, scans):
    method = build("pgl")
    assert method.loss(view(method, read(method, scans)))["total"].item() == pytest.approx(4, abs=1)


def test_equal_views_without_a_predictor_cost_nothing(build, scans):
    method = build("pgl", {**SAME, "predictor": False})
    batch = view(method, read(method, scans))
    assert torch.equal(batch["views"][:, 0], batch["views"][:, 1])
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx(0, abs=1e-5)
    assert terms["matched"] == 1


def test_loss_is_the_mean_over_places_of_both_directions(build, scans):
    method = build("pgl", {**SAME, "predictor": False})
    batch = view(method, read(method, scans))
    drawn = torch.randn(2, 4, 32, 2, 2, 2)
    method.projector, method.slow.projector = Given(drawn[0]), Given(drawn[1])
    a, b = (d / d.norm(dim=1, keepdim=True) for d in drawn)
    by_hand = sum((a[n, :, i, j, k] - b[n, :, i, j, k]).square().sum() for n in range(4)
                  for i in range(2) for j in range(2) for k in range(2)) / 32  # fmt: skip
    assert method.loss(batch)["total"].item() == pytest.approx(2 * by_hand.item(), rel=1e-5)
    method.projector = Given(7.5 * drawn[0])
    assert method.loss(batch)["total"].item() == pytest.approx(2 * by_hand.item(), rel=1e-5)


class Given(nn.Module):
    """Gives the maps it was made with."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def forward(self, x):
        return self.maps


def test_loss_does_not_mind_the_order_of_views_and_samples(build, scans):
    method = build("pgl")
    batch = view(method, read(method, scans))
    expected = method.loss(batch)["total"]
    for other in ({k: v.flip(1) for k, v in batch.items()}, {k: v.flip(0) for k, v in batch.items()}):
        assert torch.allclose(method.loss(other)["total"], expected, atol=1e-4)


def index_volume(shape=(70, 74, 66)):
    """Return a volume whose three channels are each voxel's own index."""
    return Volume(np.stack(np.indices(shape)).astype(np.float32))


def places(build, tiny_network, params=None, count=12):
    """Return the aligned maps of both views where the network gives each cell its mean voxel index."""
    method = build("pgl", {**CALM, **(params or {})}, network=tiny_network(crop=LARGE, channels=3))
    assert method.cells == (2, 2, 2)
    method.cells = (8, 8, 8)  # finer than this network's: few cells lie all inside
    batch = view(method, read(method, [index_volume()] * count))
    maps = [nn.functional.avg_pool3d(v, 4) for v in batch["views"].unbind(1)]
    return [method.aligned(m, batch, i) for i, m in enumerate(maps)]


def inner(one, two):
    """Return how far apart the middle places are: none of them is cut off at a border."""
    return (one - two).abs().amax(1)[:, 2:6, 2:6, 2:6]


def test_aligned_features_of_read_and_augmented_views_come_from_the_same_voxels(build, tiny_network):
    assert inner(*places(build, tiny_network)).max() < 1e-3


@pytest.mark.parametrize(
    "wrong", [{"coordinates": "literal"}, {"align_flip": False}, {"align_crop": False}]
)  # fmt: skip
def test_without_a_part_of_the_alignment_they_do_not(build, tiny_network, wrong):
    assert inner(*places(build, tiny_network, wrong)).mean() > 1


@pytest.mark.parametrize("left_out", ["use_flip", "use_crop_scale"])
def test_an_ablation_leaves_out_the_transformation_with_its_aligner(build, tiny_network, left_out):
    assert inner(*places(build, tiny_network, {left_out: False})).max() < 1e-3


def test_ablations_change_what_they_name_and_nothing_else(build, scans):
    full, still, whole = (build("pgl", p) for p in ({}, {"use_flip": False}, {"use_crop_scale": False}))
    a, b, c = (view(m, read(m, scans)) for m in (full, still, whole))
    assert a["flipped"].any() and not b["flipped"].any() and c["flipped"].any()
    assert torch.equal(a["start"], b["start"]) and torch.equal(a["size"], b["size"])
    assert torch.equal(c["start"][:, 0], c["start"][:, 1]) and (c["size"] == 16).all()
    assert not torch.equal(a["start"][:, 0], a["start"][:, 1])


def test_pooled_to_one_cell_without_flips_and_crops_it_is_byol(build, scans):
    local, wide = build("pgl", SAME).double(), build("byol3d", {**CALM, "flip": 0.0}).double()
    wide.encoder.load_state_dict(local.encoder.state_dict())
    wide.slow.encoder.load_state_dict(local.slow.encoder.state_dict())
    for part in ("projector", "predictor", "slow.projector"):
        state = local.get_submodule(part).state_dict()
        flat = {k: v.flatten(1) if v.ndim > 1 else v for k, v in state.items()}
        wide.get_submodule(part).load_state_dict(flat)
    for side in (local, local.slow):
        side.encoder = Pooled(side.encoder)
    batch = {"views": view(wide, read(wide, scans))["views"].double()}
    expected = wide.loss(batch)["total"].item()
    assert expected > 0.1
    batch |= {k: torch.zeros(4, 2, 3) for k in ("flipped", "start", "size")}
    assert local.loss(batch)["total"].item() == pytest.approx(expected, abs=1e-6)


class Pooled(nn.Module):
    """Gives as every map the last one, averaged over space."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        maps = self.encoder(x)
        return [maps[-1].mean((2, 3, 4), keepdim=True)] * len(maps)


def test_gradient_reaches_the_online_side_alone(build, scans):
    method = build("pgl")
    method.slow.encoder.requires_grad_(True)  # stopped even if it asks for one
    method.slow.projector.requires_grad_(True)
    method.loss(view(method, read(method, scans)))["total"].backward()
    reached = {k for k, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    assert not [k for k in reached if k.startswith("slow")]
    for part in ("encoder", "projector", "predictor"):
        assert [k for k in reached if k.startswith(f"{part}.")]


def test_without_the_stopped_gradient_the_online_side_would_move_otherwise(build, scans):
    method = build("pgl")
    batch = view(method, read(method, scans))
    with_stop = torch.autograd.grad(method.loss(batch)["total"], method.projector[0].weight)[0]
    without = torch.autograd.grad(_without_stop(method, batch), method.projector[0].weight)[0]
    assert not torch.allclose(with_stop, without, rtol=0.1)


def test_the_target_moves_after_the_step_by_the_cosine_momentum(build):
    method = build("pgl", {"ema_buffers": True})
    assert all(b.mean() == 0 for k, b in method.slow.encoder.named_buffers() if k.endswith("running_mean"))
    with torch.no_grad():
        for fast, slow in ((method.encoder, method.slow.encoder), (method.projector, method.slow.projector)):
            for p, q in zip(fast.parameters(), slow.parameters(), strict=True):
                p.fill_(1), q.fill_(0)
            for b in fast.buffers():
                b.fill_(1)
    expected = [1 - w for w in (0.996, 0.9960979, 0.996382)]  # k = 0, 1, 2 of 10
    reached = 0.0
    for k, share in enumerate(expected):
        method.after_step(k / 10)
        reached += share * (1 - reached)
        for q in (*method.slow.encoder.parameters(), *method.slow.projector.parameters()):
            assert q.mean().item() == pytest.approx(reached, abs=1e-6)
        assert method.slow.projector[1].running_mean.mean().item() == pytest.approx(reached, abs=1e-6)
    method.after_step(1.0)  # tau = 1: nothing moves any more
    assert method.slow.projector[0].weight.mean().item() == pytest.approx(reached, abs=1e-6)


@pytest.mark.parametrize(("steps", "reached"), [(4, 0.0099660), (10, 0.0217931), (100, 0.1831540)])
def test_the_target_follows_a_fixed_goal_as_computed(build, steps, reached):
    method = build("pgl")
    with torch.no_grad():
        method.projector[0].weight.fill_(1), method.slow.projector[0].weight.fill_(0)
        method.double()
    for k in range(steps):
        method.after_step(k / steps)
    assert method.slow.projector[0].weight.mean().item() == pytest.approx(reached, abs=1e-6)


def test_the_targets_statistics_are_its_batchs_or_averages(build, scans):
    own, averaged = build("pgl"), build("pgl", {"ema_buffers": True})
    batch = view(own, read(own, scans))
    for method in (own, averaged):
        before = method.slow.projector[1].running_mean.clone()
        method.loss(batch)
        assert torch.equal(method.slow.projector[1].running_mean, before) is (method is averaged)
    assert own.loss(batch)["total"] != averaged.loss(batch)["total"]


def test_fine_tuning_receives_the_online_encoder(build):
    method = build("pgl")
    nn.init.ones_(next(method.encoder.parameters()))
    given = method.transfer()
    assert all(torch.equal(given[f"encoder.{k}"], v) for k, v in method.encoder.state_dict().items())
    assert set(given) == {f"encoder.{k}" for k in method.encoder.state_dict()}


def test_published_heads_and_map_are_the_default():
    cls = registry.load("method", "pgl")
    with torch.device("meta"):
        method = cls(nets.network("pgl_resnet50", "base", 1, 2, (96, 96, 16)), cls.Params())
    assert sum(p.numel() for p in method.projector.parameters()) == 9_449_728
    assert sum(p.numel() for p in method.predictor.parameters()) == 2_109_696
    assert method.level == 4 and method.cells == (6, 6, 2)


def test_map_is_the_last_of_several_cells_or_the_one_asked_for(build, tiny_network):
    for crop, level, cells in (((16, 16, 16), -2, 2), (LARGE, -1, 2)):
        network = tiny_network(crop=crop)
        method = build("pgl", network=network)
        assert (method.level, method.cells) == (len(network.encoder.widths) + level, (cells,) * 3)
    assert build("pgl", {"level": 0}, network=tiny_network()).cells == (16, 16, 16)


@pytest.mark.parametrize(("level", "words"), [(-1, "is one cell"), (9, "has 5 maps"), (-6, "has 5 maps")])
def test_refuses_a_map_of_one_cell_and_one_that_is_not_there(build, level, words):
    with pytest.raises(BenchError, match=words):
        build("pgl", {"level": level})


def test_compares_many_places_at_most(build, scans):
    method = build("pgl", {"level": 0, "predictor": False})  # 4096 places
    method.projector = method.slow.projector = Constant([1.0, 0.0])
    terms = method.loss(view(method, read(method, scans[:2])))
    assert terms["matched"].item() == pytest.approx(1 / 1024)


def trained(build, network, scans, params=None, loss=None, steps=80):
    """Train and return the terms of fixed views before, and after."""
    method = build("pgl", {"hidden": 256, "out": 64, **(params or {})}, network=network)
    moved = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 1e-3)
    probe = view(method, read(method, scans, 99), 99)
    before = {k: v.item() for k, v in method.loss(probe).items()}
    for k in range(steps):
        rows = torch.randperm(len(scans), generator=torch.Generator().manual_seed(k))[:12].tolist()
        batch = view(method, read(method, [scans[i] for i in rows], k), k)
        moved.zero_grad()
        (loss(method, batch) if loss else method.loss(batch)["total"]).backward()
        moved.step()
        method.after_step(k / steps)
    return before, {k: v.item() for k, v in method.loss(probe).items()}


@pytest.mark.slow
def test_training_matches_places_and_keeps_directions_apart(build, tiny_network):
    scans = volumes(24, own=1.5)
    near = {"level": 1, "overlap": 0.5, "tau": 0.99}  # 8^3 cells; a short run needs a quick target
    before, after = trained(build, tiny_network(), scans, near, steps=150)
    assert after["matched"] > 2 * max(1 / 512, before["matched"])
    assert after["total"] < before["total"] - 1
    assert min(after["std"], after["spatial"]) > 0.5 / 64**0.5
    _, collapsed = trained(build, tiny_network(), scans, near, _without_stop, steps=60)
    assert collapsed["std"] < 0.5 * after["std"] and collapsed["spatial"] < 0.5 * after["spatial"]


def _without_stop(method, batch):
    """Both sides the online network, gradient through both: nothing keeps it from collapsing."""
    maps = [method.projector(method.encoder(v)[method.level]) for v in batch["views"].unbind(1)]
    one, two = (method.aligned(m, batch, i) for i, m in enumerate(maps))
    return unit_distance(method.predictor(one), two) + unit_distance(method.predictor(two), one)
