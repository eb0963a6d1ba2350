"""LUNA16: 888 chest CT scans of LIDC-IDRI, here for pretraining."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bench.data.layout_names import by_name
from bench.data.split import read_list
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source

UID = re.compile(r"(?P<case>\d+(?:\.\d+){7,})")  # of a series
SUBSET = re.compile(r"subset_?(\d)", re.IGNORECASE)
SOFT = (-175.0, 250.0)  # HU; VoCo reads these chests with its abdomen's window
WIDE = (-1000.0, 1000.0)
SPACING = (6.0, 6.0, 7.0)  # mm, of the phantoms


class LUNA16(Dataset):
    """Ten subsets of MetaImage files, ``.mhd`` with ``.raw`` beside it; some with flipped axes.

    Nodules are listed in CSV files and lungs segmented by a program; neither is a target of a
    table here, so no case has a label. The files do not say which series are one person's (LIDC
    has a few such pairs): a series is a patient.
    """

    source = Source(
        "Setio et al. 2017, Validation, comparison, and combination of algorithms for automatic "
        "detection of pulmonary nodules in computed tomography images: the LUNA16 challenge, "
        "Medical Image Analysis 42:1-13",
        "https://luna16.grand-challenge.org",
    )
    title = "LUNA16"
    licence = "CC BY 4.0"
    redistribution = True
    published = (0, 888)
    modality = "CT"
    channels = ("CT",)
    labels = {}
    recipes = {
        "default": Recipe(spacing=(1.5, 1.5, 2.0), window=SOFT, foreground=0.0),
        # Luffy03/VoCo utils/data_utils.py, as for BTCV: one mixture, one recipe
        "voco_pretrain": Recipe(resize=(384, 384, 96), window=SOFT, foreground=0.3),
        # MONAI research-contributions SwinUNETR/Pretrain: its spacing flags reach no transform
        "swin_unetr_ssl": Recipe(window=WIDE, foreground=0.0),
        # MrGiovanni/ModelsGenesis: cubes of the native grid
        "models_genesis": Recipe(window=WIDE),
        # RL4M/PCRLv2 luna_preprocess.py
        "pcrlv2": Recipe(spacing=(1.0, 1.0, 1.0), window=WIDE),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    lists = {"swin_unetr_ssl": "luna16.swin_unetr_ssl.json"}
    unread = ("seg-lungs-LUNA16/*",)  # lung masks, under the names of their scans
    unpack = (
        "get Zenodo 3723295 and 4121926 and unpack them so that luna16/ holds subset0 to subset9 with "
        "<series UID>.mhd and <series UID>.raw; copies turned into subset_0/<series UID>.nii.gz are read too"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return every series, none labelled; ``subset`` is the official fold, where a folder says it."""

        def series(match: re.Match[str], path: Path) -> str | None:
            return None if any(path.match(pattern) for pattern in self.unread) else match["case"]

        cases = by_name(root, UID, depth=4, case=series)
        if not cases:
            raise BenchError(f"{root}: no <series UID>.mhd; {self.unpack}")
        return [
            Case(uid, uid, (path,), meta=_meta(path))
            for uid, files in cases.items()
            for path in files.values()
        ]

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 888 series of the list in ten subsets, nodules listed; each fourth has flipped axes."""
        from bench.phantoms.chest import chest
        from bench.phantoms.order import first, interleaved
        from bench.phantoms.organs import write_metaimage

        listed = read_list(cls(), cls.lists["swin_unetr_ssl"])["cases"]
        nodules, candidates = ["seriesuid,coordX,coordY,coordZ,diameter_mm"], []
        for i, uid in enumerate(first(cls, interleaved(listed["train"], listed["val"]), cases)):
            axes = "RAS" if i % 4 == 3 else "LPS"
            patient = chest((56, 46, 36 + 4 * (i % 3)), SPACING, seed, i, nodules=True)
            write_metaimage(
                root / f"subset{i % 10}" / f"{uid}.mhd", patient.image, SPACING, "int16", axes
            )
            lungs = np.where(patient.lungs > 0, patient.lungs + 2, 0)  # 3 left, 4 right, 5 airway
            path = root / "seg-lungs-LUNA16" / f"{uid}.mhd"
            write_metaimage(path, lungs, SPACING, "uint8", axes, packed=True)
            for number in np.unique(patient.lesions)[1:]:
                where, size = _nodule(patient.lesions == number, axes)
                nodules.append(f"{uid},{where},{size:.4f}")
                candidates.append(f"{uid},{where},1")
            candidates.append(f"{uid},{_nodule(patient.lungs == 3, axes)[0]},0")
        (root / "annotations.csv").write_text("\n".join(nodules) + "\n")
        header = ["seriesuid,coordX,coordY,coordZ,class"]
        (root / "candidates.csv").write_text("\n".join(header + candidates) + "\n")


def _meta(path: Path) -> dict[str, str]:
    match = SUBSET.fullmatch(path.parent.name)
    return {"subset": match[1]} if match else {}


def _nodule(mask: np.ndarray, axes: str) -> tuple[str, float]:
    """Return a part's centre in LPS mm, as the lists have it, and the diameter of an equal ball."""
    voxels = np.argwhere(mask)
    x, y, z = voxels.mean(0)
    if axes == "LPS":  # the file begins at the far end of x and y, at 0 mm
        x, y = mask.shape[0] - 1 - x, mask.shape[1] - 1 - y
    else:
        x, y = -x, -y
    centre = ",".join(f"{v * s:.6f}" for v, s in zip((x, y, z), SPACING, strict=True))
    return centre, float((6 / np.pi * len(voxels) * np.prod(SPACING)) ** (1 / 3))
