"""The networks of two dimensions: printed sizes, the structure behind them, MONAI's numbers."""

import pytest
import torch
from monai.networks.nets import DenseNet121
from monai.networks.nets.resnet import resnet34
from torch import nn

from bench.errors import BenchError
from bench.nets import network
from bench.nets.catalog import check_task
from bench.nets.unet3plus import fitted

DECODED = ["hssl_resnet34", "hssl_unet", "unet3plus"]


def built(name, preset="tiny", channels=(1, 2), seed=0, crop=None):
    torch.manual_seed(seed)
    return network(name, preset, *channels, crop=crop)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "whole", "encoder", "millions"),
    [
        # Table 3 of Zheng et al. prints 22.07, 39.40 and 26.97: binary masks, one channel out
        ("hssl_resnet34", (1, 1), 22_066_881, 21_278_400, 22.07),
        ("hssl_resnet34", (3, 1), 22_073_153, 21_284_672, 22.07),  # torchvision's resnet34 without fc
        ("hssl_unet", (1, 1), 39_394_881, 18_849_984, 39.39),  # the printed 39.40 has three channels in
        ("hssl_unet", (3, 1), 39_396_033, 18_851_136, 39.40),
        ("hssl_unet", (1, 2), 39_395_458, 18_849_984, 39.40),  # or two out
        ("unet3plus", (1, 1), 26_970_625, 18_849_984, 26.97),
        ("unet3plus", (3, 1), 26_971_777, 18_851_136, 26.97),
        ("unet3plus", (1, 2), 26_973_506, 18_849_984, 26.97),
        # 7,978,856 of torchvision's densenet121 less 1,025,000 of its layer to 1000 classes
        ("densenet121", (3, 5), 6_953_856, 6_953_856, 6.95),
    ],
)
def test_counts_are_those_that_are_printed(name, channels, whole, encoder, millions):
    with torch.device("meta"):
        net = built(name, "base", channels)
    assert (count(net), count(net.encoder)) == (whole, encoder)
    assert round(whole / 1e6, 2) == millions


@pytest.mark.parametrize("name", DECODED)
def test_every_map_of_the_pyramid_reaches_the_logits_everywhere(name):
    net, x = built(name).eval(), torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        maps = net.encoder(x)
        plain = net.decoder(x, maps)
        assert plain.min() < 0  # logits: no sigmoid has been through
        for i in range(len(maps)):
            other = [2 * m + 1 if i == j else m for j, m in enumerate(maps)]
            assert ((net.decoder(x, other) - plain).abs() > 1e-6).float().mean() > 0.9, i


@pytest.mark.parametrize("name", DECODED)
def test_a_decoder_leaves_the_maps_it_is_given_as_they_are(name):
    net, x = built(name).eval(), torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        maps = net.encoder(x)
        before = [m.clone() for m in maps]
        net.decoder(x, maps)
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))


def test_the_resnet_is_monais_in_torchvisions_names():
    net = built("hssl_resnet34", "base", (1, 2), 3, (64, 64, 1)).eval()
    torch.manual_seed(3)
    theirs = resnet34(
        spatial_dims=2, n_input_channels=1, conv1_t_stride=2, feed_forward=False, bias_downsample=False
    ).eval()
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(net.encoder.embed(x), theirs(x), rtol=0, atol=1e-6)
    keys = net.encoder.state_dict().keys()
    assert {"conv1.weight", "bn1.running_mean", "layer1.2.bn2.bias", "layer4.0.downsample.0.weight"} <= keys
    assert not any("conv" in k and k.endswith("bias") for k in keys)


def test_the_resnets_stem_is_taken_before_the_pooling_and_skips_are_added_to_maps_of_their_size():
    net = built("hssl_resnet34").eval()
    x = torch.randn(1, 1, 64, 64)
    seen = []
    for up in net.decoder.ups:
        up.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    with torch.no_grad():
        maps = net.encoder(x)
        net.decoder(x, maps)
        torch.testing.assert_close(maps[0], net.encoder.act(net.encoder.bn1(net.encoder.conv1(x))))
    assert [tuple(m.shape[1:]) for m in maps[3::-1]] == seen[:4]
    assert seen[4] == (4, 64, 64)


def kinds(module, kind):
    return [m for m in module.modules() if isinstance(m, kind)]


def test_the_u_net_has_batch_norm_in_its_encoder_alone_and_up_convolutions_of_four():
    net = built("hssl_unet")
    assert len(kinds(net.encoder, nn.BatchNorm2d)) == 10 and not kinds(net.decoder, nn.BatchNorm2d)
    ups = kinds(net.decoder, nn.ConvTranspose2d)
    assert [(u.kernel_size, u.stride, u.padding) for u in ups] == [((4, 4), (2, 2), (1, 1))] * 4
    assert net.decoder.head.kernel_size == (3, 3)
    assert all(conv.bias is not None for conv in kinds(net, nn.Conv2d))


def test_every_level_of_unet3plus_reads_encoder_maps_up_to_its_own_and_decoder_maps_below():
    levels = built("unet3plus").decoder.levels
    read = [[part[0].in_channels for part in level.reads] for level in levels]
    assert read == [
        [8, 16, 32, 64, 128],
        [8, 16, 32, 40, 128],
        [8, 16, 40, 40, 128],
        [8, 40, 40, 40, 128],
    ]  # 40 = five scales times 8: a decoder's map; 128 the bottleneck
    assert {part[0].out_channels for level in levels for part in level.reads} == {8}
    assert [level.fuse[0].in_channels for level in levels] == [40] * 4


def test_maps_come_down_by_their_maximum_and_up_by_lines():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert fitted(x, 0, 1).flatten().tolist() == [5, 7, 13, 15]
    assert fitted(x, 0, 2).flatten().tolist() == [15]
    assert fitted(x, 2, 2) is x
    up = fitted(torch.tensor([[[[0.0, 4.0]]]]), 1, 0)
    assert up.tolist() == [[[[0, 1, 3, 4]] * 2]]


@pytest.mark.parametrize("name", ["hssl_unet", "unet3plus"])
def test_weights_are_drawn_as_the_published_code_draws_them(name):
    net = built(name, "base", crop=(32, 32, 1))
    for conv in kinds(net, nn.Conv2d | nn.ConvTranspose2d):
        spatial = conv.weight[0, 0].numel()
        he = (2 / (conv.weight.shape[1] * spatial)) ** 0.5
        assert conv.weight.numel() < 1e4 or float(conv.weight.detach().std()) == pytest.approx(he, rel=0.05)
    scale = torch.cat([norm.weight.detach() for norm in kinds(net, nn.BatchNorm2d)])
    assert float(scale.mean()) == pytest.approx(1, abs=0.005)
    assert float(scale.std()) == pytest.approx(0.02, rel=0.1)


def test_the_densenet_is_monais_before_its_pooling():
    net = built("densenet121", "base", (3, 5), 7, (64, 64, 1)).eval()
    torch.manual_seed(7)
    theirs = DenseNet121(2, 3, 5).eval()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = net.encoder(x)
        torch.testing.assert_close(maps[-1], theirs.features(x).relu(), rtol=0, atol=1e-6)
        logits = theirs.class_layers.out(net.encoder.embed(x))
        torch.testing.assert_close(logits, theirs(x), rtol=0, atol=1e-6)
        halved = theirs.features.transition1(maps[1])
        torch.testing.assert_close(theirs.features.denseblock2(halved), maps[2], rtol=0, atol=1e-6)
    assert [m.shape[1] for m in maps] == [64, 256, 512, 1024, 1024] == list(net.encoder.widths)


def test_the_densenet_takes_pictures_and_slices_alike_and_gives_no_label_maps():
    net, x = built("densenet121", channels=(3, 5)), torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        pairs = zip(net.encoder(x), net.encoder(x[..., None]), strict=True)
        assert all(torch.equal(a, b[..., 0]) for a, b in pairs)
    with pytest.raises(BenchError, match="no decoder"):
        net(x)
    with pytest.raises(BenchError, match=r"cannot be trained for segmentation; take .*unet2d"):
        check_task("densenet121", "segmentation")
    with pytest.raises(BenchError, match="cut the volume to slices"):
        net(torch.zeros(1, 3, 64, 32, 2))
