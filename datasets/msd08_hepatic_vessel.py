"""Medical Segmentation Decathlon, task 8: vessels and tumours of the liver in CT."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Recipe

SOFT = (-175.0, 250.0)  # HU
PATIENTS = 8000  # number of the first phantom: no other data set shows the same bodies


class HepaticVessel(Decathlon):
    """303 labelled and 140 unlabelled portal-venous scans."""

    archive = "Task08_HepaticVessel"
    published = (303, 140)
    modality = "CT"
    channels = ("CT",)
    labels = {1: "vessel", 2: "tumour"}
    recipes = {
        # as "voco"; the Decathlon states none
        "default": Recipe(spacing=(1.0, 1.0, 5.0), window=SOFT, foreground=0.0),
        # Luffy03/Large-Scale-Medical Downstream/monai/Vessel: VoCo's authors, after the paper
        "voco": Recipe(spacing=(1.0, 1.0, 5.0), window=SOFT, foreground=0.0),
        # PGL, section 5.1: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    splits = {"voco_followup_242_61": "msd08_hepatic_vessel.voco_followup_242_61.json"}
    overlaps = {
        "msd07_pancreas": "patients of one hospital (MSKCC); who is in both was not published",
        "msd09_spleen": "patients of one hospital (MSKCC); who is in both was not published",
        "msd10_colon": "patients of one hospital (MSKCC); who is in both was not published",
    }

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 443 synthetic scans, every sixth one without a label."""
        from bench.phantoms.lesion import SPACING, Growth, abdomen, grid
        from bench.phantoms.msd import Drawn, stems_of, write_task

        def draw(i: int) -> Drawn:
            vessels = Growth(1, (6,), 165, (0.05, 0.07), (3, 5), length=5)
            tumour = Growth(2, (6,), 35, (0.18, 0.28), (1, 2))
            return abdomen(grid(i), SPACING, seed, PATIENTS + i, {10: 1}, (vessels, tumour))

        write_task(root, cls, stems_of(cls, "voco_followup_242_61", 140), cases, SPACING, draw)
