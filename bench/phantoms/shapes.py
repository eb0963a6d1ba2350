"""What the phantoms of single organs share: a patient's own coordinates, shapes, MR and CT images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from bench.phantoms.organs import smooth_field


def placed(
    shape: Sequence[int],
    spacing: Sequence[float],
    rng: np.random.Generator,
    shift: float,
    warp: float,
) -> np.ndarray:
    """Return each voxel's place in the patient in mm from his centre, float32 (3, X, Y, Z), RAS.

    Args:
        shape: voxels along x, y, z.
        spacing: mm.
        rng: the patient's stream.
        shift: mm; how far the patient lies off the centre of the field of view, at most.
        warp: mm; spread of the smooth differences of shape between patients.
    """
    offset = rng.uniform(-shift, shift, 3)
    size = rng.uniform(0.92, 1.08) * rng.uniform(0.96, 1.04, 3)
    turned = (np.eye(3) + 0.05 * rng.standard_normal((3, 3))) / size[:, None]
    sides = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    grid = np.meshgrid(*(side - o for side, o in zip(sides, offset, strict=True)), indexing="ij")
    points = np.tensordot(turned, np.stack(grid), axes=1).astype(np.float32)
    for axis in range(3):
        points[axis] += np.float32(warp) * smooth_field(tuple(shape), rng)
    return points


def rough(shape: Sequence[int], rng: np.random.Generator, share: float) -> np.ndarray:
    """Return a random field of unit spread, correlated over ``share`` of each axis; float32."""
    noise = rng.standard_normal(tuple(shape), np.float32)
    field = ndimage.gaussian_filter(noise, [share * n for n in shape], mode="reflect", truncate=3)
    return (field - field.mean()) / (field.std() + 1e-6)


def radius(
    points: np.ndarray, centre: Sequence[float], radii: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Return the distance from an ellipsoid's centre in its radii, (X, Y, Z): below 1 is inside."""
    scaled = (points[axis] - np.float32(centre[axis]) for axis in range(3))
    return np.sqrt(sum((d / np.float32(r)) ** 2 for d, r in zip(scaled, radii, strict=True)))


def mr_image(structure: np.ndarray, means: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Return magnitudes >= 0 on a scale of the scan's own: bias field, partial volume, Rician noise.

    Args:
        structure: number of the structure of each voxel, (X, Y, Z).
        means: intensity of each structure as a share of the scale.
        rng: the scan's stream.
    """
    personal = np.asarray(means) * np.exp(0.05 * rng.standard_normal(len(means)))
    image = _softened(structure, personal)
    image *= np.exp(0.08 * smooth_field(structure.shape, rng))
    noise = rng.uniform(0.02, 0.035) * rng.standard_normal((2, *structure.shape), np.float32)
    return np.float32(rng.uniform(150, 600)) * np.hypot(image + noise[0], noise[1])


def ct_image(structure: np.ndarray, means: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Return whole HU: the structures' means with jitter, partial volume and quantum noise."""
    personal = np.asarray(means) + 6 * rng.standard_normal(len(means))
    image = _softened(structure, personal)
    image += rng.uniform(8, 16) * rng.standard_normal(structure.shape, np.float32)
    return np.rint(image)


def _softened(structure: np.ndarray, means: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(means.astype(np.float32)[structure], 0.5, truncate=3)
