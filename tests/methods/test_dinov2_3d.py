"""DINOv2 in 3D: every term by other means, who learns and who follows, and what is hidden."""

import math

import numpy as np
import pytest
import torch
from seeded import generator
from small_methods import agree, batch_of, build, functions_of, params_of, raw_of, tried
from torch import nn
from torch.nn import functional

from bench.augment import rot90
from bench.data.reader import Volume
from bench.pretext.distil import sharpened

CODE = functions_of("dinov2_3d")
SIZE = (64, 64, 32)


def balanced(logits, temperature, rounds=3):
    """Sinkhorn and Knopp in plain NumPy: prototypes to equal sums, then rows to 1."""
    q = np.exp(np.asarray(logits, dtype=np.float64) / temperature)
    for _ in range(rounds):
        q = q / q.sum(0, keepdims=True)
        q = q / q.sum(1, keepdims=True)
    return torch.from_numpy(q)


def entropies(target, logits, temperature=0.1):
    return -(target * (logits.double() / temperature).log_softmax(-1)).sum(-1)


@pytest.mark.parametrize("centring", ["sinkhorn", "centre"])
@pytest.mark.parametrize("separate", [True, False])
def test_the_terms_are_those_of_students_and_teachers_tokens(centring, separate):
    method, batch = tried("dinov2_3d", {"centring": centring, "separate_head": separate}, 3)
    method.centre.mean.normal_(std=0.1)
    method.patch_centre.mean.normal_(std=0.1)
    with torch.no_grad():
        for p in method.slow.parameters():
            p.mul_(1.1)
    terms = method.loss(batch)
    x, hidden = batch["views"], batch["hidden"]
    slow, heads = method.slow, ("projector", "patch_projector" if separate else "projector")

    def target(logits, centre):
        if centring == "sinkhorn":
            return balanced(logits.detach(), 0.04)
        return sharpened(logits, 0.04, centre.mean).double()

    student = [method._encoded(method, x[:, i], hidden[:, i]) for i in (0, 1)]
    taught = [method._encoded(slow, x[:, i]) for i in (0, 1)]
    both = torch.stack([slow.projector(t[:, 0]) for t in taught], 1).flatten(0, 1)
    goal = target(both, method.centre).unflatten(0, (-1, 2))
    small = [method._encoded(method, v)[:, 0] for v in batch["small"].unbind(1)]
    pairs = [(i, method.projector(student[1 - i][:, 0])) for i in (0, 1)]
    pairs += [(i, method.projector(s)) for i in (0, 1) for s in small]
    assert len(pairs) == 2 + 2 * 8
    expected = torch.stack([entropies(goal[:, i], logits).mean() for i, logits in pairs]).mean()
    agree(terms, **{"class": expected})

    rows, each = [], []
    for sample in range(3):
        for i in (0, 1):
            at = hidden[sample, i]
            rows.append(getattr(slow, heads[1])(taught[i][sample, 1:][at]))
            each.append(getattr(method, heads[1])(student[i][sample, 1:][at]))
    goals = target(torch.cat(rows), method.patch_centre).split([len(r) for r in rows])
    means = [
        entropies(a, b).mean() if len(b) else torch.zeros(())
        for a, b in zip(goals, each, strict=True)
    ]
    agree(terms, patch=torch.stack(means).mean())
    total = terms["class"] + terms["patch"] + 0.1 * terms["koleo"]
    agree(terms, koleo=sum(CODE.koleo(t[:, 0]) for t in student), total=total)


def test_class_token_and_hidden_patches_start_and_are_placed_as_in_the_code():
    method, batch = tried("dinov2_3d", {}, 2)
    assert 0 < method.token.weight.abs().max() < 1e-5 and not method.mask.weight.any()
    assert method.place.weight.std().item() == pytest.approx(0.02, rel=0.3)
    nn.init.normal_(method.mask.weight)
    x, hidden = batch["views"].flatten(0, 1), batch["hidden"].flatten(0, 1)
    embed = method.encoder.vit.patch_embedding
    rows = torch.where(hidden[..., None], method.mask.weight, embed.patch_embeddings(x))
    rows = torch.cat([method.token.weight.expand(len(x), 1, -1), rows], 1)
    places = torch.cat([method.place.weight[None], embed.position_embeddings], 1)
    expected = method.encoder.run(rows + places)
    assert torch.allclose(method._encoded(method, x, hidden), expected, atol=1e-6)


def test_a_prototype_has_a_direction_and_a_gain_as_weight_norm_has_them():
    method = build("dinov2_3d")
    head, x = method.projector, torch.randn(5, method.encoder.dim)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(*head.weight.T.shape, bias=False))
    gain, direction = layer.parametrizations.weight.parameters()
    assert (head.gain == 1).all() and head.weight.norm(dim=1).mean() < 0.7  # a linear layer's: .58
    with torch.no_grad():
        gain.copy_(head.gain.uniform_(0.5, 2.0))
        direction.copy_(head.weight)
    said, expected = head(x), layer(functional.normalize(head.mlp(x), dim=1))
    assert torch.allclose(said, expected, atol=1e-6)
    for logits in (said, expected):
        logits.square().sum().backward()
    assert torch.allclose(head.gain.grad, gain.grad, atol=1e-4) and gain.grad.any()
    assert torch.allclose(head.weight.grad, direction.grad, atol=1e-4)
    head.zero_grad()
    head(x, still=True).sum().backward()
    assert head.gain.grad is None and head.weight.grad is None


def test_koleo_by_brute_force():
    z = np.random.default_rng(0).normal(size=(7, 4))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    apart = [min(np.linalg.norm(unit[i] - unit[j]) for j in range(7) if j != i) for i in range(7)]
    assert CODE.koleo(torch.from_numpy(z)).item() == pytest.approx(-np.log(apart).mean())
    opposite = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    assert CODE.koleo(opposite).item() == pytest.approx(-math.log(2))


def test_a_view_counts_alike_however_many_of_its_patches_are_hidden():
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [2.0, 0.0]])
    hidden = torch.tensor([[True, True, True], [False, True, False], [False, False, False]])
    target = torch.tensor([[1.0, 0.0]]).expand(4, -1)
    three, single = math.log(1 + math.e), math.log(1 + math.exp(-2))
    value = CODE.masked_entropy(target, logits, hidden, 1.0).item()
    assert value == pytest.approx((three + single) / 3)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_teachers_get_no_gradient_and_a_hidden_patch_is_not_seen(weight):
    method, batch = tried("dinov2_3d", {"gram_weight": weight, "gram_start": 0.0}, 3)
    method.after_step(0.5)
    method.slow.requires_grad_(True)
    if weight:
        method.anchor.requires_grad_(True)
    x = batch["views"].clone().requires_grad_()
    hidden = batch["hidden"]
    method._encoded(method, x.flatten(0, 1), hidden.flatten(0, 1)).square().sum().backward()
    seen = method.encoder.patchify(x.grad.flatten(0, 1)).abs().sum(2) > 0
    assert torch.equal(seen, ~hidden.flatten(0, 1)) and hidden.any() and not hidden.all()
    method.loss(batch)["total"].backward()
    copies = [*method.slow.parameters(), *(method.anchor.parameters() if weight else ())]
    assert all(p.grad is None for p in copies)
    for part in (method.encoder, method.projector, method.patch_projector, method.mask):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())


def test_the_anchor_is_the_teacher_of_its_last_copy_and_the_gram_loss_compares_cosines():
    given = {
        "tau": 1.0,
        "gram_weight": 1.0,
        "gram_start": 0.5,
        "gram_every": 0.2,
        "gram_updates": 2,
    }
    method, batch = tried("dinov2_3d", given, 2)
    weight = method.anchor.encoder.vit.norm.weight
    agree(method.loss(batch), gram=0.0)
    for progress, expected in ((0.4, 1.0), (0.5, 2.0), (0.6, 2.0), (0.7, 4.0), (0.9, 4.0)):
        with torch.no_grad():
            method.slow.encoder.vit.norm.weight.fill_(
                {0.5: 2.0, 0.6: 3.0, 0.7: 4.0}.get(progress, 1)
            )
        method.after_step(progress)
        assert weight[0].item() == pytest.approx(expected), progress
    x, hidden = batch["views"].flatten(0, 1), batch["hidden"].flatten(0, 1)
    a, b = method._encoded(method, x, hidden)[:, 1:], method._encoded(method.anchor, x)[:, 1:]
    each = [
        (
            functional.cosine_similarity(u[:, None], u, dim=2)
            - functional.cosine_similarity(v[:, None], v, dim=2)
        )
        for u, v in zip(a, b, strict=True)
    ]
    agree(method.loss(batch), gram=torch.stack(each).square().mean())


def test_the_teacher_follows_warms_up_and_prototypes_wait_at_first():
    method, batch = tried("dinov2_3d", {}, 2)
    method.loss(batch)["total"].backward()
    assert method.projector.weight.grad is None or not method.projector.weight.grad.any()
    before = method.slow.token.weight.clone()
    with torch.no_grad():
        method.token.weight.add_(1)
    method.after_step(0.0)
    assert torch.allclose(method.slow.token.weight, before + 0.008, atol=1e-6)
    method.progress.fill_(0.15)  # half of the warm-up: .055
    logits = torch.randn(4, 32)
    assert torch.allclose(
        method._target(logits, method.centre).double(), balanced(logits, 0.055), atol=1e-5
    )
    method.loss(batch)["total"].backward()
    assert method.projector.weight.grad.any() and method.patch_projector.weight.grad.any()


def test_centres_are_means_of_what_teachers_said():
    method, batch = tried("dinov2_3d", {"centring": "centre"}, 3)
    method.loss(batch)
    method.after_step(0.0)
    x, hidden = batch["views"].flatten(0, 1), batch["hidden"].flatten(0, 1)
    fresh = build("dinov2_3d", {"centring": "centre"})
    taught = fresh._encoded(fresh.slow, x)
    expected = fresh.slow.projector(taught[:, 0]).mean(0) * 0.1
    assert torch.allclose(method.centre.mean, expected, atol=1e-6)
    expected = fresh.slow.patch_projector(taught[:, 1:][hidden]).mean(0) * 0.1
    assert torch.allclose(method.patch_centre.mean, expected, atol=1e-6)


def test_half_of_the_large_views_hide_a_fifth_to_three_quarters_of_their_patches():
    params = params_of("dinov2_3d", locals=0)
    batch = {"large": torch.zeros(300, 2, 1, 8, 8, 4)}  # the size of the views counts
    hidden = params.views(batch, SIZE, generator(0))["hidden"].flatten(0, 1).float()
    share = hidden.mean(1)
    assert hidden.shape == (600, 32) and 0.44 < (share > 0).float().mean() < 0.56
    assert share[share > 0].min() >= 6 / 32 and share.max() <= 24 / 32
    assert (hidden.mean(0) - hidden.mean()).abs().max() < 0.08  # everywhere alike


def test_boxes_are_an_area_in_plane_and_a_depth_and_views_are_turned_in_every_plane():
    params, rng = params_of("dinov2_3d"), np.random.default_rng(0)
    for small, plane, depth in ((False, (0.48, 1), (0.5, 1)), (True, (0.16, 0.48), (0.2, 0.5))):
        drawn = np.array([params.box(small, rng) for _ in range(300)])
        area, ratio = drawn[:, 0] * drawn[:, 1], drawn[:, 0] / drawn[:, 1]
        inside = drawn[:, :2].max(1) < 1
        assert plane[0] <= area[inside].min() < plane[0] + 0.05 and area.max() <= plane[1]
        assert np.ptp(drawn[:, 2]) > 0.8 * (depth[1] - depth[0]) and drawn[:, 2].max() <= depth[1]
        assert ratio[inside].min() > 0.8 and ratio[inside].max() < 1.25
    x = torch.arange(8.0).view(1, 1, 2, 2, 2).repeat(40, 1, 1, 1, 1)
    turned = params_of("dinov2_3d", flip=0.0, turn=1.0).placed(x, generator(1))
    assert len({tuple(v.flatten().tolist()) for v in turned}) > 10
    still = params_of("dinov2_3d", flip=0.0, turn=0.0).placed(x, generator(1))
    assert torch.equal(still, x) and torch.equal(rot90(x, torch.zeros(40)), x)


def test_small_views_have_half_the_sides_and_interpolated_positions():
    method = build("dinov2_3d")
    read = raw_of(method, 2)
    assert read["small"].shape == (2, 8, 1, 16, 16, 16)
    scan = Volume(np.random.default_rng(0).random((1, *SIZE), dtype=np.float32))
    read = params_of("dinov2_3d").read(scan, (96, 96, 96), np.random.default_rng(0))
    assert read["small"].shape == (8, 1, 48, 48, 48)
    assert torch.isfinite(method.loss(batch_of(method, 2))["class"])


def test_without_small_views_or_one_of_the_heads():
    method, batch = tried("dinov2_3d", {"locals": 0, "patch_weight": 0.0}, 3)
    assert not hasattr(method, "patch_projector") and "small" not in batch
    terms = method.loss(batch)
    agree(terms, total=terms["class"] + 0.1 * terms["koleo"])
    method, batch = tried("dinov2_3d", {"class_weight": 0.0, "koleo_weight": 0.0}, 3)
    terms = method.loss(batch)
    assert not hasattr(method, "projector")
    agree(terms, total=terms["patch"])
