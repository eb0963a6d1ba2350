"""Swin UNETR's variants, and nnU-Net's residual encoder: one key per parameter, a head per scale."""

from copy import deepcopy
from functools import cache, partial
from itertools import product

import pytest
import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import PatchMerging
from torch import nn

from bench.errors import BenchError
from bench.nets import network
from bench.nets.catalog import CATALOG, check_crop, check_handover
from bench.nets.swin_unetr import LegacyMerging

SMALL = (64, 32, 32)


def built(name, preset, channels=(1, 2), seed=0, crop=SMALL):
    torch.manual_seed(seed)
    return network(name, preset, *channels, crop=crop)


@cache
def swin(preset):
    return built("swin_unetr", preset, (1, 14), seed=2).eval()  # some 70 million weights: drawn once


def read_by(merging, tokens):
    """Return the parities (x, y, z) of the voxels on which a merging's output depends."""
    found = set()
    with torch.no_grad():
        before = merging(tokens)
        for i, j, k in product(range(2), repeat=3):
            changed = tokens.clone()
            changed[:, i::2, j::2, k::2] = torch.randn_like(changed[:, i::2, j::2, k::2])
            if not torch.equal(merging(changed), before):
                found.add((i, j, k))
    return found


def test_legacy_merging_never_reads_110_and_011_and_the_fixed_one_reads_all():
    every, tokens = set(product(range(2), repeat=3)), torch.randn(2, 4, 4, 4, 6)
    assert read_by(LegacyMerging(6), tokens) == every - {(1, 1, 0), (0, 1, 1)}
    assert read_by(PatchMerging(6), tokens) == every


def test_legacy_merging_lays_out_its_slots_as_monai_did_before_1_5():
    merging, x = LegacyMerging(2), torch.randn(1, 4, 2, 4, 2)
    merging.norm, merging.reduction = nn.Identity(), nn.Identity()
    voxels = [(2, 0, 2), (3, 0, 2), (2, 1, 2), (2, 0, 3), (3, 0, 3), (2, 1, 2), (2, 0, 3), (3, 1, 3)]
    assert torch.equal(merging(x)[0, 1, 0, 1], torch.cat([x[0, i, j, k] for i, j, k in voxels]))


@pytest.mark.parametrize(
    ("preset", "kind"),
    [
        ("base", PatchMerging),
        ("base_legacy", LegacyMerging),
        ("base_v2", PatchMerging),
        ("base_v2_legacy", LegacyMerging),
    ],
)
def test_each_preset_of_swin_has_its_merging_at_all_four_stages(preset, kind):
    vit = swin(preset).encoder.swinViT
    stages = [*vit.layers1, *vit.layers2, *vit.layers3, *vit.layers4]
    assert [type(stage.downsample) for stage in stages] == [kind] * 4
    assert vit.use_v2 == ("v2" in preset)


def test_both_mergings_have_the_same_weights_and_are_another_function():
    fixed, legacy = swin("base"), swin("base_legacy")
    ours, theirs = fixed.state_dict(), legacy.state_dict()
    assert list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)
    x = torch.randn(1, 1, *SMALL)
    with torch.no_grad():
        maps = list(zip(fixed.encoder(x), legacy.encoder(x), strict=True))
    assert torch.equal(*maps[0])  # before any merging
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in maps[1:])
    with pytest.raises(BenchError, match="do not fit swin_unetr/base"):
        check_handover(("swin_unetr", "base_legacy"), ("swin_unetr", "base"))


def test_v2_is_monais():
    torch.manual_seed(2)
    theirs = SwinUNETR(1, 14, feature_size=48, use_v2=True).eval()
    assert sum(p.numel() for p in theirs.parameters()) == 72_762_656  # as MONAI's users quote it
    x = torch.randn(1, 1, *SMALL)
    with torch.no_grad():
        torch.testing.assert_close(swin("base_v2")(x), theirs(x), rtol=0, atol=1e-6)


def library(features, blocks, norm, supervised=False, channels=(1, 2)):
    """Return nnU-Net's network as nnssl's ``get_res_enc_l`` builds it, of any size and norm."""
    return ResidualEncoderUNet(
        channels[0], 6, list(features), nn.Conv3d, [[3] * 3] * 6, [[1] * 3, *[[2] * 3] * 5], list(blocks),
        channels[1], [1] * 5, conv_bias=True, norm_op=norm, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=supervised,
    )  # fmt: skip


def tiny_library(seed):
    size = CATALOG["resenc_unet"].presets["tiny"].size
    torch.manual_seed(seed)
    net = library(size.features, size.blocks, partial(nn.GroupNorm, size.groups), supervised=True)
    net.apply(net.initialize)  # nnU-Net does, as it builds a network from its plans
    return net


def once(tensors):
    """Return what a loader of nnU-Net's or nnssl's files keeps: each parameter under one key."""
    return {
        k: v for k, v in tensors.items() if ".all_modules." not in k and not k.startswith("decoder.encoder.")
    }


def test_a_seed_gives_the_librarys_logits_at_all_scales_finest_first():
    net, theirs = built("resenc_unet", "tiny", seed=4), tiny_library(seed=4)
    x = torch.randn(1, 1, *SMALL)
    with torch.no_grad():
        ours, expected, one = net.scales(x), theirs(x), net(x)
    assert len(ours) == CATALOG["resenc_unet"].scales == 5
    assert [tuple(s.shape) for s in ours] == [(1, 2, *(side // 2**i for side in SMALL)) for i in range(5)]
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert torch.equal(one, ours[0])


def test_the_librarys_file_fits_key_by_key_after_its_doubles_are_left_out():
    net, theirs = built("resenc_unet", "tiny", seed=0), tiny_library(seed=1)
    assert len(theirs.state_dict()) > 2 * len(once(theirs.state_dict()))
    net.load_state_dict(once(theirs.state_dict()))  # strict: no key lacks and none is left over
    x = torch.randn(1, 1, *SMALL)
    with torch.no_grad():
        torch.testing.assert_close(net(x), theirs(x)[0], rtol=0, atol=1e-6)


def test_base_is_resenc_l_name_by_name_and_shape_by_shape():
    facts = CATALOG["resenc_unet"].presets["base"]
    with torch.device("meta"):
        net = network("resenc_unet", "base", 1, 14)
        theirs = library(
            (32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6), nn.InstanceNorm3d, channels=(1, 14)
        )
    expected = {k: v.shape for k, v in once(theirs.state_dict()).items()}
    assert {k: v.shape for k, v in net.state_dict().items()} == expected
    assert sum(p.numel() for p in theirs.parameters()) == facts.parameters == 102_359_430
    norms = [m for m in net.modules() if isinstance(m, nn.InstanceNorm3d)]
    assert norms and all(norm.affine and norm.eps == 1e-5 for norm in norms)
    slopes = {m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.01}


def test_every_key_is_a_parameter_of_its_own():
    net = built("resenc_unet", "tiny")
    tensors = net.state_dict()
    assert {t.data_ptr() for t in tensors.values()} == {p.data_ptr() for p in net.parameters()}
    assert len(tensors) == len(list(net.parameters())) == len({t.data_ptr() for t in tensors.values()})
    assert net.encoder.input_weight in net.encoder.state_dict()


def test_without_deep_supervision_the_coarse_heads_alone_get_no_gradient():
    net, x = built("resenc_unet", "tiny"), torch.randn(1, 1, *SMALL)
    net(x).square().mean().backward()
    idle = {k for k, p in net.named_parameters() if p.grad is None}
    assert idle == {f"decoder.seg_layers.{i}.{k}" for i in range(4) for k in ("weight", "bias")}
    sum(s.square().mean() for s in net.scales(x)).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_residual_blocks_start_as_their_shortcut():
    for block in [b for stage in built("resenc_unet", "tiny").encoder.stages for b in stage.blocks]:
        assert not block.conv2.norm.weight.any() and block.conv1.norm.weight.all()


def test_a_copy_has_weights_of_its_own():
    net, x = built("resenc_unet", "tiny"), torch.randn(1, 1, *SMALL)
    other = deepcopy(net)
    with torch.no_grad():
        before = net(x)
        assert torch.equal(other(x), before)
        for p in other.parameters():
            p.add_(0.1)
        assert torch.equal(net(x), before) and not torch.equal(other(x), before)


def test_resenc_l_refuses_the_crop_that_instance_norm_cannot_train_on():
    with pytest.raises(BenchError, match="instance norm"):
        check_crop("resenc_unet", "base", (32, 32, 32))
    assert check_crop("resenc_unet", "base", SMALL) == SMALL
    assert check_crop("resenc_unet", "tiny", (32, 32, 32)) == (32, 32, 32)
