"""Jigsaw puzzles on slices: by which of 100 permutations the patches of a grid were shuffled."""

from dataclasses import dataclass

from bench.pretext.cells import Far
from bench.pretext.jigsaw import Jigsaw, JigsawParams
from bench.pretext.patches import Place, Pool
from bench.ranges import Count, Part, Whole
from bench.source import Source


class Jigsaw2D(Jigsaw):
    """Taleb et al. 2020, Section 3.3, in 2D."""

    title = "2D jigsaw puzzles"
    source = Source(
        "A. Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    paper = "taleb"
    dims = 2
    fidelity = "official code compared: cells, patches, shuffling; head and loss by its text (Keras)"

    @dataclass(frozen=True)
    class Params(JigsawParams):
        """Defaults are the paper's; where it is silent, the code's."""

        n: Count = 3  # paper, 3.3: up to 3 x 3; 2 is what it compares with
        jitter: Whole = 8  # code: 8 at 224 pixels, 4 at 128
        place: Place = "random"  # paper, 3.2; code: the whole slice from its corner
        permutations: Count = 100  # code (P)
        perm_mode: Far = "mean"  # paper, 3.3: Noroozi & Favaro's; code: in 2D that, in 3D random
        perm_seed: Whole = 0  # ours
        pool: Pool = "mean"  # code: one cell, which needs none; DenseNet: max
        hidden: tuple[Count, ...] = (2048, 1024)  # code (big_fully)
        norm: bool = True  # code, behind ReLU
        dropout: Part = 0.5  # code, behind batch norm

    params: Params
