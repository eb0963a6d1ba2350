"""Swin UNETR's variants, and nnU-Net's residual encoder: one key per parameter, a head per scale."""

import re
from functools import partial

import pytest
import torch
from built import built, library
from monai.networks.nets.swin_unetr import PatchMerging
from torch import nn

from bench.nets import network
from bench.nets.catalog import CATALOG
from bench.nets.swin_unetr import LegacyMerging

SMALL = (64, 32, 32)


def test_legacy_merging_lays_out_its_slots_as_monai_did_before_1_5():
    merging, x = LegacyMerging(2), torch.randn(1, 4, 2, 4, 2)
    merging.norm, merging.reduction = nn.Identity(), nn.Identity()
    voxels = ["202", "302", "212", "203", "303", "212", "203", "313"]
    slots = [x[0, int(i), int(j), int(k)] for i, j, k in voxels]
    assert torch.equal(merging(x)[0, 1, 0, 1], torch.cat(slots))


@pytest.mark.parametrize("preset", ["base", "base_legacy", "base_v2", "base_v2_legacy"])
def test_each_preset_of_swin_has_its_merging_at_all_four_stages(preset):
    vit = built("swin_unetr", preset, (1, 14), SMALL).encoder.swinViT
    stages = [*vit.layers1, *vit.layers2, *vit.layers3, *vit.layers4]
    kind = LegacyMerging if "legacy" in preset else PatchMerging
    assert [type(stage.downsample) for stage in stages] == [kind] * 4
    assert vit.use_v2 == ("v2" in preset)


def tiny_library(seed):
    size = CATALOG["resenc_unet"].presets["tiny"].size
    norm = partial(nn.GroupNorm, size.groups)
    net = library(size.features, size.blocks, norm=norm, supervised=True, seed=seed)
    net.apply(net.initialize)  # nnU-Net does, as it builds a network from its plans
    return net


def test_a_seed_gives_the_librarys_logits_at_all_scales_finest_first():
    net, theirs = built("resenc_unet", crop=SMALL, seed=4), tiny_library(seed=4)
    x = torch.randn(1, 1, *SMALL)
    with torch.no_grad():
        ours, expected, first = net.scales(x), theirs(x), net(x)
    assert len(ours) == CATALOG["resenc_unet"].scales == 5
    assert [tuple(s.shape) for s in ours] == [
        (1, 2, *(side // 2**i for side in SMALL)) for i in range(5)
    ]
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert torch.equal(first, ours[0])


def test_base_is_resenc_l_name_by_name_and_shape_by_shape():
    facts = CATALOG["resenc_unet"].presets["base"]
    with torch.device("meta"):
        net = network("resenc_unet", "base", 1, 14)
        theirs = library((32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6), (1, 14))
    # of nnU-Net's and nnssl's files, where a parameter stands under several keys, a loader keeps one
    doubled = re.compile(r".*\.all_modules\.|decoder\.encoder\.")
    expected = {k: v.shape for k, v in theirs.state_dict().items() if not doubled.match(k)}
    assert {k: v.shape for k, v in net.state_dict().items()} == expected
    assert sum(p.numel() for p in theirs.parameters()) == facts.parameters == 102_359_430
    norms = [m for m in net.modules() if isinstance(m, nn.InstanceNorm3d)]
    assert norms and all(norm.affine and norm.eps == 1e-5 for norm in norms)
    slopes = {m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.01}


def test_without_deep_supervision_the_coarse_heads_alone_get_no_gradient():
    net, x = built("resenc_unet", crop=SMALL), torch.randn(1, 1, *SMALL)
    net(x).square().mean().backward()
    idle = {k for k, p in net.named_parameters() if p.grad is None}
    assert idle == {f"decoder.seg_layers.{i}.{k}" for i in range(4) for k in ("weight", "bias")}
    sum(s.square().mean() for s in net.scales(x)).backward()
    assert all(p.grad is not None for p in net.parameters())
