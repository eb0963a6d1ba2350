"""Synthetic chests: lungs in a body, ribs around them, and lesions or nodules inside them.

Neither the grey value nor the place in the grid tells a lesion: vessels share a nodule's intensity, the
edges of the lungs an infiltrate's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bench.phantoms.atlas import Atlas
from bench.phantoms.organs import body_place, generator, smooth_field

CHEST = Atlas((), (), size=(0.86, 0.66, 1.0), ct=(-1000, -105, 55, 15), mr=(0, 0, 0, 0))
AIR, FAT, WALL, INSIDE, LUNG, HEART, LIVER, SPINE, RIB, AIRWAY, VESSEL = range(11)
HU = (-1000, -105, 55, 15, -860, 110, 105, 240, 420, -985, 45)
RIBS = 7.0  # per half body height
LUNGS = {1: -0.44, 2: 0.44}  # left, right: their centre along x


@dataclass(frozen=True, eq=False)
class Chest:
    """One patient; every array is (X, Y, Z) in RAS+, integers number parts from 1."""

    image: np.ndarray  # float32, whole HU
    lungs: np.ndarray  # uint8: 1 left, 2 right, 3 airway; lesions and vessels belong to their lung
    lesions: np.ndarray  # uint8, one number per lesion; all lie in the lungs
    fractures: np.ndarray  # uint8, one number per fracture; all lie in the ribs


def chest(
    shape: Sequence[int], spacing: Sequence[float], seed: int, index: int, *, nodules: bool = False
) -> Chest:
    """Return one synthetic patient; about 350 mm are a chest, and its parts follow the field of view.

    ``nodules`` are 1 to 3 round lesions as dense as vessels, instead of 2 to 5 ragged infiltrates.
    """
    rng = generator(seed, index)
    points = body_place(tuple(shape), CHEST, rng)
    structure = _body(points, rng)
    lungs = _lungs(points, structure)
    ribs = structure == RIB
    _vessels(points, structure, lungs, rng)
    lesions = _lesions(points, lungs, (1, 4) if nodules else (2, 6), nodules, rng)
    fractures = _fractures(points, ribs, rng)
    means = np.array(HU, np.float32) + 8 * rng.standard_normal(len(HU), np.float32)
    means[[AIR, AIRWAY]] = HU[AIR], HU[AIRWAY]
    image = means[structure]
    dense = rng.uniform(20, 70, 256) if nodules else rng.uniform(-560, -160, 256)
    image[lesions > 0] = dense[lesions[lesions > 0]]
    image[fractures > 0] = means[WALL]
    image = ndimage.gaussian_filter(image, 0.6, truncate=3)
    grain = np.min(spacing) / np.asarray(spacing)
    texture = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), 1.3 * grain)
    image += np.where(structure == AIR, 0, rng.uniform(10, 18) / texture.std() * texture)
    image += rng.uniform(8, 16) * rng.standard_normal(image.shape, np.float32)
    return Chest(np.rint(image), lungs, lesions, fractures)


def _body(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the structure of every voxel but those within the lungs."""
    x, y, z = points
    depth = (x * x + y * y - 0.35 * (x * y) ** 2) * (1 + 0.05 * smooth_field(x.shape, rng))
    structure = np.full(x.shape, AIR, np.uint8)
    for number, bound in ((FAT, 1.0), (WALL, 0.88), (INSIDE, 0.64)):
        structure[depth < bound] = number
    # Ribs fall towards the front; both sides are one curve in |x| and y.
    wave = np.cos(np.pi * (RIBS * (z + 0.3 * y) + rng.uniform(0, 2)))
    structure[(depth > 0.64) & (depth < 0.79) & (wave > 0.1) & (y < 0.62)] = RIB
    for side in LUNGS.values():
        lung = _ellipsoid(points, (side, -0.02, 0.05), (0.37, 0.62, 0.92), rng, power=3)
        structure[lung & (depth < 0.62)] = LUNG
    structure[_ellipsoid(points, (-0.13, 0.24, -0.28), (0.36, 0.34, 0.42), rng)] = HEART
    dome = _ellipsoid(points, (0.36, 0.0, -1.02), (0.52, 0.62, 0.52), rng)
    structure[dome & (depth < 0.62)] = LIVER
    structure[(x / 0.15) ** 2 + ((y + 0.66) / 0.17) ** 2 < 1] = SPINE
    structure[(x**2 + (y + 0.12) ** 2 < 0.07**2) & (z > 0.12)] = AIRWAY
    return structure


def _ellipsoid(
    points: np.ndarray,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    rng: np.random.Generator,
    power: int = 2,
) -> np.ndarray:
    """Return a mask around a centre and with radii of the patient's own; higher powers are boxier."""
    shifted = np.asarray(centre) + 0.02 * rng.standard_normal(3)
    sizes = np.asarray(radii) * np.exp(0.05 * rng.standard_normal(3))
    x, y, z = (np.abs((p - c) / r) ** power for p, c, r in zip(points, shifted, sizes, strict=True))
    return x + y + z < 1


def _lungs(points: np.ndarray, structure: np.ndarray) -> np.ndarray:
    lungs = np.where(points[0] > 0, 2, 1).astype(np.uint8)
    lungs[structure != LUNG] = 0
    lungs[structure == AIRWAY] = 3
    return lungs


def _vessels(
    points: np.ndarray, structure: np.ndarray, lungs: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw tapering branches from either hilum to random points of its lung."""
    flat = structure.reshape(-1)
    for lung, side in LUNGS.items():
        inside = np.flatnonzero(lungs == lung)
        sites = points.reshape(3, -1)[:, inside].T
        hilum = np.array([0.4 * side, -0.08, 0.05])
        for target in sites[rng.integers(0, len(sites), 9)]:
            branch = target - hilum
            along = np.clip((sites - hilum) @ branch / (branch @ branch), 0, 1)
            away = np.linalg.norm(sites - hilum - along[:, None] * branch, axis=1)
            flat[inside[away < 0.055 - 0.03 * along]] = VESSEL


def _lesions(
    points: np.ndarray,
    lungs: np.ndarray,
    count: tuple[int, int],
    nodules: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return numbered lesions within the lungs; infiltrates keep to the back, as in COVID-19."""
    ragged = smooth_field(lungs.shape, rng)
    lesions = np.zeros(lungs.shape, np.uint8)
    room = (lungs == 1) | (lungs == 2)
    if not nodules:
        room &= points[1] < 0.1
    homes = np.argwhere(room)
    for number in range(1, 1 + int(rng.integers(*count))):
        centre = points[(slice(None), *homes[rng.integers(len(homes))])]
        radius = rng.uniform(0.08, 0.12) if nodules else rng.uniform(0.14, 0.26)
        distance = np.linalg.norm(points - centre[:, None, None, None], axis=0)
        grown = radius * (1 if nodules else 1 + 0.3 * ragged)
        lesions[(distance < grown) & (lungs > 0) & (lungs < 3)] = number
    return lesions


def _fractures(points: np.ndarray, ribs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 0 to 3 numbered gaps in the ribs; a scan without one is not rare."""
    fractures = np.zeros(ribs.shape, np.uint8)
    homes = np.argwhere(ribs)
    for number in range(1, 1 + int(rng.integers(0, 4))):
        centre = points[(slice(None), *homes[rng.integers(len(homes))])]
        fractures[ribs & (np.linalg.norm(points - centre[:, None, None, None], axis=0) < 0.1)] = (
            number
        )
    return fractures
