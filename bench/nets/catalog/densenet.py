"""The sizes of DenseNet."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from bench.nets.catalog.facts import MONAI, Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class DenseNetSize:
    """Channels of the stem, channels that each layer adds, layers of the four blocks."""

    stem: int
    growth: int
    blocks: tuple[int, int, int, int]

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the channels of the stem and of each block's end; half of these reach the next block."""
        ends = accumulate(self.blocks[1:], lambda w, n: w // 2 + n * self.growth, initial=self._first)
        return (self.stem, *ends)

    @property
    def _first(self) -> int:
        return self.stem + self.blocks[0] * self.growth


_DENSENET = Entry(
    "densenet121",
    "DenseNet-121",
    "bench.nets.densenet",
    Source(
        "Huang et al., Densely Connected Convolutional Networks, CVPR 2017",
        "https://arxiv.org/abs/1608.06993",
        f"{MONAI}/densenet.py",
    ),
    (32, 32, 1),
    strides(2, 4, 8, 16, 32, dims=2),
    {
        "tiny": Preset(
            DenseNetSize(16, 8, (2, 2, 4, 4)),
            (64, 64, 1),
            44_736,
            44_736,
            2_312,
            2_312,
            in_channels=3,
            out_channels=5,
        ),
        # 224 x 224 in three colours: the fundus pictures of Taleb et al.'s 2D configurations
        "base": Preset(
            DenseNetSize(64, 32, (6, 12, 24, 16)),
            (224, 224, 1),
            6_953_856,
            6_953_856,
            112_928,
            112_928,
            in_channels=3,
            out_channels=5,
        ),
    },
    dims=2,
    tasks=("classification",),
    batch_norm=True,
)
ENTRIES = (_DENSENET,)
