"""Files in the authors' layouts load under our names and give the authors' outputs, or are refused in a line.

No file of theirs is here. Each is made by the test: the module that the authors' code builds, its names as
their code saves them.
"""

import argparse
import itertools
import pickle
import zipfile

import numpy as np
import pytest
import torch
from built import library
from monai.networks.nets import UNETR, SegResNet, SwinUNETR, ViT
from monai.networks.nets.swin_unetr import PatchMergingV2
from safetensors.torch import save_file
from torch import nn

from bench.errors import BenchError
from bench.nets import network, transfer
from bench.nets.catalog import CATALOG
from bench.nets.foreign_weights import read_weights
from bench.nets.sizes import Preset, ResEncSize, StuNetSize, SwinUnetrSize

HEADS = (3, 6, 12, 24)
THIN, BLOCKS = (4, 4, 8, 8, 8, 8), (1, 1, 2, 1, 1, 1)
CROP = (64, 32, 32)
SWIN, EMPTY = "swinViT.patch_embed.proj.weight", torch.zeros(48, 1, 2, 2, 2)


@pytest.fixture
def thin(monkeypatch):
    """Give the networks presets of the published structure that take a moment to build."""
    sizes = {("resenc_unet", "thin"): ResEncSize(THIN, BLOCKS)}
    sizes["stunet", "thin"] = StuNetSize(THIN, depth=2)
    for v2, merging in itertools.product((False, True), ("fixed", "legacy")):
        name = f"thin{'_v2' * v2}{'_legacy' * (merging == 'legacy')}"
        sizes["swin_unetr", name] = SwinUnetrSize(12, (2, 2, 2, 2), HEADS, v2=v2, merging=merging)
    for (net, name), size in sizes.items():
        monkeypatch.setitem(CATALOG[net].presets, name, Preset(size, (64,) * 3, 0, 0, 0, 0))


def loaded(path, crop, channels=1, preset=""):
    """Return our network with a file's weights, what the file is for, and the receipt."""
    tensors, manifest = read_weights(path, preset)
    torch.manual_seed(1)
    net = network(manifest.network, manifest.preset, channels, 3, crop).eval()
    return net, manifest, transfer.load(net, tensors, manifest)


def close(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


# Swin UNETR


class Before15(PatchMergingV2):
    """Patch merging of MONAI before 1.5, from its release notes' list of what each slot reads."""

    def forward(self, x):
        slots = ["000", "100", "010", "001", "101", "010", "001", "111"]
        parts = [x[:, int(a) :: 2, int(b) :: 2, int(c) :: 2] for a, b, c in slots]
        return self.reduction(self.norm(torch.cat(parts, dim=-1)))


def swin(v2=False, channels=1, merging=Before15, seed=5):
    torch.manual_seed(seed)
    size = {"feature_size": 12, "depths": (2, 2, 2, 2), "num_heads": HEADS}
    return SwinUNETR(channels, 5, use_v2=v2, downsample=merging, **size).eval()


def part(net, *names, prefix=""):
    return {prefix + k: v for k, v in net.state_dict().items() if k.split(".")[0] in names}


CONVS = ("encoder1", "encoder2", "encoder3", "encoder4", "encoder10")


def trained(weights):
    """Return an optimiser as the training script saves it: the object, with state of every kind."""
    parameter = nn.Parameter(torch.ones(3))
    built = torch.optim.AdamW([parameter], amsgrad=True)
    parameter.sum().backward()
    built.step()
    return {"global_step": 7, "state_dict": weights, "optimizer": built, "best": np.float32(0.5)}


def teacher_and_student(net):
    """Luffy03/VoCo, voco_train.py and models/voco_head.py."""
    student = part(net, "swinViT", *CONVS, prefix="module.student.")
    teacher = part(swin(v2=True, seed=6), "swinViT", *CONVS, prefix="module.teacher.")
    heads = {
        f"module.{who}.proj_head.layer3.0.weight": torch.ones(4, 4)
        for who in ("student", "teacher")
    }
    return trained({**heads, **teacher, **student})


def shared_backbone(net):
    """Luffy03/Large-Scale-Medical, Self-supervised/models/voco_head.py."""
    heads = {f"{who}.layer1.0.weight": torch.ones(4, 4) for who in ("student", "teacher")}
    return {"epoch": 1, "state_dict": {**heads, **part(net, "swinViT", *CONVS, prefix="backbone.")}}


def backbone_alone(net):
    return {
        **part(net, "swinViT", prefix="backbone."),
        "backbone.proj_head.layer1.0.weight": torch.ones(2),
    }


def published(net):
    """Already without prefix: what the authors' fine-tuning loads with strict=False."""
    return {**part(net, "swinViT", *CONVS), "proj_head.layer1.0.weight": torch.ones(2)}


def swin_alone(net):
    """model_swinvit.pt, as MONAI's SwinUNETR.load_from reads it."""
    names = {k.replace("linear", "fc"): v for k, v in part(net, "swinViT").items()}
    return {"state_dict": {k.replace("swinViT.", "module."): v for k, v in names.items()}}


def ssl_head(net):
    """Project-MONAI/research-contributions, SwinUNETR/Pretrain."""
    heads = {"module.rotation_head.weight": torch.ones(4, 8), "module.conv.0.weight": torch.ones(1)}
    names = {
        k.replace("swinViT", "swin_vit"): v
        for k, v in part(net, "swinViT", prefix="module.").items()
    }
    return {"epoch": 9, "state_dict": {**heads, **names}, "args": argparse.Namespace(lr=1.0)}


def whole_network(net):
    return {"state_dict": net.state_dict(), "best_acc": np.float64(0.8), "epoch": 4}


@pytest.mark.parametrize(
    ("make", "v2", "blocks", "left_out"),
    [
        (teacher_and_student, True, CONVS, {"teacher", "proj_head"}),
        (shared_backbone, True, CONVS, {"teacher", "student"}),
        (backbone_alone, False, (), {"proj_head"}),
        (published, True, CONVS, {"proj_head"}),
        (swin_alone, False, (), set()),
        (ssl_head, False, (), {"rotation_head", "conv"}),
        (whole_network, False, (*CONVS, *(f"decoder{n}" for n in range(1, 6))), {"decoder"}),
    ],
)
def test_every_layout_of_swin_unetr_gives_the_authors_maps(
    tmp_path, thin, make, v2, blocks, left_out
):
    theirs = swin(v2)
    torch.save(make(theirs), tmp_path / "a.pt")
    net, manifest, receipt = loaded(tmp_path / "a.pt", CROP)
    assert (manifest.network, manifest.preset) == (
        "swin_unetr",
        "thin_v2_legacy" if v2 else "thin_legacy",
    )
    assert manifest.in_channels == 1
    assert manifest.out_channels == (5 if make is whole_network else 0)
    assert manifest.params["left_out"].keys() == left_out
    assert receipt.share == 1 and not (receipt.missing or receipt.unexpected or receipt.reshaped)
    arrived = {name.split(".")[1] for name in receipt.matched if name.startswith("decoder.")}
    assert arrived == set(blocks)
    x = torch.randn(1, 1, *CROP)
    with torch.no_grad():
        close(net.encoder(x), theirs.swinViT(x, True))
    state = net.state_dict()
    assert all(torch.equal(state[f"decoder.{k}"], v) for k, v in part(theirs, *blocks).items())


def test_files_of_todays_monai_are_told_by_whoever_has_them(tmp_path, thin):
    theirs = swin(merging="merging")
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    with pytest.raises(BenchError, match="thin_legacy do not fit swin_unetr/thin;"):
        tensors, manifest = read_weights(tmp_path / "a.pt")
        transfer.load(network("swin_unetr", "thin", 1, 2), tensors, manifest)
    net, manifest, _ = loaded(tmp_path / "a.pt", CROP, preset="thin")
    x = torch.randn(1, 1, *CROP)
    with torch.no_grad():
        close(net.encoder(x), theirs.swinViT(x, True))
        legacy = network("swin_unetr", "thin_legacy", 1, 2).eval()
        legacy.encoder.load_state_dict(net.encoder.state_dict())
        # silence would cost
        assert not torch.allclose(legacy.encoder(x)[4], net.encoder(x)[4], atol=1e-3)
    for wrong in ("thin_v2", "base", "nothing"):
        with pytest.raises(BenchError, match=f"not the size of preset '{wrong}'"):
            read_weights(tmp_path / "a.pt", wrong)


def test_a_size_of_no_preset_is_refused_with_those_there_are(tmp_path):
    torch.save({SWIN: torch.zeros(96, 1, 2, 2, 2)}, tmp_path / "large.pt")
    refused(tmp_path / "large.pt", r"feature 96, .* of any preset \(tiny, small, base, ")


def test_channels_are_those_of_the_file_and_are_widened_or_refused(tmp_path, thin):
    torch.save(part(swin(channels=2), "swinViT", "encoder1"), tmp_path / "a.pt")
    _, manifest, receipt = loaded(tmp_path / "a.pt", CROP, channels=4)
    assert manifest.in_channels == 2
    assert {r.how for r in receipt.reshaped} == {"input channels"} and len(receipt.reshaped) == 3
    for channels in (1, 3):
        with pytest.raises(BenchError, match=r"has shape .*channels"):
            loaded(tmp_path / "a.pt", CROP, channels)


def test_a_tensor_that_no_rule_knows_is_in_the_receipt(tmp_path, thin):
    torch.save(
        {**swin_alone(swin())["state_dict"], "module.extra.weight": torch.ones(1)},
        tmp_path / "a.pt",
    )
    assert loaded(tmp_path / "a.pt", CROP)[2].unexpected == ("extra.weight",)


# Models Genesis


class Level(nn.Module):
    """Two convolutions under the authors' names; batch norm on the batch's own statistics."""

    def __init__(self, *widths):
        super().__init__()
        pairs = itertools.pairwise(widths)
        built = [
            {"conv1": nn.Conv3d(a, b, 3, padding=1), "bn1": nn.BatchNorm3d(b)} for a, b in pairs
        ]
        self.ops = nn.ModuleList(nn.ModuleDict(first) for first in built)

    def forward(self, x):
        for first in self.ops:
            x = first["bn1"](first["conv1"](x)).relu()
        return x


class Genesis(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.down_tr64, self.down_tr128 = Level(1, w, 2 * w), Level(2 * w, 2 * w, 4 * w)
        self.down_tr256, self.down_tr512 = Level(4 * w, 4 * w, 8 * w), Level(8 * w, 8 * w, 16 * w)
        for name, c in (("up_tr256", 16 * w), ("up_tr128", 8 * w), ("up_tr64", 4 * w)):
            up = Level(c + c // 2, c // 2, c // 2)
            up.up_conv = nn.ConvTranspose3d(c, c, 2, 2)
            setattr(self, name, up)
        self.out_tr = nn.ModuleDict({"final_conv": nn.Conv3d(2 * w, 1, 1)})

    def down(self, x):
        maps = [self.down_tr64(x)]
        for level in (self.down_tr128, self.down_tr256, self.down_tr512):
            maps.append(level(nn.functional.max_pool3d(maps[-1], 2)))
        return maps

    def forward(self, x):
        *skips, up = self.down(x)
        for level in (self.up_tr256, self.up_tr128, self.up_tr64):
            up = level(torch.cat([level.up_conv(up), skips.pop()], 1))
        return up


@pytest.mark.parametrize("legacy", [False, True])
def test_models_genesis_gives_the_authors_maps_up_to_the_last_layer(tmp_path, legacy):
    torch.manual_seed(3)
    theirs, x = Genesis(4), torch.randn(2, 1, 32, 32, 16)
    theirs(x)  # fills running statistics
    weights = {f"module.{k}": v for k, v in theirs.state_dict().items()}
    state = {
        "epoch": 1,
        "state_dict": weights,
        "optimizer_state_dict": {"state": {}, "param_groups": []},
    }
    # theirs is of 2019
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    net, manifest, receipt = loaded(tmp_path / "a.pt", (32, 32, 16))
    assert (manifest.network, manifest.preset, manifest.out_channels) == (
        "genesis_unet3d",
        "tiny",
        1,
    )
    assert set(receipt.left_random) == {
        "decoder.out_tr.final_conv.weight",
        "decoder.out_tr.final_conv.bias",
    }
    assert not (receipt.missing or receipt.unexpected)
    assert manifest.params["left_out"] == {"decoder": 2}
    last = []
    net.decoder.out_tr.register_forward_pre_hook(lambda _, given: last.append(given[0]))
    with torch.no_grad():
        close(net.train().encoder(x), theirs.down(x))
        net(x)
        close(last, [theirs(x)])


def test_genesis_has_the_tensors_of_the_authors_checkpoint():
    with torch.device("meta"):
        net, theirs = network("genesis_unet3d", "base", 1, 1), Genesis(32)
    ours = net.encoder.state_dict() | net.decoder.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    assert all(k.startswith("down_tr") for k in net.encoder.state_dict())


# nnssl and nnU-Net


def resenc():
    return library(THIN, BLOCKS, (1, 1))


def plan(transpose=(0, 1, 2)):
    config = {"onemmiso": {"spacing": [3.0, 2.0, 1.0], "patch_size": [96, 64, 32]}}
    return {"pretrain_plan": {"transpose_forward": list(transpose), "configurations": config}}


@pytest.mark.parametrize(
    ("transpose", "axes", "crop", "spacing"),
    [
        ((0, 1, 2), (2, 1, 0), (32, 64, 96), [1, 2, 3]),
        ((1, 0, 2), (1, 2, 0), (32, 96, 64), [1, 3, 2]),
    ],
)
def test_nnssl_gives_the_librarys_maps_on_the_axes_it_was_trained_on(
    tmp_path, thin, transpose, axes, crop, spacing
):
    theirs = resenc()
    extras = {"nnssl_adaptation_plan": plan(transpose), "citations": []}
    torch.save({"network_weights": theirs.state_dict(), **extras}, tmp_path / "a.pth")
    net, manifest, receipt = loaded(tmp_path / "a.pth", CROP)
    assert (manifest.network, manifest.preset) == ("resenc_unet", "thin")
    assert (manifest.crop, manifest.recipe) == (crop, {"spacing": spacing})
    assert receipt.share == 1 and not (receipt.missing or receipt.unexpected)
    # copies, and what rebuilds images
    assert manifest.params["left_out"].keys() == {"encoder", "decoder"}
    assert {name.split(".")[0] for name in receipt.left_random} == {"decoder"}
    x = torch.randn(1, 1, *CROP)
    # their arrays: axis i of an image is our axis axes[i]
    with torch.no_grad():
        expected = theirs.encoder(x.permute(0, 1, *(2 + a for a in axes)))
        back = [axes.index(a) for a in range(3)]
        close(net.encoder(x), [m.permute(0, 1, *(2 + b for b in back)) for m in expected])


def test_of_a_module_that_stands_twice_what_the_library_runs_is_taken(tmp_path, thin):
    """As in a file of nnssl's SparkTrainer, whose sparse convolutions are copies of those by plain name."""
    theirs = resenc()
    state = theirs.state_dict()
    plain = [k for k in state if k.startswith("encoder.") and ".all_modules." not in k]
    untrained = {k: torch.zeros_like(state[k]) for k in plain}
    assert len(untrained) == len(plain) > 10
    content = {"network_weights": {**state, **untrained}, "nnssl_adaptation_plan": plan()}
    torch.save(content, tmp_path / "a.pth")
    net, _, receipt = loaded(tmp_path / "a.pth", CROP)
    assert receipt.share == 1
    x = torch.randn(1, 1, *CROP)
    with torch.no_grad():
        expected = theirs.encoder(x.permute(0, 1, 4, 3, 2))
        close(net.encoder(x), [m.permute(0, 1, 4, 3, 2) for m in expected])


def test_nnunet_brings_its_decoder_and_not_its_heads(tmp_path, thin):
    theirs = resenc().eval()
    torch.save(
        {"network_weights": theirs.state_dict(), "trainer_name": "nnUNetTrainer"},
        tmp_path / "a.pth",
    )
    net, manifest, receipt = loaded(tmp_path / "a.pth", CROP)
    assert manifest.out_channels == 1
    assert {name.split(".")[1] for name in receipt.left_random} == {"seg_layers"}
    assert not receipt.missing
    x = torch.randn(1, 1, *CROP)
    head = theirs.decoder.seg_layers[-1].state_dict()
    net.decoder.seg_layers[-1].load_state_dict({k: torch.cat([v] * 3) for k, v in head.items()})
    with torch.no_grad():
        expected = theirs(x.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
        torch.testing.assert_close(net(x), expected.expand(-1, 3, -1, -1, -1), rtol=1e-4, atol=1e-4)


def test_stunet_gives_the_authors_maps_on_their_axes_all_but_the_heads(tmp_path, thin):
    """Their names are ours without the part; their class was run once: docs/networks.md has the difference."""
    torch.manual_seed(3)
    theirs = network("stunet", "thin", 1, 5, (64, 32, 32)).eval()
    names = {key.partition(".")[2]: value for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": names, "epoch": 1000}, tmp_path / "small_ep4k.model")
    net, manifest, receipt = loaded(tmp_path / "small_ep4k.model", CROP)
    assert (manifest.network, manifest.preset, manifest.out_channels) == ("stunet", "thin", 5)
    assert {name.split(".")[1] for name in receipt.left_random} == {"seg_outputs"}
    x = torch.randn(1, 1, *CROP)
    with torch.no_grad():
        theirs_x = x.permute(0, 1, 4, 3, 2)
        expected = theirs.decoder._levels(theirs.encoder(theirs_x))
        ours = net.decoder._levels(net.encoder(x))
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b.permute(0, 1, 4, 3, 2), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pretrained", [True, False])
def test_primus_gives_its_maps_on_the_axes_it_was_trained_on(tmp_path, pretrained):
    """A file of nnssl or nnU-Net has arrays (z, y, x), and positions in the order of these."""
    torch.manual_seed(2)
    theirs = network("primus", "tiny", 1, 5, (32, 32, 32)).eval()
    names = {}
    for key, value in theirs.state_dict().items():
        name = key.partition(".")[2]
        names[name] = value.permute(0, 1, 4, 3, 2).contiguous() if value.ndim == 5 else value
    places = names["eva.pos_embed"].unflatten(1, (4, 4, 4)).permute(0, 3, 2, 1, 4)
    names |= {"eva.pos_embed": places.flatten(1, 3), "mask_token": torch.zeros(1, 1, 48)}
    plan = {"nnssl_adaptation_plan": {}} if pretrained else {}
    torch.save({"network_weights": names, **plan}, tmp_path / "a.pth")
    net, manifest, receipt = loaded(tmp_path / "a.pth", (32, 32, 32))
    assert (manifest.network, manifest.preset, manifest.crop) == ("primus", "tiny", (32, 32, 32))
    assert manifest.out_channels == (0 if pretrained else 5) and receipt.share == 1
    assert all(name.startswith("decoder.") for name in receipt.left_random)
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        close(net.encoder(x), theirs.encoder(x))
    other = loaded(tmp_path / "a.pth", (32, 48, 32))[2]
    assert [r.how for r in other.reshaped] == ["positions 4x4x4 to 4x6x4"]
    names["eva.pos_embed"] = places.flatten(1, 3)[:, :63]
    torch.save({"network_weights": names, **plan}, tmp_path / "b.pth")
    with pytest.raises(BenchError, match="do not fit a cube of patches"):
        read_weights(tmp_path / "b.pth")


# UNETR


@pytest.mark.parametrize("kind", ["perceptron", "conv"])
@pytest.mark.parametrize("prefix", ["vit.", "", "module.vit."])
def test_a_vit_of_monai_gives_its_tokens(tmp_path, kind, prefix):
    torch.manual_seed(2)
    theirs = ViT(
        2, (64,) * 3, (16,) * 3, 96, 192, 4, 4, proj_type=kind, classification=prefix == ""
    ).eval()
    torch.save(
        {"model": {prefix + k: v for k, v in theirs.state_dict().items()}}, tmp_path / "a.bin"
    )
    net, manifest, receipt = loaded(tmp_path / "a.bin", (64, 64, 64), channels=2)
    assert (manifest.network, manifest.preset, manifest.in_channels) == ("unetr", "tiny", 2)
    assert manifest.crop == (64, 64, 64) and receipt.share == 1
    other = loaded(tmp_path / "a.bin", (64, 64, 32), channels=2)[2]
    assert [r.how for r in other.reshaped] == ["positions 4x4x4 to 4x4x2"]
    assert not (receipt.missing or receipt.unexpected)
    x = torch.randn(1, 2, 64, 64, 64)
    with torch.no_grad():
        expected = theirs(x)[0][:, -64:] if prefix else tokens(theirs, x)
        close([net.encoder(x)[-1].flatten(2).transpose(1, 2)], [expected])


def tokens(vit, x):
    """Run a classifier's blocks without its class token."""
    x = vit.patch_embedding(x)
    for block in vit.blocks:
        x = block(x)
    return vit.norm(x)


def test_a_whole_unetr_brings_its_decoder(tmp_path):
    theirs = UNETR(1, 4, (96, 96, 96), feature_size=16, hidden_size=192, mlp_dim=768, num_heads=3)
    save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    _, manifest, receipt = loaded(tmp_path / "a.safetensors", (96, 96, 96))
    assert (manifest.preset, manifest.out_channels) == ("small", 4)
    assert {name.split(".")[1] for name in receipt.left_random} == {"out"}
    assert not (receipt.missing or receipt.unexpected)


# SegResNet


def test_a_segresnet_of_monai_gives_its_maps_and_a_size_without_preset_is_refused(tmp_path):
    torch.manual_seed(3)
    theirs = SegResNet(3, 8, 2, 4, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)).eval()
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    net, manifest, receipt = loaded(tmp_path / "a.pt", (32, 32, 32), channels=2)
    assert (manifest.network, manifest.preset) == ("segresnet", "small")
    assert (manifest.in_channels, manifest.out_channels) == (2, 4)
    assert {name.split(".")[1] for name in receipt.left_random} == {"conv_final"}
    assert receipt.share == 1 and not (receipt.missing or receipt.unexpected)
    x = torch.randn(1, 2, 32, 32, 32)
    with torch.no_grad():
        close(net.encoder(x), theirs.encode(x)[1])
        expected, at = theirs.decode(*swapped(theirs.encode(x))), net.encoder(x)
        net.decoder.conv_final = theirs.conv_final
        torch.testing.assert_close(net.decoder(x, at), expected)
    torch.save(SegResNet(3, 8, blocks_down=(1, 2, 2, 2)).state_dict(), tmp_path / "b.pt")
    refused(tmp_path / "b.pt", r"blocks \(1, 2, 2, 2\).* is not the size of any preset")


def swapped(encoded):
    """Return MONAI's bottleneck and its maps in the order that its decoder takes them."""
    return encoded[0], encoded[1][::-1]


# What wraps a model


PREFIXES = ["module._orig_mod.", "_orig_mod.module.", "_orig_mod.module._orig_mod.", "net.module."]
PREFIXES += ["model._orig_mod.", "model.net.", "_orig_mod.model.module.backbone."]
PREFIXES += ["student._orig_mod.module.backbone.", "_forward_module.model._fsdp_wrapped_module."]
WRAPPERS = [(), ("state_dict",), ("model", "state_dict"), ("module",)]


@pytest.mark.parametrize(("prefix", "wrappers"), [*zip(PREFIXES, itertools.cycle(WRAPPERS))])
def test_what_wraps_a_model_is_taken_off_in_any_order(tmp_path, prefix, wrappers):
    state = SegResNet(3, 8, 1, 2, blocks_down=(1, 2, 2, 4)).state_dict()
    names = {name.replace("conv1.", "conv1.module."): name for name in state}  # wrapped inside, too
    content = {prefix + name: state[ours] for name, ours in names.items()}
    for key in wrappers:
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "a.pt")
    _, manifest, receipt = loaded(tmp_path / "a.pt", (16, 16, 16))
    assert receipt.share == 1 and not (receipt.missing or receipt.unexpected)
    assert manifest.params["left_out"] == {"decoder": 2}


def ema(net, wrap):
    """A file whose only weights are their moving average (lightly-train issue 484, actionformer pull 103)."""
    return {"epoch": torch.tensor(3), "ema_decay": 0.999, **wrap(net.state_dict())}


@pytest.mark.parametrize(
    ("key", "wrap"),
    [
        ("model_ema", lambda state: {"model_ema": state}),
        ("EMA", lambda state: {"EMA": {"module." + k: v for k, v in state.items()}}),
        ("ema_state_dict", lambda state: {"model": {}, "ema_state_dict": {"model": state}}),
        ("state_dict_ema", lambda state: {"state_dict": {"state_dict_ema": state}}),
        ("ema", lambda state: {"ema": {"decay": torch.ones(1), "shadow": state}}),
        ("model_ema", lambda state: {f"model_ema.module.{k}": v for k, v in state.items()}),
        ("", lambda state: {"model": state, "model_ema": {k: v + 1 for k, v in state.items()}}),
        ("", lambda state: {"model_ema": {"head.weight": torch.ones(2, 2)}, **state}),
    ],
)
def test_a_moving_average_is_loaded_where_a_file_has_no_other_weights(tmp_path, key, wrap):
    net = SegResNet(3, 8, 1, 2, blocks_down=(1, 2, 2, 4))
    torch.save(ema(net, wrap), tmp_path / "a.pt")
    tensors, manifest = read_weights(tmp_path / "a.pt")
    assert torch.equal(tensors["encoder.convInit.conv.weight"], net.convInit.conv.weight)
    said = str(manifest.params.get("left_open", ""))
    assert (f"only the moving average '{key}' of" in said) if key else "average" not in said


# Bench's own names


def unet(size=(1, 3), seed=3, preset="tiny"):
    torch.manual_seed(seed)
    return network("unet3d", preset, *size, (16, 16, 16))


def prefixed(tensors, prefix="encoder."):
    return {prefix + name: value.clone() for name, value in tensors.items()}


def read_own(path, receiver, lacks=(), output=False):
    tensors, manifest = read_weights(path, output=output, receiver=lambda: receiver)
    return manifest, transfer.load(receiver, tensors, manifest, lacks=lacks, output=output)


SAVED = {  # what is saved of a network
    "bare": lambda net: net.encoder.state_dict(),
    "with prefix": lambda net: prefixed(net.encoder.state_dict()),
    "whole": lambda net: net.state_dict(),
    "wrapped": lambda net: {"state_dict": prefixed(net.encoder.state_dict(), "module.encoder.")},
    "in an objective": lambda net: {
        **prefixed(net.encoder.state_dict(), "student.encoder."),
        "criterion.centre": torch.ones(2),
    },
    "a head beside": lambda net: {**prefixed(net.encoder.state_dict()), "fc.weight": torch.ones(2)},
}


@pytest.mark.parametrize("form", SAVED)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_state_dict_with_the_names_of_the_rows_network_loads(tmp_path, form, suffix):
    source, receiver = unet(size=(1, 5)), unet(seed=4)
    content, path = SAVED[form](source), tmp_path / f"own{suffix}"
    if suffix == ".pt":
        torch.save(content, path)
    else:
        save_file(content.get("state_dict", content), path)
    before = receiver.state_dict()["decoder.final_conv.weight"].clone()
    manifest, receipt = read_own(path, receiver)
    assert (manifest.network, manifest.preset, manifest.in_channels) == ("unet3d", "tiny", 1)
    assert manifest.out_channels == (5 if form == "whole" else 0)
    assert receipt.share == 1 and not receipt.missing
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(receiver.encoder.state_dict()[name], value)
    assert torch.equal(receiver.state_dict()["decoder.final_conv.weight"], before)
    outside = {"a head beside": ("fc.weight",), "whole": ()}.get(form, ())
    assert {*receipt.unexpected} - {"decoder.final_conv.weight"} == {*outside}
    assert manifest.params["left_out"] == ({"criterion": 1} if form == "in an objective" else {})


@pytest.mark.parametrize("name", ["primus", "stunet", "unetr"])
def test_a_whole_network_of_ours_is_not_taken_for_its_authors_file(tmp_path, name):
    source, receiver = (network(name, "tiny", 1, count, (32, 32, 32)) for count in (5, 3))
    torch.save(source.state_dict(), tmp_path / "own.pt")
    manifest, receipt = read_own(tmp_path / "own.pt", receiver)
    assert manifest.params["layout"] == "bench's own names" and not receipt.missing
    for key, value in source.encoder.state_dict().items():  # no kernel is turned
        assert torch.equal(receiver.encoder.state_dict()[key], value), key


def test_own_weights_have_their_last_layer_where_it_is_asked_for_and_channels_are_widened(tmp_path):
    torch.save(unet().state_dict(), tmp_path / "own.pt")
    receiver = unet(size=(2, 3), seed=4)
    _, receipt = read_own(tmp_path / "own.pt", receiver, output=True)
    assert not receipt.left_random and receipt.reshaped
    same = unet().state_dict()["decoder.final_conv.weight"]
    assert torch.equal(receiver.state_dict()["decoder.final_conv.weight"], same)


def spoiled(name, value):
    return {**unet().encoder.state_dict(), name: value}


STEM = next(iter(unet().encoder.state_dict()))
SPOILED = {  # what is saved: what is said
    "one is missing": (
        {k: v for k, v in unet().encoder.state_dict().items() if k != STEM},
        f"lacks.*first 'encoder.{STEM}'",
    ),
    "not finite": (spoiled(STEM, unet().encoder.state_dict()[STEM] * float("nan")), "not finite"),
    "another shape": (
        spoiled(STEM, torch.ones(3, 1, 3, 3, 3)),
        "has shape .3, 1, 3, 3, 3. in the checkpoint",
    ),
    "more than the encoder": (
        spoiled("fc.weight", torch.ones(2)),
        "lacks, first 'encoder.fc.weigh",
    ),
    "other names": (
        prefixed(unet().encoder.state_dict(), "mine."),
        rf"fit no known layout .*network 'unet3d' .tiny. has here, as 'encoder\.{STEM}'.*without "
        r"'encoder\.', or write the file with bench\.nets\.manifest\.save; known",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_own_weights_that_do_not_fit_are_refused_as_others_are(tmp_path, case):
    content, match = SPOILED[case]
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(BenchError, match=match):
        read_own(tmp_path / "own.pt", unet(seed=4))


# What is refused


def refused(path, match):
    with pytest.raises(BenchError, match=match) as error:
        read_weights(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("hidden", [False, True])
def test_code_in_a_file_is_refused_by_name_and_does_not_run(tmp_path, form, hidden):
    mark = tmp_path / "pwned"
    content = {"state_dict": {SWIN: torch.ones(1)}, "args": Bomb(mark)}
    content = {"args": argparse.Namespace(x=Bomb(mark))} if hidden else content
    if form == "bare":
        (tmp_path / "a.pt").write_bytes(pickle.dumps(content["args"], protocol=2))
    else:
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=form == "zip")
    refused(tmp_path / "a.pt", "refers to '.*', which may run code|cannot be read as weights")
    if form == "zip":
        refused(tmp_path / "a.pt", "save only its state_dict")
    assert not mark.exists()


def test_what_is_no_checkpoint_is_refused(tmp_path):
    good = tmp_path / "good.pt"
    torch.save({SWIN: EMPTY}, good)
    raw = good.read_bytes()
    bad = [b"", b"text", raw[:-30], raw[: len(raw) // 2], b"PK\x03\x04" + b"\xff" * 99]
    bad += [b"\x80\x02" + b"(" * 999, b"\x80\x02]q\x00." * 9]
    for number, data in enumerate(bad):
        path = tmp_path / f"{number}.pth.tar"
        path.write_bytes(data)
        refused(path, "cannot be read as weights|holds a list")
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        refused(path, "cannot be read as safetensors")
    refused(tmp_path, "no such file")
    refused(tmp_path / "none.pt", "no such file")


def nested(value, depth):
    return {"model": nested(value, depth - 1)} if depth else value


CIRCLE = {"x": 1}
CIRCLE["state_dict"] = CIRCLE
SCALAR = torch.ones(1)
JUNK = [[], 3, torch.ones(2), {}, {"a": SCALAR}, {1: SCALAR}, {"state_dict": None}, CIRCLE]
JUNK += [nested({"w": SCALAR}, 50), {"state_dict": {"model": {"net": [SCALAR]}}}]
JUNK += [{"\x1b[2J\n": SCALAR}]
RESENC = "encoder.stem.convs.0.conv.weight"
STAGE = "encoder.stages.0.blocks.0.conv1.conv.weight"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        *((junk, "fit no known layout|without named tensors|holds no weights") for junk in JUNK),
        (
            nn.Linear(2, 2),
            r"refers to 'torch\.nn\.modules\.linear\.Linear'.*save only its state_dict",
        ),
        ({SWIN: torch.full((48, 1, 2, 2, 2), torch.nan)}, "not finite"),
        ({SWIN: torch.tensor(1.0)}, "no usable"),
        (
            {SWIN: torch.zeros(1).expand(48, 1 << 40, 2, 2, 2)},
            "is damaged, or bench does not read its type",
        ),
        ({SWIN: EMPTY.to_sparse()}, "is damaged, or bench does not read its type"),
        (
            {SWIN: torch.zeros_like(EMPTY, device="meta")},
            "is damaged, or bench does not read its type",
        ),
        (
            {SWIN: EMPTY, SWIN.replace("ViT", "_vit"): torch.zeros(1)},
            "two tensors are the parameter",
        ),
        ({RESENC: torch.zeros(8, 1, 3, 3, 3)}, r"features \(\), .* not the size"),
        ({RESENC: torch.zeros(8, 1), STAGE: torch.tensor(1.0)}, "not the size"),
        ({"layers1.0.blocks.0.attn.relative_position_bias_table": torch.zeros(1)}, "no usable"),
    ],
)
def test_junk_whole_models_and_damaged_tensors_are_refused_in_one_line(tmp_path, content, match):
    torch.save(content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", match)


SIZES = {"patch_size": [1, "b", None], "spacing": [0, -1, 2]}
PLANS = (
    3,
    {"configurations": {"a": 1}},
    {"transpose_forward": ["x"], "configurations": {"a": SIZES}},
)


@pytest.mark.parametrize("plan_value", [None, [], *({"pretrain_plan": junk} for junk in PLANS)])
def test_a_plan_of_junk_is_as_none(tmp_path, thin, plan_value):
    content = dict.fromkeys(("nnssl_adaptation_plan", "bench_manifest"), plan_value)
    torch.save({**content, "network_weights": resenc().state_dict()}, tmp_path / "a.pth")
    manifest = read_weights(tmp_path / "a.pth")[1]
    assert (manifest.crop, manifest.recipe) == ((64, 64, 64), {})


def test_an_archive_that_unpacks_to_more_is_refused(tmp_path):
    torch.save({SWIN: EMPTY, "big": torch.zeros(1 << 20)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", 8) as new,
    ):
        for member in old.namelist():
            new.writestr(member, old.read(member))
    refused(tmp_path / "b.pt", "cannot be read as weights")


def test_names_without_end_do_not_fill_the_record(tmp_path):
    many = {f"teacher{n}{'x' * 500}.w": torch.zeros(1) for n in range(500)}
    many[f"module.student.{SWIN}"] = EMPTY
    torch.save(many, tmp_path / "a.pt")
    left_out = read_weights(tmp_path / "a.pt")[1].params["left_out"]
    assert len(left_out) <= 20 and max(map(len, left_out)) <= 60
