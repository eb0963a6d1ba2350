"""Synthetic prostates in two MR contrasts; a patient is a pure function of (seed, index)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.phantoms.organs import generator
from bench.phantoms.shapes import mr_image, placed, radius

OUTER, INNER = 1, 2  # peripheral and transition zone
# Tissue, peripheral zone, transition zone, bladder, rectum, muscle, seminal vesicles.
T2 = (0.40, 0.85, 0.50, 0.98, 0.28, 0.20, 0.85)
ADC = (0.45, 0.85, 0.60, 0.98, 0.28, 0.40, 0.80)


def prostate(
    shape: Sequence[int], spacing: Sequence[float], seed: int, index: int, *, outer: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return one patient: T2 and ADC, float32 (X, Y, Z, 2), and label uint8 (X, Y, Z) in RAS.

    200 x 200 x 72 mm is the usual field of view. Without ``outer`` no peripheral zone is left, as in some.
    """
    rng = generator(seed, index)
    points = placed(shape, spacing, rng, shift=8, warp=2)
    wide = rng.uniform(0.9, 1.15)  # the inner part grows with age
    structure = np.zeros(points.shape[1:], np.uint8)
    for value, centre, radii in (
        (5, (62, 0, 0), (14, 42, 90)),
        (5, (-62, 0, 0), (14, 42, 90)),
        (3, (2, 34, 36), (40, 26, 30)),
        (4, (0, -42, 0), (17, 14, 200)),
        (6, (20, -14, 34), (18, 7, 8)),
        (6, (-20, -14, 34), (18, 7, 8)),
        *([(OUTER, (0, -8, 0), (27, 20, 24))] if outer else []),
        (INNER, (0, 0, 3), (19 * wide, 15 * wide, 19)),
    ):
        structure[radius(points, centre, radii) < 1] = value
    images = [mr_image(structure, means, rng) for means in (T2, ADC)]
    return np.stack(images, axis=-1), np.where(structure <= INNER, structure, 0).astype(np.uint8)
