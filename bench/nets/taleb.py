"""The U-Net of Taleb et al. in two and in three dimensions: convolution, ReLU, then batch norm.

Their encoder ends with a max pool behind the bottleneck, in pretraining (its heads read the pooled
map) and in segmentation alike, where the pooled map is first upsampled to the bottleneck's size
again: so the pool belongs to the encoder here, and the finest that the decoder knows of the
bottleneck is its maximum over 2^3 voxels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from monai.networks.layers.factories import Conv, Norm, Pool
from torch import Tensor, cat, nn
from torch.nn.functional import interpolate

from bench.nets.base import Decoder, Encoder, Wanted, alike, flat
from bench.nets.sizes import TalebSize


def conv(dims: int, inside: int, outside: int) -> nn.Module:
    """Return a convolution of kernel 3 whose weights are Keras' "he_normal": cut off at two deviations."""
    layer = Conv["conv", dims](inside, outside, 3, padding=1)
    std = (2 / (inside * 3**dims)) ** 0.5 / 0.87962566  # what the cut takes from the deviation
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)
    return layer


def plain(layer: Any) -> nn.Module:
    """Give a layer Keras' usual weights, Glorot's uniform ones and bias 0, and return it."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def block(dims: int, inside: int, outside: int, momentum: float) -> nn.Sequential:
    """Return two of convolution, ReLU, batch norm, with dropout of a half between them."""
    norms = [Norm["batch", dims](outside, eps=1e-3, momentum=momentum) for _ in range(2)]
    return nn.Sequential(
        conv(dims, inside, outside),
        nn.ReLU(),
        norms[0],
        nn.Dropout(0.5),
        conv(dims, outside, outside),
        nn.ReLU(),
        norms[1],
    )


class TalebEncoder(Encoder):
    """Five levels with max pooling between them and behind the last."""

    input_weight = "levels.0.0.weight"

    def __init__(self, dims: int, in_channels: int, size: TalebSize) -> None:
        super().__init__()
        self.dims = dims
        self.widths = tuple(size.filters * 2**level for level in range(5))
        self.levels = nn.ModuleList(
            block(dims, a, b, size.momentum) for a, b in pairwise((in_channels, *self.widths))
        )
        self.pool = Pool["max", dims](2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8 and, pooled, 1/32 of the input's resolution, of its rank."""
        maps, at = [], flat(x, self.dims)
        for level in self.levels:
            maps.append(level(at))
            at = self.pool(maps[-1])
        return [alike(m, x) for m in (*maps[:-1], at)]


class TalebDecoder(Decoder):
    """Takes the pool back by repeating voxels, then four transposed convolutions, each with its skip."""

    output = "final"

    def __init__(self, dims: int, out_channels: int, size: TalebSize) -> None:
        super().__init__()
        self.dims = dims
        widths = [size.filters * 2**level for level in range(4, -1, -1)]
        self.ups = nn.ModuleList(
            plain(Conv["convtrans", dims](a, b, 2, 2)) for a, b in pairwise(widths)
        )
        self.blocks = nn.ModuleList(block(dims, a, b, size.momentum) for a, b in pairwise(widths))
        self.final = plain(Conv["conv", dims](size.filters, out_channels, 1))

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; of ``x`` itself only the rank is read."""
        *skips, last = (flat(m, self.dims) for m in features)
        at = interpolate(last, scale_factor=2)
        for up, join, skip in zip(self.ups, self.blocks, skips[::-1], strict=True):
            at = join(cat([up(at), skip], 1))
        return alike(self.final(at), x)


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 32 can be read."""
    size, dims = wanted.size, wanted.dims
    encoder = TalebEncoder(dims, wanted.in_channels, size)
    return encoder, TalebDecoder(dims, wanted.out_channels, size)
