"""Jigsaw puzzles on slices: by which of 100 permutations the patches of a grid were shuffled."""

from dataclasses import dataclass

from bench.pretext.jigsaw import Jigsaw, JigsawParams
from bench.ranges import Whole


class Jigsaw2D(Jigsaw):
    """Taleb et al. 2020, Section 3.3, in 2D."""

    title = "2D jigsaw puzzles"
    dims = 2

    @dataclass(frozen=True)
    class Params(JigsawParams):
        """The paper's and the code's, of slices."""

        jitter: Whole = 8  # code: 8 at 224 pixels, 4 at 128

    params: Params
