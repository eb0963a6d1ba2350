"""How public weight files name their tensors, and what those names become here.

A layout is one entry of ``LAYOUTS``: a key that no other layout has, the rules that turn its names into
those of a network here, and what its tensors tell of the network's size.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Tensors = dict[str, Tensor]
SWIN = "encoder.swinViT.patch_embed.proj.weight"
GENESIS = "encoder.down_tr64.ops.0.conv1.weight"
RESENC = "encoder.stem.convs.0.conv.weight"
SEGRESNET = "encoder.convInit.conv.weight"
SEGRESNET_DS = "encoder.conv_init.weight"
PLAIN = "encoder.stages.0.0.convs.0.conv.weight"
AMAES = "encoder.in_conv.conv1.conv.weight"
SPECTRE = "encoder.patch_embed.proj.weight"
PRIMUS = "encoder.down_projection.proj.weight"
STUNET = "encoder.conv_blocks_context.0.0.conv1.weight"
VGG = "encoder.features.0.weight"
EMBEDDING = "encoder.vit.patch_embedding.patch_embeddings.1.weight"
COLOURS = "colours"  # in a manifest's params: how many channels are the colours of a picture
ALSO = "fits_also"  # in a manifest's params: other networks that the tensors are for
PLAN = "nnssl_adaptation_plan"


@dataclass(frozen=True)
class Layout:
    """How one kind of file names its tensors. Patterns match whole keys."""

    name: str  # for people
    mark: str  # pattern of a key that every such file has, prefixes taken off
    network: str
    reads: str  # our key of the weight that reads the image
    # what our keys tell of the preset's size
    size: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    # pattern (anywhere in the key) and replacement, in turn
    rename: tuple[tuple[str, str], ...] = ()
    # names under which a library has a module twice, and its first name: the second is what it runs
    twins: tuple[tuple[str, str], ...] = ()
    # Our keys that have no place: heads of the pretraining, copies. What is not named here and has no place
    # stands in the load receipt.
    drop: str = r"(?!)"
    # our keys of the output layer, whose classes are the source's: left out unless it is asked for
    output: str = r"(?!)"
    head: str = ""  # one of them, as long as the source had classes
    requires: str = ""  # what must lie beside the tensors
    head_mark: str = ""  # pattern of a key of its head, which every such file has
    # networks of the same presets that take these tensors as well: the row's own network decides
    also: tuple[str, ...] = ()
    # fields of the size that no tensor tells; ``size`` gives the usual value
    untold: tuple[str, ...] = ()
    why: str = ""  # the usual value is taken, for a person
    zyx: bool = False  # trained on arrays whose axes come as (z, y, x), pictures as (y, x)
    # our key of learned positions (1, N, dim), and voxels a side of their patches
    positions: str = ""
    patch: int = 1
    # three channels are red, green, blue: a grey image is the same in all of them
    colours: bool = False


def _swin(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return width, version and merging; legacy is that of every public file of this layout known here.

    MONAI corrected patch merging in 1.5 (pull request 8285, January 2025). Before it were trained: the
    self-supervised Swin UNETR (released 2022), SuPreM (2023), VoCo (both repositories ask for MONAI 1.3.0).
    """
    v2 = any(name.startswith("encoder.swinViT.layers1c.") for name in tensors)
    return {"feature": len(tensors[SWIN]), "v2": v2, "merging": "legacy"}


def _stages(tensors: Mapping[str, Tensor], key: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths of an encoder's stages, and how many blocks each has.

    ``key``: of a block's first weight, ``{}`` in the place of the numbers of stage and block.
    """
    pattern = re.escape(key).replace(r"\{\}", r"(\d)", 1).replace(r"\{\}", r"\d+")
    matches = [re.fullmatch(pattern, name) for name in tensors]
    blocks = dict(sorted(Counter(m[1] for m in matches if m).items()))
    firsts = [tensors.get(key.format(stage, 0)) for stage in blocks]
    widths = (len(first) if first is not None and first.ndim else 0 for first in firsts)
    return tuple(widths), tuple(blocks.values())


def _depth(tensors: Mapping[str, Tensor], key: str) -> int:
    """Return how many blocks a transformer has, of each of which one key has the number for ``{}``."""
    pattern = re.escape(key).replace(r"\{\}", r"\d+")
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


def _resenc(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    widths, blocks = _stages(tensors, "encoder.stages.{}.blocks.{}.conv1.conv.weight")
    return {"features": widths, "blocks": blocks, "groups": None}


def _primus(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"dim": len(tensors[PRIMUS]), "depth": _depth(tensors, "encoder.eva.blocks.{}.gamma_1")}


def _stunet(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    widths, blocks = _stages(tensors, "encoder.conv_blocks_context.{}.{}.conv1.weight")
    return {"features": widths, "depth": max(blocks, default=0), "groups": None}


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the widths of stages of two convolutions; of others no preset has the size."""
    widths, blocks = _stages(tensors, "encoder.stages.{}.0.convs.{}.conv.weight")
    return {"features": widths if {*blocks} == {2} else (), "groups": None}


def _segresnet_ds(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    _, blocks = _stages(tensors, "encoder.layers.{}.blocks.{}.conv1.weight")
    return {"filters": len(tensors[SEGRESNET_DS]), "blocks": blocks, "axes": "SPL", "slope": 0.0}


def _spectre(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    dim, periods = len(tensors[SPECTRE]), tensors.get("encoder.rope.periods")
    heads = {} if periods is None or not periods.numel() else {"heads": dim // 6 // len(periods)}
    return {"dim": dim, "depth": _depth(tensors, "encoder.blocks.{}.norm1.weight"), **heads}


def _segresnet(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return width and residual blocks; groups and rectifiers are MONAI's defaults, no tensor tells them."""
    _, blocks = _stages(tensors, "encoder.down_layers.{}.{}.conv1.conv.weight")
    return {"filters": len(tensors[SEGRESNET]), "blocks": blocks, "groups": 8, "slope": 0.0}


def _vit(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    layers = _depth(tensors, "encoder.vit.blocks.{}.norm1.weight")
    return {"hidden": len(tensors[EMBEDDING]), "layers": layers}


def _vgg(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return widths and convolutions of the blocks: between two convolutions a ReLU, or it and a pooling."""
    matches = [(re.fullmatch(_FEATURE, key), value) for key, value in tensors.items()]
    kernels = {int(m[1]): value for m, value in matches if m and value.ndim}
    firsts = sorted(index for index in kernels if index - 2 not in kernels)  # of a block
    ends = [*firsts[1:], max(kernels, default=0) + 1]
    convs = [sum(a <= i < b for i in kernels) for a, b in zip(firsts, ends, strict=False)]
    return {"widths": tuple(len(kernels[i]) for i in firsts), "convs": tuple(convs)}


_FEATURE = r"encoder\.features\.(\d{1,4})\.weight"
_POSITIONS = "encoder.vit.patch_embedding.position_embeddings"
_PATCHED = r"down_projection\.proj\.weight"
_PRIMUS_NAMES = (
    (r"^(down_projection|eva)\.", r"encoder.\1."),
    (r"^up_projection\.", "decoder.up_projection."),
)
_STEM = r"encoder\.stem\.convs\.0\.conv\.weight"
_NORM = (r"\.norm_op\.", ".norm.")
_SEG_LAYERS = r"decoder\.seg_layers\..*"
_COPIES = r".*\.all_modules\..*|decoder\.encoder\..*"  # the library registers modules twice
# of a block of dynamic-network-architectures: convolution, dropout where there is some, norm. In files of nnssl's
# SparkTrainer they differ from those under the plain names, which are not trained
_TWINS = ((r"\.all_modules\.0\.", ".conv."), (r"\.all_modules\.[12]\.", ".norm."))
_MLP = (r"\.mlp\.fc([12])\.", r".mlp.linear\1.")  # in the file of Tang et al.
# a convolution, not a Linear
_PATCHES = (r"\.patch_embeddings\.(weight|bias)$", r".patch_embeddings.1.\1")
# without these a ViT of MONAI computes the same maps
_UNUSED = r"encoder\.vit\.(cls_token|blocks\.\d+\.(norm_cross_attn|cross_attn)\..*|classification_head\..*)"

# SuPreM's head on text: output layers by the authors' names, below ``head`` here
_TEXT = (r"^(precls_conv|GAP|controller|text_to_vision|organ_embedding)\b", r"decoder.head.\1")
_TEXT_MARK, _TEXT_OUTPUT = r"controller\.weight", r"decoder\.head\..*"
_TEXT_CLASSES = "decoder.head.organ_embedding"

_BEFORE = ", as of weights trained with MONAI before 1.5; those of 1.5 or later are of the other"

LAYOUTS = (
    # MrGiovanni/SuPreM, direct_inference/model/Universal_model.py: a backbone and, beside it, the head
    Layout(
        "SuPreM, Swin UNETR with its head (backbone.swinViT.*, controller.*)",
        r"backbone\.swinViT\.patch_embed\.proj\.weight", "swin_unetr", SWIN, _swin,
        rename=(
            (r"^backbone\.swinViT\.", "encoder.swinViT."), _MLP,
            (r"^backbone\.(encoder(?:1|2|3|4|10)|decoder[1-5]|out)\.", r"decoder.\1."), _TEXT,
        ),
        drop=r"decoder\.out\..*", untold=("merging",), why=_BEFORE,  # no class is trained by ``out``
        head_mark=_TEXT_MARK, output=_TEXT_OUTPUT, head=_TEXT_CLASSES, also=("suprem_swin_unetr",),
    ),
    Layout(
        "SuPreM, U-Net with its head (backbone.down_tr64.*, controller.*)",
        r"backbone\.down_tr64\.ops\.0\.conv1\.weight", "genesis_unet3d", GENESIS,
        lambda tensors: {"width": len(tensors[GENESIS])},
        rename=((r"^backbone\.down_", "encoder.down_"), (r"^backbone\.up_", "decoder.up_"), _TEXT),
        head_mark=_TEXT_MARK, output=_TEXT_OUTPUT, head=_TEXT_CLASSES, also=("suprem_unet",),
    ),
    # Also the authors' VoCo (its versions with a teacher, and V2) and the training checkpoints of the
    # self-supervised Swin UNETR (research-contributions, SwinUNETR/Pretrain/models/ssl_head.py)
    Layout(
        "Swin UNETR of MONAI, VoCo, SuPreM (swinViT.*)",
        r"swin(ViT|_vit)\.patch_embed\.proj\.weight", "swin_unetr", SWIN, _swin,
        rename=(
            (r"^swin(ViT|_vit)\.", "encoder.swinViT."), _MLP,
            (r"^(encoder(?:1|2|3|4|10)|decoder[1-5]|out)\.", r"decoder.\1."),
        ),
        drop=r"(proj_head|rotation_head|contrastive_head|conv)\..*", output=r"decoder\.out\..*",
        head="decoder.out.conv.conv.weight", untold=("merging",), why=_BEFORE,
    ),
    # what MONAI's SwinUNETR.load_from reads: model_swinvit.pt of Tang et al., CVPR 2022
    Layout(
        "Swin transformer of Tang et al. (patch_embed.*, layers1.0.*)",
        r"layers1\.0\.blocks\.0\.attn\.relative_position_bias_table", "swin_unetr", SWIN, _swin,
        rename=((r"^(patch_embed|layers[1-4]c?)\.", r"encoder.swinViT.\1."), _MLP),
        drop=r"(rotation_head|contrastive_head|conv)\..*", untold=("merging",), why=_BEFORE,
    ),
    # MrGiovanni/ModelsGenesis, pytorch/unet3d.py. Its cubes are (x, y, z): infinite_generator_3D.py
    Layout(
        "Models Genesis (down_tr64.*)",
        r"down_tr64\.ops\.0\.conv1\.weight", "genesis_unet3d", GENESIS,
        lambda tensors: {"width": len(tensors[GENESIS])},
        rename=((r"^down_", "encoder.down_"), (r"^(up|out)_", r"decoder.\1_")),
        output=r"decoder\.out_tr\..*", head="decoder.out_tr.final_conv.weight",
    ),
    # nnU-Net takes the stem and the stages of such a file (2.8.1, PretrainedTrainer): the decoder
    # rebuilds images, in some methods without skips
    Layout(
        "nnssl, ResEnc-L (network_weights, nnssl_adaptation_plan)",
        _STEM, "resenc_unet", RESENC, _resenc, drop=rf"{_COPIES}|decoder\..*", requires=PLAN, zyx=True,
        twins=_TWINS,
    ),
    Layout(
        "nnU-Net, ResEnc-L (network_weights: encoder.stem.*)",
        _STEM, "resenc_unet", RESENC, _resenc,
        drop=_COPIES, output=_SEG_LAYERS, head="decoder.seg_layers.0.weight", zyx=True, twins=_TWINS,
    ),
    # TotalSegmentator's, VoComni's, and whatever nnU-Net trains by default
    Layout(
        "nnU-Net, plain (network_weights: encoder.stages.0.0.*)",
        r"encoder\.stages\.0\.0\.convs\.0\.conv\.weight", "plain_unet", PLAIN, _plain,
        drop=_COPIES, output=_SEG_LAYERS, head="decoder.seg_layers.0.weight", zyx=True, twins=_TWINS,
    ),
    # checkpoints of Sllambias/asparagus (its networks are gardening_tools'): the same network under other names.
    # Its arrays are nibabel's, (x, y, z). The decoder of a pretraining has no skips
    Layout(
        "AMAES, ResEnc-B of asparagus (encoder.stem.conv1.*)",
        r"encoder\.stem\.conv1\.conv\.weight", "resenc_unet", RESENC, _resenc,
        rename=((r"^encoder\.stem\.conv1\.", "encoder.stem.convs.0."), _NORM),
        drop=rf"{_COPIES}|decoder\..*",
    ),
    Layout(
        "AMAES, U-Net of FOMO25 (encoder.in_conv.*)",
        r"encoder\.in_conv\.conv1\.conv\.weight", "amaes_unet", AMAES,
        lambda tensors: {"filters": len(tensors[AMAES]), "groups": None},
        rename=(_NORM,), drop=rf"{_COPIES}|decoder\..*",
    ),
    # nnU-Net 1's checkpoints (STUNetTrainer): arrays are (z, y, x)
    Layout(
        "STU-Net (conv_blocks_context.*)",
        r"conv_blocks_context\.0\.0\.conv1\.weight", "stunet", STUNET, _stunet,
        rename=(
            (r"^conv_blocks_context\.", "encoder.conv_blocks_context."),
            (r"^(upsample_layers|conv_blocks_localization|seg_outputs)\.", r"decoder.\1."),
        ),
        output=r"decoder\.seg_outputs\..*", head="decoder.seg_outputs.4.weight", zyx=True,
        also=("stunet_released",),  # the same tensors under other strides, which they do not tell
    ),
    # OpenMind's Primus-M and what nnU-Net trained from it; of a pretraining the decoder rebuilds images
    Layout(
        "nnssl, Primus (network_weights, nnssl_adaptation_plan)",
        _PATCHED, "primus", PRIMUS, _primus, rename=_PRIMUS_NAMES, drop=r"decoder\..*|mask_token",
        requires=PLAN, zyx=True, positions="encoder.eva.pos_embed", patch=8,
    ),
    Layout(
        "nnU-Net, Primus (network_weights: down_projection.*)",
        _PATCHED, "primus", PRIMUS, _primus, rename=_PRIMUS_NAMES,
        drop="mask_token", output=r"decoder\..*",  # its widths are those of as many classes
        head="decoder.up_projection.decode.2.bias",
        zyx=True, positions="encoder.eva.pos_embed", patch=8,
    ),
    Layout(
        "UNETR of MONAI (vit.*)",
        r"vit\.patch_embedding\.patch_embeddings(\.1)?\.weight", "unetr", EMBEDDING, _vit,
        rename=(
            (r"^vit\.", "encoder.vit."), _PATCHES,
            (r"^(encoder[1-4]|decoder[2-5]|out)\.", r"decoder.\1."),
        ),
        drop=_UNUSED, output=r"decoder\.out\..*", head="decoder.out.conv.conv.weight",
        positions=_POSITIONS, patch=16,
    ),
    Layout(
        "ViT of MONAI (patch_embedding.*)",
        r"patch_embedding\.patch_embeddings(\.1)?\.weight", "unetr", EMBEDDING, _vit,
        rename=(
            (r"^(patch_embedding|blocks|norm|cls_token|classification_head)\b", r"encoder.vit.\1"), _PATCHES,
        ),
        drop=_UNUSED, positions=_POSITIONS, patch=16,
    ),
    Layout(
        "SegResNet of MONAI (convInit.*)",
        r"convInit\.conv\.weight", "segresnet", SEGRESNET, _segresnet,
        rename=(
            (r"^(convInit|down_layers)\.", r"encoder.\1."),
            (r"^(up_layers|up_samples|conv_final)\.", r"decoder.\1."),
        ),
        drop=r"vae_.*", output=r"decoder\.conv_final\.2\..*", head="decoder.conv_final.2.conv.weight",
        untold=("groups", "slope"),
    ),
    # CT-FM's, alone or with the decoder of its fine-tunings, and what Auto3DSeg trains
    Layout(
        "SegResNetDS of MONAI, CT-FM (conv_init.*)",
        r"(encoder\.)?conv_init\.weight", "segresnet_ds", SEGRESNET_DS, _segresnet_ds,
        rename=(
            (r"^(conv_init|layers)\.", r"encoder.\1."), (r"^up_layers\.(\d)\.head\.", r"decoder.heads.\1."),
            (r"^up_layers\.", "decoder.up_layers."),
        ),
        output=r"decoder\.heads\..*", head="decoder.heads.3.weight", untold=("axes", "slope"),
        why=": CT-FM's arrays are (z, y, x) from below, in front and right; Auto3DSeg's are as here (base)",
    ),
    Layout(
        "ViT of SPECTRE (blocks.0.attn.kv.*)",
        r"blocks\.0\.attn\.kv\.weight", "spectre_vit", SPECTRE, _spectre,
        rename=((r"^(patch_embed|cls_token|reg_token|pos_embed|rope|blocks|norm)\b", r"encoder.\1"),),
        drop=r"head\..*",
    ),
    # vgg19 alone has a preset: with batch norm, or with fewer layers, no size fits
    Layout(
        "VGG of torchvision (features.*)",
        r"features\.0\.weight", "vgg19", VGG, _vgg,
        rename=((r"^features\.", "encoder.features."),), drop=r"classifier\..*", zyx=True, colours=True,
    ),
)  # fmt: skip
