"""Medical Segmentation Decathlon, task 6: lung cancer in CT."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Recipe

WIDE = (-1000.0, 500.0)  # HU
PATIENTS = 6000  # number of the first phantom: no other data set shows the same bodies


class Lung(Decathlon):
    """63 labelled and 32 unlabelled scans; the site says 64. Most voxels of a scan are no tumour's."""

    archive = "Task06_Lung"
    published = (63, 32)
    modality = "CT"
    channels = ("CT",)
    labels = {1: "cancer"}
    recipes = {
        # as "voco"; the Decathlon states none
        "default": Recipe(spacing=(1.25, 1.25, 5.0), window=WIDE, foreground=0.0),
        # Luffy03/Large-Scale-Medical Downstream/monai/Lung: VoCo's authors, after the paper
        "voco": Recipe(spacing=(1.25, 1.25, 5.0), window=WIDE, foreground=0.0),
        # PGL, section 5.1: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=WIDE),  # ours: a pilot on a CPU
    }
    splits = {"voco_followup_50_13": "msd06_lung.voco_followup_50_13.json"}

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 95 synthetic chests with nodules, every sixth one without a label."""
        from bench.phantoms.chest import chest
        from bench.phantoms.msd import Drawn, stems_of, write_task

        spacing = (5.5, 5.5, 7.0)

        def draw(i: int) -> Drawn:
            patient = chest(
                (60 + 4 * (i % 2), 56, 40 + 2 * (i % 3)), spacing, seed, PATIENTS + i, nodules=True
            )
            return patient.image, patient.lesions > 0

        write_task(root, cls, stems_of(cls, "voco_followup_50_13", 32), cases, spacing, draw)
