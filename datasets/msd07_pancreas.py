"""Medical Segmentation Decathlon, task 7: pancreas and its masses in CT."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Recipe

SOFT = (-175.0, 250.0)  # HU
PATIENTS = 7000  # number of the first phantom: no other data set shows the same bodies


class Pancreas(Decathlon):
    """281 labelled and 139 unlabelled portal-venous scans of patients with a mass."""

    version = 2  # slices of the recipe hssl are 192 x 192
    archive = "Task07_Pancreas"
    published = (281, 139)
    modality = "CT"
    channels = ("CT",)
    labels = {1: "pancreas", 2: "cancer"}
    recipes = {
        # as "voco"; the Decathlon states none
        "default": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # Luffy03/Large-Scale-Medical Downstream/monai/Panc: VoCo's authors, after the paper
        "voco": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # HealthML/self-supervised-3d-tasks@ecc86ef9: no HU window, the box above 0.05 of the range.
        # Its labels are resampled linearly and scored on this grid; here they keep their classes
        # and are scored on the scan's own.
        "taleb": Recipe(resize=(128, 128, 128), scale="minmax", foreground=0.05),
        # PGL, section 5.1: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        # HSSL, section 3: slices of 192 x 192, the rest is not stated: resizing and window are assumed
        "hssl": Recipe(resize=(192, 192, 0), window=SOFT),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    splits = {"voco_followup_257_24": "msd07_pancreas.voco_followup_257_24.json"}
    overlaps = {
        "msd08_hepatic_vessel": "patients of one hospital (MSKCC); who is in both was not published",
        "msd09_spleen": "patients of one hospital (MSKCC); who is in both was not published",
        "msd10_colon": "patients of one hospital (MSKCC); who is in both was not published",
    }

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 420 synthetic scans, every sixth one without a label."""
        from bench.phantoms.lesion import SPACING, Growth, abdomen, grid
        from bench.phantoms.msd import Drawn, stems_of, write_task

        def draw(i: int) -> Drawn:
            tumour = Growth(2, (11,), 25, (0.12, 0.16))
            return abdomen(grid(i), SPACING, seed, PATIENTS + i, {11: 1}, [tumour])

        write_task(root, cls, stems_of(cls, "voco_followup_257_24", 139), cases, SPACING, draw)
