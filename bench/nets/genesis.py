"""Models Genesis' 3D U-Net, with the authors' names, so that their checkpoint fits by prefix alone.

Two things differ from their code. It ends in a sigmoid; here the last layer gives logits. And its
batch norm reads the batch's statistics even when it predicts; here it is the ordinary one, whose
running statistics their checkpoint holds too.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, cat, nn
from torch.nn.functional import max_pool3d

from bench.nets.base import Decoder, Encoder, Wanted
from bench.nets.interpolation import on_grid


def named(**modules: nn.Module) -> nn.Sequential:
    """Return modules in sequence under these names."""
    return nn.Sequential(OrderedDict(modules))


def convs(*widths: int) -> nn.Sequential:
    """Return one convolution (with bias), batch norm and ReLU from each width to the next."""
    layers = [
        named(conv1=nn.Conv3d(a, b, 3, padding=1), bn1=nn.BatchNorm3d(b), relu=nn.ReLU())
        for a, b in pairwise(widths)
    ]
    return nn.Sequential(*layers)


class GenesisEncoder(Encoder):
    """Four levels of two convolutions, the second of which doubles the width; max pooling between."""

    input_weight = "down_tr64.ops.0.conv1.weight"

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.widths = (2 * width, 4 * width, 8 * width, 16 * width)
        self.down_tr64 = named(ops=convs(in_channels, width, 2 * width))
        self.down_tr128 = named(ops=convs(2 * width, 2 * width, 4 * width))
        self.down_tr256 = named(ops=convs(4 * width, 4 * width, 8 * width))
        self.down_tr512 = named(ops=convs(8 * width, 8 * width, 16 * width))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4 and 1/8 of the input's resolution."""
        maps = [self.down_tr64(x)]
        for down in (self.down_tr128, self.down_tr256, self.down_tr512):
            maps.append(down(max_pool3d(maps[-1], 2)))
        return maps


class Up(nn.Module):
    """Doubles every side at the same width, joins the encoder's map, halves the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(width, width, 2, 2)
        self.ops = convs(width + width // 2, width // 2, width // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return (B, width / 2, ...) on the grid of ``skip``."""
        return self.ops(cat([self.up_conv(x), skip], 1))


class GenesisDecoder(Decoder):
    """Three steps up, each past the encoder's map of its size, and a convolution of kernel 1."""

    output = "out_tr"

    def __init__(self, width: int, out_channels: int, leak: float = 0.0) -> None:
        super().__init__()
        self.up_tr256, self.up_tr128, self.up_tr64 = Up(16 * width), Up(8 * width), Up(4 * width)
        # few rectified channels may all be 0 where one label is, which then has its bias alone
        if leak:
            self.up_tr64.ops[-1].relu = nn.LeakyReLU(leak)
        self.out_tr = named(final_conv=nn.Conv3d(2 * width, out_channels, 1))

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; ``x`` itself is not read."""
        up = features[3]
        for rise, skip in zip(
            (self.up_tr256, self.up_tr128, self.up_tr64), features[2::-1], strict=True
        ):
            up = rise(up, skip)
        return self.out_tr(up)


class LightDecoder(Decoder):
    """Every map at one small width on the input's grid, their sum, one convolution of kernel 3; ours.

    A panoptic feature pyramid's head (Kirillov et al., CVPR 2019), one step shorter. It has little to learn
    from few labels.
    """

    output = "out_tr"

    def __init__(self, widths: tuple[int, ...], out_channels: int, leak: float = 0.0) -> None:
        super().__init__()
        width = widths[0]
        self.laterals = nn.ModuleList(nn.Conv3d(given, width, 1) for given in widths)
        last = convs(width, width)
        if leak:
            last[-1].relu = nn.LeakyReLU(leak)
        self.join = nn.Sequential(nn.BatchNorm3d(width), nn.ReLU(), last)
        self.out_tr = named(final_conv=nn.Conv3d(width, out_channels, 1))

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; ``x`` itself is not read."""
        maps = [lateral(m) for lateral, m in zip(self.laterals, features, strict=True)]
        total = maps[0]
        for coarse in maps[1:]:
            total = total + on_grid(coarse, total.shape[2:])
        return self.out_tr(self.join(total))


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 8 can be read."""
    size = wanted.size
    encoder = GenesisEncoder(wanted.in_channels, size.width)
    if size.light:
        return encoder, LightDecoder(encoder.widths, wanted.out_channels, size.leak)
    return encoder, GenesisDecoder(size.width, wanted.out_channels, size.leak)
