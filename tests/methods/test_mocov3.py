"""MoCo v3: values by hand, published heads, who gets gradient, the frozen patch embedding, the slow copy."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from volumes import read, textured, view, volumes

from bench import nets, registry


@pytest.fixture(scope="module")
def scans():
    return volumes(8)


class Fixed(nn.Module):
    """Gives sample i the direction ``rows[i]`` of a list that is used over and over."""

    def __init__(self, *rows):
        super().__init__()
        self.rows = torch.tensor(rows)

    def forward(self, x):
        return self.rows.repeat(len(x) // len(self.rows), 1)


def batch_of(method, scans, count=4):
    return view(method, read(method, scans[:count]))


def directed(method, query, key):
    method.projector, method.predictor, method.slow.projector = query, nn.Identity(), key
    return method


EASY = {"momentum": 0.9, "gamma": 0.0, "brightness": 0.0}  # learns in a hundred steps
APART = torch.eye(8).tolist()


@pytest.mark.parametrize(
    ("count", "rows", "params", "value"),
    [
        (4, APART[:1], {}, 1.109035),  # collapse: 4 t ln N
        (8, APART[:1], {}, 1.663553),
        (4, APART[:4], {}, 0.016010),  # every query its own key, all others orthogonal
        (8, APART, {}, 0.036870),
        (4, APART[:4], {"symmetric": False}, 0.008005),
        (4, APART[:1], {"temperature": 1.0}, 5.545177),  # 4 ln 4
    ],
)
def test_loss_of_known_directions(build, scans, count, rows, params, value):
    method = directed(build("mocov3", params), Fixed(*rows), Fixed(*rows))
    terms = method.loss(batch_of(method, scans, count))
    assert terms["total"].item() == pytest.approx(value, abs=2e-6)
    assert terms["retrieval"].item() == (1 if len(rows) == count else 1 / count)
    assert terms["chance"] >= 1 / count  # intensities may tell scans apart


def test_each_view_asks_for_the_keys_of_the_other(build, scans):
    method = build("mocov3", {"predictor": False})
    batch = batch_of(method, scans)
    crossed = {"views": batch["views"].clone()}
    crossed["views"][:, 1] = batch["views"][:, 0]
    assert method.loss(crossed)["retrieval"] == 1  # the copies are equal, and so are the views
    crossed["views"][:, 1] = batch["views"][:, 0].roll(1, 0)  # its key is the next scan's now
    assert method.loss(crossed)["retrieval"] == 0


def test_loss_does_not_mind_which_view_is_which_where_it_is_symmetric(build, scans):
    method = build("mocov3")
    batch = batch_of(method, scans)
    swapped = {"views": batch["views"].flip(1)}
    there, back = method.loss(batch)["total"], method.loss(swapped)["total"]
    assert torch.allclose(there, back, atol=1e-5)
    method.params = type(method.params)(symmetric=False)
    one, other = method.loss(batch)["total"], method.loss(swapped)["total"]
    assert torch.allclose(one + other, there, atol=1e-5) and not torch.allclose(one, other, atol=1e-3)


def test_gradient_reaches_the_query_side_alone(build, scans):
    method = build("mocov3")
    slow = (method.slow.encoder, method.slow.projector)
    for part in slow:  # not even if it asked for one
        part.requires_grad_(True)
    method.loss(batch_of(method, scans))["total"].backward()
    assert all(p.grad is None for part in slow for p in part.parameters())
    for part in (method.encoder, method.projector, method.predictor):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_the_patch_embedding_stays_random_where_asked(build, scans, tiny_network, frozen):
    network = tiny_network("tokens")
    method = build("mocov3", {"stop_grad_patch_embed": frozen}, network=network)
    method.loss(batch_of(method, scans, 3))["total"].backward()
    layer = "vit.patch_embedding.patch_embeddings.1."
    for key, p in method.encoder.named_parameters():
        still = frozen and key in (layer + "weight", layer + "bias")
        assert p.requires_grad is not still and (p.grad is None) is still, key
    assert layer + "weight" in dict(method.encoder.named_parameters())


def test_a_convolutional_network_has_nothing_to_freeze(build):
    assert all(p.requires_grad for p in build("mocov3").encoder.parameters())


def test_the_slow_copy_moves_after_the_step_by_the_cosine_momentum(build):
    method = build("mocov3")
    parts = [(method.encoder, method.slow.encoder), (method.projector, method.slow.projector)]
    slow = [q for _, part in parts for q in part.parameters()]
    with torch.no_grad():
        for fast, part in parts:
            for p, q in zip(fast.parameters(), part.parameters(), strict=True):
                p.fill_(1)
                q.fill_(0)
    method.after_step(0.5)  # m = .995 half way
    assert all(q.mean().item() == pytest.approx(0.005, abs=1e-7) for q in slow)
    method.after_step(1.0)  # m = 1: nothing moves any more
    assert all(q.mean().item() == pytest.approx(0.005, abs=1e-7) for q in slow)
    method.after_step(0.0)
    assert all(q.mean().item() == pytest.approx(1 - 0.995 * 0.99, abs=1e-6) for q in slow)
    method.params = type(method.params)(momentum_cosine=False)
    method.after_step(1.0)
    assert all(q.mean().item() == pytest.approx(1 - 0.995 * 0.99**2, abs=1e-6) for q in slow)


def test_statistics_of_the_slow_copy_are_its_own(build, scans):
    method = build("mocov3")
    before = copy.deepcopy(method.slow.projector.state_dict())
    method.projector[1].running_mean.fill_(7)
    method.after_step(0.0)
    assert torch.equal(method.slow.projector[1].running_mean, before["1.running_mean"])


@pytest.mark.parametrize(
    ("heads", "width", "projector"), [("vit", 768, 20_987_904), ("resnet", 2048, 9_445_376)]
)
def test_published_heads(heads, width, projector):
    cls = registry.load("method", "mocov3")
    with torch.device("meta"):
        network = nets.network("unet3d", "tiny", 1, 2)
        network.encoder.widths = (width,)
        method = cls(network, cls.Params(heads=heads))
    assert sum(p.numel() for p in method.projector.parameters()) == projector
    assert sum(p.numel() for p in method.predictor.parameters()) == 2_105_344
    assert not any(m.bias is not None for m in method.modules() if isinstance(m, nn.Linear))
    last = [method.projector[-1], method.predictor[-1]]
    plain = [isinstance(m, nn.BatchNorm1d) and not m.affine for m in last]
    assert plain == [True, heads == "vit"]


def test_crops_are_resized_to_the_view(build, scans):
    method = build("mocov3")
    raw = read(method, scans)
    assert raw["pair"].shape == (8, 2, 1, 22, 22, 22)
    assert view(method, raw)["views"].shape == (8, 2, 1, 16, 16, 16)
    low = torch.maximum(raw["start"][:, 0], raw["start"][:, 1])
    high = torch.minimum(*(raw["start"] + raw["size"]).unbind(1))
    shared = (high - low).clamp_min(0).prod(1) / raw["size"].prod(2).amin(1)
    assert shared.min() >= 0.5


def test_fine_tuning_receives_the_query_encoder(build):
    method = build("mocov3")
    nn.init.ones_(next(method.encoder.parameters()))
    given = method.transfer()
    assert all(torch.equal(given[f"encoder.{k}"], v) for k, v in method.encoder.state_dict().items())
    assert set(given) == {f"encoder.{k}" for k in method.encoder.state_dict()}


@pytest.mark.slow
def test_queries_of_unseen_scans_find_their_keys(build):
    scans, held_out = textured(32, 1), textured(16, 500)
    method = build("mocov3", {**EASY, "hidden": 256, "out": 64})

    @torch.no_grad()
    def tested():
        terms = [method.loss(view(method, read(method, held_out, s), s)) for s in range(901, 907)]
        return [np.mean([t[k].item() for t in terms]) for k in ("total", "retrieval")]

    _, before = tested()
    moved = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 2e-3)
    for step in range(90):
        rows = torch.randperm(32, generator=torch.Generator().manual_seed(step))[:12].tolist()
        batch = view(method, read(method, [scans[i] for i in rows], step), step)
        moved.zero_grad()
        method.loss(batch)["total"].backward()
        moved.step()
        method.after_step(step / 90)
    total, after = tested()
    assert total < 0.9 * 4 * 0.2 * math.log(16)  # collapse and chance: 4 t ln 16
    assert after > before and after > 2 / 16
