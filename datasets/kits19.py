"""KiTS19: kidneys and kidney tumours in late-arterial CT, MICCAI 2019 challenge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source
from bench.volumes.files import is_volume, stem, within

if TYPE_CHECKING:
    import numpy as np

CASE = re.compile(r"case_([0-9]{5})")
FILES = {"imaging": "image", "segmentation": "label"}  # the challenge's names, in case_00000/
# nnU-Net's copy: names in imagesTr, labelsTr, imagesTs
RENAMED = re.compile(r"case_([0-9]{5})(_0000)?")
FOLDERS = {"imagesTr": "image", "imagesTs": "image", "labelsTr": "label"}
LABELLED = 210  # case_00210 and later were the test scans; their labels came with KiTS21
TESTS = range(LABELLED, 300)
PATIENTS = 12000  # number of the first phantom: no other data set shows the same bodies
SOFT = (-175.0, 250.0)  # HU


class KiTS19(Dataset):
    """210 labelled and 90 unlabelled scans.

    The first axis of an array counts the slices, under an affine that says so; reading turns it to
    RAS+. The first release had wrong spacings: take the current files. The challenge scored the
    kidney together with its tumour; the labels here are kidney tissue and tumour, each by itself.
    Doubtful cases are kept, and each carries the reason.
    """

    source = Source(
        "Heller et al. 2021, The state of the art in kidney and kidney tumor segmentation in "
        "contrast-enhanced CT imaging: Results of the KiTS19 challenge, Medical Image Analysis 67:101821",
        "https://github.com/neheller/kits19",
    )
    title = "KiTS19 kidney tumours"
    licence = "CC BY-NC-SA 4.0"  # from memory of the challenge's page: see your copy
    published = (210, 90)
    modality = "CT"
    channels = ("CT",)
    labels = {1: "kidney", 2: "tumour"}
    doubtful = {
        # nnDetection's Task011_Kits leaves these out; what was mended: changelog.md of neheller/kits19.
        # Not listed: case_00022, case_00061 and case_00117, whose second contrast phase was cut off on
        # 15 April 2019 (issue 6)
        "case_00015": "replaced in April, label corrected in December 2019; nnDetection leaves it out",
        "case_00023": "label corrected in December 2019; nnDetection leaves it out",
        "case_00037": "label corrected in December 2019; nnDetection leaves it out",
        "case_00068": "nnDetection leaves it out",
        "case_00125": "label corrected in December 2019; nnDetection leaves it out",
        "case_00133": "nnDetection leaves it out",
        "case_00160": "slices of 512 x 796",
    }
    recipes = {
        # as "voco"; the challenge states none
        "default": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # Luffy03/Large-Scale-Medical Downstream/monai/KiTs: VoCo's authors, on KiTS23
        "voco": Recipe(spacing=(1.5, 1.5, 1.5), window=SOFT, foreground=0.0),
        # PGL, section 5.1: clipped, then z-scored; no resampling is mentioned
        "pgl": Recipe(window=(-1024.0, 325.0), scale="zscore"),
        "coarse": Recipe(spacing=(4.0, 4.0, 5.0), window=SOFT),  # ours: a pilot on a CPU
    }
    splits = {"pgl_105_105": "kits19.pgl_105_105.json"}
    unpack = (
        "clone github.com/neheller/kits19, run 'python -m starter_code.get_imaging' in it and link or "
        "unpack it so that kits19/ holds data/case_00000/imaging.nii.gz and segmentation.nii.gz"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return the case folders, or nnU-Net's copy of them, the unlabelled ones last."""
        cases: dict[str, dict[str, Path]] = {}
        for name, role, path in _files(root):
            twin = cases.setdefault(name, {}).setdefault(role, path)
            if twin != path:
                raise BenchError(f"{path}: {twin} is the same {role} of {name}; keep one layout")
        if not cases:
            raise BenchError(f"{root}: no files case_00000/imaging.nii.gz ...; {self.unpack}")
        last = max(cases)
        if int(last[-5:]) not in range(TESTS.stop):
            raise BenchError(
                f"{next(iter(cases[last].values()))}: KiTS19 ends with case_00299; a later KiTS has "
                f"other labels; {self.unpack}"
            )
        return [self._case(name, cases[name]) for name in sorted(cases)]

    def _case(self, name: str, files: dict[str, Path]) -> Case:
        """Return one case; a file that should lie beside the other is named even if it is absent."""
        testing = int(name[-5:]) in TESTS
        image, label = files.get("image"), files.get("label")
        if image is None and label is not None:
            image = _partner(label, "imaging", "imagesTr", f"{name}_0000")
        if image is None:
            raise ValueError(f"neither image nor label of {name}")
        if label is None and not testing:
            label = _partner(image, "segmentation", "labelsTr", name)
        meta = {"part": "testing" if testing else "training"}
        if name in self.doubtful:
            meta["doubtful"] = self.doubtful[name]
        return Case(name, name, (image,), label, meta)

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 300 synthetic scans as the challenge stores them, every sixth one unlabelled."""
        from bench.phantoms.lesion import SPACING, Growth, abdomen
        from bench.phantoms.order import first, interleaved

        parts = ([f"case_{n:05d}" for n in part] for part in (range(LABELLED), TESTS))
        order = first(cls, interleaved(*parts), cases)
        width, _, thickness = SPACING
        tumour = Growth(2, (2, 3), 60, (0.16, 0.22))
        for i, name in enumerate(order):
            grid = (56 + 4 * (i % 3), 56, 34 + 2 * (i % 3))
            scan = abdomen(grid, SPACING, seed, PATIENTS + i, {2: 1, 3: 1}, [tumour])
            _write(root / "data" / name, *scan, SPACING)
        listing = [
            {"case_id": name, "captured_pixel_width": width, "captured_slice_thickness": thickness}
            for name in sorted(order)
        ]
        (root / "data" / "kits.json").write_text(json.dumps(listing, indent=1) + "\n")


def _files(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield case, role and path of every file in either layout."""
    for path in within(root, 5):
        if not is_volume(path) or is_volume(path.parent):
            continue
        name, folder = stem(path), path.parent.name
        match = RENAMED.fullmatch(name) if folder in FOLDERS else None
        if CASE.fullmatch(folder) and name in FILES:
            yield folder, FILES[name], path
        elif match:
            yield f"case_{match[1]}", FOLDERS[folder], path


def _partner(path: Path, name: str, folder: str, moved: str) -> Path:
    """Return where the other file of a case is expected, in the layout of this one."""
    if CASE.fullmatch(path.parent.name):
        return path.with_name(path.name.replace(stem(path), name))
    return path.parent.with_name(folder) / path.name.replace(stem(path), moved)


def _write(
    folder: Path, image: np.ndarray, label: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    """Write a case slice by slice downwards, rows backwards, columns to the left, as its README says."""
    import numpy as np

    from bench.phantoms.organs import write_placed

    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis in range(3):
        affine[axis, 2 - axis] = -spacing[axis]
    write_placed(folder / "imaging.nii.gz", image[::-1, ::-1, ::-1].T, affine, "float32")
    if int(folder.name[-5:]) < LABELLED:
        write_placed(folder / "segmentation.nii.gz", label[::-1, ::-1, ::-1].T, affine, "uint8")
