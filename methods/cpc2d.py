"""2D contrastive predictive coding: predict a patch's code from an inverted pyramid of patches above it."""

from dataclasses import dataclass

from bench.pretext.context import Boundary
from bench.pretext.predictive import PredictiveCoding, PredictsPatches
from bench.ranges import Count, Part, Share


class CPC2D(PredictiveCoding):
    """The 2D version of Taleb et al. 2020, with which they compare their 3D one."""

    title = "2D-CPC"
    dims = 2

    @dataclass(frozen=True)
    class Params(PredictsPatches):
        """The paper where it says something, else its code. The crop is a patch."""

        dims = 2

        patches_per_side: Count = 5  # code, cpc_2d.json
        overlap: Part = 0.5  # code; paper: "overlapping"
        crop_frac: Share = 1.0  # code, cpc_2d.json; .95 without it
        patch_crop_frac: Share = 11 / 12  # code
        patch_flip: Share = 0.0  # code
        skip_row: bool = True  # code, as patches overlap
        boundary: Boundary = "zero"  # code
