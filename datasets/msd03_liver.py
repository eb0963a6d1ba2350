"""Medical Segmentation Decathlon, task 3: liver and its tumours in CT."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Case, Recipe

SOFT = (-175.0, 250.0)  # HU
LABELLED = 131  # liver_0 to liver_130; the test scans go on from there
HEALTHY = 10  # every tenth phantom has no tumour
PATIENTS = 3000  # number of the first phantom: no other data set shows the same bodies


class Liver(Decathlon):
    """131 labelled and 70 unlabelled scans: those of LiTS, whose defects it shares.

    ``liver_N`` is LiTS' ``volume-N``; 13 have no tumour. 28 to 47 come from 3D-IRCADb-01 and state
    a spacing of 1 mm that is not theirs in LiTS; whether these copies were mended is not known.
    """

    archive = "Task03_Liver"
    published = (131, 70)
    modality = "CT"
    channels = ("CT",)
    labels = {1: "liver", 2: "cancer"}
    doubtful = {
        f"liver_{n}": "3D-IRCADb-01 scan: no true spacing in LiTS; whether this copy was mended is not known"
        for n in range(28, 48)
    }
    recipes = {
        # as "voco"; the Decathlon states none
        "default": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # Luffy03/Large-Scale-Medical Downstream/monai/LiTs: VoCo's authors, after the paper
        "voco": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # PGL, section 5.1: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    splits = {
        "voco_followup_108_23": "msd03_liver.voco_followup_108_23.json",
        "pgl_66_65": "msd03_liver.pgl_66_65.json",
    }
    overlaps = {
        "lits": "the same 201 scans; liver_N is volume-N there, the test scans' order is not known"
    }

    def person(self, case: Case) -> str:
        """Return the patient of LiTS, but for the test scans, whose order there is not known."""
        # liver_N = volume-N: the list that VoCo's authors published for LiTS (Large-Scale-Medical
        # Downstream/monai/LiTs) is written in the names of this task. No voxels were compared here.
        number = case.patient.removeprefix(self.stems)
        shared = number.isdecimal() and int(number) < LABELLED
        return f"lits:{number}" if shared else super().person(case)

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 201 synthetic scans, every sixth one without a label."""
        from bench.phantoms.lesion import SPACING, Growth, abdomen, grid
        from bench.phantoms.msd import Drawn, stems_of, write_task

        def draw(i: int) -> Drawn:
            tumours = (
                () if i % HEALTHY == HEALTHY - 1 else (Growth(2, (6,), 35, (0.18, 0.28), (1, 2)),)
            )
            return abdomen(grid(i), SPACING, seed, PATIENTS + i, {6: 1}, tumours)

        write_task(root, cls, stems_of(cls, "pgl_66_65", 70), cases, SPACING, draw)
