"""The networks of single papers: their printed counts, their shapes, and what sets them apart."""

from itertools import pairwise

import pytest
import torch
from monai.networks.nets import SegResNet
from torch import nn
from torch.nn.functional import batch_norm, conv3d, conv_transpose3d, max_pool3d, relu

from bench.errors import BenchError
from bench.nets import network
from bench.nets.catalog import CATALOG, check_crop

OURS = ["genesis_unet3d", "pgl_resnet50", "segresnet", "taleb_unet2d", "taleb_unet3d"]


def built(name, preset="tiny", channels=(1, 2), crop=None, seed=0, device="cpu"):
    torch.manual_seed(seed)
    with torch.device(device):
        return network(name, preset, *channels, crop=crop)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "encoder", "decoder"),
    [
        # PGL prints 48.54 and 2.38 million (section 5.1), without saying for which data set, so for
        # how many classes: 2 give 2,379,970 outside the encoder and 14 give 2,380,366.
        ("pgl_resnet50", (1, 2), 46_155_072, 2_379_970),
        ("pgl_resnet50", (1, 14), 46_155_072, 2_380_366),
        # The authors' class UNet3D(n_class=1), counted: 19,073,665.
        ("genesis_unet3d", (1, 1), 7_027_776, 12_045_889),
        # unet3d.py and unet.py of the authors with the configs' enc_filters of 16, trainable only.
        ("taleb_unet3d", (1, 3), 3_535_440, 2_112_451),
        ("taleb_unet3d", (4, 4), 3_536_736, 2_112_468),
        ("taleb_unet2d", (1, 3), 1_180_464, 763_331),
    ],
)
def test_base_has_the_papers_parameters_in_the_encoder_and_outside(name, channels, encoder, decoder):
    net = built(name, "base", channels, device="meta")
    assert (count(net.encoder), count(net.decoder)) == (encoder, decoder)


@pytest.mark.parametrize("classes", [2, 14])
def test_pgl_has_the_printed_millions(classes):
    net = built("pgl_resnet50", "base", (1, classes), device="meta")
    assert f"{count(net) / 1e6:.2f} {count(net.decoder) / 1e6:.2f}" == "48.54 2.38"


@pytest.mark.parametrize(
    ("preset", "parameters"), [("small", 1176294), ("base", 4701118), ("large", 18796398)]
)
def test_segresnet_has_monais_parameters(preset, parameters):
    assert count(built("segresnet", preset, (1, 14), device="meta")) == parameters


@pytest.mark.parametrize(
    ("name", "crop", "shapes"),
    [
        # PGL, figure 2: 16 x 96 x 96, and the crops of fine-tuning, 48 x 160 x 160 and 64 x 192 x 192
        (
            "pgl_resnet50",
            (96, 96, 16),
            [(64, 48, 48, 16), (256, 24, 24, 8), (512, 12, 12, 4), (1024, 6, 6, 2), (2048, 6, 6, 2)],
        ),
        ("pgl_resnet50", (160, 160, 48), [(2048, 10, 10, 6)]),
        ("pgl_resnet50", (192, 192, 64), [(2048, 12, 12, 8)]),
        (
            "genesis_unet3d",
            (64, 64, 32),
            [(64, 64, 64, 32), (128, 32, 32, 16), (256, 16, 16, 8), (512, 8, 8, 4)],
        ),
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


@pytest.mark.parametrize("preset", ["tiny", "base"])
@pytest.mark.parametrize("name", OURS)
def test_zeros_give_finite_logits(name, preset):
    crop = CATALOG[name].multiple
    net = built(name, preset, crop=crop).eval()
    with torch.no_grad():
        logits = net(torch.zeros(1, 1, *crop))
    assert torch.isfinite(logits).all() and logits.shape == (1, 2, *crop)


@pytest.mark.parametrize("name", OURS)
def test_an_encoders_state_goes_into_another_network_whole(name):
    crop = CATALOG[name].multiple
    first, other = built(name, seed=1, crop=crop).eval(), built(name, seed=2, crop=crop).eval()
    x = torch.randn(1, 1, *crop)
    with torch.no_grad():
        assert not torch.equal(first.encoder(x)[-1], other.encoder(x)[-1])
        other.encoder.load_state_dict(first.encoder.state_dict(), strict=True)
        assert torch.equal(first.encoder(x)[-1], other.encoder(x)[-1])


@pytest.mark.parametrize(
    ("preset", "filters", "blocks", "groups", "act"),
    [
        ("tiny", 8, (1, 1, 1, 1), 4, ("leakyrelu", {"negative_slope": 0.1, "inplace": True})),
        ("small", 8, (1, 2, 2, 4), 8, "relu"),
    ],
)
def test_a_seed_gives_monais_segresnet(preset, filters, blocks, groups, act):
    ours = built("segresnet", preset, (2, 3), seed=5)
    torch.manual_seed(5)
    theirs = SegResNet(3, filters, 2, 3, norm=("group", {"num_groups": groups}), blocks_down=blocks, act=act)
    x = torch.randn(1, 2, 16, 24, 8)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)


def kinds(block):
    return [type(m).__name__.rstrip("123d") for m in block]


@pytest.mark.parametrize("name", ["taleb_unet2d", "taleb_unet3d"])
def test_talebs_blocks_are_convolution_relu_norm_with_dropout_between(name):
    net = built(name)
    blocks = [*net.encoder.levels, *net.decoder.blocks]
    one = ["Conv", "ReLU", "BatchNorm"]
    assert len(blocks) == 9 and all(kinds(b) == [*one, "Dropout", *one] for b in blocks)
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


@pytest.mark.parametrize("side", [16, 48])
def test_taleb_refuses_a_side_whose_pool_cannot_be_taken_back(side):
    with pytest.raises(BenchError, match="must be a multiple of 32"):
        check_crop("taleb_unet3d", "base", (32, 32, side))


def pgl_convolutions(net):
    return {k: m for k, m in net.named_modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)}


def test_pgl_strides_and_biases_are_the_papers():
    found = pgl_convolutions(built("pgl_resnet50", "base", device="meta"))
    strided = {k: m.stride for k, m in found.items() if m.stride != (1, 1, 1)}
    assert strided.pop("encoder.conv1") == (2, 2, 1)
    ups = [f"decoder.rises.{i}.up" for i in range(3)]
    downs = [f"encoder.layer{i}.0.{part}" for i in (2, 3) for part in ("conv2", "downsample.0")]
    assert strided == {k: (2, 2, 2) for k in ups + downs}
    assert {k for k, m in found.items() if m.bias is not None} == {"decoder.head"}
    dilated = {k: m.dilation[0] for k, m in found.items() if m.dilation != (1, 1, 1)}
    assert dilated == {f"decoder.aspp.rates.{i}.0": rate for i, rate in enumerate((2, 4, 8))}


def test_pgl_is_drawn_kaiming_uniform():
    for key, layer in pgl_convolutions(built("pgl_resnet50")).items():
        bound = (6 / layer.weight[0].numel()) ** 0.5
        assert 0.8 * bound < layer.weight.abs().max() <= bound, key
        assert layer.bias is None or not layer.bias.any()


def test_pgl_pools_the_image_before_or_after_spreading_it_alike():
    pooled = built("pgl_resnet50").decoder.aspp.pooled.train()
    x = torch.randn(3, 32, 4, 2, 2)
    mean = x.mean((2, 3, 4), keepdim=True)
    with torch.no_grad():
        torch.testing.assert_close(pooled(mean.expand_as(x)), pooled(mean).expand_as(x))


def test_pgl_trains_on_one_sample():
    net = built("pgl_resnet50").train()
    net(torch.randn(1, 1, 32, 32, 16)).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def genesis_by_hand(w, x):
    """Return what the authors' class gives with weights ``w``, its sigmoid apart."""

    def convs(x, key):
        for i in (0, 1):
            y = conv3d(x, w[f"{key}.ops.{i}.conv1.weight"], w[f"{key}.ops.{i}.conv1.bias"], padding=1)
            y = batch_norm(
                y, None, None, w[f"{key}.ops.{i}.bn1.weight"], w[f"{key}.ops.{i}.bn1.bias"], training=True
            )
            x = relu(y)
        return x

    skips = [convs(x, "down_tr64")]
    for key in ("down_tr128", "down_tr256", "down_tr512"):
        skips.append(convs(max_pool3d(skips[-1], 2), key))
    x = skips.pop()
    for key in ("up_tr256", "up_tr128", "up_tr64"):
        x = conv_transpose3d(x, w[f"{key}.up_conv.weight"], w[f"{key}.up_conv.bias"], stride=2)
        x = convs(torch.cat((x, skips.pop()), 1), key)
    return conv3d(x, w["out_tr.final_conv.weight"], w["out_tr.final_conv.bias"])


def genesis_shapes():
    """Return the tensors of the authors' checkpoint, by their names, without ``module.``."""
    down = {"down_tr64": (1, 32, 64), "down_tr128": (64, 64, 128)}
    down |= {"down_tr256": (128, 128, 256), "down_tr512": (256, 256, 512)}
    up = {"up_tr256": (768, 256, 256), "up_tr128": (384, 128, 128), "up_tr64": (192, 64, 64)}
    shapes = {"out_tr.final_conv.weight": (1, 64, 1, 1, 1), "out_tr.final_conv.bias": (1,)}
    for key, widths in (down | up).items():
        for i, (a, b) in enumerate(pairwise(widths)):
            shapes |= {f"{key}.ops.{i}.conv1.weight": (b, a, 3, 3, 3), f"{key}.ops.{i}.conv1.bias": (b,)}
            norms = ("weight", "bias", "running_mean", "running_var")
            shapes |= {f"{key}.ops.{i}.bn1.{part}": (b,) for part in norms}
            shapes[f"{key}.ops.{i}.bn1.num_batches_tracked"] = ()
    for key, width in {"up_tr256": 512, "up_tr128": 256, "up_tr64": 128}.items():
        shapes |= {f"{key}.up_conv.weight": (width, width, 2, 2, 2), f"{key}.up_conv.bias": (width,)}
    return shapes


def parts(net):
    return net.encoder.state_dict() | net.decoder.state_dict()


def test_genesis_has_the_tensors_of_the_authors_checkpoint():
    net = built("genesis_unet3d", "base", (1, 1), device="meta")
    assert {k: tuple(v.shape) for k, v in parts(net).items()} == genesis_shapes()
    assert all(k.startswith("down_tr") for k in net.encoder.state_dict())


def test_genesis_is_the_authors_function_while_training():
    net, x = built("genesis_unet3d", channels=(1, 3)).train(), torch.randn(2, 1, 16, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(net(x), genesis_by_hand(parts(net), x))
