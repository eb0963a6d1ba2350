"""Jigsaw puzzles on volumes: by which of 100 permutations the patches of a grid were shuffled."""

from dataclasses import dataclass

from bench.pretext.jigsaw import Jigsaw, JigsawParams


class Jigsaw3D(Jigsaw):
    """Taleb et al. 2020, Section 3.3, in 3D."""

    title = "3D jigsaw puzzles"
    dims = 3

    @dataclass(frozen=True)
    class Params(JigsawParams):
        """The paper's and the code's, of volumes."""

    params: Params
