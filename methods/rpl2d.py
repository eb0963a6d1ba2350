"""Relative patch location on slices: in which of 8 cells a patch lies, seen from the one in the middle."""

from dataclasses import dataclass

from bench.pretext.patches import Place, Pool
from bench.pretext.relative_location import LocationParams, RelativeLocation
from bench.ranges import Count, Part, Whole
from bench.source import Source


class Rpl2D(RelativeLocation):
    """Taleb et al. 2020, Section 3.2, in 2D."""

    title = "2D relative patch location"
    source = Source(
        "A. Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    paper = "taleb"
    dims = 2
    fidelity = "official code compared: cells, patches, classes; head and loss by its text (Keras)"

    @dataclass(frozen=True)
    class Params(LocationParams):
        """Defaults are the paper's; where it is silent, the code's."""

        n: Count = 3  # paper, Figure 1: 3 x 3 cells
        jitter: Whole = 8  # code: 8 at 224 pixels, 4 at 128
        place: Place = "random"  # paper, 3.2; code: the whole slice from its corner
        queries_per_image: Count = 1  # code; paper, Eq. 2: K of all samples
        pool: Pool = "mean"  # code: one cell, which needs none; DenseNet: max
        hidden: tuple[Count, ...] = (2048, 1024)  # code (big_fully)
        norm: bool = True  # code, behind ReLU
        dropout: Part = 0.5  # code, behind batch norm

    params: Params
