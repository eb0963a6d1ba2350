"""Medical Segmentation Decathlon, task 10: primary colon cancer in CT."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Recipe

SOFT = (-175.0, 250.0)  # HU
BOWEL = (18, 19, 20, 21, 22, 23)  # the atlas's loops, which no label names
PATIENTS = 10000  # number of the first phantom: no other data set shows the same bodies


class Colon(Decathlon):
    """126 labelled and 64 unlabelled portal-venous scans; the bowel itself is not labelled."""

    archive = "Task10_Colon"
    published = (126, 64)
    modality = "CT"
    channels = ("CT",)
    labels = {1: "colon cancer primaries"}
    recipes = {
        # as "voco"; the Decathlon states none
        "default": Recipe(spacing=(1.0, 1.0, 5.0), window=SOFT, foreground=0.0),
        # Luffy03/Large-Scale-Medical Downstream/monai/Colon: VoCo's authors, after the paper
        "voco": Recipe(spacing=(1.0, 1.0, 5.0), window=SOFT, foreground=0.0),
        # PGL, section 5.1: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    splits = {"voco_followup_100_26": "msd10_colon.voco_followup_100_26.json"}
    overlaps = {
        "msd07_pancreas": "patients of one hospital (MSKCC); who is in both was not published",
        "msd08_hepatic_vessel": "patients of one hospital (MSKCC); who is in both was not published",
        "msd09_spleen": "patients of one hospital (MSKCC); who is in both was not published",
    }

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 190 synthetic scans, every sixth one without a label."""
        from bench.phantoms.lesion import SPACING, Growth, abdomen, grid
        from bench.phantoms.msd import Drawn, stems_of, write_task

        def draw(i: int) -> Drawn:
            tumour = Growth(1, BOWEL, 30, (0.14, 0.20))
            return abdomen(grid(i), SPACING, seed, PATIENTS + i, {}, [tumour])

        write_task(root, cls, stems_of(cls, "voco_followup_100_26", 64), cases, SPACING, draw)
