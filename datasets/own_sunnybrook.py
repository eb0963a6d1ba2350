"""Sunnybrook: short-axis cine MR of the heart at end-diastole, MICCAI 2009 challenge, as NIfTI files in MSD layout."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path

from bench.data.layout_msd import MSDLayout, write_listing
from bench.dataset import Case, Recipe
from bench.source import Source

GROUPS = ("HF-I", "HF-NI", "HYP", "N")  # failing with infarction and without, thick walls, normal
WHOLE = "own_sunnybrook.challenge_15_30.json"  # all patients
VOXEL = (1.25, 1.25, 10.0)  # mm, nominal: public copies as pictures have lost the true one


class Sunnybrook(MSDLayout):
    """45 patients of four groups, one case each: the slices on which the left ventricle's cavity was drawn.

    Slices go from base to apex or the other way round. Distances in mm mean nothing here. The cavity is
    label 3 of ACDC.
    """

    source = Source(
        "Radau et al. 2009, Evaluation framework for algorithms segmenting short axis cardiac MRI, MIDAS Journal 49",
        "https://www.cardiacatlas.org/sunnybrook-cardiac-data/",
    )
    title = "Sunnybrook cardiac MR"
    licence = "CC0"
    redistribution = True
    published = (45, 0)
    modality = "MR"
    phantoms = 24
    channels = ("cine",)
    labels = {1: "left ventricle"}
    recipes = {
        # ours: the pixels that ACDC's default recipe has
        "default": Recipe(spacing=(1.5625, 1.5625, 10.0), scale="zscore")
    }
    splits = {"challenge_15_30": WHOLE, "challenge_11_24": "own_sunnybrook.challenge_11_24.json"}
    unpack = (
        "unpack the challenge's archives, and write the slices and masks of each patient at end-diastole as "
        "NIfTI files so that own_sunnybrook/ holds imagesTr/HF-I-01.nii.gz ..., labelsTr with the same "
        "names and dataset.json"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return the cases with the group that each name begins with."""
        return [
            replace(case, meta={**case.meta, "group": case.id.rpartition("-")[0]})
            for case in super().cases(root)
        ]

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write synthetic patients under names of the challenge, one of each group in turn."""
        from bench.phantoms.heart import CAVITY, cine
        from bench.phantoms.order import first
        from bench.phantoms.organs import write_nifti

        division = json.loads(Path(__file__).with_name("splits").joinpath(WHOLE).read_text())
        names = [*division["train"], *division["test"]]
        groups = ([n for n in names if n.rpartition("-")[0] == group] for group in GROUPS)
        order = [name for name in chain(*zip_longest(*groups)) if name]
        stems = first(cls, order, cases)
        for i, name in enumerate(stems):
            shape = (96 + 4 * (i % 3), 96, 6 + i % 4)
            images, labels = cine(shape, VOXEL, seed, i, systole=(0,), group="turned")
            write_nifti(root / "imagesTr" / f"{name}.nii.gz", images[..., 0], VOXEL, "uint8")
            cavity = labels[..., 0] == CAVITY
            write_nifti(root / "labelsTr" / f"{name}.nii.gz", cavity, VOXEL, "uint8")
        write_listing(root, cls, "Sunnybrook cardiac MR", stems)
