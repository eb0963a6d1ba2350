"""STU-Net: a plain U-Net of residual blocks whose depth and width grow together.

The names are the authors', under ``encoder.`` and ``decoder.``, so that every key of their files fits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import Tensor, cat, nn
from torch.nn.functional import interpolate

from bench.nets.base import Decoder, Encoder, Wanted
from bench.nets.sizes import StuNetSize
from bench.ranges import Triple

# of LeakyReLU: torch's default, which the authors take, and that of He's initialisation
SLOPE = 0.01


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut, which is a convolution of its own where channels or sides change."""

    def __init__(
        self,
        inputs: int,
        width: int,
        size: StuNetSize,
        stride: Triple = (1, 1, 1),
        projects: bool = False,
    ) -> None:
        super().__init__()
        instance = partial(nn.InstanceNorm3d, affine=True)
        norm: Callable[[int], nn.Module]
        norm = partial(nn.GroupNorm, size.groups) if size.groups else instance
        self.conv1 = nn.Conv3d(inputs, width, 3, stride, 1)
        self.norm1 = norm(width)
        self.act1 = nn.LeakyReLU(SLOPE, inplace=True)
        self.conv2 = nn.Conv3d(width, width, 3, 1, 1)
        self.norm2 = norm(width)
        self.act2 = nn.LeakyReLU(SLOPE, inplace=True)
        self.conv3 = nn.Conv3d(inputs, width, 1, stride) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, x, y, z), each side divided by the stride and rounded up."""
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        return self.act2(y + (x if self.conv3 is None else self.conv3(x)))


def stage(inputs: int, width: int, size: StuNetSize, stride: Triple = (1, 1, 1)) -> nn.Sequential:
    """Return the blocks of one level; the first changes channels and sides."""
    first = ResidualBlock(inputs, width, size, stride, projects=True)
    return nn.Sequential(first, *(ResidualBlock(width, width, size) for _ in range(size.depth - 1)))


def downsampling(size: StuNetSize) -> list[Triple]:
    """Return by what each level after the first divides the sides."""
    return [(2, 2, 2)] * (len(size.features) - 2) + [size.last]


class StuNetEncoder(Encoder):
    """Six levels; each but the first halves every side, the last as its size says."""

    input_weight = "conv_blocks_context.0.0.conv1.weight"

    def __init__(self, in_channels: int, size: StuNetSize) -> None:
        super().__init__()
        self.widths = size.features
        inputs = (in_channels, *size.features[:-1])
        strides = ((1, 1, 1), *downsampling(size))
        self.conv_blocks_context = nn.ModuleList(
            stage(before, width, size, stride)
            for before, width, stride in zip(inputs, size.features, strides, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8, 1/16 and (all sides halved) 1/32 of the input's resolution."""
        maps = []
        for blocks in self.conv_blocks_context:
            x = blocks(x)
            maps.append(x)
        return maps


class Upsample(nn.Module):
    """The nearest voxel at so many times the resolution, then a convolution of kernel 1."""

    def __init__(self, inputs: int, width: int, factors: Triple) -> None:
        super().__init__()
        self.factors = tuple(map(float, factors))
        self.conv = nn.Conv3d(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, ...), each side times its factor."""
        return self.conv(interpolate(x, scale_factor=self.factors, mode="nearest"))


class StuNetDecoder(Decoder):
    """Five levels, coarse to fine, each with a head of its own; ``forward`` uses the finest alone."""

    output = "seg_outputs"

    def __init__(self, size: StuNetSize, out_channels: int) -> None:
        super().__init__()
        pairs = list(pairwise(size.features[::-1]))  # coarse to fine
        self.upsample_layers = nn.ModuleList(
            Upsample(below, width, factors)
            for (below, width), factors in zip(pairs, reversed(downsampling(size)), strict=True)
        )
        self.conv_blocks_localization = nn.ModuleList(
            stage(2 * width, width, size) for _, width in pairs
        )
        self.seg_outputs = nn.ModuleList(nn.Conv3d(width, out_channels, 1) for _, width in pairs)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z)."""
        return self.seg_outputs[-1](self._levels(features)[-1])

    def scales(self, x: Tensor, features: list[Tensor]) -> list[Tensor]:
        """Return logits at 1, 1/2, 1/4, 1/8 and 1/16 of the input's resolution."""
        pairs = zip(self.seg_outputs, self._levels(features), strict=True)
        return [head(level) for head, level in pairs][::-1]

    def _levels(self, features: list[Tensor]) -> list[Tensor]:
        *skips, up = features
        levels = []
        for upsample, blocks, skip in zip(
            self.upsample_layers, self.conv_blocks_localization, reversed(skips), strict=True
        ):
            up = blocks(cat([upsample(up), skip], 1))
            levels.append(up)
        return levels


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of what is halved can be read."""
    encoder = StuNetEncoder(wanted.in_channels, wanted.size)
    decoder = StuNetDecoder(wanted.size, wanted.out_channels)
    for part in (encoder, decoder):
        for module in part.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return encoder, decoder
