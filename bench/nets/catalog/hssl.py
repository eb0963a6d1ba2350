"""The sizes of the ResNet-34 with a light decoder."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class ResNetSize:
    """Width of stem and first stage (doubled from stage to stage); basic blocks of the four stages."""

    width: int
    blocks: tuple[int, int, int, int]


_RESNET = Entry(
    "hssl_resnet34",
    "ResNet-34 with DeConv decoder",
    "bench.nets.hssl",
    Source(
        "Zheng et al., Hierarchical Self-Supervised Learning for Medical Image Segmentation Based on "
        "Multi-Domain Data Aggregation, MICCAI 2021",
        "https://arxiv.org/abs/2107.04886",
    ),
    (32, 32, 1),
    strides(2, 4, 8, 16, 32, dims=2),
    {
        "tiny": Preset(ResNetSize(8, (1, 1, 1, 1)), (64, 64, 1), 90_138, 77_528, 1_508, 676),
        "small": Preset(ResNetSize(16, (1, 1, 1, 1)), (64, 64, 1), 357_670, 307_888, 5_416, 2_312),
        "base": Preset(ResNetSize(64, (3, 4, 6, 3)), (192, 192, 1), 22_067_310, 21_278_400, 189_856, 142_880),
    },
    dims=2,
    batch_norm=True,
)
ENTRIES = (_RESNET,)
