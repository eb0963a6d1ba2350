"""My network: three levels of convolutions, and a decoder that adds each level to what comes from below."""

import torch
from torch import nn
from torch.nn.functional import interpolate

from bench.nets.base import Decoder, Encoder
from bench.nets.sizes import Entry, Preset
from bench.source import Source

# Read without running this file, so that `bench plan` and `bench list networks` need no torch. What the test
# prints of a network that states other numbers: parameters of all and of the encoder, operations per voxel.
NETWORK = Entry(
    "my_network",
    "My network",
    __name__,
    Source("Who, What, Where and When", "https://example.org"),
    multiple=(4, 4, 4),  # every side of a crop is a multiple of this
    pyramid=((1, 1, 1), (2, 2, 2), (4, 4, 4)),  # by what each of the encoder's maps is coarser
    presets={  # the smallest is called tiny; what `build` is given, the crop, and the numbers
        "tiny": Preset((8, 16, 32), (32, 32, 32), 21_174, 17_664, 7_944, 1_728),
        "base": Preset((32, 64, 128), (96, 96, 96), 297_390, 278_016, 49_344, 22_464),
    },
)


def block(channels, width, stride):
    kernel = nn.Conv3d(channels, width, 3, stride, padding=1)
    return nn.Sequential(kernel, nn.GroupNorm(4, width), nn.LeakyReLU(0.1))


class MyEncoder(Encoder):
    input_weight = "levels.0.0.weight"  # the key of the weight that reads the image's channels

    def __init__(self, channels, widths):
        super().__init__()
        self.widths = widths  # channels of each map
        before, strides = (channels, *widths), (1, 2, 2)
        self.levels = nn.ModuleList(map(block, before, widths, strides))

    def forward(self, x):
        maps = []
        for level in self.levels:
            maps.append(x := level(x))
        return maps


class MyDecoder(Decoder):
    output = "out"  # the layer whose channels are the classes

    def __init__(self, widths, classes):
        super().__init__()
        self.across = nn.ModuleList(nn.Conv3d(width, widths[0], 1) for width in widths)
        self.out = nn.Sequential(nn.LeakyReLU(0.1), nn.Conv3d(widths[0], classes, 3, padding=1))

    def forward(self, x, features):
        sides, y = x.shape[2:], torch.zeros((), device=x.device)
        for level, across in zip(features, self.across, strict=True):
            y = y + interpolate(across(level), size=sides, mode="trilinear")
        return self.out(y)


def build(wanted):
    """Return encoder and decoder of one size for one number of channels and classes."""
    return MyEncoder(wanted.in_channels, wanted.size), MyDecoder(wanted.size, wanted.out_channels)
