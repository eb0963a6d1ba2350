"""The sizes of SegResNet."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import MONAI, Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class SegResNetSize:
    """Width of the first level (doubled at each), residual blocks of the four, groups of each norm, slope.

    The slope below 0 is the rectifiers': 0 as published. Of few channels in front of the last layer some
    may fire on background alone and the others never, and then a label is lost for good.
    """

    filters: int
    blocks: tuple[int, int, int, int] = (1, 2, 2, 4)  # as published, and MONAI's default
    groups: int = 8
    slope: float = 0.0


_SEGRESNET = Entry(
    "segresnet",
    "SegResNet",
    "bench.nets.segresnet",
    Source(
        "Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization, BrainLes 2018",
        "https://arxiv.org/abs/1810.11654",
        f"{MONAI}/segresnet.py",
    ),
    (8, 8, 8),
    strides(1, 2, 4, 8),
    {
        "tiny": Preset(
            SegResNetSize(8, (1, 1, 1, 1), 4, 0.1), (32, 32, 32), 442_662, 367_032, 27_280, 14_904
        ),
        "small": Preset(SegResNetSize(8), (64, 64, 64), 1_176_294, 1_100_664, 35_056, 22_680),
        "base": Preset(SegResNetSize(16), (96, 96, 96), 4_701_118, 4_399_344, 138_912, 89_856),
        "large": Preset(SegResNetSize(32), (96, 96, 96), 18_796_398, 17_590_752, 553_024, 357_696),
    },
    version=2,  # 2: the tiny one has 8 channels and leaking rectifiers
)
ENTRIES = (_SEGRESNET,)
