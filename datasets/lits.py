"""LiTS: liver and liver tumours in CT, ISBI and MICCAI 2017 challenge."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.layout_names import by_name, expected
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source

if TYPE_CHECKING:
    import numpy as np

NAME = re.compile(r"(?P<kind>test-volume|volume|segmentation)-(?P<number>[0-9]{1,3})")
TEST = "test-"  # begins the id of a test scan
DEPTH = 8  # copies lie deep: media/nas/01_Datasets/CT/LITS/Training Batch 1/
SECOND = 28  # the first volume of batch 2
IRCAD = range(28, 48)
SOFT = (-175.0, 250.0)  # HU
HEALTHY = 10  # every tenth phantom has no tumour, as 13 of the 131 scans
PATIENTS = 11000  # number of the first phantom: no other data set shows the same bodies
SPACING = (7.0, 7.0, 6.5)  # mm; files are not compressed, so a phantom of 200 kB is coarse


class LiTS(Dataset):
    """131 labelled and 70 unlabelled scans, uncompressed, ``volume-N`` with ``segmentation-N``.

    Names count, folders do not: the batches are renamed and moved in many copies. Volumes 28 to 47
    state no true spacing (``doubtful``); they are kept, and a split without them is registered.
    Directions differ between cases, and a label's header may not be its image's although the voxels
    correspond (volume-53: MIC-DKFZ/nnUNet issue 2751): ``bench check`` lists it, and the image's counts.
    The challenge scores the liver with its tumours: ``regions: {liver: [1, 2], tumour: [2]}``.
    """

    version = 2  # slices of the recipe hssl are 192 x 192
    source = Source(
        "Bilic et al. 2023, The Liver Tumor Segmentation Benchmark (LiTS), Medical Image Analysis 84:102680",
        "https://competitions.codalab.org/competitions/17094",
    )
    title = "LiTS liver"
    # The licence and the test scans' names are from memory, not from the challenge: see your copy.
    licence = "CC BY-NC-ND 4.0, registration at the challenge"
    published = (131, 70)
    modality = "CT"
    channels = ("CT",)
    labels = {1: "liver", 2: "tumour"}
    labels_as_stored = True
    doubtful = {
        # PatrickChrist/LITS-CHALLENGE issue 14, where one reader names 28 to 44 and 46 to 48 instead
        f"volume-{n}": "3D-IRCADb-01 scan: identity affine, spacing 1 mm instead of its own"
        for n in IRCAD
    }
    recipes = {
        # as "voco"; the challenge states none
        "default": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # Luffy03/Large-Scale-Medical Downstream/monai/LiTs: VoCo's authors, after the paper
        "voco": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # PGL, section 5.1: clipped, then z-scored; it takes these scans from the Decathlon
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        # HSSL, section 3: slices of 192 x 192, the rest is not stated: resizing and window are assumed
        "hssl": Recipe(resize=(192, 192, 0), window=SOFT),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    splits = {
        "voco_followup_108_23": "lits.voco_followup_108_23.json",
        "voco_followup_no_ircad": "lits.voco_followup_no_ircad.json",
        "batches_103_28": "lits.batches_103_28.json",
    }
    overlaps = {"msd03_liver": "the same 201 scans; volume-N is liver_N there"}
    unpack = (
        "get the training batches (and the test scans) from the challenge's page and unpack them so "
        "that lits/ holds 'Training Batch 1' and 'Training Batch 2' with volume-0.nii, "
        "segmentation-0.nii and so on, in these or any other folders"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return scans paired on their number, the unlabelled ones last."""

        def id(match: re.Match[str], path: Path) -> str:
            return f"{TEST if match['kind'].startswith(TEST) else ''}volume-{int(match['number'])}"

        cases = by_name(root, NAME, DEPTH, case=id)
        if not cases:
            raise BenchError(f"{root}: no files volume-0.nii ...; {self.unpack}")
        return [
            self._case(name, cases[name])
            for name in sorted(cases, key=lambda name: name.startswith(TEST))
        ]

    def _case(self, name: str, files: dict[str, Path]) -> Case:
        if name.startswith(TEST):
            return Case(name, name, (*files.values(),), None, {"part": "testing"})
        number = int(name.rpartition("-")[2])
        image, label = expected(files, {"volume": name, "segmentation": f"segmentation-{number}"})
        meta = {"part": "training", "batch": str(_batch(number))}
        if name in self.doubtful:
            meta["doubtful"] = self.doubtful[name]
        return Case(name, name, (image,), label, meta)

    def person(self, case: Case) -> str:
        """Return the patient by the number that the Decathlon's task 3 uses too."""
        number = case.patient.removeprefix("volume-")
        return f"lits:{number}" if number != case.patient else super().person(case)

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 201 synthetic scans, every sixth one without a label."""
        from bench.phantoms.lesion import Growth, abdomen
        from bench.phantoms.order import first, interleaved

        # Both batches in turn: 0, 28, 1, 29 ... so that any few phantoms have a doubtful one.
        both = [n for pair in zip(range(28), range(28, 56), strict=True) for n in pair]
        training = [f"volume-{n}" for n in (*both, *range(56, 131))]
        order = interleaved(training, [f"test-volume-{n}" for n in range(70)])
        for i, name in enumerate(first(cls, order, cases)):
            tumours = (
                () if i % HEALTHY == HEALTHY - 1 else (Growth(2, (6,), 35, (0.20, 0.30), (1, 2)),)
            )
            grid = (44, 36 + 2 * (i % 3), 34 + i % 3)
            scan = abdomen(grid, SPACING, seed, PATIENTS + i, {6: 1}, tumours)
            _write(root, name, *scan)


def _write(root: Path, name: str, image: np.ndarray, label: np.ndarray) -> None:
    """Write one scan under the kind of header that the real one of this number has."""
    import numpy as np

    from bench.phantoms.organs import write_placed

    number = int(name.rpartition("-")[2])
    affine = np.diag([*SPACING, 1.0])
    if name in LiTS.doubtful:
        affine = np.eye(4)
    elif number % 2:  # directions differ between cases
        image, label = image[::-1, ::-1], label[::-1, ::-1]
        affine[:2] *= -1
    if name.startswith("test"):
        write_placed(root / "Test" / f"{name}.nii", image, affine, "int16")
        return
    folder = root / f"Training Batch {_batch(number)}"
    write_placed(folder / f"{name}.nii", image, affine, "int16")
    write_placed(folder / f"segmentation-{number}.nii", label, affine, "uint8")


def _batch(number: int) -> int:
    return 1 if number < SECOND else 2
