"""Synthetic knees in MR: femur and tibia with a layer of cartilage on each, seen sagittally.

Both bones share an intensity with each other and with patella and fibula, both cartilages with fluid:
only the place in the knee tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from bench.phantoms.atlas import Atlas
from bench.phantoms.organs import body_place, generator, smooth_field

KNEE = Atlas((), (), size=(0.92, 0.90, 1.0), ct=(0, 0, 0, 0), mr=(0, 0.82, 0.34, 0.34))
FEMUR, FEMORAL_CARTILAGE, TIBIA, TIBIAL_CARTILAGE = 1, 2, 3, 4  # SKI10's values
MUSCLE, FAT, AIR, PATELLA, FLUID, MENISCUS, FIBULA = 0, 5, 6, 7, 8, 9, 10
MR = (0.34, 0.52, 0.86, 0.52, 0.86, 0.84, 0.0, 0.52, 0.90, 0.08, 0.52)
CONDYLE = (0.27, 0.46, 0.32)  # radii, half knee widths
LAYER = 0.11  # thickness of cartilage, likewise


def knee(shape: Sequence[int], seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one synthetic knee: image float32 and label uint8 0 to 4, both (X, Y, Z) in RAS+.

    Its parts fill the grid, whatever the spacing. Magnitudes are positive on a scale of the
    patient's own, with a bias field; a right knee is a left one mirrored.
    """
    rng = generator(seed, index)
    points = body_place(tuple(shape), KNEE, rng)
    if rng.random() < 0.5:
        points[0] *= -1
    structure = _structures(points, rng)
    scale = np.exp(rng.uniform(np.log(150), np.log(1500)))
    means = np.array(MR, np.float32) * np.exp(0.05 * rng.standard_normal(len(MR), np.float32))
    image = ndimage.gaussian_filter(means[structure], 0.5, truncate=3)
    image += 0.03 * smooth_field(image.shape, rng)
    image *= np.exp(0.12 * smooth_field(image.shape, rng))
    noise = rng.uniform(0.015, 0.035) * rng.standard_normal((2, *image.shape), np.float32)
    image = np.float32(scale) * np.hypot(image + noise[0], noise[1])
    return image, np.where(structure <= TIBIAL_CARTILAGE, structure, 0).astype(np.uint8)


def _structures(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the structure of every voxel; later ones lie over earlier ones."""
    x, y, z = points
    z = z + rng.uniform(-0.06, 0.06)  # the joint's height
    structure = np.full(x.shape, MUSCLE, np.uint8)
    depth = (x * x + y * y) * (1 + 0.06 * smooth_field(x.shape, rng))
    structure[depth > 0.74] = FAT
    structure[depth > 1.0] = AIR
    layer = LAYER * (1 + 0.12 * float(rng.standard_normal()))
    structure[_within((x, y - 0.62, z - 0.38), (0.26, 0.15, 0.30))] = PATELLA
    structure[_within((x, y - 0.40, z - 0.30), (0.30, 0.12, 0.34))] = FLUID
    structure[(np.hypot(x - 0.50, y + 0.34) < 0.12) & (z < -0.42)] = FIBULA
    _draw_tibia(structure, (x, y, z), layer)
    _draw_femur(structure, (x, y, z), layer)
    return structure


def _draw_femur(structure: np.ndarray, at: tuple[np.ndarray, ...], layer: float) -> None:
    """Two condyles under a shaft; cartilage covers where the condyles face down, front and back."""
    x, y, z = at
    bone = (np.hypot(x / 0.32, (y - 0.02) / 0.28) < 1) & (z > 0.38)
    covered = np.zeros(x.shape, bool)
    for side in (-0.25, 0.25):
        centre = (x - side, y + 0.06, z - 0.38)
        bone |= _within(centre, CONDYLE)
        a, b, c = CONDYLE
        covered |= _within(centre, (a + 0.3 * layer, b + layer, c + layer))
    structure[covered & ~bone & (z < 0.40)] = FEMORAL_CARTILAGE
    structure[bone] = FEMUR


def _draw_tibia(structure: np.ndarray, at: tuple[np.ndarray, ...], layer: float) -> None:
    """A plateau on a shaft that narrows downwards, two discs of cartilage and menisci on it."""
    x, y, z = at
    top = 0.06 - 2 * layer - 0.02  # the condyles end at 0.06; both layers and a gap lie between
    narrow = np.clip((top - z) / 0.5, 0, 1)
    bone = (x / (0.58 - 0.26 * narrow)) ** 2 + ((y + 0.04) / (0.46 - 0.18 * narrow)) ** 2 < 1
    bone &= z < top
    for side in (-0.25, 0.25):
        disc = np.hypot((x - side) / 0.24, (y + 0.06) / 0.36)
        structure[(disc < 1.25) & (disc > 0.9) & (z > top) & (z < top + 2 * layer)] = MENISCUS
        structure[(disc < 1) & (z >= top) & (z < top + layer)] = TIBIAL_CARTILAGE
    structure[bone] = TIBIA


def _within(at: tuple[np.ndarray, ...], radii: Sequence[float]) -> np.ndarray:
    x, y, z = ((p / r) ** 2 for p, r in zip(at, radii, strict=True))
    return x + y + z < 1
