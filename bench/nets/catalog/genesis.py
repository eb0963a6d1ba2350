"""The sizes of Models Genesis' 3D U-Net."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class GenesisSize:
    """Channels after the first convolution; the four levels end with 2, 4, 8 and 16 times as many."""

    width: int


_GENESIS = Entry(
    "genesis_unet3d",
    "3D U-Net of Models Genesis",
    "bench.nets.genesis",
    Source(
        "Zhou et al., Models Genesis: Generic Autodidactic Models for 3D Medical Image Analysis, MICCAI 2019",
        "https://arxiv.org/abs/1908.06912",
        "https://github.com/MrGiovanni/ModelsGenesis/blob/12f7feb/pytorch/unet3d.py",
    ),
    (8, 8, 8),
    strides(1, 2, 4, 8),
    {
        "tiny": Preset(GenesisSize(4), (32, 32, 16), 299_110, 110_376, 29_524, 4_212),
        "base": Preset(GenesisSize(32), (64, 64, 32), 19_074_510, 7_027_776, 1_864_896, 257_472),
    },
    batch_norm=True,
)
ENTRIES = (_GENESIS,)
