"""The networks and their sizes as plain facts: reading this imports neither torch nor MONAI."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from bench.errors import BenchError, unknown
from bench.source import Source

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class UNetSize:
    """Widths of the five encoder levels, then of the last decoder level; groups of each norm."""

    features: tuple[int, int, int, int, int, int]
    groups: int  # divides every width, with two or more channels in a group


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


@dataclass(frozen=True)
class SwinUnetrSize:
    """Base width, blocks and heads of the four stages; groups of the decoder's norms."""

    feature: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    groups: int | None = None  # None: instance norm, as published


@dataclass(frozen=True)
class Preset:
    """One size; ``parameters`` counts it built at ``crop`` with these channels."""

    size: Any
    crop: Triple
    parameters: int
    encoder_parameters: int
    flops_per_voxel: int  # forward, at `crop`; counted by torch's FlopCounterMode
    encoder_flops_per_voxel: int  # the encoder's share
    in_channels: int = 1
    out_channels: int = 14  # BTCV: 13 organs and background


@dataclass(frozen=True)
class Entry:
    """One network: where it comes from, what it can read, its sizes (smallest first)."""

    name: str
    title: str
    module: str  # defines ``build(name, preset, in_channels, out_channels, crop)``
    source: Source
    multiple: int  # every side of a crop is a multiple of this; of two dimensions x and y alone
    presets: dict[str, Preset]
    dims: int = 3  # 2: reads slices along z, crops (x, y, 1)
    tokens: bool = False  # its encoder is a ViT that can read a subset of the patches
    version: int = 1  # raised by hand when the architecture or its initialisation changes


_MONAI = "https://github.com/Project-MONAI/MONAI/blob/1.6.1/monai/networks/nets"
_UNET3D = Entry(
    "unet3d",
    "3D U-Net",
    "bench.nets.unet",
    Source(
        "Falk et al., U-Net: deep learning for cell counting, detection, and morphometry, "
        "Nature Methods 16 (2019)",
        "https://doi.org/10.1038/s41592-018-0261-2",
        f"{_MONAI}/basic_unet.py",
    ),
    16,
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
    16,
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
_UNETR = Entry(
    "unetr",
    "UNETR",
    "bench.nets.unetr",
    Source(
        "Hatamizadeh et al., UNETR: Transformers for 3D Medical Image Segmentation, WACV 2022",
        "https://arxiv.org/abs/2103.10504",
        f"{_MONAI}/unetr.py",
    ),
    16,
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
_SWIN = Entry(
    "swin_unetr",
    "Swin UNETR",
    "bench.nets.swin_unetr",
    Source(
        "Hatamizadeh et al., Swin UNETR: Swin Transformers for Semantic Segmentation of Brain "
        "Tumors in MRI Images, BrainLes 2021",
        "https://arxiv.org/abs/2201.01266",
        f"{_MONAI}/swin_unetr.py",
    ),
    32,
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
        ),
        "base": Preset(
            SwinUnetrSize(48, (2, 2, 2, 2), (3, 6, 12, 24)),
            (96, 96, 96),
            62_187_296,
            8_062_002,
            720_045,
            56_349,
        ),
    },
)
CATALOG = {e.name: e for e in (_SWIN, _UNET2D, _UNET3D, _UNETR)}


def entry(name: str) -> Entry:
    """Return one network's facts.

    Raises:
        BenchError: no such network; names the nearest one.
    """
    if name not in CATALOG:
        raise BenchError(unknown("network", name, CATALOG))
    return CATALOG[name]


def preset(name: str, size: str) -> Preset:
    """Return one size of one network.

    Raises:
        BenchError: no such network or preset; names the nearest one.
    """
    found = entry(name).presets
    if size not in found:
        raise BenchError(unknown(f"preset of network {name!r}", size, found))
    return found[size]


def check_crop(name: str, size: str, crop: Triple | None = None) -> Triple:
    """Return the crop (by default the preset's own) if the network can be trained on it.

    Args:
        name: a network.
        size: one of its presets.
        crop: voxels along x, y, z.

    Raises:
        BenchError: a side that is no positive multiple of what the network halves away, a crop of
            several slices for a network of two dimensions, or a crop whose bottleneck is a single
            voxel under instance norm (it has no variance).
    """
    facts, chosen = entry(name), preset(name, size)
    if crop is None:
        return chosen.crop
    step, where = facts.multiple, f"crop {tuple(crop)} of network {name!r}"
    if len(crop) != 3:
        raise BenchError(f"{where}: give three sides, x y z, in voxels")
    if facts.dims == 2 and crop[2] != 1:
        raise BenchError(f"{where}: it reads single slices along z; take {(*crop[:2], 1)}")
    for axis, side in zip("xyz"[: facts.dims], crop[: facts.dims], strict=True):
        if side < 1 or side % step:
            lower = side // step * step
            near = f"{lower} or {lower + step}" if lower > 0 else f"{step}"
            raise BenchError(f"{where}: side {axis} = {side} must be a multiple of {step}; take {near}")
    lone = prod(crop) == step**facts.dims
    if lone and isinstance(chosen.size, SwinUnetrSize) and chosen.size.groups is None:
        raise BenchError(
            f"{where}: preset {size!r} has instance norm, which cannot train on one bottleneck "
            f"voxel; take 64 along at least one axis or preset 'tiny'"
        )
    return (crop[0], crop[1], crop[2])


def describe() -> list[dict[str, Any]]:
    """Return what ``bench list networks --json`` prints, one entry per network."""
    return [
        {
            "name": e.name,
            "title": e.title,
            "dims": e.dims,
            "presets": [
                {
                    "preset": key,
                    "in_channels": p.in_channels,
                    "out_channels": p.out_channels,
                    "parameters": p.parameters,
                }
                for key, p in e.presets.items()
            ],
            "source": {"cite": e.source.cite, "url": e.source.url, "code": e.source.code},
        }
        for e in CATALOG.values()
    ]
