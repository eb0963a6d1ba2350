"""Medical Segmentation Decathlon, task 4: hippocampus head and body in small MR crops."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data.layout_msd import Decathlon, write_listing
from bench.dataset import Case, Recipe


class Hippocampus(Decathlon):
    """260 labelled and 130 unlabelled T1 crops around one hippocampus, about 36 x 50 x 35 mm.

    Intensity scales differ by four orders of magnitude between cases, two labels are float32. The 390 crops
    are of 195 people (Simpson et al. 2019, arXiv:1902.09063), two of each scan: of the 200 labelled crops
    here, those of numbers 2k - 1 and 2k share 81 to 100 % of their exact grey values, those of 2k and 2k + 1
    less than 1 %. Who publishes on this task counts crops as patients, and so do all splits but two.
    """

    archive = "Task04_Hippocampus"
    stems = ""  # cases of any name: what a lab has of this kind is read by it, too
    published = (260, 130)
    modality = "MR"
    phantoms = 36  # split `rule` tests five
    channels = ("T1",)
    caution = (
        "Crops 1 and 2 are cut from one scan of one person, crops 3 and 4 from another, and so on. The splits by_scan "
        "and by_scan_5fold keep both on one side; other splits may not. Scores count each crop as a patient."
    )
    labels = {1: "anterior", 2: "posterior"}
    recipes = {
        "default": Recipe(scale="zscore"),  # all cases are 1 mm isotropic
        "percentile": Recipe(scale="percentile"),
        # Whole crops on one grid, for methods that tile or rearrange the volume.
        "resize": Recipe(resize=(64, 64, 32), scale="percentile"),
    }

    def scan(self, case: Case) -> str:
        """Return the scan that a crop is cut from: of numbers 2k - 1 and 2k the same."""
        number = re.fullmatch(r"hippocampus_(\d+)", case.patient)
        return case.patient if number is None else f"scan_{(int(number[1]) + 1) // 2:03d}"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write ``cases`` synthetic crops in the range of sizes of the real ones."""
        from bench.phantoms.organs import organs, write_nifti

        stems = [f"hippocampus_{i + 1:03d}" for i in range(cases)]
        for i, stem in enumerate(stems):
            shape = (31 + 7 * i % 13, 40 + 11 * i % 20, 24 + 5 * i % 24)
            image, label = organs(shape, (1.0, 1.0, 1.0), 2, seed, i, modality="MR")
            write_nifti(root / "imagesTr" / f"{stem}.nii.gz", image, (1.0, 1.0, 1.0), "float32")
            write_nifti(root / "labelsTr" / f"{stem}.nii.gz", label, (1.0, 1.0, 1.0), "uint8")
        write_listing(root, cls, "Hippocampus", stems)
