"""The sizes of the 2D U-Net and of the UNet 3+ whose published code is one."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class DoubleSize:
    """Width of the first of five levels (doubled from level to level), and which decoder."""

    width: int
    full_scale: bool  # UNet 3+: every level of the decoder reads all scales


CODE = "https://github.com/ZJUGiveLab/UNet-Version"
_UNET = Entry(
    "hssl_unet",
    "2D U-Net, 39.40 M",
    "bench.nets.unet3plus",
    Source(
        "Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015",
        "https://arxiv.org/abs/1505.04597",
        CODE,
    ),
    (16, 16, 1),
    strides(1, 2, 4, 8, 16, dims=2),
    {
        "tiny": Preset(DoubleSize(8, False), (64, 64, 1), 618_238, 295_896, 28_144, 8_208),
        "base": Preset(DoubleSize(64, False), (192, 192, 1), 39_402_382, 18_849_984, 1_680_256, 517_248),
    },
    dims=2,
    batch_norm=True,
)
_UNET3PLUS = Entry(
    "unet3plus",
    "UNet 3+",
    "bench.nets.unet3plus",
    Source(
        "Huang et al., UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation, ICASSP 2020",
        "https://arxiv.org/abs/2004.08790",
        CODE,
    ),
    (16, 16, 1),
    _UNET.pyramid,
    {
        "tiny": Preset(DoubleSize(8, True), (64, 64, 1), 428_630, 295_896, 104_328, 8_208),
        "base": Preset(DoubleSize(64, True), (192, 192, 1), 27_008_078, 18_849_984, 6_104_448, 517_248),
    },
    dims=2,
    batch_norm=True,
)
ENTRIES = (_UNET, _UNET3PLUS)
