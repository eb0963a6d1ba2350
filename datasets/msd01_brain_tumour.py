"""Medical Segmentation Decathlon, task 1: brain tumours in four MR contrasts."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Recipe

CONTRASTS = ("flair", "t1", "t1ce", "t2")  # the channels, as the phantom names them
FLAT = 10  # every tenth phantom has no enhancing part
ORDER = (0, 2, 1, 3)  # label of the phantom's core, oedema and enhancing rim
PATIENTS = 1000  # number of the first phantom: no other data set shows the same bodies


class BrainTumour(Decathlon):
    """484 labelled and 266 unlabelled scans, skull-stripped, 240 x 240 x 155 at 1 mm, in one 4-D file.

    Scans of BraTS 2016 and 2017 under new names, with labels of another order: 1 is oedema here and
    2 in BraTS, 3 is enhancing here and 4 there.
    """

    version = 2  # a z-score of non-zero voxels keeps zeros at 0
    archive = "Task01_BrainTumour"
    published = (484, 266)
    modality = "MR"
    channels = ("FLAIR", "T1w", "T1gd", "T2w")
    labels = {1: "oedema", 2: "non-enhancing tumour", 3: "enhancing tumour"}
    regions = {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}
    empty = "brats"  # the Decathlon states no rule; the scans and the regions are BraTS's
    recipes = {
        "default": Recipe(scale="zscore", nonzero=True),  # all cases are 1 mm isotropic
        # Luffy03/Large-Scale-Medical Downstream/monai/BRATS: VoCo's authors, after the paper; the box
        # is that of voxels above 0 once they are scaled
        "voco": Recipe(scale="zscore", nonzero=True, foreground=0.0),
        # GL-MAE cites this task and states nothing of its intensities: Swin-UNETR's are assumed
        "glmae": Recipe(scale="zscore", nonzero=True, foreground="nonzero"),
        "coarse": Recipe(spacing=(5.0, 5.0, 5.0), scale="zscore", nonzero=True),  # ours: on a CPU
    }
    splits = {"voco_followup_387_97": "msd01_brain_tumour.voco_followup_387_97.json"}
    overlaps = {
        "brats18": "scans of BraTS 2016 and 2017 under new names; which is which was not published",
        "brats21": "scans of BraTS 2016 and 2017 under new names; which is which was not published",
    }
    stems = "BRATS_"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 750 synthetic scans, every sixth one without a label."""
        import numpy as np

        from bench.phantoms.brain import brain
        from bench.phantoms.msd import Drawn, stems_of, write_task

        spacing = (5.0, 5.0, 5.0)

        def draw(i: int) -> Drawn:
            enhancing = i % FLAT != FLAT - 1
            head = brain((48, 48, 31), spacing, seed, PATIENTS + i, enhancing=enhancing)
            image = np.stack([head.images[n] for n in CONTRASTS], axis=-1)
            return image, np.take(ORDER, head.tumour)

        write_task(root, cls, stems_of(cls, "voco_followup_387_97", 266), cases, spacing, draw)
