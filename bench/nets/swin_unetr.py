"""Swin UNETR: MONAI's, cut between the Swin transformer and the convolutions that read it.

The encoder is ``swinViT`` alone, with the affine-free layer norm over channels that MONAI applies
to every map it hands out. That is 13 % of the parameters at size ``base``: most lie in the
decoder's convolutions on the skips.

Patch merging is the corrected one (MONAI since 1.5). Public weights from before were
trained with another, which has the same tensors and computes another function; the presets
ending in ``legacy`` have it.
"""

from __future__ import annotations

from typing import Any

from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import PatchMergingV2
from torch import Tensor, cat, nn, where

from bench.nets.base import Decoder, Encoder, Wanted

# which voxel of each 2^3 (x, y, z) a slot reads: 010 and 001 stand twice, 110 and 011 are never read
LEGACY = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))


class LegacyMerging(PatchMergingV2):
    """Patch merging as it was in MONAI before 1.5 (pull request 8285 corrected it)."""

    def forward(self, x: Tensor) -> Tensor:
        """Turn tokens (B, x, y, z, C) of even sides into (B, x / 2, y / 2, z / 2, 2 C)."""
        slots = [x[:, i::2, j::2, k::2] for i, j, k in LEGACY]
        return self.reduction(self.norm(cat(slots, -1)))


class SwinUnetrEncoder(Encoder):
    """Patches of 2^3 and four stages of windowed attention, each halving every side."""

    input_weight = "swinViT.patch_embed.proj.weight"

    def __init__(self, swin: nn.Module, feature: int) -> None:
        super().__init__()
        self.swinViT = swin  # MONAI's name, so that public checkpoints fit
        self.patch, self.dim = (2, 2, 2), feature
        self.widths = (feature, 2 * feature, 4 * feature, 8 * feature, 16 * feature)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's resolution."""
        return self.swinViT(x, True)

    def replaced(self, x: Tensor, hidden: Tensor, token: Tensor, norm: bool = True) -> Tensor:
        """Return the last map of an input whose ``hidden`` patches are embedded as ``token``."""

        def swapped(module: nn.Module, given: Any, embedded: Tensor) -> Tensor:
            return where(hidden[:, None], token.to(embedded.dtype)[:, None, None, None], embedded)

        hook = self.swinViT.get_submodule("patch_embed").register_forward_hook(swapped)
        try:
            return self.swinViT(x, norm)[-1]
        finally:
            hook.remove()


class SwinUnetrDecoder(Decoder):
    """Residual blocks on the image and the skips, joined from coarse to fine."""

    def __init__(self, net: SwinUNETR) -> None:
        super().__init__()
        self.encoder1, self.encoder2 = net.encoder1, net.encoder2
        self.encoder3, self.encoder4 = net.encoder3, net.encoder4
        self.encoder10 = net.encoder10
        self.decoder5, self.decoder4 = net.decoder5, net.decoder4
        self.decoder3, self.decoder2 = net.decoder3, net.decoder2
        self.decoder1 = net.decoder1
        self.out: nn.Module = net.out

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z)."""
        half, quarter, eighth, sixteenth, last = features
        up = self.decoder5(self.encoder10(last), sixteenth)
        up = self.decoder4(up, self.encoder4(eighth))
        up = self.decoder3(up, self.encoder3(quarter))
        up = self.decoder2(up, self.encoder2(half))
        return self.out(self.decoder1(up, self.encoder1(x)))


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 32 can be read."""
    net = SwinUNETR(**arguments(wanted))
    return SwinUnetrEncoder(net.swinViT, wanted.size.feature), SwinUnetrDecoder(net)


MONAI = SwinUNETR


def arguments(wanted: Wanted) -> dict[str, Any]:
    """Return what MONAI's class is built with."""
    size = wanted.size
    return {
        "in_channels": wanted.in_channels,
        "out_channels": wanted.out_channels,
        "depths": size.depths,
        "num_heads": size.heads,
        "feature_size": size.feature,
        "norm_name": ("group", {"num_groups": size.groups}) if size.groups else "instance",
        "downsample": LegacyMerging if size.merging == "legacy" else "merging",
        "use_v2": size.v2,
    }
