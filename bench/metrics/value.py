"""From voxel counts and surface distances to numbers, by convention."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bench.metrics.mask import Pair
from bench.metrics.request import tolerance, unit

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


def overlap(metric: str, pair: Pair) -> float:
    """Return Dice or IoU, 0 to 1; not both masks may be empty."""
    predicted, true, both = pair.counts
    return 2 * both / (predicted + true) if metric == "dice" else both / (predicted + true - both)


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
    limit = tolerance(metric)
    near = np.count_nonzero(forward <= limit) + np.count_nonzero(backward <= limit)
    return float(near / points)


def _weighted(metric: str, found: Distances) -> float:
    sides = (found.forward, found.forward_area), (found.backward, found.backward_area)
    if metric in ("hd", "hd95"):
        share = 1.0 if metric == "hd" else 0.95
        return max(_weighted_percentile(d, a, share) for d, a in sides)
    means = [float((d * a).sum() / a.sum()) for d, a in sides]
    if metric == "asd":
        return means[0]
    if metric == "assd":
        return sum(means) / 2
    limit = tolerance(metric)
    near = sum(a[d <= limit].sum() for d, a in sides)
    return float(near / sum(a.sum() for _, a in sides))


def _weighted_percentile(distances: np.ndarray, areas: np.ndarray, share: float) -> float:
    order = np.lexsort((areas, distances))
    reached = np.cumsum(areas[order]) / np.sum(areas)
    first = min(int(np.searchsorted(reached, share)), distances.size - 1)
    return float(distances[order][first])


def of_empty(metric: str, status: str, rule: str, diagonal: float) -> float | None:
    """Return the value where a mask is empty, None for undefined.

    Args:
        metric: its name.
        status: which mask is empty: ``empty_reference``, ``empty_prediction``, ``both_empty``.
        rule: ``default``, ``brats`` or ``skip``.
        diagonal: of the whole volume in mm.
    """
    is_distance = unit(metric) == "mm"
    if rule == "skip":
        return None
    if rule == "brats" and status == "both_empty":
        return 0.0 if is_distance else 1.0
    if rule == "brats":
        return BRATS_PENALTY if is_distance else 0.0
    if status == "both_empty":
        return None
    if not is_distance:
        return 0.0
    return diagonal if status == "empty_prediction" else None
