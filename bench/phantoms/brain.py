"""Synthetic brains in four MR contrasts, with a tumour whose parts lie within each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.phantoms.organs import generator, write_nifti
from bench.phantoms.shapes import mr_image, placed, radius, rough

CSF, GREY, WHITE = 1, 2, 3  # of ``Brain.tissue``
CORE, OEDEMA, ENHANCING = 1, 2, 3  # of ``Brain.tumour``
SKULL, SCALP = 7, 8
# Nothing, CSF, grey and white matter, the tumour's core, oedema and enhancing rim, skull, scalp.
CONTRASTS = {
    "flair": (0.0, 0.18, 0.60, 0.50, 0.62, 0.98, 0.82, 0.05, 0.55),
    "t1": (0.0, 0.25, 0.55, 0.75, 0.36, 0.48, 0.50, 0.05, 0.85),
    "t1ce": (0.0, 0.25, 0.58, 0.78, 0.38, 0.50, 1.15, 0.05, 0.90),
    "t2": (0.0, 1.00, 0.62, 0.45, 0.92, 0.85, 0.72, 0.05, 0.60),
}


@dataclass(frozen=True, eq=False)
class Brain:
    """One patient: ``images`` by contrast, float32 (X, Y, Z); ``tissue`` and ``tumour``, uint8."""

    images: dict[str, np.ndarray]
    tissue: np.ndarray  # 0 outside the brain, else CSF, GREY, WHITE; also where the tumour lies
    tumour: np.ndarray  # 0, CORE, OEDEMA, ENHANCING


def brain(
    shape: Sequence[int],
    spacing: Sequence[float],
    seed: int,
    index: int,
    *,
    enhancing: bool | None = True,
    skull: bool = False,
) -> Brain:
    """Return one synthetic head in RAS; 240 x 240 x 155 mm hold it.

    ``enhancing`` says whether its tumour has an enhancing rim (else its core is solid); None is no tumour.
    Without ``skull`` (and scalp) everything outside the brain is exactly 0.
    """
    rng = generator(seed, index)
    points = placed(shape, spacing, rng, shift=5, warp=2)
    outline = radius(points, (0, 0, 0), (66, 84, 60)) * (1 + 0.02 * rough(shape, rng, 0.15))
    tissue = _tissue(points, outline, rng)
    tumour = np.zeros_like(tissue) if enhancing is None else _tumour(points, tissue, rng, enhancing)
    structure = np.where(tumour > 0, tumour + WHITE, tissue)
    if skull:
        structure[(outline >= 1) & (outline < 1.2)] = SCALP
        structure[(outline >= 1) & (outline < 1.1)] = SKULL
    images = {}
    for name, means in CONTRASTS.items():
        images[name] = mr_image(structure, means, rng)
        images[name][structure == 0] = 0
    return Brain(images, tissue, tumour)


def _tissue(points: np.ndarray, outline: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return fluid around and in the ventricles, a folded grey mantle, deep nuclei, white matter."""
    folds = 0.04 * rough(outline.shape, rng, 0.04)
    tissue = np.where(outline + folds > 0.80, GREY, WHITE).astype(np.uint8)
    wide = rng.uniform(0.8, 1.3)  # ventricles grow with age
    for side in (-1, 1):
        tissue[radius(points, (side * 24, 4, 0), (9, 18, 13)) < 1] = GREY
        tissue[radius(points, (side * 11, -4, 12), (6 * wide, 32, 9 * wide)) < 1] = CSF
    tissue[outline - folds > 0.96] = CSF
    tissue[outline >= 1] = 0
    return tissue


def _tumour(
    points: np.ndarray, tissue: np.ndarray, rng: np.random.Generator, enhancing: bool
) -> np.ndarray:
    """Return oedema around a rim around a core, in one hemisphere; the rim may be absent."""
    side = rng.choice((-1, 1))
    centre = (side * rng.uniform(20, 36), rng.uniform(-38, 42), rng.uniform(-12, 24))
    radii = rng.uniform(24, 34) * rng.uniform(0.85, 1.15, 3)
    ragged = 1 + 0.10 * rough(tissue.shape, rng, 0.08)
    away = radius(points, centre, radii) * ragged
    tumour = np.zeros_like(tissue)
    tumour[away < 1] = OEDEMA
    tumour[away < 0.68] = ENHANCING if enhancing else CORE
    tumour[away < 0.44] = CORE
    tumour[tissue == 0] = 0
    return tumour


def write_case(
    folder: Path, seed: int, index: int, enhancing: bool, *, labelled: bool = True
) -> None:
    """Write one file per contrast and ``seg``, named after the folder, as tumour challenges do.

    240 x 240 x 156 mm as there, of voxels of 4 mm: a real case takes 10 MB. Values of
    ``seg`` are 1 core, 2 oedema, 4 enhancing tumour.
    """
    head = brain((60, 60, 39), (4.0, 4.0, 4.0), seed, index, enhancing=enhancing)
    for kind, image in head.images.items():
        write_nifti(folder / f"{folder.name}_{kind}.nii.gz", image, (4.0, 4.0, 4.0), "int16")
    if not labelled:
        return
    values = np.array([0, 1, 2, 4], np.uint8)[head.tumour]
    write_nifti(folder / f"{folder.name}_seg.nii.gz", values, (4.0, 4.0, 4.0), "uint8")
