"""Medical Segmentation Decathlon, task 9: the spleen in portal-venous CT."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Recipe

SOFT = (-175.0, 250.0)  # HU
PATIENTS = 9000  # number of the first phantom: no other data set shows the same bodies


class Spleen(Decathlon):
    """41 labelled and 20 unlabelled scans, slices 1.5 to 8 mm thick."""

    version = 2  # slices of the recipe hssl are 192 x 192
    archive = "Task09_Spleen"
    published = (41, 20)
    modality = "CT"
    channels = ("CT",)
    labels = {1: "spleen"}
    recipes = {
        # MONAI tutorials 3d_segmentation/spleen_segmentation_3d
        "default": Recipe(spacing=(1.5, 1.5, 2.0), window=(-57.0, 164.0), foreground=0.0),
        # Luffy03/Large-Scale-Medical Downstream/monai/Spleen: VoCo's authors, after the paper
        "voco": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # PGL, section 5.1: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        # GL-MAE's range; its spacing is not stated, MONAI's is taken
        "glmae": Recipe(spacing=(1.5, 1.5, 2.0), window=(-1000.0, 1000.0), foreground=0.0),
        # HSSL, section 3: slices of 192 x 192, the rest is not stated: resizing and window are assumed
        "hssl": Recipe(resize=(192, 192, 0), window=SOFT),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    splits = {
        "monai_32_9": "msd09_spleen.monai_32_9.json",
        "voco_followup_32_9": "msd09_spleen.voco_followup_32_9.json",
        "pgl_20_21": "msd09_spleen.pgl_20_21.json",
    }
    overlaps = {
        "msd07_pancreas": "patients of one hospital (MSKCC); who is in both was not published",
        "msd08_hepatic_vessel": "patients of one hospital (MSKCC); who is in both was not published",
        "msd10_colon": "patients of one hospital (MSKCC); who is in both was not published",
    }

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 61 synthetic scans, every sixth one without a label."""
        from bench.phantoms.lesion import SPACING, abdomen, grid
        from bench.phantoms.msd import Drawn, stems_of, write_task

        def draw(i: int) -> Drawn:
            return abdomen(grid(i), SPACING, seed, PATIENTS + i, {1: 1})

        write_task(root, cls, stems_of(cls, "monai_32_9", 20), cases, SPACING, draw)
