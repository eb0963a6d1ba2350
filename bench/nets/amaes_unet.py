"""The plain U-Net of AMAES and of FOMO25's baselines: convolutions in pairs, max pooling, five levels.

The names are the authors' (fomo25/baseline-codebase), under ``encoder.`` and ``decoder.``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import Tensor, cat, nn

from bench.nets.base import Decoder, Encoder, Wanted
from bench.nets.sizes import AmaesUNetSize

SLOPE = 0.01  # of LeakyReLU
BELOW = (1, 2, 3, 4)  # levels below the first

Norm = Callable[[int], nn.Module]


def pair(inputs: int, width: int, norm: Norm) -> nn.Sequential:
    """Return two convolutions, each with norm and rectifier."""
    convs = {}
    for name, before in (("conv1", inputs), ("conv2", width)):
        layers = {"conv": nn.Conv3d(before, width, 3, 1, 1), "norm": norm(width)}
        convs[name] = nn.Sequential(
            OrderedDict({**layers, "activation": nn.LeakyReLU(SLOPE, inplace=True)})
        )
    return nn.Sequential(OrderedDict(convs))


class AmaesEncoder(Encoder):
    """Five levels; each but the first halves every side by max pooling."""

    input_weight = "in_conv.conv1.conv.weight"

    def __init__(self, in_channels: int, filters: int, norm: Norm) -> None:
        super().__init__()
        self.widths = tuple(filters * 2**level for level in (0, *BELOW))
        self.in_conv = pair(in_channels, filters, norm)
        self.pool = nn.MaxPool3d(2)
        for level in BELOW:
            width = self.widths[level]
            self.add_module(f"encoder_conv{level}", pair(width // 2, width, norm))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8 and 1/16 of the input's resolution."""
        maps = [self.in_conv(x)]
        for level in BELOW:
            maps.append(self.get_submodule(f"encoder_conv{level}")(self.pool(maps[-1])))
        return maps


class AmaesDecoder(Decoder):
    """Four transposed convolutions, each joined with the encoder's map of its size."""

    output = "out_conv"

    def __init__(self, widths: tuple[int, ...], out_channels: int, norm: Norm) -> None:
        super().__init__()
        for step, width in enumerate(reversed(widths[:-1]), 1):
            self.add_module(f"upsample{step}", nn.ConvTranspose3d(2 * width, width, 2, 2))
            self.add_module(f"decoder_conv{step}", pair(2 * width, width, norm))
        self.out_conv: nn.Module = nn.Conv3d(widths[0], out_channels, 1)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; ``x`` itself is not read."""
        *skips, at = features
        for step, skip in enumerate(reversed(skips), 1):
            up = self.get_submodule(f"upsample{step}")(at)
            at = self.get_submodule(f"decoder_conv{step}")(cat([up, skip], 1))
        return self.out_conv(at)


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 16 can be read."""
    size: AmaesUNetSize = wanted.size
    instance = partial(nn.InstanceNorm3d, affine=True)
    norm: Norm = partial(nn.GroupNorm, size.groups) if size.groups else instance
    encoder = AmaesEncoder(wanted.in_channels, size.filters, norm)
    return encoder, AmaesDecoder(encoder.widths, wanted.out_channels, norm)
