"""Synthetic chests as screenshots of slices: 8 bits, no units, with one of three findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from bench.phantoms.chest import HU, LUNG, chest
from bench.phantoms.organs import generator

WINDOW = (-1100.0, 300.0)  # HU; the lung window of a screenshot
FINDINGS = {"none": None, "ground glass": (-600.0, -420.0), "consolidation": (-60.0, 60.0)}  # HU
STREAM = 1 << 20  # added to a patient's number: findings draw from a stream of their own


def pneumonia(
    shape: Sequence[int], spacing: Sequence[float], seed: int, index: int, finding: str
) -> np.ndarray:
    """Return the slices of one synthetic chest as they are displayed, uint8 (Z, rows, columns).

    The first slice is the uppermost; the patient's right is on the left of the screen. ``finding`` is
    ``none``; ``ground glass``, several faint infiltrates; or ``consolidation``, one as dense as soft tissue.
    """
    scan = chest(shape, spacing, seed, index)
    rng = generator(seed, STREAM + index)
    lungs = np.isin(scan.lungs, (1, 2))
    sizes = np.bincount(scan.lesions.ravel(), minlength=2)[1:]
    image = _replaced(
        scan.image, scan.lesions > 0, HU[LUNG] + 20 * rng.standard_normal(shape), lungs
    )
    dense = FINDINGS[finding]
    if dense is not None:
        largest = ndimage.binary_dilation(scan.lesions == 1 + int(sizes.argmax()), iterations=2)
        shown = largest if finding == "consolidation" else scan.lesions > 0
        mottled = 240 * ndimage.gaussian_filter(rng.standard_normal(shape), (1, 1, 0.5))
        image = _replaced(image, shown, rng.uniform(*dense) + mottled, lungs)
    low, high = WINDOW
    grey = np.clip((image - low) / (high - low), 0, 1) * 255
    return np.rint(grey).astype(np.uint8)[::-1, ::-1, ::-1].transpose(2, 1, 0)


def write_slices(folder: Path, slices: np.ndarray, formats: Sequence[str]) -> None:
    """Write uint8 slices (Z, rows, columns) as 0000.jpg ..., the formats in turn.

    A ``tif`` holds three equal channels, as screenshots often do.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(slices):
        suffix = formats[number % len(formats)]
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        # The quality is read by JPEG alone.
        (picture.convert("RGB") if suffix == "tif" else picture).save(
            folder / f"{number:04d}.{suffix}", quality=92
        )


def _replaced(
    image: np.ndarray, where: np.ndarray, values: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Return the image with other values in a mask, its edge soft but never outside the lungs."""
    share = ndimage.gaussian_filter(ndimage.binary_dilation(where).astype(np.float32), 0.7) * inside
    return image * (1 - share) + values * share
