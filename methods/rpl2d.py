"""Relative patch location on slices: in which of 8 cells a patch lies, seen from the one in the middle."""

from dataclasses import dataclass

from bench.pretext.relative_location import LocationParams, RelativeLocation
from bench.ranges import Whole


class Rpl2D(RelativeLocation):
    """Taleb et al. 2020, Section 3.2, in 2D."""

    title = "2D relative patch location"
    dims = 2

    @dataclass(frozen=True)
    class Params(LocationParams):
        """The paper's and the code's, of slices."""

        jitter: Whole = 8  # code: 8 at 224 pixels, 4 at 128

    params: Params
