"""From surface distances to HD, HD95, ASSD, ASD and NSD, by convention."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bench.metrics.grid import SAME
from bench.metrics.request import tolerance

ROUNDED = 1e-6  # of a sum of areas, which are products of lengths from a header


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


def distance(metric: str, distances: Distances, convention: str) -> float:
    """Return a surface metric (mm, or 0 to 1 for NSD) under a convention."""
    if convention == "deepmind":
        return _weighted(metric, distances)
    forward, backward = distances.forward, distances.backward
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


def _weighted(metric: str, distances: Distances) -> float:
    sides = (
        (distances.forward, distances.forward_area),
        (distances.backward, distances.backward_area),
    )
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
