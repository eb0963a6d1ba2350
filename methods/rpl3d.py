"""Relative patch location on volumes: in which of 26 cells a patch lies, seen from the one in the middle."""

from dataclasses import dataclass

from bench.pretext.relative_location import LocationParams, RelativeLocation


class Rpl3D(RelativeLocation):
    """Taleb et al. 2020, Section 3.2, in 3D."""

    title = "3D relative patch location"
    dims = 3

    @dataclass(frozen=True)
    class Params(LocationParams):
        """The paper's and the code's, of volumes."""

    params: Params
