"""BraTS 2018: gliomas in four MR contrasts, MICCAI 2018 challenge."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data.layout_names import ChannelFiles
from bench.dataset import Recipe
from bench.source import Source

GRADES = ("HGG", "LGG")
TRAINING, VALIDATION = 285, 66


class BraTS18(ChannelFiles):
    """285 training (210 HGG, 75 LGG) and 66 validation patients, skull-stripped, 1 mm.

    The enhancing tumour is empty in 27 of the 285. The 66 have no masks, and the server that
    scored them is closed: divide the 285 by rule, and say so beside numbers of papers that report
    the 66. Most patients are in BraTS 2021 too, under other ids.
    """

    version = 2  # a z-score of non-zero voxels keeps zeros at 0
    source = Source(
        "Menze et al. 2015, IEEE TMI 34(10):1993-2024; Bakas et al. 2017, Scientific Data 4:170117; "
        "Bakas et al. 2018, arXiv:1811.02629",
        "https://www.med.upenn.edu/sbia/brats2018/data.html",
    )
    title = "BraTS 2018 glioma"
    licence = "registration at CBICA's portal; free for research with the citations"
    published = (285, 66)
    modality = "MR"
    channels = ("FLAIR", "T1", "T1Gd", "T2")
    labels = {1: "necrotic and non-enhancing core", 2: "oedema", 3: "enhancing tumour"}
    raw_labels = {1: 1, 2: 2, 4: 3}  # 3 is unused since 2017
    regions = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
    empty = "brats"
    recipes = {
        # the usual one of skull-stripped MR: z-score of every channel's non-zero voxels
        "default": Recipe(scale="zscore", nonzero=True),
        # HealthML/self-supervised-3d-tasks: box of the brain, min-max, 128^3; its channels are T1Gd,
        # FLAIR, T1, T2, and its box is that of T1Gd alone
        "taleb": Recipe(resize=(128, 128, 128), scale="minmax", foreground="nonzero"),
        "coarse": Recipe(spacing=(4.0, 4.0, 4.0), scale="zscore", nonzero=True),  # ours: a pilot
    }
    overlaps = {
        "brats21": "most patients, under other ids",
        "msd01_brain_tumour": "patients of BraTS 2016 and 2017, under other ids",
    }
    pattern = re.compile(r"Brats18_(?P<case>\w+)_(?P<kind>flair|t1|t1ce|t2|seg)")
    kinds = ("flair", "t1", "t1ce", "t2")
    submission = "Brats18_{case}.nii.gz"  # as the folders are called
    unpack = (
        "get MICCAI_BraTS_2018_Data_Training.zip from CBICA's portal and unpack it so that brats18/ "
        "holds HGG/Brats18_<id>/Brats18_<id>_flair.nii.gz ... anywhere below; put the validation "
        "set in a folder whose name contains 'validation'"
    )

    def about(self, folders: tuple[str, ...]) -> dict[str, str]:
        """Return the part of the data, and the grade where the folders tell it."""
        grade = next((g for g in GRADES if g in folders), None)
        return super().about(folders) | ({"grade": grade} if grade else {})

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 285 cases, each fourth of low grade; each third of those does not enhance.

        After every five comes one of the 66 of the validation set, without a mask.
        """
        from bench.phantoms.brain import write_case
        from bench.phantoms.order import first, interleaved

        home, rows = root / "MICCAI_BraTS_2018_Data_Training", []
        numbers = [range(TRAINING), range(TRAINING, TRAINING + VALIDATION)]
        for i in first(cls, interleaved(*numbers), cases):
            low = i % 4 == 3
            name = f"Brats18_TCIA10_{100 + i}_1" if low else f"Brats18_CBICA_A{_letters(i)}_1"
            if i >= TRAINING:
                held = root / "MICCAI_BraTS_2018_Data_Validation" / name
                write_case(held, seed, i, enhancing=not low or i % 3 > 0, labelled=False)
                continue
            write_case(home / GRADES[low] / name, seed, i, enhancing=not low or i % 3 > 0)
            if not low:
                rows.append(f"{name},{40 + 7 * i % 41}.0,{100 + 37 * i % 900},GTR")
        # Never read; its columns are from memory of the real file.
        columns = "Brats18ID,Age,Survival,ResectionStatus"
        (home / "survival_data.csv").write_text("\n".join([columns, *rows]) + "\n")


def _letters(number: int) -> str:
    return chr(ord("A") + number // 26) + chr(ord("A") + number % 26)
