"""The sizes of Swin UNETR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.nets.catalog.facts import MONAI, Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class SwinUnetrSize:
    """Base width, blocks and heads of the four stages; groups of the decoder's norms."""

    feature: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    groups: int | None = None  # None: instance norm, as published
    v2: bool = False  # a residual block of convolutions before each stage (SwinUNETR-V2)
    merging: Literal["fixed", "legacy"] = "fixed"  # legacy: that of MONAI before 1.5


_BASE = (48, (2, 2, 2, 2), (3, 6, 12, 24))
_SWIN = Entry(
    "swin_unetr",
    "Swin UNETR",
    "bench.nets.swin_unetr",
    Source(
        "Hatamizadeh et al., Swin UNETR: Swin Transformers for Semantic Segmentation of Brain "
        "Tumors in MRI Images, BrainLes 2021",
        "https://arxiv.org/abs/2201.01266",
        f"{MONAI}/swin_unetr.py",
    ),
    (32, 32, 32),
    strides(2, 4, 8, 16, 32),
    {
        "tiny": Preset(
            SwinUnetrSize(12, (1, 1, 1, 1), (1, 2, 2, 2), 4), (32, 32, 32), 3_748_977, 363_427, 51_137, 8_900
        ),
        "small": Preset(
            SwinUnetrSize(24, (2, 2, 2, 2), (3, 6, 12, 24)),
            (96, 96, 96),
            15_703_304,
            2_171_466,
            187_505,
            20_573,
            lone=False,
        ),
        "base": Preset(
            SwinUnetrSize(*_BASE), (96, 96, 96), 62_187_296, 8_062_002, 720_045, 56_349, lone=False
        ),
        # for weights that others trained with MONAI before 1.5
        "base_legacy": Preset(
            SwinUnetrSize(*_BASE, merging="legacy"),
            (96, 96, 96),
            62_187_296,
            8_062_002,
            720_045,
            56_349,
            lone=False,
        ),
        "base_v2": Preset(
            SwinUnetrSize(*_BASE, v2=True), (96, 96, 96), 72_762_656, 18_637_362, 778_365, 114_669, lone=False
        ),
        "base_v2_legacy": Preset(
            SwinUnetrSize(*_BASE, v2=True, merging="legacy"),
            (96, 96, 96),
            72_762_656,
            18_637_362,
            778_365,
            114_669,
            lone=False,
        ),
    },
)
ENTRIES = (_SWIN,)
