"""What a metric is where the prediction, the reference or both are empty."""

from __future__ import annotations

from bench.metrics import lesions
from bench.metrics.mask import Pair, counted
from bench.metrics.request import LESION, VOLUMES, unit

BRATS_PENALTY = 373.13  # mm; diagonal of 240 x 240 x 155 voxels of 1 mm, BraTS' scoring rule


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
    if metric.startswith(LESION):
        return _of_lesions(metric, pair, rule)
    if pair is None or pair.status == "both_empty":
        perfect = float(not is_distance and metric not in VOLUMES)
        return perfect if rule == "brats" else None
    if metric in VOLUMES:
        return counted(metric, pair)
    if not is_distance:
        return 0.0
    if rule == "brats":
        return BRATS_PENALTY
    return diagonal if pair.status == "empty_prediction" else None


def _of_lesions(metric: str, pair: Pair | None, rule: str) -> float | None:
    """Return a metric of lesions: counts are what they are, as panoptica has them."""
    if pair is not None and pair.status != "both_empty":
        return lesions.value(metric, lesions.Lesions.of(pair), pair.grid.volume)
    if unit(metric) == "count":
        return 0.0
    return 1.0 if rule == "brats" else None
