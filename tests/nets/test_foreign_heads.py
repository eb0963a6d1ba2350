"""Public weights with their own output layer: a row as it came gives the logits of the authors' network.

No file and no code of theirs is here. Each network is built again from the names, the shapes and the order of its
layers in the authors' definition, and runs by itself.
"""

from dataclasses import replace
from math import gcd

import numpy as np
import pytest
import test_foreign_weights as files
import test_public_weights as outside_weights
import torch
from one_line import refusal
from test_foreign_rows import AS_CAME, planned, protocol, ran
from test_foreign_weights import HEADS, THIN, Before15, thin
from test_public_weights import settled
from torch import nn
from torch.nn import functional

from bench import records, run
from bench.data.cache import Pack
from bench.data.prepared import opened
from bench.data.slabs import restore_slabs
from bench.nets import network, public_weights, transfer
from bench.nets.catalog import CATALOG
from bench.nets.foreign_weights import read_weights
from bench.nets.sizes import PlainUNetSize, Preset, StuNetSize, SwinUnetrSize

__all__ = ["thin"]
CROP = (64, 32, 32)


@pytest.fixture
def sizes(thin, monkeypatch):
    """Give the networks with the heads presets that take a moment to build."""
    released = StuNetSize(THIN, depth=2, last=(2, 1, 1))
    swin = SwinUnetrSize(12, (2, 2, 2, 2), HEADS, merging="legacy")
    for net, name, size in (
        ("stunet_released", "thin", released),
        ("suprem_swin_unetr", "thin_legacy", swin),
        ("plain_unet", "thin", PlainUNetSize(outside_weights.THIN)),
    ):
        monkeypatch.setitem(CATALOG[net].presets, name, Preset(size, (64,) * 3, 0, 0, 0, 0))


# STU-Net: uni-medical/STU-Net 0652eaf, STUNet.py, on arrays (z, y, x); strides of plan_files/*.model.pkl


class Block(nn.Module):
    """Two convolutions and a shortcut of kernel 1 where something changes."""

    def __init__(self, inputs, width, stride=1, shortcut=True):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, width, 3, stride, 1)
        self.norm1 = nn.InstanceNorm3d(width, affine=True)
        self.conv2 = nn.Conv3d(width, width, 3, 1, 1)
        self.norm2 = nn.InstanceNorm3d(width, affine=True)
        self.conv3 = nn.Conv3d(inputs, width, 1, stride) if shortcut else None

    def forward(self, x):
        y = functional.leaky_relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return functional.leaky_relu(y + (self.conv3(x) if self.conv3 else x))


class Released(nn.Module):
    def __init__(self, widths, classes, strides=((2, 2, 2),) * 4 + ((1, 1, 2),)):
        super().__init__()
        self.strides = strides

        def level(a, b, stride=1):
            return nn.Sequential(Block(a, b, stride), Block(b, b, shortcut=False))

        down = zip(widths, widths[1:], strides, strict=False)
        self.conv_blocks_context = nn.ModuleList([level(1, widths[0])])
        self.conv_blocks_context.extend(level(a, b, stride) for a, b, stride in down)
        up = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.upsample_layers = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv3d(a, b, 1)}) for a, b in up
        )
        self.conv_blocks_localization = nn.ModuleList(level(2 * b, b) for _, b in up)
        self.seg_outputs = nn.ModuleList(nn.Conv3d(b, classes, 1) for _, b in up)

    def forward(self, x):
        skips = []
        for blocks in self.conv_blocks_context:
            x = blocks(x)
            skips.append(x)
        skips.pop()
        for rise, blocks, factor in zip(
            self.upsample_layers, self.conv_blocks_localization, self.strides[::-1], strict=True
        ):
            up = rise["conv"](functional.interpolate(x, scale_factor=tuple(map(float, factor))))
            x = blocks(torch.cat([up, skips.pop()], 1))
        return self.seg_outputs[-1](x)


def stunet(classes):
    torch.manual_seed(3)
    net = settled(Released(THIN, classes))
    return net, {"state_dict": net.state_dict(), "epoch": 4000}, zyx(net)


def plain(classes):
    torch.manual_seed(7)
    net = settled(outside_weights.plain(outside_weights.THIN, classes))
    return net, {"network_weights": net.state_dict()}, zyx(net)


def zyx(net):
    return lambda x: net(x.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)


# SuPreM: MrGiovanni/SuPreM 76e1a64, direct_inference/model/Universal_model.py


class Universal(nn.Module):
    """A backbone and the head: all classes at once, by grouped convolutions."""

    def __init__(self, backbone, maps, width, bottleneck, classes):
        super().__init__()
        self.backbone, self.maps, self.classes = backbone, maps, classes
        # 16 groups at the size released
        norms = [nn.GroupNorm(gcd(16, n), n) for n in (width, bottleneck)]
        self.precls_conv = nn.Sequential(norms[0], nn.ReLU(), nn.Conv3d(width, 8, 1))
        pool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.GAP = nn.Sequential(norms[1], nn.ReLU(), pool, nn.Conv3d(bottleneck, 256, 1))
        self.controller = nn.Conv3d(512, 64 + 64 + 8 + 8 + 8 + 1, 1)
        self.register_buffer("organ_embedding", torch.randn(classes, 512))
        self.text_to_vision = nn.Linear(512, 256)

    def forward(self, x):
        n, (deep, last) = self.classes, self.maps(self.backbone, x)
        text = self.text_to_vision(self.organ_embedding).relu()[:, :, None, None, None]
        logits = []
        for sample, code in zip(last, self.GAP(deep), strict=True):
            made = self.controller(torch.cat([code.expand(n, -1, -1, -1, -1), text], 1)).flatten(1)
            w1, w2, w3, b1, b2, b3 = made.split([64, 64, 8, 8, 8, 1], 1)
            y = self.precls_conv(sample[None]).repeat(1, n, 1, 1, 1)
            for w, b in ((w1, b1), (w2, b2)):
                w = w.reshape(n * 8, 8, 1, 1, 1)
                y = functional.conv3d(y, w, b.flatten(), groups=n).relu()
            w3 = w3.reshape(n, 8, 1, 1, 1)
            logits.append(functional.conv3d(y, w3, b3.flatten(), groups=n))
        return torch.cat(logits)


def unet_maps(net, x):
    return net.down(x)[-1], net(x)


def swin_maps(net, x):
    maps = net.swinViT(x, True)
    deep = net.encoder10(maps[4])
    up = net.decoder5(deep, maps[3])
    for skip, rise, level in ((2, net.decoder4, net.encoder4), (1, net.decoder3, net.encoder3)):
        up = rise(up, level(maps[skip]))
    up = net.decoder2(up, net.encoder2(maps[0]))
    return deep, net.decoder1(up, net.encoder1(x))


def universal(backbone, maps, width, bottleneck, classes):
    net = settled(Universal(backbone, maps, width, bottleneck, classes))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.train()  # theirs reads the batch's own statistics, whatever the mode
    names = {f"module.{k}": v for k, v in net.state_dict().items() if "out_tr" not in k}
    # windows go through the authors' network one by one
    return net, {"net": names, "epoch": 1}, lambda x: torch.cat([net(one[None]) for one in x])


def suprem_unet(classes):
    torch.manual_seed(3)
    return universal(files.Genesis(4), unet_maps, 8, 64, classes)


def suprem_swin(classes):
    return universal(files.swin(merging=Before15), swin_maps, 12, 192, classes)


NETWORKS = {  # how theirs is built; the network and preset that has the head; the one that is fine-tuned
    "stunet": (stunet, "stunet_released", "thin", "stunet"),
    "suprem_unet": (suprem_unet, "suprem_unet", "tiny", "genesis_unet3d"),
    "suprem_swin_unetr": (suprem_swin, "suprem_swin_unetr", "thin_legacy", "swin_unetr"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_as_it_came_gives_the_authors_logits(name, sizes, tmp_path):
    build, here, preset, _ = NETWORKS[name]
    _, content, theirs = build(25)
    torch.save(content, tmp_path / "w.pth")
    tensors, manifest = read_weights(tmp_path / "w.pth", output=True)
    assert manifest.out_channels == 25
    net = network(here, preset, 1, manifest.out_channels, CROP).eval()
    receipt = transfer.load(net, tensors, manifest, output=True)
    assert not (receipt.missing or receipt.unexpected or receipt.left_random)
    x = torch.randn(2, 1, *CROP)
    with torch.no_grad():
        expected, logits = theirs(x), net(x)
    assert expected.std(dim=(2, 3, 4)).min() > 1e-3 and expected.std(dim=1).min() > 0
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_file_is_fine_tuned_without_its_head(name, sizes, tmp_path):
    build, _, preset, tuned = NETWORKS[name]
    torch.save(build(25)[1], tmp_path / "w.pth")
    tensors, manifest = read_weights(tmp_path / "w.pth")
    net = network(tuned, preset, 1, 3, CROP)
    receipt = transfer.load(net, tensors, manifest)
    assert receipt.share == 1 and not (receipt.missing or receipt.unexpected)
    assert {k for k in receipt.left_random if not k.startswith(net.output)} == set()
    assert (manifest.network, manifest.preset, manifest.out_channels) == (tuned, preset, 25)


LABELS = {"anterior": [2, 5], "posterior": [1]}


@pytest.mark.parametrize("name", ["stunet", "suprem_unet", "plain_unet"])
def test_a_row_as_it_came_predicts_what_the_authors_network_does(name, sizes, tmp_path):
    """Each voxel gets the label that its class becomes; of the authors' network, run by itself."""
    build, here, preset, _ = {**NETWORKS, "plain_unet": (plain, "plain_unet", "thin", "")}[name]
    _, content, theirs = build(6)
    torch.save(content, tmp_path / "w.pth")
    init = {"file": "w.pth", "recipe": "other", "labels": LABELS}
    path = protocol(tmp_path, here, preset, init, **AS_CAME)
    plan, store = ran(path, tmp_path / "out")
    (cell,) = [c for c in plan.cells["rows"] if c.row == "theirs"]
    facts = store.manifest(cell.finetune)
    assert facts["steps"] == 0 and facts["receipt"]["left_random"] == 0
    assert not (facts["receipt"]["missing"] or facts["receipt"]["unexpected"])
    assert plan.jobs[cell.evaluate].spec.data.relabel == ((1, 2), (2, 1), (5, 1))
    prepared = opened(store.jobs / plan.jobs[cell.evaluate].needs[1])
    becomes, seen = np.array([0, 2, 1, 0, 0, 1]), np.zeros(3, np.int64)
    predictions = Pack(store.jobs / cell.evaluate, "prediction")
    for case in predictions:
        volume, predicted = prepared.volume(case), predictions[case][:]
        image = torch.from_numpy(volume.crop((0, 0, 0), volume.shape))[None].float()
        with torch.no_grad():
            logits = theirs(image)[0]
        expected = becomes[restore_slabs([logits.numpy()], prepared.geometry(case))]
        assert (predicted != expected).mean() < 1e-3
        seen += np.bincount(predicted.ravel(), minlength=3)
    assert (seen[: 2 if name == "suprem_unet" else 3] > 0).all()
    scores = records.collect(plan, store, "rows").set_index("row").loc["theirs"]
    assert {*scores["evaluation"]} == {"as_loaded"} and scores["value"].notna().any()


# What a row says of them

ORGANS = {"anterior": ["liver"], "posterior": ["kidney_left", "kidney_right"]}


@pytest.fixture
def tiny_suprem(monkeypatch):
    """Let the table's SuPreM have the smallest preset, too, so that a file of a moment is one of theirs."""
    entry = replace(public_weights.by_name("suprem_unet"), presets=("tiny",))
    table = {**public_weights.table(), "suprem_unet": entry}
    monkeypatch.setattr(public_weights, "table", lambda: table)


def of_suprem(folder, classes):
    torch.save(suprem_unet(classes)[1], folder / "w.pth")
    init = {"file": "w.pth", "recipe": "other", "weights": "suprem_unet", "labels": ORGANS}
    return protocol(folder, "suprem_unet", "tiny", init, **AS_CAME)


def test_classes_of_suprem_are_painted_by_their_names(tiny_suprem, tmp_path):
    plan, _ = planned(of_suprem(tmp_path, 32), tmp_path / "out")
    (cell,) = [c for c in plan.cells["rows"] if c.row == "theirs"]
    data = plan.jobs[cell.evaluate].spec.data
    assert data.paint == ((1, 2), (2, 2), (5, 1)) and data.relabel == ()
    run.rehearse(plan, [cell.finetune])


def test_names_are_of_as_many_classes_as_the_file_has(tiny_suprem, tmp_path, capsys):
    path = of_suprem(tmp_path, 25)
    message = refusal(capsys, "run", path, "--out", tmp_path / "out", "--workers", "1")
    assert (
        "class names work only with the 32 classes of suprem_unet, but the file has 25; give the classes by number"
        in message
    )
