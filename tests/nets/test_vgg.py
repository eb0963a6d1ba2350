"""VGG-19 is torchvision's: its names, its maps from its files, and its three colours where an image is grey.

torchvision is not installed. Its network is written here as its code lists it, a sequence of layers.
"""

import pytest
import torch
from one_line import refused
from torch import nn

from bench.nets import classifier, network, transfer
from bench.nets.foreign_weights import read_weights

COLUMN = {  # torchvision's vgg.py: configurations D and E, P a max pooling
    16: "64 64 P 128 128 P 256 256 256 P 512 512 512 P 512 512 512 P",
    19: "64 64 P 128 128 P 256 256 256 256 P 512 512 512 512 P 512 512 512 512 P",
}
THIN = "8 P 16 P 32 32 P 32 32 P 32 32 P"  # of preset tiny


def theirs(column=THIN, channels=3, norm=False, seed=3):
    torch.manual_seed(seed)
    layers = []
    for word in column.split():
        if word == "P":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(channels, channels := int(word), 3, padding=1)]
        layers += [nn.BatchNorm2d(channels)] * norm + [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers).eval()


def state(net, prefix="features."):
    heads = {f"classifier.{n}.weight": torch.ones(2, 2) for n in (0, 3, 6)}
    return {**{prefix + k: v for k, v in net.state_dict().items()}, **heads}


def loaded(path, channels, make=network):
    tensors, manifest = read_weights(path)
    torch.manual_seed(1)
    net = make("vgg19", manifest.preset, channels, 5, (64, 64, 1)).eval()
    return net, manifest, transfer.load(net, tensors, manifest)


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        net = network("vgg19", "base", 3, 5)
        expected = theirs(COLUMN[19]).state_dict()
    ours = {k.removeprefix("features."): v.shape for k, v in net.encoder.state_dict().items()}
    assert ours == {k: v.shape for k, v in expected.items()}
    assert list(ours)[-1] == "34.bias"


def test_maps_are_those_before_each_pooling_and_after_the_last():
    torch.manual_seed(0)
    net, x = network("vgg19", "tiny", 3, 5).eval(), torch.randn(2, 3, 64, 32)
    seen = []
    for layer in net.encoder.features:
        if isinstance(layer, nn.MaxPool2d):
            layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        maps = net.encoder(x)
        assert all(torch.equal(a, b) for a, b in zip(maps, seen, strict=False)) and len(seen) == 5
        assert torch.equal(maps[5], net.encoder.features(x))
    assert network("vgg19", "base", 3, 5).encoder.widths == (64, 128, 256, 512, 512, 512)


def test_weights_are_drawn_as_torchvision_draws_them():
    torch.manual_seed(0)
    for conv in network("vgg19", "base", 3, 5, (32, 32, 1)).encoder.features:
        if isinstance(conv, nn.Conv2d):
            he = (2 / (9 * conv.out_channels)) ** 0.5
            assert float(conv.weight.detach().std()) == pytest.approx(he, rel=0.06)
            assert not conv.bias.any()


@pytest.mark.parametrize("prefix", ["features.", "module.features.", "backbone.features."])
def test_a_file_of_torchvision_gives_its_maps_of_pictures(tmp_path, prefix):
    other = theirs()
    torch.save(state(other, prefix), tmp_path / "a.pth")
    net, manifest, receipt = loaded(tmp_path / "a.pth", 3)
    assert (manifest.network, manifest.preset, manifest.in_channels) == ("vgg19", "tiny", 3)
    assert manifest.out_channels == 0 and manifest.params["left_out"] == {"classifier": 3}
    assert receipt.share == 1 and not (receipt.missing or receipt.unexpected or receipt.reshaped)
    picture = torch.randn(2, 3, 64, 32)  # theirs is (row, column), ours (column, row)
    with torch.no_grad():
        torch.testing.assert_close(
            net.encoder(picture.transpose(2, 3))[-1].transpose(2, 3), other(picture)
        )
        assert not torch.allclose(net.encoder(picture)[-1], other(picture), atol=1e-3)


def test_a_grey_image_is_answered_as_the_same_image_in_three_colours_and_the_receipt_says_so(
    tmp_path,
):
    torch.save(state(theirs()), tmp_path / "a.pth")
    complete, first = loaded(tmp_path / "a.pth", 3)[0], loaded(tmp_path / "a.pth", 1, classifier)
    grey = torch.randn(2, 1, 64, 64, 1)
    with torch.no_grad():
        expected = complete.encoder(grey.repeat(1, 3, 1, 1, 1))
        for a, b in zip(first[0].encoder(grey), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    (changed,) = first[2].reshaped
    assert (changed.name, changed.how) == ("encoder.features.0.weight", "3 colours summed")
    assert (changed.given, changed.needed) == ((8, 3, 3, 3), (8, 1, 3, 3))
    assert "(8, 3, 3, 3) to (8, 1, 3, 3) (3 colours summed)" in first[2].line()


@pytest.mark.parametrize(
    ("channels", "how"), [(2, "3 colours summed, input channels"), (6, "input channels")]
)
def test_other_counts_of_channels_answer_alike_where_all_are_the_same(tmp_path, channels, how):
    torch.save(state(theirs()), tmp_path / "a.pth")
    complete, (net, _, receipt) = (
        loaded(tmp_path / "a.pth", 3)[0],
        loaded(tmp_path / "a.pth", channels),
    )
    assert [r.how for r in receipt.reshaped] == [how]
    grey = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        expected = complete.encoder(grey.repeat(1, 3, 1, 1))[-1]
        torch.testing.assert_close(
            net.encoder(grey.repeat(1, channels, 1, 1))[-1], expected, rtol=1e-4, atol=1e-5
        )


def test_channels_are_summed_of_pictures_alone(tmp_path):
    three, first = network("vgg19", "tiny", 3, 5), network("vgg19", "tiny", 1, 5)
    trained = transfer.Manifest(
        "vgg19", "tiny", 3, 0, (64, 64, 1), method="m", params={"colours": 3}
    )
    for manifest in (trained, transfer.Manifest("vgg19", "tiny", 3, 0, (64, 64, 1)), None):
        with refused(r"features\.0\.weight.* has shape"):
            transfer.load(first, three.state_dict(), manifest)
    torch.save(state(theirs(channels=4)), tmp_path / "a.pth")
    with refused(r"features\.0\.weight.* has shape"):
        loaded(tmp_path / "a.pth", 1)


@pytest.mark.parametrize(
    ("column", "norm"), [(COLUMN[16], False), (COLUMN[19], True), ("8", False)]
)
def test_other_vggs_are_refused_by_their_size(tmp_path, column, norm):
    with torch.device("meta"):
        names = theirs(column, norm=norm).state_dict()
    shapes = {
        f"features.{k}": (*v.shape[:1], 1, 3, 3)[: v.ndim] for k, v in names.items() if v.ndim
    }
    # only widths are read
    torch.save({k: torch.zeros(v) for k, v in shapes.items()}, tmp_path / "a.pth")
    with refused(r"VGG of torchvision .* not the size of any preset \(tiny, base\)"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("bad", [torch.tensor(1.0), torch.ones(8), torch.zeros(8, 0, 3, 3)])
def test_a_damaged_first_layer_is_refused_in_one_line(tmp_path, bad):
    torch.save({**state(theirs()), "features.0.weight": bad}, tmp_path / "a.pth")
    with refused():
        loaded(tmp_path / "a.pth", 1)
