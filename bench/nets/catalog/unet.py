"""The sizes of the generic U-Nets."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import MONAI, Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class UNetSize:
    """Widths of the five encoder levels, then of the last decoder level; groups of each norm."""

    features: tuple[int, int, int, int, int, int]
    groups: int  # divides every width, with two or more channels in a group


_UNET3D = Entry(
    "unet3d",
    "3D U-Net",
    "bench.nets.unet",
    Source(
        "Falk et al., U-Net: deep learning for cell counting, detection, and morphometry, "
        "Nature Methods 16 (2019)",
        "https://doi.org/10.1038/s41592-018-0261-2",
        f"{MONAI}/basic_unet.py",
    ),
    (16, 16, 16),
    strides(1, 2, 4, 8, 16),
    {
        "tiny": Preset(UNetSize((8, 8, 16, 32, 32, 8), 4), (32, 32, 32), 223_622, 113_112, 18_249, 5_265),
        "small": Preset(
            UNetSize((16, 16, 32, 64, 128, 16), 8), (64, 64, 64), 1_439_006, 893_616, 72_140, 20_412
        ),
        "base": Preset(
            UNetSize((32, 32, 64, 128, 256, 32), 8), (96, 96, 96), 5_749_806, 3_570_528, 285_936, 79_920
        ),
    },
)
_UNET2D = Entry(
    "unet2d",
    "2D U-Net",
    "bench.nets.unet",
    _UNET3D.source,
    (16, 16, 1),
    strides(1, 2, 4, 8, 16, dims=2),
    {
        "tiny": Preset(UNetSize((8, 16, 32, 32, 64, 8), 4), (64, 64, 1), 166_518, 92_568, 18_688, 5_760),
        "small": Preset(
            UNetSize((16, 16, 32, 64, 128, 16), 8), (128, 128, 1), 496_126, 298_896, 38_304, 12_384
        ),
        "base": Preset(
            UNetSize((32, 32, 64, 128, 256, 32), 8), (192, 192, 1), 1_978_862, 1_192_224, 151_744, 48_960
        ),
    },
    dims=2,
)
ENTRIES = (_UNET2D, _UNET3D)
