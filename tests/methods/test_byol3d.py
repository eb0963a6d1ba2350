"""BYOL on volumes: range of the loss, stopped gradient, slow copy after the step, no collapse."""

import pytest
import torch
from torch import nn
from volumes import read, view, volumes

from bench import nets, registry
from bench.pretext.losses import unit_distance


@pytest.fixture(scope="module")
def scans():
    return volumes(4)


class Constant(nn.Module):
    """Gives every sample the same vector."""

    def __init__(self, vector):
        super().__init__()
        self.vector = torch.tensor(vector)

    def forward(self, x):
        return self.vector.expand(len(x), -1)


@pytest.mark.parametrize(
    ("mine", "slow", "value"),
    [([1.0, 0.0], [2.0, 0.0], 0), ([1.0, 0.0], [0.0, 1.0], 4), ([1.0, 0.0], [-1.0, 0.0], 8)],
)
def test_loss_of_equal_orthogonal_and_opposite_vectors(build, scans, mine, slow, value):
    method = build("byol3d", {"predictor": False})
    method.projector, method.slow.projector = Constant(mine), Constant(slow)
    terms = method.loss(view(method, read(method, scans)))
    assert terms["total"].item() == pytest.approx(value, abs=1e-6)
    assert terms["std"].item() == pytest.approx(0, abs=1e-7)


def test_loss_starts_near_four_although_the_copies_are_equal(build, scans):
    method = build("byol3d")
    assert method.loss(view(method, read(method, scans)))["total"].item() == pytest.approx(4, abs=1)


def test_without_transformations_copies_and_predictor_the_loss_is_zero(build, scans):
    method = build("byol3d", {"predictor": False})
    batch = view(method, read(method, scans))
    batch["views"][:, 1] = batch["views"][:, 0]
    assert method.loss(batch)["total"].item() == pytest.approx(0, abs=1e-6)


def test_loss_does_not_mind_which_view_is_which(build, scans):
    method = build("byol3d")
    batch = view(method, read(method, scans))
    swapped = {"views": batch["views"].flip(1)}
    assert torch.allclose(method.loss(batch)["total"], method.loss(swapped)["total"], atol=1e-5)


def test_gradient_reaches_the_online_side_alone(build, scans):
    method = build("byol3d")
    method.loss(view(method, read(method, scans)))["total"].backward()
    for key, p in method.named_parameters():
        assert (p.grad is None) == key.startswith("slow"), key
    assert any(p.grad.abs().sum() > 0 for p in method.encoder.parameters())
    assert any(p.grad.abs().sum() > 0 for p in method.predictor.parameters())


def test_gradient_is_stopped_at_the_slow_copy_even_if_it_asks_for_one(build, scans):
    method = build("byol3d")
    method.slow.encoder.requires_grad_(True)
    method.slow.projector.requires_grad_(True)
    method.loss(view(method, read(method, scans)))["total"].backward()
    slow = [*method.slow.encoder.parameters(), *method.slow.projector.parameters()]
    assert slow and all(p.grad is None for p in slow)


def test_the_slow_copy_moves_after_the_step_by_the_cosine_momentum(build):
    method = build("byol3d")
    fast, slow = method.encoder, method.slow.encoder
    with torch.no_grad():
        for p, q in zip(fast.parameters(), slow.parameters(), strict=True):
            p.fill_(1)
            q.fill_(0)
    method.after_step(0.5)  # tau = .998 half way
    assert all(q.mean().item() == pytest.approx(0.002, abs=1e-7) for q in slow.parameters())
    method.after_step(1.0)  # tau = 1: nothing moves any more
    assert all(q.mean().item() == pytest.approx(0.002, abs=1e-7) for q in slow.parameters())


def test_fine_tuning_receives_the_online_encoder(build):
    method = build("byol3d")
    nn.init.ones_(next(method.encoder.parameters()))
    given = method.transfer()
    assert all(torch.equal(given[f"encoder.{k}"], v) for k, v in method.encoder.state_dict().items())
    assert set(given) == {f"encoder.{k}" for k in method.encoder.state_dict()}


def test_published_heads_are_the_default():
    cls = registry.load("method", "byol3d")
    assert (cls.Params().hidden, cls.Params().out) == (4096, 256)
    with torch.device("meta"):
        method = cls(nets.network("unet3d", "tiny", 1, 2), cls.Params())
    assert sum(p.numel() for p in method.predictor.parameters()) == 2_109_696


def test_crops_are_resized_to_the_view(build, scans):
    method = build("byol3d")
    raw = read(method, scans)
    assert raw["pair"].shape == (4, 2, 1, 22, 22, 22)
    assert view(method, raw)["views"].shape == (4, 2, 1, 16, 16, 16)


@pytest.mark.slow
def test_directions_stay_spread_and_collapse_without_the_slow_copy(build):
    scans = volumes(24, own=1.5)

    def trained(collapse):
        method = build("byol3d", {"hidden": 256, "out": 64})
        moved = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 1e-3)
        for k in range(80):
            rows = torch.randperm(24, generator=torch.Generator().manual_seed(k))[:12].tolist()
            batch = view(method, read(method, [scans[i] for i in rows], k), k)
            moved.zero_grad()
            total = _without_stop(method, batch) if collapse else method.loss(batch)["total"]
            total.backward()
            moved.step()
            method.after_step(k / 80)
        terms = method.loss(view(method, read(method, scans, 99), 99))
        return terms["std"].item()

    healthy, collapsed = trained(False), trained(True)
    assert healthy > 0.3 / 64**0.5
    assert collapsed < 0.5 * healthy


def _without_stop(method, batch):
    """Both sides the online network, gradient through both: nothing keeps it from collapsing."""
    one, two = batch["views"].unbind(1)
    z1, z2 = (method.projector(method.encoder.embed(v)) for v in (one, two))
    return unit_distance(method.predictor(z1), z2) + unit_distance(method.predictor(z2), z1)
