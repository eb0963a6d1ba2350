"""Visits of synthetic people to a brain imaging study, zipped as its bulk download is.

A visit is a pure function of (seed, index), and so are the bytes of its zips.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np

from bench.phantoms.brain import CSF, GREY, WHITE, brain

SHAPE = (52, 64, 64)  # 208 x 256 x 256 mm, as the scanner's grid of 1 mm
SPACING = 4.0  # mm
LINEAR = "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"


def places(root: Path, first: int, cases: int) -> Iterator[tuple[Path, Path, Path | None]]:
    """Yield the zips of T1 and of T2-FLAIR of each visit, every fifth one a participant's second.

    After every third comes the zip of another participant's T1, which is no case.
    """
    for i in range(cases):
        again = i % 5 == 4
        eid, instance = first + 11 * (i - again), 2 + again
        t1, flair = (
            root / "Brain MRI" / kind / str(eid)[:2] / f"{eid}_{field}_{instance}_0.zip"
            for kind, field in (("T1", 20252), ("T2 FLAIR", 20253))
        )
        yield t1, flair, t1.with_name(f"{eid + 5}_20252_2_0.zip") if i % 3 == 2 else None


def write_visit(t1: Path, flair: Path | None, seed: int, index: int, labelled: bool = True) -> None:
    """Write one visit: T1 with its tissue segmentation, and T2-FLAIR on the grid of T1.

    Args:
        t1: the zip of T1.
        flair: the zip of T2-FLAIR, None where the visit has none.
        seed: of all people.
        index: of this visit.
        labelled: does the zip of T1 hold the segmentation?
    """
    scan = brain(SHAPE, (SPACING,) * 3, seed, index, enhancing=None, skull=True)
    mask = scan.tissue > 0
    files = {
        "T1/T1.nii.gz": _nifti(scan.images["t1"], "int16"),
        "T1/T1_brain.nii.gz": _nifti(scan.images["t1"] * mask, "int16"),
        "T1/T1_brain_mask.nii.gz": _nifti(mask, "uint8"),
        "T1/T1_unbiased_brain.nii.gz": _nifti(scan.images["t1"] * mask, "float32"),
        "T1/T1.json": json.dumps({"Modality": "MR", "SeriesDescription": "T1"}).encode(),
        "T1/transforms/T1_to_MNI_linear.mat": LINEAR.encode(),
    }
    if labelled:
        for part, tissue in enumerate((CSF, GREY, WHITE)):
            files[f"T1/T1_fast/T1_brain_pve_{part}.nii.gz"] = _nifti(
                scan.tissue == tissue, "float32"
            )
        for name in ("seg", "pveseg"):
            files[f"T1/T1_fast/T1_brain_{name}.nii.gz"] = _nifti(scan.tissue, "uint8")
    _zip(t1, files)
    if flair is not None:
        image = scan.images["flair"]
        files = {"T2_FLAIR/T2_FLAIR.nii.gz": _nifti(image, "int16")}
        files["T2_FLAIR/T2_FLAIR_brain.nii.gz"] = _nifti(image * mask, "int16")
        _zip(flair, files)


def write_unusable(t1: Path, seed: int, index: int) -> None:
    """Write the zip of a visit whose T1 failed quality control: the image lies in ``unusable/``."""
    scan = brain(SHAPE, (SPACING,) * 3, seed, index, enhancing=None, skull=True)
    _zip(t1, {"T1/unusable/T1.nii.gz": _nifti(scan.images["t1"], "int16")})


def _nifti(array: np.ndarray, dtype: str) -> bytes:
    """Return (X, Y, Z) in RAS+ as a compressed file whose first axis points left."""
    affine = np.diag([-SPACING, SPACING, SPACING, 1.0])
    image = nibabel.Nifti1Image(np.rint(array[::-1]).astype(dtype), affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), 4, mtime=0)


def _zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
