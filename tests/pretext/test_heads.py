"""Heads have the published sizes; the masked decoder reads only what it should."""

import pytest
import torch
from torch import nn

from bench import nets
from bench.pretext import heads
from bench.pretext.heads import Classifier, DecoderSize, MaskedDecoder, Prototypes, kept, mlp


@pytest.mark.parametrize(
    ("width", "hidden", "size"), [(768, 2048, 9_967_616), (1152, 1024, 3_279_872)]
)
def test_vocos_heads_have_the_published_numbers_of_parameters(width, hidden, size):
    with torch.device("meta"):
        head = mlp([width, hidden, hidden, hidden], "batch_plain")
    assert sum(p.numel() for p in head.parameters()) == size


def test_talebs_classifier_reads_the_whole_last_map_and_has_the_released_number_of_parameters():
    with torch.device("meta"):
        network = nets.network("taleb_unet3d", "base", 1, 2, (128, 128, 128))
        width = heads.width_of(network, "flatten")
        head = Classifier(width, (2048, 1024), 10)
        assert heads.vectors(
            network.encoder, torch.zeros(1, 1, 128, 128, 128), "flatten"
        ).shape == (1, width)
    assert width == 16_384 and heads.width_of(network, "mean") == 256
    assert sum(p.numel() for p in head.parameters()) == 35_671_050


def test_a_classifier_drops_what_it_is_told_behind_each_norm():
    head = Classifier(3, (4, 2), 5).eval()
    x = torch.randn(6, 3)
    first, second = (torch.randint(2, (6, n)) * 2.0 for n in (4, 2))
    expected = head.leave(head.blocks[1](head.blocks[0](x) * first) * second)
    assert torch.equal(head(x, torch.cat([first, second], 1)), expected)
    assert torch.equal(head(x), head(x, torch.ones(6, 6)))


def test_what_is_kept_is_scaled_so_that_its_mean_stays():
    drawn = kept(2000, (3, 5), 0.2, torch.Generator().manual_seed(0))
    assert drawn.shape == (2000, 8) and set(drawn.unique().tolist()) == {0.0, 1.25}
    assert drawn.mean().item() == pytest.approx(1, abs=0.02)
    assert (kept(9, (4,), 0.0, torch.Generator()) == 1).all()


def test_plain_batch_norm_keeps_nothing_and_always_uses_the_batch():
    head = mlp([4, 8, 3], "batch_plain")
    assert all("running" not in k for k in head.state_dict())
    x = torch.randn(6, 4)
    assert torch.equal(head(x), head.eval()(x))


def test_a_classifiers_batch_norm_comes_behind_relu_and_keeps_nothing():
    head = Classifier(3, (4,), 5)
    assert [type(m).__name__ for m in head.blocks[0]] == ["Linear", "ReLU", "BatchNorm1d"]
    assert [type(m).__name__ for m in Classifier(3, (4,), 5, norm=False).blocks[0]] == [
        "Linear",
        "ReLU",
    ]
    x = torch.randn(6, 3)
    assert torch.equal(head(x), head.eval()(x))
    assert all("running" not in k for k in head.state_dict())
    assert torch.equal(head(x, torch.zeros(6, 4)), head.leave.bias.expand(6, 5))
    assert head.leave.weight.abs().max() <= (6 / 9) ** 0.5 and not head.leave.bias.any()


def test_plain_layer_norm_sees_one_row_at_a_time_and_keeps_nothing():
    head = mlp([4, 8, 3], "layer_plain")
    assert {k.split(".")[0] for k in head.state_dict()} == {"0", "3"}
    x = torch.randn(6, 4)
    assert torch.allclose(head(x)[2:3], head(x[2:3]), atol=1e-6)
    hidden = head[:2](x)
    assert torch.allclose(hidden.mean(1), torch.zeros(6), atol=1e-6)
    assert not torch.allclose(
        mlp([4, 8, 3], "batch_plain")[:2](x).mean(1), torch.zeros(6), atol=1e-2
    )


def test_heads_end_without_norm_or_activation():
    for norm in ("none", "batch", "batch_plain", "layer_plain"):
        assert isinstance(mlp([4, 8, 3], norm)[-1], nn.Linear)


def test_masked_decoder_starts_from_the_released_distributions():
    torch.manual_seed(0)
    decoder = MaskedDecoder(768, DecoderSize(512, 1, 8), 216, 4096)
    assert decoder.leave.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert decoder.leave.bias.abs().max() == 0
    assert decoder.mask_token.std().item() == pytest.approx(1, rel=0.1)
    assert decoder.position.weight.std().item() == pytest.approx(1, rel=0.02)


def test_masked_decoder_knows_patches_by_position_not_by_order():
    torch.manual_seed(0)
    decoder = MaskedDecoder(8, DecoderSize(16, 2, 2), 6, 5)
    for weight in decoder.parameters():  # at .02 the first step hardly mixes tokens
        nn.init.normal_(weight, std=0.5)
    visible, hidden = torch.tensor([[4, 0]]), torch.tensor([[1, 2, 3, 5]])
    encoded = torch.randn(1, 2, 8)
    out = decoder(encoded, visible, hidden)
    assert out.shape == (1, 6, 5)  # four hidden ones, and behind them what was seen
    assert torch.allclose(decoder(encoded, visible, hidden, asked=4), out[:, :4], atol=1e-6)
    turned = decoder(encoded.flip(1), visible.flip(1), hidden.flip(1))
    turned = torch.cat([turned[:, :4].flip(1), turned[:, 4:].flip(1)], 1)
    assert torch.allclose(out, turned, atol=1e-5)
    moved = decoder(encoded, visible.flip(1), hidden)
    assert not torch.allclose(out, moved, atol=1e-3)


def test_the_head_of_prototypes_has_batch_norm_behind_both_hidden_layers_where_asked():
    plain, normed = (Prototypes(8, 16, 4, 10, asked) for asked in (False, True))
    kinds = [type(layer).__name__ for layer in normed.mlp]
    assert kinds == ["Linear", "BatchNorm1d", "GELU"] * 2 + ["Linear"]
    assert [type(layer).__name__ for layer in plain.mlp] == ["Linear", "GELU"] * 2 + ["Linear"]
    x = 1 + 1e-3 * torch.randn(6, 8)  # rows that are nearly one
    apart = [z.var(dim=0).sum() for z in (head(x) for head in (plain, normed))]
    assert apart[1] > 1e3 * apart[0]
