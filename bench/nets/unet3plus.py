"""The 2D U-Net and the UNet 3+ of one published code, which share their encoder.

Both keep that code's particulars, which its parameter counts rest on: biases before batch norms, 4x4
transposed convolutions with stride 2, a 3x3 head, no batch norm in the U-Net's decoder. Its sigmoid at
the end is left out (logits leave a network here), as are deep supervision and the classification
branch of UNet 3+, which its counted version does not have either.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, cat, nn
from torch.nn.functional import interpolate, max_pool2d

from bench.nets.base import Decoder, Encoder, Wanted, alike, flat


class DoubleEncoder(Encoder):
    """Five levels of two 3x3 convolutions; each but the first halves both sides by max pooling."""

    input_weight = "levels.0.0.weight"

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths
        pairs = pairwise((in_channels, *widths))
        self.levels = nn.ModuleList(convolved(a, b, b) for a, b in pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8 and 1/16 of the input's resolution, of its rank."""
        maps = [self.levels[0](flat(x, 2))]
        for level in self.levels[1:]:
            maps.append(level(max_pool2d(maps[-1], 2)))
        return [alike(m, x) for m in maps]


class UNetDecoder(Decoder):
    """Four transposed convolutions, each joined with the encoder's map of its size."""

    output = "head"

    def __init__(self, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in pairs)
        self.joins = nn.ModuleList(convolved(2 * b, b, b, norm=False) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; of ``x`` itself only the rank is read."""
        *skips, up = [flat(m, 2) for m in features]
        for raise_, join, skip in zip(self.ups, self.joins, reversed(skips), strict=True):
            up = join(cat([raise_(up), skip], 1))
        return alike(self.head(up), x)


class FullScaleDecoder(Decoder):
    """Four levels, coarse to fine, each reading all five scales."""

    output = "head"

    def __init__(self, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(FullScaleLevel(widths, level) for level in (3, 2, 1, 0))
        self.head = nn.Conv2d(len(widths) * widths[0], out_channels, 3, padding=1)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; of ``x`` itself only the rank is read."""
        maps = [flat(m, 2) for m in features]
        for block, level in zip(self.levels, (3, 2, 1, 0), strict=True):
            maps[level] = block(maps)  # the next ones read it in place of the encoder's
        return alike(self.head(maps[0]), x)


class FullScaleLevel(nn.Module):
    """Brings five maps to one grid, takes as many channels from each, and convolves them together."""

    def __init__(self, widths: tuple[int, ...], level: int) -> None:
        super().__init__()
        self.level, part = level, widths[0]
        joined = part * len(widths)
        below = len(widths) - level - 2  # the decoder's maps; the coarsest is the encoder's
        given = [*widths[: level + 1], *[joined] * below, widths[-1]]
        self.reads = nn.ModuleList(convolved(width, part) for width in given)
        self.fuse = convolved(joined, joined)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return this level's map from one map per level, finest first."""
        same = [fitted(m, i, self.level) for i, m in enumerate(maps)]
        return self.fuse(cat([read(m) for read, m in zip(self.reads, same, strict=True)], 1))


def fitted(x: Tensor, given: int, needed: int) -> Tensor:
    """Return a map of one level (0 the finest) on the grid of another."""
    if given > needed:
        return interpolate(x, scale_factor=2 ** (given - needed), mode="bilinear")
    return max_pool2d(x, 2 ** (needed - given)) if given < needed else x


def convolved(*widths: int, norm: bool = True) -> nn.Sequential:
    """Return 3x3 convolutions from width to width, each with batch norm (unless not) and ReLU."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers.append(nn.Conv2d(a, b, 3, padding=1))
        if norm:
            layers.append(nn.BatchNorm2d(b))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 16 can be read."""
    widths = tuple(wanted.size.width * 2**level for level in range(5))
    encoder = DoubleEncoder(wanted.in_channels, widths)
    decoder = (FullScaleDecoder if wanted.size.full_scale else UNetDecoder)(
        widths, wanted.out_channels
    )
    for module in (*encoder.modules(), *decoder.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):  # drawn as the published code does
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return encoder, decoder
