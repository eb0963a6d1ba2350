"""The sizes of VGG."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class VggSize:
    """Channels of the five blocks, and how many convolutions each has."""

    widths: tuple[int, ...]
    convs: tuple[int, ...]


_VGG = Entry(
    "vgg19",
    "VGG-19",
    "bench.nets.vgg",
    Source(
        "Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015",
        "https://arxiv.org/abs/1409.1556",
        "https://github.com/pytorch/vision/blob/main/torchvision/models/vgg.py",
    ),
    (32, 32, 1),
    strides(1, 2, 4, 8, 16, 32, dims=2),
    {
        "tiny": Preset(
            VggSize((8, 16, 32, 32, 32), (1, 1, 2, 2, 2)),
            (64, 64, 1),
            52_272,
            52_272,
            3_456,
            3_456,
            in_channels=3,
            out_channels=5,
        ),
        "base": Preset(  # column E of the paper's table 1, at the crop that its section 2.1 has
            VggSize((64, 128, 256, 512, 512), (2, 2, 4, 4, 4)),
            (224, 224, 1),
            20_024_384,
            20_024_384,
            777_600,
            777_600,
            in_channels=3,
            out_channels=5,
        ),
    },
    dims=2,
    tasks=("classification",),
)
ENTRIES = (_VGG,)
