"""The sizes of nnU-Net's residual encoder U-Net."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class ResEncSize:
    """Widths and residual blocks of the six stages; groups of each norm."""

    features: tuple[int, int, int, int, int, int]
    blocks: tuple[int, int, int, int, int, int]
    groups: int | None = None  # None: instance norm with weight and bias, as published


_RESENC = Entry(
    "resenc_unet",
    "Residual encoder U-Net",
    "bench.nets.resenc",
    Source(
        "Isensee et al., nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image "
        "Segmentation, MICCAI 2024",
        "https://arxiv.org/abs/2404.09556",
        "https://github.com/MIC-DKFZ/dynamic-network-architectures",
    ),
    (32, 32, 32),
    strides(1, 2, 4, 8, 16, 32),
    {
        "tiny": Preset(
            ResEncSize((8, 8, 16, 32, 64, 64), (1, 1, 1, 1, 1, 2), 4),
            (32, 32, 32),
            1_026_070,
            671_696,
            17_751,
            8_809,
        ),
        # ResEnc-L. nnU-Net plans a crop for each data set; 160^3 is nnssl's, for pretraining and after
        "base": Preset(
            ResEncSize((32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6)),
            (160, 160, 160),
            102_359_430,
            90_296_576,
            684_937,
            466_443,
            lone=False,
        ),
    },
    scales=5,
)
ENTRIES = (_RESENC,)
