"""SegResNet with deep supervision: MONAI's SegResNetDS, which Auto3DSeg trains and CT-FM pretrains.

Below the encoder and the decoder the names are MONAI's, but for the heads, which stand in one list.
"""

from __future__ import annotations

from typing import Any, cast

from monai.networks.nets.segresnet_ds import SegResEncoder, SegResNetDS
from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, Wanted


def spl(x: Tensor) -> Tensor:
    """Return (B, C, x, y, z), whose axes run to right, front and top, as (B, C, top, back, left)."""
    return x.permute(0, 1, 4, 3, 2).flip(3, 4)


def ras(x: Tensor) -> Tensor:
    """Undo ``spl``."""
    return x.flip(3, 4).permute(0, 1, 4, 3, 2)


class SegResNetDSEncoder(Encoder):
    """A convolution and five levels of residual blocks; each but the first halves every side."""

    input_weight = "conv_init.weight"

    def __init__(self, net: SegResEncoder, widths: tuple[int, ...], turned: bool) -> None:
        super().__init__()
        self.widths, self.turned = widths, turned
        self.conv_init, self.layers = net.conv_init, net.layers

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8 and 1/16 of the input's resolution."""
        maps, at = [], self.conv_init(spl(x) if self.turned else x)
        for level in cast("list[nn.ModuleDict]", self.layers):
            at = level["blocks"](at)
            maps.append(ras(at) if self.turned else at)
            at = level["downsample"](at)
        return maps


class SegResNetDSDecoder(Decoder):
    """Four transposed convolutions, each added to the encoder's map of its size, each with a head.

    Without deep supervision the heads of the three coarser levels get no gradient.
    """

    output = "heads"

    def __init__(self, net: SegResNetDS, turned: bool) -> None:
        super().__init__()
        self.turned = turned
        self.up_layers, self.heads = net.up_layers, nn.ModuleList()
        for level in cast("list[nn.ModuleDict]", self.up_layers):
            self.heads.append(level.pop("head"))

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; ``x`` itself is not read."""
        return self._logits([(self.heads[-1], self._levels(features)[-1])])[0]

    def scales(self, x: Tensor, features: list[Tensor]) -> list[Tensor]:
        """Return logits at 1, 1/2, 1/4 and 1/8 of the input's resolution."""
        pairs = zip(self.heads, self._levels(features), strict=True)
        return self._logits(list(pairs))[::-1]

    def _levels(self, features: list[Tensor]) -> list[Tensor]:
        *skips, at = map(spl, features) if self.turned else features
        levels = []
        ups = cast("list[nn.ModuleDict]", self.up_layers)
        for level, skip in zip(ups, reversed(skips), strict=True):
            at = level["blocks"](level["upsample"](at) + skip)
            levels.append(at)
        return levels

    def _logits(self, pairs: list[tuple[nn.Module, Tensor]]) -> list[Tensor]:
        logits = [head(level) for head, level in pairs]
        return list(map(ras, logits)) if self.turned else logits


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 16 can be read."""
    net, size, turned = SegResNetDS(**arguments(wanted)), wanted.size, wanted.size.axes == "SPL"
    widths = tuple(size.filters * 2**level for level in range(len(size.blocks)))
    return SegResNetDSEncoder(net.encoder, widths, turned), SegResNetDSDecoder(net, turned)


MONAI = SegResNetDS


def arguments(wanted: Wanted) -> dict[str, Any]:
    """Return what MONAI's class is built with."""
    size = wanted.size
    leaking = ("leakyrelu", {"negative_slope": size.slope, "inplace": True})
    return {
        "spatial_dims": 3,
        "init_filters": size.filters,
        "in_channels": wanted.in_channels,
        "out_channels": wanted.out_channels,
        "act": leaking if size.slope else "relu",
        "blocks_down": size.blocks,
        "dsdepth": len(size.blocks) - 1,
    }
