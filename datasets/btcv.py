"""BTCV: abdominal CT with 13 organs, MICCAI 2015 workshop challenge."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data.layout_names import by_name, expected
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source

NAME = re.compile(r"(?P<kind>img|label)(?P<case>\d{4})")
UNLABELLED = ("Testing", "imagesTs")
TRAINING = [*range(1, 11), *range(21, 41)]  # the challenge has no 0011 to 0020
TESTING = [*range(61, 81)]
SOFT = (-175.0, 250.0)  # HU


class BTCV(Dataset):
    """30 labelled and 20 unlabelled portal-venous scans.

    Read as unpacked (``RawData/Training/img/img0001.nii.gz``) or moved to ``imagesTr`` and
    ``labelsTr`` as the UNETR line of papers does. An organ can be absent (gallbladder, kidney).
    """

    source = Source(
        "Landman et al. 2015, MICCAI Multi-Atlas Labeling Beyond the Cranial Vault",
        "https://www.synapse.org/Synapse:syn3193805",
    )
    title = "BTCV abdomen"
    licence = "Synapse registration and terms of use; research only"
    published = (30, 20)
    modality = "CT"
    phantoms = 30  # all that a split names
    channels = ("CT",)
    labels = {
        1: "spleen",
        2: "right kidney",
        3: "left kidney",
        4: "gallbladder",
        5: "oesophagus",
        6: "liver",
        7: "stomach",
        8: "aorta",
        9: "inferior vena cava",
        10: "portal and splenic veins",
        11: "pancreas",
        12: "right adrenal",
        13: "left adrenal",
    }
    recipes = {
        # MONAI's Swin-UNETR tutorial
        "default": Recipe(spacing=(1.5, 1.5, 2.0), window=SOFT, foreground=0.0),
        # Luffy03/VoCo Finetune/BTCV
        "voco": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # Luffy03/VoCo utils/data_utils.py: the foreground is above 0.3 after scaling
        "voco_pretrain": Recipe(resize=(384, 384, 96), window=SOFT, foreground=0.3),
        # ZEKAICHEN/MIM-Med3D code/data/btcv_dataset.py
        "mae3d": Recipe(spacing=(1.5, 1.5, 2.0), window=SOFT, foreground=0.0),
        # PGL, section 5.1: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        # GL-MAE's range; its spacing is not stated, MONAI's is taken
        "glmae": Recipe(spacing=(1.5, 1.5, 2.0), window=(-1000.0, 1000.0), foreground=0.0),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    splits = {
        "unetr_24_6": "btcv.unetr_24_6.json",
        "unetr_24_6_b": "btcv.unetr_24_6_b.json",
        "transunet_18_12": "btcv.transunet_18_12.json",
        "pgl_15_15": "btcv.pgl_15_15.json",
    }
    lists = {"voco_ssl": "btcv.voco_ssl.json"}
    unpack = (
        "get Abdomen/RawData.zip from Synapse syn3193805 and unpack it so that btcv/ holds "
        "RawData/Training/img and RawData/Training/label, or imagesTr and labelsTr"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return scans paired on their four digits, the unlabelled ones last."""
        cases = by_name(root, NAME, depth=5)
        if not cases:
            raise BenchError(f"{root}: no files img0001.nii.gz ...; {self.unpack}")
        return [_case(number, files) for number, files in cases.items()]

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 30 labelled scans in the challenge's layout and 20 without labels."""
        from bench.phantoms.order import first
        from bench.phantoms.organs import organs, write_nifti

        for i, number in enumerate(first(cls, TRAINING + TESTING, cases)):
            # A body of 320 mm, coarser than real scans: 13 organs in a file of 200 kB.
            shape, spacing = (80 + 4 * (i % 3), 72, 44 + 4 * (i % 4)), (4.0, 4.0, 5.0)
            image, label = organs(shape, spacing, 13, seed, i)
            part = root / "RawData" / ("Training" if number in TRAINING else "Testing")
            write_nifti(part / "img" / f"img{number:04d}.nii.gz", image, spacing, "int16")
            if number in TRAINING:
                write_nifti(part / "label" / f"label{number:04d}.nii.gz", label, spacing, "uint8")


def _case(number: str, files: dict[str, Path]) -> Case:
    image, label = expected(files, {"img": f"img{number}", "label": f"label{number}"})
    testing = "label" not in files and bool({*image.parts[-4:]} & {*UNLABELLED})
    part = "testing" if testing else "training"
    return Case(number, number, (image,), None if testing else label, {"part": part})
