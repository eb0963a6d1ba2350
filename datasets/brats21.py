"""BraTS 2021, task 1: gliomas in four MR contrasts, RSNA-ASNR-MICCAI challenge."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.data.layout_names import ChannelFiles
from bench.dataset import Recipe
from bench.source import Source

LISTS = Path(__file__).with_name("splits") / "brats21.swinunetr_5fold.json"


class BraTS21(ChannelFiles):
    """1251 training and 219 validation patients, skull-stripped, 240 x 240 x 155 at 1 mm.

    Holds most patients of BraTS 2018 under other ids. Later years' names (BraTS-GLI-...), where
    the enhancing tumour is 3, are another data set.
    """

    version = 2  # a z-score of non-zero voxels keeps zeros at 0, boxes of the brain
    source = Source(
        "Baid et al. 2021, arXiv:2107.02314; Menze et al. 2015, IEEE TMI 34(10):1993-2024; "
        "Bakas et al. 2017, Scientific Data 4:170117",
        "https://www.synapse.org/Synapse:syn25829067",
    )
    title = "BraTS 2021 glioma"
    licence = "Synapse registration and terms of use; research only"
    published = (1251, 219)
    modality = "MR"
    channels = ("FLAIR", "T1Gd", "T1", "T2")  # Swin-UNETR's order
    labels = {1: "necrotic core", 2: "oedema", 3: "enhancing tumour"}
    raw_labels = {1: 1, 2: 2, 4: 3}
    regions = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
    empty = "brats"
    recipes = {
        # MONAI research-contributions SwinUNETR/BRATS21: box of the brain, then the z-score of every
        # channel's non-zero voxels. It cuts the box out in training only; beyond it all is 0.
        "default": Recipe(scale="zscore", nonzero=True, foreground="nonzero"),
        # Luffy03/Large-Scale-Medical Downstream/monai/BRATS21: VoCo's authors, after the paper; the
        # box is that of voxels above 0 once they are scaled
        "voco": Recipe(scale="zscore", nonzero=True, foreground=0.0),
        "coarse": Recipe(spacing=(4.0, 4.0, 4.0), scale="zscore", nonzero=True),  # ours: a pilot
    }
    splits = {"swinunetr_5fold": LISTS.name}
    overlaps = {
        "brats18": "most patients of 2018, under other ids",
        "msd01_brain_tumour": "patients of BraTS 2016 and 2017, under other ids",
    }
    pattern = re.compile(r"BraTS2021_(?P<case>\d{5})_(?P<kind>flair|t1|t1ce|t2|seg)")
    kinds = ("flair", "t1ce", "t1", "t2")
    submission = (
        "BraTS2021_{case}.nii.gz"  # Sage-Bionetworks-Challenges/brats-dream-challenge-website
    )
    unpack = (
        "get RSNA_ASNR_MICCAI_BraTS2021_TrainingData from Synapse syn25829067 (or the Kaggle copy's "
        "tar files, the extra ones too) and unpack it so that brats21/ holds "
        "BraTS2021_00000/BraTS2021_00000_flair.nii.gz ... anywhere below; put the validation set "
        "in a folder whose name contains 'validation'"
    )

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 1251 cases under ids of the registered folds; each tenth does not enhance."""
        from bench.phantoms.brain import write_case
        from bench.phantoms.order import first

        ids = sorted(id for fold in json.loads(LISTS.read_text())["folds"] for id in fold["test"])
        home = root / "RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021"
        for i, id in enumerate(first(cls, ids, cases)):
            write_case(home / f"BraTS2021_{id}", seed, i, enhancing=i % 10 != 9)
