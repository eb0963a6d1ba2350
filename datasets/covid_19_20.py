"""COVID-19-20: chest CT with the lesions of COVID-19, a MICCAI 2020 challenge."""

from __future__ import annotations

import json
import re
from itertools import zip_longest
from pathlib import Path

from bench.data.layout_names import by_name, expected
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source

PREFIX = "volume-covid19-A-"
NAME = re.compile(rf"(?P<case>{PREFIX}\d{{4}}(?:_\d+)?(?:_day\d+)?)_(?P<kind>ct|seg)")
UNLABELLED = {"validation": "validation", "test": "testing", "imagests": "testing"}
LISTS = Path(__file__).with_name("splits") / "covid_19_20.voco_5fold.json"
LUNG = (-1000.0, 500.0)  # HU


class Covid1920(Dataset):
    """199 labelled scans; 50 for validation and 46 for testing come without masks.

    The four digits number patients as in TCIA's "CT Images in COVID-19", which holds all 199: a
    pretraining on ``covid19_ct`` has seen these images. The counts of unlabelled scans are from
    general knowledge; nothing here depends on them.
    """

    source = Source(
        "Roth et al. 2022, Rapid artificial intelligence solutions in a pandemic: the COVID-19-20 "
        "lung CT lesion segmentation challenge, Medical Image Analysis 82:102605",
        "https://covid-segmentation.grand-challenge.org",
    )
    title = "COVID-19-20 lung lesions"
    licence = "registration at grand-challenge.org; the images are TCIA's, CC BY 4.0"
    published = (199, 96)  # 50 of them for validation
    modality = "CT"
    channels = ("CT",)
    labels = {1: "lesion"}
    recipes = {
        # MONAI's baseline for the challenge; its LPS becomes RAS+ here, as everything does
        "default": Recipe(spacing=(1.25, 1.25, 5.0), window=LUNG),
        # GL-MAE's range; neither spacing nor crop is stated, those of its BTCV recipe are taken
        "glmae": Recipe(spacing=(1.5, 1.5, 2.0), window=(-1000.0, 1000.0), foreground=0.0),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=LUNG),  # ours: a pilot on a CPU
    }
    splits = {"voco_5fold": LISTS.name}
    overlaps = {"covid19_ct": "holds all 199 training scans, under the same numbers"}
    unpack = (
        "get COVID-19-20_v2.zip from covid-segmentation.grand-challenge.org and unpack it so that "
        "covid_19_20/ holds COVID-19-20_v2/Train and COVID-19-20_v2/Validation"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return scans paired on their names, whichever folders hold the two halves."""
        cases = by_name(root, NAME, depth=4)
        if not cases:
            raise BenchError(f"{root}: no {PREFIX}<4 digits>_ct.nii.gz; {self.unpack}")
        return [_case(root, name, files) for name, files in cases.items()]

    def person(self, case: Case) -> str:
        """Return the patient by TCIA's number, which TCIA's own set uses too."""
        return f"tcia_covid19:{case.patient}"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 199 training scans under their real numbers; every sixth scan is for validation."""
        from bench.phantoms.chest import chest
        from bench.phantoms.organs import write_nifti

        folds = json.loads(LISTS.read_text())["folds"]
        # One of each fold in turn: any five training scans lie in five folds.
        numbers = [n for five in zip_longest(*(fold["test"] for fold in folds)) for n in five if n]
        spare = [f"{n:04d}" for n in range(1, 1000) if f"{n:04d}" not in numbers]
        testing = {i for i in range(cases) if i % 6 == 5}
        if cases - len(testing) > len(numbers):
            raise BenchError(
                f"covid_19_20: {len(numbers)} labelled phantoms at most, {cases} asked for"
            )
        spacing = (5.0, 5.0, 7.0)
        for i in range(cases):
            patient = chest((64, 52, 36 + 4 * (i % 3)), spacing, seed, i)
            part = root / "COVID-19-20_v2" / ("Validation" if i in testing else "Train")
            name = f"{PREFIX}{spare[i] if i in testing else numbers[i - i // 6]}"
            write_nifti(part / f"{name}_ct.nii.gz", patient.image, spacing, "int16")
            if i not in testing:
                write_nifti(part / f"{name}_seg.nii.gz", patient.lesions > 0, spacing, "uint8")


def _case(root: Path, name: str, files: dict[str, Path]) -> Case:
    image, label = expected(files, {"ct": f"{name}_ct", "seg": f"{name}_seg"})
    folders = " ".join(image.relative_to(root).parts[:-1]).lower()
    part = next((part for word, part in UNLABELLED.items() if word in folders), "training")
    annotation = label if "seg" in files or part == "training" else None
    return Case(name, name.removeprefix(PREFIX)[:4], (image,), annotation, {"part": part})
