"""One target's two masks, cut to their joint box and padded with background, and their overlap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.errors import BenchError
from bench.metrics.grid import Grid

PAD = 3  # voxels of background on every side: how far a flat offset may reach without wrapping


@dataclass(frozen=True, eq=False)
class Pair:
    """Two boolean masks, padded, C order; ``grid`` is the label maps', its axes in the same order."""

    prediction: np.ndarray
    reference: np.ndarray
    grid: Grid

    @cached_property
    def counts(self) -> tuple[int, int, int]:
        """Voxels of the prediction, of the reference, of both."""
        masks = self.prediction, self.reference, self.prediction & self.reference
        predicted, true, both = (int(np.count_nonzero(voxels)) for voxels in masks)
        return predicted, true, both

    @property
    def status(self) -> str:
        """``ok``, or which of the two masks is empty."""
        predicted, true, _ = self.counts
        if predicted and true:
            return "ok"
        if not predicted and not true:
            return "both_empty"
        return "empty_reference" if predicted else "empty_prediction"


def mask(labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    """Return which voxels have one of the values, padded with background on every side."""
    padded = np.zeros([n + 2 * PAD for n in labels.shape], dtype=bool)
    inner = padded[(slice(PAD, -PAD),) * labels.ndim]
    np.equal(labels, values[0], out=inner)
    for other in values[1:]:
        inner |= labels == other
    return padded


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
        raise BenchError("volume_error: is in ml and needs 3-D volumes; use relative_volume_error")
    return abs(surplus) * pair.grid.volume / 1000
