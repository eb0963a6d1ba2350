"""From voxel counts and surface distances to numbers, by convention."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bench.errors import BenchError
from bench.metrics.grid import SAME
from bench.metrics.mask import Pair
from bench.metrics.request import VOLUMES, tolerance, unit

ROUNDED = 1e-6  # of a sum of areas, which are products of lengths from a header
BRATS_PENALTY = 373.13  # mm; diagonal of 240 x 240 x 155 voxels of 1 mm, BraTS' scoring rule


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances in mm from every surface point of one mask to the other mask's surface.

    Attributes:
        forward: prediction to reference, any order.
        backward: reference to prediction.
        forward_area: area of each forward element in mm2; empty where every point counts 1.
        backward_area: likewise.
    """

    forward: np.ndarray
    backward: np.ndarray
    forward_area: np.ndarray = field(default_factory=lambda: np.empty(0))
    backward_area: np.ndarray = field(default_factory=lambda: np.empty(0))


def counted(metric: str, pair: Pair) -> float | None:
    """Return Dice or IoU (0 to 1), or a volume error; not both masks may be empty."""
    predicted, true, both = pair.counts
    if metric == "dice":
        return 2 * both / (predicted + true)
    if metric == "iou":
        return both / (predicted + true - both)
    surplus = predicted - true
    if metric == "relative_volume_error":
        return surplus / true if true else None
    if pair.grid.volume is None:
        raise BenchError("volume_error: ml need 3-D volumes; use relative_volume_error")
    return abs(surplus) * pair.grid.volume / 1000


def distance(metric: str, found: Distances, convention: str) -> float:
    """Return a surface metric (mm, or 0 to 1 for NSD) under a convention."""
    if convention == "deepmind":
        return _weighted(metric, found)
    forward, backward = found.forward, found.backward
    if metric == "hd":
        return float(max(forward.max(), backward.max()))
    if metric == "asd":
        return float(forward.mean())
    if metric == "hd95" and convention == "monai":
        return float(max(np.percentile(forward, 95), np.percentile(backward, 95)))
    if metric == "hd95":
        return float(np.percentile(np.concatenate([forward, backward]), 95))
    points = forward.size + backward.size
    if metric == "assd":
        return float((forward.sum() + backward.sum()) / points)
    near = np.count_nonzero(_within(forward, metric)) + np.count_nonzero(_within(backward, metric))
    return float(near / points)


def _weighted(metric: str, found: Distances) -> float:
    sides = (found.forward, found.forward_area), (found.backward, found.backward_area)
    if metric == "hd":
        return float(max(d.max() for d, _ in sides))
    if metric == "hd95":
        return max(_weighted_percentile(d, a, 0.95) for d, a in sides)
    means = [float((d * a).sum() / a.sum()) for d, a in sides]
    if metric == "asd":
        return means[0]
    if metric == "assd":
        return sum(means) / 2
    near = sum(a[_within(d, metric)].sum() for d, a in sides)
    return float(near / sum(a.sum() for _, a in sides))


def _within(distances: np.ndarray, metric: str) -> np.ndarray:
    """Tell which distances are at most the tolerance of an NSD, rounding of headers allowed for."""
    limit = tolerance(metric) or 0.0
    return distances <= limit * (1 + SAME)


def _weighted_percentile(distances: np.ndarray, areas: np.ndarray, share: float) -> float:
    order = np.lexsort((areas, distances))
    reached = np.cumsum(areas[order]) / np.sum(areas)
    first = min(int(np.searchsorted(reached, share - ROUNDED)), distances.size - 1)
    return float(distances[order][first])


def of_empty(metric: str, pair: Pair | None, rule: str, diagonal: float) -> float | None:
    """Return the value where a mask is empty, None for undefined.

    Args:
        metric: its name.
        pair: two masks, one of them empty or both; None where neither array has the target.
        rule: ``default``, ``brats`` or ``skip``.
        diagonal: of the whole grid in mm.
    """
    is_distance = unit(metric) == "mm"
    if rule == "skip":
        return None
    if pair is None or pair.status == "both_empty":
        perfect = 0.0 if is_distance or metric in VOLUMES else 1.0
        return perfect if rule == "brats" else None
    if metric in VOLUMES:
        return counted(metric, pair)
    if not is_distance:
        return 0.0
    if rule == "brats":
        return BRATS_PENALTY
    return diagonal if pair.status == "empty_prediction" else None
