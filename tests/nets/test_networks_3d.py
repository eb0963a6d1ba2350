"""The networks of single papers: their shapes, and what sets them apart."""

import pytest
import torch
from built import built
from torch import nn
from torch.nn.functional import max_pool3d

PGL = [(64, 48, 48, 16), (256, 24, 24, 8), (512, 12, 12, 4), (1024, 6, 6, 2), (2048, 6, 6, 2)]
GENESIS = [(64, 64, 64, 32), (128, 32, 32, 16), (256, 16, 16, 8), (512, 8, 8, 4)]


@pytest.mark.parametrize(
    ("name", "crop", "shapes"),
    [
        # PGL, figure 2: 16 x 96 x 96, and the crops of fine-tuning, 48 x 160 x 160 and 64 x 192 x 192
        ("pgl_resnet50", (96, 96, 16), PGL),
        ("pgl_resnet50", (160, 160, 48), [(2048, 10, 10, 6)]),
        ("pgl_resnet50", (192, 192, 64), [(2048, 12, 12, 8)]),
        ("genesis_unet3d", (64, 64, 32), GENESIS),
        # 4^3 x 256 is what Taleb's rotation head flattens, 1^3 x 256 what the heads on patches do:
        # 32^3 (contrastive prediction) and 39^3 (relative location), which is no multiple of 32.
        ("taleb_unet3d", (128, 128, 128), [(128, 16, 16, 16), (256, 4, 4, 4)]),
        ("taleb_unet3d", (32, 32, 32), [(256, 1, 1, 1)]),
        ("taleb_unet3d", (39, 39, 39), [(256, 1, 1, 1)]),
        ("taleb_unet2d", (128, 128, 1), [(128, 16, 16, 1), (256, 4, 4, 1)]),
    ],
)
def test_the_papers_crops_give_the_papers_maps(name, crop, shapes):
    maps = built(name, "base", device="meta").encoder(torch.empty(2, 1, *crop, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps[-len(shapes) :]] == shapes


def kinds(block):
    return [type(m).__name__.rstrip("123d") for m in block]


@pytest.mark.parametrize("name", ["taleb_unet2d", "taleb_unet3d"])
def test_talebs_blocks_are_convolution_relu_norm_with_dropout_between(name):
    net = built(name)
    blocks = [*net.encoder.levels, *net.decoder.blocks]
    first = ["Conv", "ReLU", "BatchNorm"]
    assert len(blocks) == 9 and all(kinds(b) == [*first, "Dropout", *first] for b in blocks)
    assert {b[3].p for b in blocks} == {0.5}
    assert all(b[0].bias is not None and b[2].eps == 1e-3 for b in blocks)
    assert built(name, "base").encoder.levels[0][2].momentum == 0.01


def test_talebs_weights_are_he_normal_cut_at_two_deviations():
    weight = built("taleb_unet3d", "base").encoder.levels[3][4].weight
    std = (2 / (128 * 27)) ** 0.5
    assert weight.std().item() == pytest.approx(std, rel=0.01)
    assert weight.abs().max().item() == pytest.approx(2 * std / 0.8796, rel=0.01)


def test_talebs_decoder_repeats_the_pooled_bottleneck():
    net = built("taleb_unet3d").eval()
    with torch.no_grad():
        maps = net.encoder(torch.randn(1, 1, 64, 32, 32))
        deep = net.encoder.levels[4](max_pool3d(maps[3], 2))
        torch.testing.assert_close(maps[4], max_pool3d(deep, 2))
        seen = []
        net.decoder.ups[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        net.decoder(torch.zeros(1, 1, 64, 32, 32), maps)
    repeated = maps[4].repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    assert torch.equal(seen[0], repeated)


def pgl_convolutions(net):
    return {k: m for k, m in net.named_modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)}


def test_pgl_strides_and_biases_are_the_papers():
    result = pgl_convolutions(built("pgl_resnet50", "base", device="meta"))
    strided = {k: m.stride for k, m in result.items() if m.stride != (1, 1, 1)}
    assert strided.pop("encoder.conv1") == (2, 2, 1)
    ups = [f"decoder.rises.{i}.up" for i in range(3)]
    downs = [f"encoder.layer{i}.0.{part}" for i in (2, 3) for part in ("conv2", "downsample.0")]
    assert strided == {k: (2, 2, 2) for k in ups + downs}
    assert {k for k, m in result.items() if m.bias is not None} == {"decoder.head"}
    dilated = {k: m.dilation[0] for k, m in result.items() if m.dilation != (1, 1, 1)}
    assert dilated == {f"decoder.aspp.rates.{i}.0": rate for i, rate in enumerate((2, 4, 8))}


def test_pgl_is_drawn_kaiming_uniform():
    for key, layer in pgl_convolutions(built("pgl_resnet50")).items():
        bound = (6 / layer.weight[0].numel()) ** 0.5
        assert 0.8 * bound < layer.weight.abs().max() <= bound, key
        assert layer.bias is None or not layer.bias.any()


def test_pgl_trains_on_one_sample():
    net = built("pgl_resnet50").train()
    net(torch.randn(1, 1, 32, 32, 16)).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
