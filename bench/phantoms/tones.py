"""Synthetic scans on which few labels do not suffice: every patient has a grey scale of his own.

Four tissues lie in one order of brightness, and the second and the third are to be found. A monotone
curve, drawn for each patient, turns brightness into grey values, as scanners and sequences do: what
is the second tissue's grey in one patient is the third's in another. Every structure wanders, so that
its place tells little. Who has seen one patient knows one curve; who has seen forty, labelled or
not, knows what curves do. It is made hard on purpose, and hard in this one way; no real scan is as
simple, and nothing here is drawn from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy import ndimage

from bench.phantoms.atlas import Atlas, Organ
from bench.phantoms.organs import LAYERS, anatomy, generator, smooth_field

FIRST, SECOND, THIRD, FOURTH = 0.3, 0.5, 0.72, 0.95  # brightness, before the patient's curve
CURVE = 1.3  # grey = brightness ** g; log g is uniform within this of 0
UNEVEN, SHADE = 0.02, 0.02  # spread of a structure's brightness, and of the bias field's logarithm
NOISE = 0.015  # of brightness, too
SCALE = (150.0, 3000.0)  # what 1 is in the file, by patient
structure = partial(Organ, ct=0.0, wander=0.15)
TONES = Atlas(
    organs=(
        structure((0.1, 0.42, -0.1), (0.60, 0.48, 0.60), mr=SECOND, turn=-15),
        structure((-0.1, -0.42, 0.1), (0.58, 0.50, 0.58), mr=THIRD, turn=15),
    ),
    distractors=(
        structure((0.7, 0.6, 0.5), (0.5, 0.4, 0.5), mr=FOURTH),
        structure((-0.7, -0.55, -0.6), (0.5, 0.4, 0.5), mr=FOURTH),
    ),
    size=(0.95, 0.95, 0.95),
    ct=(0, 0, 0, 0),
    mr=(FIRST, FIRST, FIRST, FIRST),
    outline=False,
)


def tones(shape: Sequence[int], seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one patient: grey values float32 >= 0 and label uint8, both (X, Y, Z) in RAS+.

    The image is on a scale of the patient's own; the label is 1 where the second tissue is, 2 the third.
    """
    rng = generator(seed, index)
    structures = anatomy(TONES, shape, rng)
    means = np.array([*TONES.mr, *(part.mr for part in TONES.parts)])
    means += UNEVEN * rng.standard_normal(means.size)
    bright = ndimage.gaussian_filter(means.astype(np.float32)[structures], 0.5, truncate=3)
    bright *= np.exp(SHADE * smooth_field(structures.shape, rng))
    bright += NOISE * rng.standard_normal(bright.shape, np.float32)
    grey = np.maximum(bright, 0) ** np.exp(rng.uniform(-CURVE, CURVE))
    scale = np.exp(rng.uniform(*np.log(SCALE)))
    number = structures.astype(np.int16) - (LAYERS - 1)
    label = np.where((number == 1) | (number == 2), number, 0).astype(np.uint8)
    return (scale * np.maximum(grey, 0)).astype(np.float32), label
