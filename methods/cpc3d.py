"""3D contrastive predictive coding: predict a patch's code from an inverted pyramid of patches above it."""

from dataclasses import dataclass
from typing import Literal

from bench.pretext.context import Boundary
from bench.pretext.predictive import PredictiveCoding, PredictsPatches
from bench.ranges import Count, Part, Positive, Share
from bench.source import Source


class CPC3D(PredictiveCoding):
    """Taleb et al. 2020, Section 3.1."""

    title = "3D-CPC"
    paper = "taleb"
    dims = 3
    source = Source(
        "A. Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = "official code compared: patches, context, targets, binary loss; InfoNCE: paper only"

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
        code_size: Count = 1024  # code
        gru: Count = 256  # code
        loss: Literal["infonce", "bce_code"] = "infonce"  # paper, Eq. 1; code bce_code
        negatives: Literal["same_volume", "batch"] = "same_volume"  # paper; code: a batch of one volume
        other_rows: bool = True  # paper: "other locations"; how many are taken is not said: all; code: no
        temperature: Positive = 1.0  # paper, Eq. 1 has none
