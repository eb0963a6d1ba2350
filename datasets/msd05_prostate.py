"""Medical Segmentation Decathlon, task 5: zones of the prostate in two MR contrasts."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import Decathlon
from bench.dataset import Recipe

TRAINING = (
    0, 1, 2, 4, 6, 7, 10, 13, 14, 16, 17, 18, 20, 21, 24, 25, 28, 29, 31, 32, 34, 35, 37, 38, 39, 40,
    41, 42, 43, 44, 46, 47,
)  # fmt: skip
BARE = 16  # every sixteenth phantom has no peripheral zone
PATIENTS = 5000  # number of the first phantom: no other data set shows the same bodies


class Prostate(Decathlon):
    """32 labelled and 16 unlabelled scans, T2 and ADC in one 4-D file, slices 3.6 mm thick.

    Two labels have no peripheral zone. HSSL's "central gland" is 2 here and its "peripheral zone" 1.
    """

    version = 2  # zeros stay 0 in the recipe voco, slices are 192 x 192 in hssl
    archive = "Task05_Prostate"
    published = (32, 16)
    modality = "MR"
    channels = ("T2", "ADC")
    labels = {1: "peripheral zone", 2: "transition zone"}
    recipes = {
        "default": Recipe(scale="zscore"),
        # Luffy03/Large-Scale-Medical Downstream/monai/Prostate: VoCo's authors, after the paper;
        # their --space_* options are not applied
        "voco": Recipe(scale="zscore", nonzero=True, foreground=0.0),
        # HSSL, section 3: slices of 192 x 192, the rest is not stated: T2 alone, resizing and percentiles are assumed
        "hssl": Recipe(channels=(0,), resize=(192, 192, 0), scale="percentile"),
        "coarse": Recipe(spacing=(3.0, 3.0, 3.6), scale="zscore"),  # ours: a pilot on a CPU
    }

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 48 synthetic scans, every sixth one without a label."""
        from bench.phantoms.msd import Drawn, write_task
        from bench.phantoms.prostate import prostate

        spacing = (3.0, 3.0, 3.6)
        tests = [n for n in range(48) if n not in TRAINING]
        stems = [f"{cls.stems}{n:02d}" for n in TRAINING], [f"{cls.stems}{n:02d}" for n in tests]

        def draw(i: int) -> Drawn:
            side = 60 + 4 * (i % 3)
            return prostate(
                (side, side, 18 + i % 3), spacing, seed, PATIENTS + i, outer=i % BARE != BARE - 1
            )

        write_task(root, cls, stems, cases, spacing, draw)
