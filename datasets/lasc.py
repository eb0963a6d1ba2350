"""2018 Atrial Segmentation Challenge: left atrium in late gadolinium-enhanced MR."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source
from bench.volumes.files import within

ID = re.compile(r"[0-9A-Z]{20}")
IMAGE, LABEL = "lgemri.nrrd", "laendo.nrrd"
LISTS = Path(__file__).with_name("splits") / "lasc.uamt_80_20.json"
SPACING = (0.625, 0.625, 0.625)
TWINS = ("0RZDK210BSMWAA6467LU", "CMPXO4J23G58J53Q98SZ")
# Of the 56 scans here these look like two scans of one patient (ours, seen in no list): their masks overlap
# by a Dice of .86 to .89 once centred, the images around them correlate by .63 to .71. Of all pairs the
# median Dice is .68; the next pairs by Dice correlate by .52 at most.
ALIKE = (
    ("4EPVTT1HPA8U60CDUKXE", "EJ5V7SPR4961JWD6SS8V"),
    ("06SR5RBREL16DQ6M8LWS", "1GU15S0GJ6PFNARO469W"),
    ("AT5CRO5JUDBWD4RUPXSQ", "DYXSCIWHLSUOZIDDSZ40"),
    ("8GYK8A9MBRC9TV0FVSRA", "9DQYTIU00I4JC0OEOKQQ"),
)


class LASC(Dataset):
    """100 training and 54 test scans of 60 patients, 0.625 mm isotropic, 88 slices; masks are 0 and 255.

    The left atrial challenge of 2013 is another set: its scans are those of ``msd02_heart``. HSSL's
    "LASC" of 1,262 slices fits the 20 of 2013 and not these 100 of 88 slices each (inferred: the
    paper's reference is cut off), so its tables read ``msd02_heart``.
    """

    source = Source(
        "Xiong et al. 2021, A global benchmark of algorithms for segmenting the left atrium, "
        "Medical Image Analysis 67:101832",
        "https://www.cardiacatlas.org/atriaseg2018-challenge/",
    )
    title = "LASC 2018 left atrium"
    licence = "research use, registration at cardiacatlas.org"
    published = (154, 0)
    modality = "MR"
    phantoms = 36  # split `rule` tests five
    channels = ("LGE",)
    labels = {1: "left atrium"}
    raw_labels = {255: 1}
    recipes = {
        "default": Recipe(scale="zscore"),
        "coarse": Recipe(spacing=(1.25, 1.25, 1.25), scale="zscore"),  # ours: a pilot on one GPU
        "resize": Recipe(resize=(96, 96, 48), scale="zscore"),  # ours: a pilot on a CPU
    }
    splits = {"uamt_80_20": LISTS.name}
    doubtful: ClassVar[dict[str, str]] = {
        # found by this project's leak guard, and looked at: the same anatomy and the same noise
        TWINS[0]: f"the same scan as {TWINS[1]}, cropped otherwise"
    }
    caution = (
        "The 154 scans are of 60 patients, before and after ablation. Who is who is not published, so a split "
        "can have scans of one patient on both sides."
    )
    unread = ("lawall.nrrd",)  # the wall's mask, which no table here asks for
    unpack = (
        "get 2018_UTAH_MICCAI.zip from cardiacatlas.org and unpack it so that lasc/ holds "
        "'Training Set' (or its case folders) with <id>/lgemri.nrrd and <id>/laendo.nrrd"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return every case folder; one that lacks a file is a case with a missing file."""
        folders: dict[str, Path] = {}
        for folder in within(root, 3):
            if not (ID.fullmatch(folder.name) and folder.is_dir()):
                continue
            if folder.name in folders:
                raise BenchError(f"{folder}: {folders[folder.name]} is the same case; remove one")
            folders[folder.name] = folder
        if not folders:
            raise BenchError(f"{root}: no case folders <20 characters>/{IMAGE}; {self.unpack}")
        return [
            Case(id, id, (folder / IMAGE,), folder / LABEL, {"part": _part(folder)})
            for id, folder in sorted(folders.items())
        ]

    def person(self, case: Case) -> str:
        """Return the case, as the data set names no patients; a scan that is there twice is one person."""
        return f"lasc:{TWINS[1] if case.patient in TWINS else case.patient}"

    def scan(self, case: Case) -> str:
        """Return the case; of two that look like one patient the first, so that ``by_scan`` keeps them together."""
        return {b: a for a, b in (TWINS, *ALIKE)}.get(case.patient, case.patient)

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 100 synthetic scans under ids of the registered division."""
        from bench.phantoms.order import first, in_fives
        from bench.phantoms.organs import organs, write_nrrd

        for i, id in enumerate(first(cls, in_fives(LISTS), cases)):
            shape = (72 + 4 * (i % 3), 64 + 4 * (i % 4), 44)
            # A field of view of a whole chest at a coarse grid would not be this layout: the
            # phantom is drawn for 2.5 mm voxels and stored, like the real scans, as 0.625 mm.
            image, label = organs(shape, (2.5, 2.5, 2.5), 1, seed, i, modality="MR")
            grey = image * (255 / max(float(image.max()), 1.0))
            write_nrrd(root / id / IMAGE, grey, SPACING, "uint8")
            write_nrrd(root / id / LABEL, label * 255, SPACING, "uint8")


def _part(folder: Path) -> str:
    return "testing" if "testing" in folder.parent.name.lower() else "training"
