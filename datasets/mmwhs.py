"""MM-WHS 2017: whole hearts in CT and in MR, seven structures."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data.layout_names import by_name, expected
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source

NAME = re.compile(r"(?P<case>(ct|mr)_(train|test)_\d{4})_(?P<kind>image|label)")
TRAINING = range(1001, 1021)
WHOLE = (-1000.0, 1000.0)  # HU


class MMWHS(Dataset):
    """20 CT and 20 MR scans with labels, 40 and 40 without; 60 patients in each modality.

    CT and MR are one data set: a case's id and ``meta["modality"]`` say which. Recipes and
    ``split: rule`` see whatever the folder holds, so for a table of one modality alone let
    mmwhs/ hold (or link) the folders of that one. The windowed recipes are for CT.
    """

    source = Source(
        "Zhuang and Shen 2016, Medical Image Analysis 31:77-87; Zhuang 2019, IEEE TPAMI "
        "41(12):2933-2946; Zhuang et al. 2019, Medical Image Analysis 58:101537",
        "https://zmiclab.github.io/zxh/0/mmwhs/",
    )
    title = "MM-WHS whole heart"
    licence = "registration form; research only"
    published = (40, 80)  # in both modalities
    modality = "CT"  # of the published tables; the MR scans are read too
    phantoms = 40  # all that a split names
    channels = ("CT or MR",)
    # By raw value. VoCo's dataset.json names its classes in another order than its own code maps
    # them, so rows of single classes of that paper may carry a neighbour's name.
    labels = {
        1: "left ventricular myocardium",
        2: "left atrium",
        3: "left ventricle",
        4: "right atrium",
        5: "right ventricle",
        6: "ascending aorta",
        7: "pulmonary artery",
    }
    # 421 stands for 420 in one MR training label.
    raw_labels = {205: 1, 420: 2, 421: 2, 500: 3, 550: 4, 600: 5, 820: 6, 850: 7}
    recipes = {
        # ours: by percentiles of the volume, since it must do for CT and for MR
        "default": Recipe(spacing=(1.5, 1.5, 1.5), scale="percentile"),
        # Luffy03/VoCo Finetune/MM-WHS, for CT; its stored values start near 0
        "voco": Recipe(spacing=(1.5, 1.5, 1.5), window=(0.0, 1700.0), foreground=0.0),
        # GL-MAE's range, for CT; its spacing is not stated, VoCo's is taken
        "glmae": Recipe(spacing=(1.5, 1.5, 1.5), window=WHOLE, foreground=0.0),
        "coarse": Recipe(spacing=(4.0, 4.0, 4.0), scale="percentile"),  # ours: a pilot on a CPU
    }
    splits = {
        "ct_voco_16_4": "mmwhs.ct_voco_16_4.json",
        "mr_voco_followup_15_5": "mmwhs.mr_voco_followup_15_5.json",
    }
    unpack = (
        "get the CT and MR archives by the form at zmiclab.github.io and unpack them so that mmwhs/ "
        "holds ct_train/ct_train_1001_image.nii.gz and ct_train_1001_label.nii.gz ..., likewise "
        "mr_train, ct_test, mr_test"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return the scans of both modalities, CT first; those of the test set are unlabelled."""
        cases = by_name(root, NAME, depth=4)
        if not cases:
            raise BenchError(f"{root}: no files ct_train_1001_image.nii.gz ...; {self.unpack}")
        return [_case(name, files) for name, files in cases.items()]

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 20 CT and 20 MR hearts in turns, one MR label with the odd value 421."""
        import numpy as np

        from bench.phantoms.heart import whole_heart
        from bench.phantoms.order import first
        from bench.phantoms.organs import write_nifti

        numbers = [(kind, number) for number in TRAINING for kind in ("ct", "mr")]
        values = np.array([0, *(raw for raw in cls.raw_labels if raw != 421)], np.int16)
        for i, (kind, number) in enumerate(first(cls, numbers, cases)):
            shape, spacing = (54 + 2 * (i % 3), 52, 40 + 2 * (i % 3)), (4.0, 4.0, 4.0)
            image, label = whole_heart(shape, spacing, seed, i, modality=kind.upper())
            raw = values[label]
            if (kind, number) == ("mr", TRAINING[0]):
                raw[raw == 420] = 421
            path = root / f"{kind}_train" / f"{kind}_train_{number}_image.nii.gz"
            write_nifti(path, image, spacing, "int16")
            write_nifti(
                path.with_name(f"{kind}_train_{number}_label.nii.gz"), raw, spacing, "int16"
            )


def _case(name: str, files: dict[str, Path]) -> Case:
    kind, part, number = name.split("_")
    image, label = expected(files, {"image": f"{name}_image", "label": f"{name}_label"})
    # The organisers publish the test set's labels in an encrypted form only.
    annotation = label if part == "train" or "label" in files else None
    meta = {"part": "training" if part == "train" else "testing", "modality": kind.upper()}
    return Case(f"{kind}_{number}", f"{kind}_{number}", (image,), annotation, meta)
