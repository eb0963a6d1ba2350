"""The sizes of PGL's segmentation network."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import MONAI, Entry, Preset
from bench.source import Source


@dataclass(frozen=True)
class PglSize:
    """Blocks and inner widths of the four stages (a quarter of their maps'); widths behind them."""

    blocks: tuple[int, int, int, int]
    planes: tuple[int, int, int, int]
    aspp: int
    decoder: tuple[int, int, int]


_PGL = Entry(
    "pgl_resnet50",
    "3D ResNet-50 with ASPP and a light decoder",
    "bench.nets.pgl",
    Source(
        "Xie et al., PGL: Prior-Guided Local Self-supervised Learning for 3D Medical Image "
        "Segmentation, arXiv 2020",
        "https://arxiv.org/abs/2011.12640",
        f"{MONAI}/resnet.py",  # the encoder's; https://github.com/YtongXie/PGL holds no code
    ),
    (16, 16, 8),
    ((2, 2, 1), (4, 4, 2), (8, 8, 4), (16, 16, 8), (16, 16, 8)),
    {
        "tiny": Preset(
            PglSize((1, 1, 1, 1), (8, 16, 32, 64), 32, (32, 16, 16)),
            (32, 32, 16),
            273_526,
            227_880,
            3_061,
            1_845,
        ),
        "base": Preset(
            PglSize((3, 4, 6, 3), (64, 128, 256, 512), 256, (256, 128, 32)),
            (160, 160, 48),
            48_535_438,
            46_155_072,
            117_328,
            101_728,
        ),
    },
    batch_norm=True,
)
ENTRIES = (_PGL,)
