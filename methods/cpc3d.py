"""3D contrastive predictive coding: predict a patch's code from an inverted pyramid of patches above it."""

from dataclasses import dataclass

from bench.pretext.context import Boundary
from bench.pretext.predictive import PredictiveCoding, PredictsPatches
from bench.ranges import Count, Part, Share


class CPC3D(PredictiveCoding):
    """Taleb et al. 2020, Section 3.1."""

    title = "3D-CPC"
    dims = 3

    @dataclass(frozen=True)
    class Params(PredictsPatches):
        """The paper where it says something, else its code. The crop is a patch, the code's 32 x 32 x 32."""

        dims = 3

        patches_per_side: Count = 4  # code, cpc_3d.json
        overlap: Part = 0.5  # paper: "overlapping", no number; the code's 2D; its 3D 0
        crop_frac: Share = 0.95  # code
        patch_crop_frac: Share = 7 / 8  # code
        patch_flip: Share = 0.5  # code
        skip_row: bool = False  # paper, Fig. 1, and code
        boundary: Boundary = "reflect"  # code
