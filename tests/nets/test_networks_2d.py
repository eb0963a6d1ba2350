"""The networks of two dimensions: the structure behind their printed sizes, MONAI's numbers."""

import pytest
import torch
from built import built
from monai.networks.nets import DenseNet121
from monai.networks.nets.resnet import resnet34
from torch import nn

from bench.nets.unet3plus import fitted

DECODED = ["hssl_resnet34", "hssl_unet", "unet3plus"]


@pytest.mark.parametrize("name", DECODED)
def test_every_map_of_the_pyramid_reaches_the_logits_everywhere_and_stays_as_it_is(name):
    net, x = built(name).eval(), torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        maps = net.encoder(x)
        before = [m.clone() for m in maps]
        plain = net.decoder(x, maps)
        assert plain.min() < 0  # logits: no sigmoid has been through
        for i in range(len(maps)):
            other = [2 * m + 1 if i == j else m for j, m in enumerate(maps)]
            assert ((net.decoder(x, other) - plain).abs() > 1e-6).float().mean() > 0.9, i
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))


def test_the_resnet_is_monais_in_torchvisions_names():
    net = built("hssl_resnet34", "base", (1, 2), (64, 64, 1), 3).eval()
    torch.manual_seed(3)
    theirs = resnet34(
        spatial_dims=2,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
    ).eval()
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(net.encoder.embed(x), theirs(x), rtol=0, atol=1e-6)
    keys = net.encoder.state_dict().keys()
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.2.bn2.bias",
        "layer4.0.downsample.0.weight",
    } <= keys
    assert not any("conv" in k and k.endswith("bias") for k in keys)


def kinds(module, kind):
    return [m for m in module.modules() if isinstance(m, kind)]


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
        assert conv.weight.numel() < 1e4 or float(conv.weight.detach().std()) == pytest.approx(
            he, rel=0.05
        )
    scale = torch.cat([norm.weight.detach() for norm in kinds(net, nn.BatchNorm2d)])
    assert float(scale.mean()) == pytest.approx(1, abs=0.005)
    assert float(scale.std()) == pytest.approx(0.02, rel=0.1)


def test_the_densenet_is_monais_before_its_pooling():
    net = built("densenet121", "base", (3, 5), (64, 64, 1), 7).eval()
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
