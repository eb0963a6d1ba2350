"""What the catalog says of a network and of each of its sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.source import Source

Triple = tuple[int, int, int]
MONAI = "https://github.com/Project-MONAI/MONAI/blob/1.6.1/monai/networks/nets"
BOTH = ("segmentation", "classification")


@dataclass(frozen=True)
class Preset:
    """One size; ``parameters`` counts it built at ``crop`` with these channels."""

    size: Any  # what the network's module makes of it
    crop: Triple
    parameters: int
    encoder_parameters: int
    flops_per_voxel: int  # forward, at `crop`; counted by torch's FlopCounterMode
    encoder_flops_per_voxel: int  # the encoder's share
    in_channels: int = 1
    out_channels: int = 14  # BTCV: 13 organs and background
    lone: bool = True  # can it train where its bottleneck is one voxel? not under instance norm


@dataclass(frozen=True)
class Entry:
    """One network: where it comes from, what it can read, its sizes (smallest first)."""

    name: str
    title: str
    module: str  # defines ``build(name, preset, in_channels, out_channels, crop)``
    source: Source
    multiple: Triple  # every side of a crop is a multiple of this
    pyramid: tuple[Triple, ...]  # by what each of the encoder's maps is coarser than the input
    presets: dict[str, Preset]
    dims: int = 3  # 2: reads slices along z, crops (x, y, 1)
    tokens: bool = False  # its encoder is a ViT that can read a subset of the patches
    tasks: tuple[str, ...] = BOTH  # without a decoder: classification alone
    batch_norm: bool = False  # a sample's output depends on its batch while training
    scales: int = 1  # resolutions at which the decoder can give logits (deep supervision)
    version: int = 1  # raised by hand when the architecture or its initialisation changes


def strides(*factors: int, dims: int = 3) -> tuple[Triple, ...]:
    """Return the strides of a pyramid that is coarser by the same factor along every axis it reads."""
    return tuple((f, f, f if dims == 3 else 1) for f in factors)
