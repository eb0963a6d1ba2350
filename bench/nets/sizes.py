"""What the table of networks says of each and of its sizes, and what modules that build them are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

from bench.ranges import Count, Triple
from bench.source import Source

BOTH: tuple[Literal["segmentation", "classification"], ...] = ("segmentation", "classification")


@dataclass(frozen=True)
class Preset:
    """One size; ``parameters`` counts it built at ``crop`` with these channels."""

    size: Any  # what the network's module makes of it
    crop: Triple
    parameters: Count
    encoder_parameters: Count
    flops_per_voxel: Count  # forward, at `crop`; counted by torch's FlopCounterMode
    encoder_flops_per_voxel: Count  # the encoder's share
    in_channels: Count = 1
    out_channels: Count = 14  # BTCV: 13 organs and background
    # channels of the encoder's maps, finest first; (): not stated. No weight depends on it
    widths: tuple[Count, ...] = field(default=(), repr=False)
    lone: bool = True  # can it train where its bottleneck is one voxel? not under instance norm

    def __post_init__(self) -> None:
        _positive("crop", [self.crop])


@dataclass(frozen=True)
class Entry:
    """One network: where it comes from, what it can read, its sizes (smallest first)."""

    name: str
    title: str
    module: str  # defines ``build(wanted)``, see ``bench.nets.base``
    source: Source
    multiple: Triple  # every side of a crop is a multiple of this
    pyramid: tuple[Triple, ...]  # by what each of the encoder's maps is coarser than the input
    presets: dict[str, Preset]
    dims: Literal[2, 3] = 3  # 2: reads slices along z, crops (x, y, 1)
    tokens: bool = False  # its encoder is a ViT that can read a subset of the patches
    patches: bool = False  # its encoder embeds patches, which can be replaced
    # without a decoder: classification alone
    tasks: tuple[Literal["segmentation", "classification"], ...] = BOTH
    batch_norm: bool = False  # a sample's output depends on its batch while training
    views: Literal["any", "multiples", "crops"] = "any"  # sizes that its encoder reads
    scales: Count = 1  # resolutions at which the decoder can give logits (deep supervision)
    version: int = 1  # raised by hand when the architecture or its initialisation changes

    def __post_init__(self) -> None:
        _positive("multiple", [self.multiple])
        _positive("pyramid", self.pyramid)
        for name in ("presets", "tasks"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")


def _positive(name: str, sides: Sequence[Triple]) -> None:
    if not sides or min(map(min, sides)) < 1:
        raise ValueError(f"{name} must be sides of 1 or more, got {sides}")


@dataclass(frozen=True)
class UNetSize:
    """Widths of the five encoder levels, then of the last decoder level; groups of each norm."""

    features: tuple[int, int, int, int, int, int]
    groups: int  # divides every width, with two or more channels in a group


@dataclass(frozen=True)
class DoubleSize:
    """Width of the first of five levels (doubled from level to level), and which decoder."""

    width: int
    full_scale: bool  # UNet 3+: every level of the decoder reads all scales


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
    v2: bool = False  # a residual block of convolutions before each stage (SwinUNETR-V2)
    merging: Literal["fixed", "legacy"] = "fixed"  # legacy: that of MONAI before 1.5


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


@dataclass(frozen=True)
class SegResNetDSSize:
    """Width of the first of five levels (doubled at each), residual blocks, the axes that it reads, slope.

    ``SPL``: images come to it as (top, back, left), as CT-FM reads them, and its maps come back as (x, y, z).
    """

    filters: int
    blocks: tuple[int, int, int, int, int] = (1, 2, 2, 4, 4)  # Auto3DSeg's and CT-FM's
    axes: Literal["RAS", "SPL"] = "RAS"
    slope: float = 0.0  # of the rectifiers below 0


@dataclass(frozen=True)
class PlainUNetSize:
    """Widths of the six stages, of two convolutions each; groups of each norm."""

    features: tuple[int, int, int, int, int, int]
    groups: int | None = None  # None: instance norm with weight and bias, as published


@dataclass(frozen=True)
class AmaesUNetSize:
    """Width of the first of five levels, doubled at each below; groups of each norm."""

    filters: int
    groups: int | None = None  # None: instance norm with weight and bias, as published


@dataclass(frozen=True)
class ResEncSize:
    """Widths and residual blocks of the stages; groups of each norm."""

    features: tuple[int, ...]
    blocks: tuple[int, ...]
    groups: int | None = None  # None: instance norm with weight and bias, as published


@dataclass(frozen=True)
class PrimusSize:
    """Channels of a patch, blocks and heads; share of the samples that skip the last block in training."""

    dim: int  # 6 times a multiple of the heads
    depth: int
    heads: int
    drop_path: float = 0.2  # as nnU-Net trains it; blocks before the last have less, the first none


@dataclass(frozen=True)
class SpectreSize:
    """Channels of a patch, blocks and heads; width of the decoder's last level."""

    dim: int  # 6 times a multiple of the heads
    depth: int
    heads: int
    feature: int = 32


@dataclass(frozen=True)
class StuNetSize:
    """Widths of the six levels, residual blocks of each; groups of each norm; the last level's strides."""

    features: tuple[int, int, int, int, int, int]
    depth: int = 1
    groups: int | None = None  # None: instance norm with weight and bias, as published
    last: Triple = (2, 2, 2)  # by what the last level divides the sides


@dataclass(frozen=True)
class GenesisSize:
    """Channels after the first convolution; the four levels end with 2, 4, 8 and 16 times as many."""

    width: int
    leak: float = 0.0  # slope below 0 of the rectifier before the last layer; the paper's has none
    light: bool = False  # a decoder of ours with a hundredth of the weights


@dataclass(frozen=True)
class PglSize:
    """Blocks and inner widths of the four stages (a quarter of their maps'); widths behind them."""

    blocks: tuple[int, int, int, int]
    planes: tuple[int, int, int, int]
    aspp: int
    decoder: tuple[int, int, int]


@dataclass(frozen=True)
class TalebSize:
    """Width of the first level, doubled at each below; a batch's share in the running statistics."""

    filters: int
    momentum: float


@dataclass(frozen=True)
class ResNetSize:
    """Width of stem and first stage (doubled from stage to stage); basic blocks of the four stages."""

    width: int
    blocks: tuple[int, int, int, int]


@dataclass(frozen=True)
class DenseNetSize:
    """Channels of the stem, channels that each layer adds, layers of the four blocks."""

    stem: int
    growth: int
    blocks: tuple[int, int, int, int]

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the channels of the stem and of each block's end; half of these reach the next block."""
        first = self.stem + self.blocks[0] * self.growth
        ends = accumulate(self.blocks[1:], lambda w, n: w // 2 + n * self.growth, initial=first)
        return (self.stem, *ends)


@dataclass(frozen=True)
class VggSize:
    """Channels of the five blocks, and how many convolutions each has."""

    widths: tuple[int, ...]
    convs: tuple[int, ...]
