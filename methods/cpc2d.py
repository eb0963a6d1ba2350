"""2D contrastive predictive coding: predict a patch's code from an inverted pyramid of patches above it."""

from dataclasses import dataclass
from typing import Literal

from bench.pretext.context import Boundary
from bench.pretext.predictive import PredictiveCoding, PredictsPatches
from bench.ranges import Count, Part, Positive, Share
from bench.source import Source


class CPC2D(PredictiveCoding):
    """The 2D version of Taleb et al. 2020, with which they compare their 3D one."""

    title = "2D-CPC"
    paper = "taleb"
    dims = 2
    source = Source(
        "A. Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = "official code compared: patches, context, targets, binary loss; InfoNCE: paper only"

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
        code_size: Count = 1024  # code
        gru: Count = 256  # code
        loss: Literal["infonce", "bce_code"] = "infonce"  # paper, Eq. 1; code bce_code
        negatives: Literal["same_volume", "batch"] = "same_volume"  # paper; code: batch
        other_rows: bool = True  # paper: "other locations"; how many are taken is not said: all; code: no
        temperature: Positive = 1.0  # paper, Eq. 1 has none
