"""The sizes of UNETR."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import MONAI, Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class UnetrSize:
    """A ViT on patches of 16^3 (the decoder upsamples by 16) and the decoder's base width."""

    hidden: int
    layers: int
    heads: int
    mlp: int
    feature: int

    @property
    def taps(self) -> tuple[int, int, int]:
        """Return the blocks, counted from 0, whose outputs become skips.

        MONAI's UNETR takes 3, 6, 9 of 12, that is the 4th, 7th and 10th block, where the paper's
        text has the 3rd, 6th and 9th; every published baseline uses MONAI's. Fewer blocks are
        tapped at the same proportions.
        """
        return self.layers // 4, self.layers // 2, 3 * self.layers // 4


_UNETR = Entry(
    "unetr",
    "UNETR",
    "bench.nets.unetr",
    Source(
        "Hatamizadeh et al., UNETR: Transformers for 3D Medical Image Segmentation, WACV 2022",
        "https://arxiv.org/abs/2103.10504",
        f"{MONAI}/unetr.py",
    ),
    (16, 16, 16),
    strides(16, 16, 16, 16),
    {
        "tiny": Preset(UnetrSize(96, 4, 4, 192, 8), (64, 64, 32), 1_400_062, 694_560, 30_630, 348),
        # DeiT-Ti's 192 / 12 / 3, the "ViT-T" of the masked-autoencoder papers
        "small": Preset(UnetrSize(192, 12, 3, 768, 16), (96, 96, 96), 8_981_230, 6_159_936, 123_246, 3_462),
        "base": Preset(
            UnetrSize(768, 12, 12, 3072, 16), (96, 96, 96), 92_784_046, 88_340_736, 165_528, 44_952
        ),
    },
    tokens=True,
)
ENTRIES = (_UNETR,)
