"""Medical Segmentation Decathlon, task 2: the left atrium in MR."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Recipe

ATRIUM = 2  # of the phantom's chambers
PATIENTS = 2000  # number of the first phantom: no other data set shows the same bodies


class Heart(Decathlon):
    """20 labelled and 10 unlabelled scans, those of the 2013 left atrial challenge.

    HSSL's "LASC" with its 1,262 slices fits these scans and not the 2018 challenge's: inferred.
    """

    version = 2  # zeros stay 0 in the recipe voco, slices are 192 x 192 in hssl
    archive = "Task02_Heart"
    published = (20, 10)
    modality = "MR"
    channels = ("MRI",)
    labels = {1: "left atrium"}
    recipes = {
        "default": Recipe(scale="zscore"),
        # Luffy03/Large-Scale-Medical Downstream/monai/Heart: VoCo's authors, after the paper; their
        # --space_* options are not applied
        "voco": Recipe(scale="zscore", nonzero=True, foreground=0.0),
        # HSSL, section 3: slices of 192 x 192, the rest is not stated: resizing and percentiles are assumed
        "hssl": Recipe(resize=(192, 192, 0), scale="percentile"),
        "coarse": Recipe(spacing=(4.0, 4.0, 4.0), scale="zscore"),  # ours: a pilot on a CPU
    }
    splits = {"voco_followup_16_4": "msd02_heart.voco_followup_16_4.json"}
    stems = "la_"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 30 synthetic scans, every sixth one without a label."""
        from bench.phantoms.heart import whole_heart
        from bench.phantoms.msd import Drawn, stems_of, write_task

        spacing = (4.0, 4.0, 4.0)

        def draw(i: int) -> Drawn:
            shape = (64 + 4 * (i % 3), 60, 30 + 2 * (i % 4))
            image, label = whole_heart(shape, spacing, seed, PATIENTS + i, modality="MR")
            return image, label == ATRIUM

        write_task(root, cls, stems_of(cls, "voco_followup_16_4", 10), cases, spacing, draw)
