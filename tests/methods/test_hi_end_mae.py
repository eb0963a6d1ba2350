"""Hi-End-MAE: which level of the encoder each block of the decoder asks, and what is rebuilt from what."""

import pytest
import torch
from small_methods import agree, build, raw_of, tried, view
from torch.nn import functional

from bench.pretext.heads import CrossBlock


def by_formula(block, x, other):
    """A block in plain formulas: attention to itself, to ``other``, then the MLP."""

    def attention(q, k, v):
        heads = []
        for a, b, c in zip(*(t.chunk(block.heads, -1) for t in (q, k, v)), strict=True):
            heads.append((a @ b.mT / a.shape[-1] ** 0.5).softmax(-1) @ c)
        return torch.cat(heads, -1)

    x = x + block.out(attention(*block.qkv(block.norm1(x)).chunk(3, -1)))
    key, value = block.key_value(other).chunk(2, -1)
    x = x + block.out_cross(attention(block.query(block.norm_cross(x)), key, value))
    return x + block.mlp(block.norm2(x))


def test_a_block_asks_as_the_formula_says():
    torch.manual_seed(0)
    block, x, other = CrossBlock(12, 3, bias=True), torch.randn(2, 5, 12), torch.randn(2, 4, 12)
    assert torch.allclose(block(x, other), by_formula(block, x, other), atol=1e-6)


def test_the_decoder_asks_the_levels_from_the_deepest_to_the_first():
    method, batch = tried("hi_end_mae", {"decoder_depth": 2})
    encoder, visible, hidden = method.encoder, batch["visible"], batch["hidden"]
    x = encoder.tokens(batch["crop"])
    tokens = torch.stack([row[index] for row, index in zip(x, visible, strict=True)])
    tokens = torch.cat([method.token.weight.expand(len(x), 1, -1), tokens], 1)
    states = []
    for block in encoder.vit.blocks:
        tokens = block(tokens)
        states.append(tokens)
    assert encoder.taps == (1, 2, 3)  # of four blocks
    x = method.enter[3](encoder.vit.norm(tokens))
    places = method.places[torch.cat([visible, hidden], 1)]
    mask = method.mask.weight.expand(len(x), hidden.shape[1], -1)
    x = torch.cat(
        [x[:, :1], x[:, 1:] + places[:, : visible.shape[1]], mask + places[:, visible.shape[1] :]],
        1,
    )
    for block in method.blocks:
        x = block(x)
    for block, level in zip(method.asking, (2, 1, 0), strict=True):
        x = by_formula(block, x, method.enter[level](states[encoder.taps[level]]))
    assert torch.allclose(method.predict(batch), method.leave(x)[:, -hidden.shape[1] :], atol=1e-5)


@pytest.mark.parametrize(("ask", "used"), [("levels", 4), ("last", 1)])
def test_every_level_is_trained_where_it_is_asked(ask, used):
    method, batch = tried("hi_end_mae", {"ask": ask})
    method.loss(batch)["total"].backward()
    assert len(method.enter) == used
    assert all(layer.weight.grad.any() for layer in method.enter)
    trained = [block.key_value.weight.grad is not None for block in method.asking]
    assert trained == [ask == "levels"] * 3


def test_hidden_patches_are_standardised_and_do_not_enter():
    method, batch = tried("hi_end_mae")
    target = method.encoder.patchify(batch["crop"])
    target = torch.stack([row[i] for row, i in zip(target, batch["hidden"], strict=True)])
    target = (target - target.mean(-1, keepdim=True)) / (
        target.var(-1, correction=0, keepdim=True) + 1e-6
    ).sqrt()
    predicted = method.predict(batch)
    agree(
        method.loss(batch),
        total=functional.mse_loss(predicted, target),
        flat=target.square().mean(),
    )
    changed = batch["crop"].clone().requires_grad_()
    method.predict({**batch, "crop": changed}).sum().backward()
    seen = method.encoder.patchify(changed.grad).any(2)
    assert [row.nonzero()[:, 0].tolist() for row in seen] == batch["visible"].sort(
        1
    ).values.tolist()


def test_what_is_visible_rounds_down_and_plain_errors_are_kept():
    method, batch = tried("hi_end_mae", {"mask_ratio": 0.7, "norm_pix": False, "loss": "l1"})
    assert batch["visible"].shape[1] == 2 and batch["hidden"].shape[1] == 6  # 2.4 of 8
    target = method.encoder.patchify(batch["crop"])
    target = torch.stack([row[i] for row, i in zip(target, batch["hidden"], strict=True)])
    agree(method.loss(batch), total=(method.predict(batch) - target).abs().mean())
    bare = build("hi_end_mae", {"class_token": False, "positions": "sines"})
    position = bare.encoder.get_parameter(bare.encoder.position)
    assert bare.token is None and not position.requires_grad and position[0, 0, 1] == 0


def test_crops_are_mirrored_turned_scaled_and_shifted():
    off = dict.fromkeys(("flip", "rot90", "scale", "shift"), 0.0)

    def crops(zscored=False, **given):
        method = build("hi_end_mae", {**off, **given})
        raw = raw_of(method, 8)
        views = view(method, {**raw, "zscored": torch.full((8,), zscored)}, 0)
        return raw["crop"], views["crop"], views["visible"]

    x, same, visible = crops()
    assert torch.equal(same, x)
    assert torch.equal(crops(flip=1.0)[1], x.flip(2, 3, 4))
    assert torch.equal(
        crops(flip=1.0, shift=1.0)[2], visible
    )  # which are visible does not depend on it
    turned = crops(rot90=1.0)[1]
    turns = [
        [k for k in range(4) if torch.equal(b, a.rot90(k, (1, 2)))]
        for a, b in zip(x, turned, strict=True)
    ]
    assert {k for row in turns for k in row} == {1, 2, 3} and all(len(row) == 1 for row in turns)
    factor = (crops(scale=1.0)[1] / x).flatten(1)
    assert torch.allclose(factor, factor[:, :1], atol=1e-3) and factor.std(0).max() > 0.01
    assert ((factor[:, 0] - 1).abs() <= 0.1).all()
    by = (crops(shift=1.0)[1] - x).flatten(1)
    assert torch.allclose(by, by[:, :1], atol=1e-5) and 0.02 < by.abs().max() <= 0.1 + 1e-5
    span = x.flatten(1).amax(1) - x.flatten(1).amin(1)
    assert torch.allclose(
        (crops(True, shift=1.0)[1] - x).flatten(1)[:, 0], by[:, 0] * span, atol=1e-5
    )
