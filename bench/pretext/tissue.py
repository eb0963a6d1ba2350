"""Classes of intensity where nobody has drawn any: background, dark, middle and bright (NumPy, in a worker).

What FSL FAST does for a brain is a mixture of Gaussians with neighbours taken into account; this is
thresholds alone, those of Otsu 1979 for several classes, and so it is no segmentation of tissues.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.data.reader import Volume

TISSUES = 3  # FAST's: cerebrospinal fluid, grey and white matter
SLICES = 5  # of a volume, evenly spread, whose voxels decide
VOXELS = 1 << 15  # about as many of each slice
BINS = 128
TAILS = (0.5, 99.5)  # percentiles between which the bins lie
HALF = 0.5
KNOWN = 4096  # rules of prepared cases that a worker remembers: one takes longer than a crop


class Rule(NamedTuple):
    """How a value becomes a class."""

    background: float | None  # the one value that is class 0; without it class 0 is the darkest
    thresholds: np.ndarray


_known: dict[tuple[str, float], Rule] = {}


def tissue_rule(volume: Volume, flat: float) -> Rule:
    """Return what divides a volume's first channel into background and three classes.

    It depends on the volume alone, of which a few slices are read.

    Args:
        volume: one case.
        flat: a value that as large a share of the voxels has is background: clipped air, what lies around
            a volume or beyond a mask. Where none has, the darkest of four classes is.
    """
    key = volume.name, flat
    if not volume.name or key not in _known:
        if len(_known) >= KNOWN:
            _known.clear()
        _known[key] = _rule(volume, flat)
    return _known[key]


def _rule(volume: Volume, flat: float) -> Rule:
    values = probe(volume)
    distinct, counts = np.unique(values, return_counts=True)
    if counts.max() < flat * values.size:
        return Rule(None, otsu(values, TISSUES + 1))
    background = float(distinct[counts.argmax()])
    return Rule(background, otsu(values[values != background], TISSUES))


def probe(volume: Volume) -> np.ndarray:
    """Return voxels of evenly spread slices of a volume's first channel, thinned alike along x and y."""
    x, y, z = volume.shape
    step = max(1, int(np.ceil((x * y / VOXELS) ** 0.5)))
    places = np.unique(((np.arange(SLICES) + HALF) * z / SLICES).astype(int)).tolist()
    slices = [volume.crop((0, 0, place), (x, y, 1))[0, ::step, ::step].ravel() for place in places]
    return np.concatenate(slices)


def labelled(volume: Volume, image: np.ndarray, start: Sequence[int], rule: Rule) -> np.ndarray:
    """Return the classes (X, Y, Z), uint8, of a crop at ``start``; 0 outside the volume."""
    found = np.searchsorted(rule.thresholds, image, side="right")
    if rule.background is not None:
        found = np.where(image == rule.background, 0, found + 1)
    label = np.zeros(image.shape, np.uint8)
    inside = tuple(
        slice(max(-a, 0), max(n - a, 0)) for a, n in zip(start, volume.shape, strict=True)
    )  # fmt: skip
    label[inside] = found[inside]
    return label


def otsu(values: np.ndarray, classes: int) -> np.ndarray:
    """Return the thresholds (classes - 1,) that leave the least variance within classes.

    Exact on a histogram; a value at or above a threshold belongs above it.
    """
    if not values.size:
        return np.zeros(classes - 1)
    low, high = np.percentile(values, TAILS)
    if high <= low:
        return np.full(classes - 1, high)
    counts, edges = np.histogram(values.clip(low, high), BINS, (low, high))
    weight = np.concatenate([[0], counts.cumsum()]).astype(float)
    moment = np.concatenate([[0], (counts * (edges[:-1] + edges[1:]) / 2).cumsum()])
    mass = weight - weight[:, None]
    gain = (moment - moment[:, None]) ** 2 / np.where(mass > 0, mass, 1)  # of bins i to j - 1; empty: 0
    gain[np.tril_indices(BINS + 1, -1)] = -np.inf
    best, cuts = gain[0], []
    for _ in range(classes - 1):  # best[j]: the largest sum of gains that divides the first j bins
        through = best[:, None] + gain
        cuts.append(through.argmax(0))
        best = through.max(0)
    found, end = [], BINS
    for cut in reversed(cuts):
        end = int(cut[end])
        found.append(edges[end])
    return np.asarray(found[::-1])
