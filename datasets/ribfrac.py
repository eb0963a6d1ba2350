"""RibFrac: chest and abdomen CT of rib fractures; here for pretraining, without its labels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bench.data.layout_names import by_name
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source

NAME = re.compile(r"RibFrac0*(?P<case>[1-9]\d{0,8})[-_]image")
# first number: (part, folder of images, folder of labels, list); as the archives unpack
ARCHIVES = {
    501: ("testing", "ribfrac-test-images", "", ""),
    421: ("validation", "ribfrac-val-images", "ribfrac-val-labels", "ribfrac-val-info.csv"),
    301: ("training", "Part2", "Part2", "ribfrac-train-info-2.csv"),
    1: ("training", "Part1", "Part1", "ribfrac-train-info-1.csv"),
}
CODES = (1, 2, 3, 4, -1)  # displaced, non-displaced, buckle, segmental, undefined
SOFT = (-175.0, 250.0)  # HU


class RibFrac(Dataset):
    """660 scans: 420 for training, 80 for validation, 160 for testing; images as int32.

    Its label volumes number fractures; what kind one is stands in a CSV. Neither is a class per
    voxel, and the paper that reads RibFrac here (PGL) pretrains on the images alone, so no case
    has a label. The archives state no two scans of one person: a scan is a patient.
    """

    source = Source(
        "Jin et al. 2020, Deep-learning-assisted detection and segmentation of rib fractures from CT "
        "scans: development and validation of FracNet, EBioMedicine 62:103106",
        "https://ribfrac.grand-challenge.org",
    )
    title = "RibFrac"
    licence = "CC BY-NC 4.0"  # from general knowledge: images are not passed on until it is checked
    published = (0, 660)
    modality = "CT"
    channels = ("CT",)
    labels = {}
    recipes = {
        # ours: what covid19_ct and BTCV take, so that a mixture has one recipe
        "default": Recipe(spacing=(1.5, 1.5, 2.0), window=SOFT, foreground=0.0),
        # PGL, section 4: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    unread = ("RibFrac*[-_]label.nii*", "RibFrac*[-_]rib*.nii*")  # the second: RibSeg's additions
    unpack = (
        "get Zenodo 3893508, 3893498, 3893496 and 3993380 and unpack the images so that ribfrac/ holds "
        "Part1, Part2, ribfrac-val-images and ribfrac-test-images"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return every image, none labelled."""
        cases = by_name(root, NAME, depth=4)
        if not cases:
            raise BenchError(f"{root}: no RibFrac<number>-image.nii.gz; {self.unpack}")
        return [
            Case(f"RibFrac{n}", n, (*files.values(),), meta={"part": _archive(int(n))[0]})
            for n, files in cases.items()
        ]

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 320 scans, a quarter of them in each archive's folders, with labels and lists."""
        from bench.phantoms.chest import chest
        from bench.phantoms.order import first
        from bench.phantoms.organs import write_nifti

        spacing = (5.0, 5.0, 7.0)
        lists: dict[str, list[str]] = {}
        for i in first(cls, range(320), cases):  # the smallest archive holds 80
            number = sorted(ARCHIVES)[i % 4] + i // 4
            _, images, labels, listing = _archive(number)
            patient = chest((64, 52, 36 + 4 * (i % 3)), spacing, seed, i)
            write_nifti(
                root / images / f"RibFrac{number}-image.nii.gz", patient.image, spacing, "int32"
            )
            if not labels:
                continue
            name = f"RibFrac{number}-label.nii.gz"
            write_nifti(root / labels / name, patient.fractures, spacing, "uint8")
            rows = lists.setdefault(listing, ["public_id,label_id,label_code"])
            for k in np.unique(patient.fractures):
                rows.append(f"RibFrac{number},{k},{CODES[(i + k) % len(CODES)] if k else 0}")
        for listing, rows in lists.items():
            (root / listing).write_text("\n".join(rows) + "\n")


def _archive(number: int) -> tuple[str, str, str, str]:
    return next(archive for first, archive in ARCHIVES.items() if number >= first)
