"""Dice over the voxels of all cases at once, as if they were one volume.

Large structures count for more than small ones, and a case that has none of a target only adds what was
found there by mistake. Taleb et al.'s code scores so: it lays all test scans one behind the other
(HealthML/self-supervised-3d-tasks @ecc86ef, test_data_backend.py and utils/metrics.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from bench.metrics import Score

DICE = "dice_pooled"
VALUES = 1 << 16  # of a label map


class Pooled:
    """Counts voxels case by case.

    Args:
        targets: name -> label values that make it up.
        empty: convention of empty masks, as of ``bench.metrics.score``.
    """

    def __init__(self, targets: Mapping[str, Iterable[int]], empty: str = "default") -> None:
        self._targets = {name: np.array([*values], np.int64) for name, values in targets.items()}
        self._counts = {name: np.zeros(3, np.int64) for name in targets}  # predicted, true, both
        self._empty = empty

    def add(self, prediction: np.ndarray, reference: np.ndarray) -> None:
        """Count one case's label maps, of one shape, values 0 to 65535."""
        prediction, reference = prediction.ravel(), reference.ravel()
        alike = prediction == reference
        same = np.bincount(reference[alike], minlength=VALUES)
        # Where they differ: each pair of values that occurs, and how often; memory is that of these pairs.
        pairs = prediction[~alike].astype(np.int64) * VALUES + reference[~alike]
        pairs, times = np.unique(pairs, return_counts=True)
        for name, values in self._targets.items():
            predicted, true = (np.isin(part, values) for part in divmod(pairs, VALUES))
            masks = predicted, true, predicted & true
            self._counts[name] += same[values].sum() + np.array(
                [times[mask].sum() for mask in masks]
            )

    def scores(self) -> list[Score]:
        """Return the Dice of every target, in their order; ``status``: which side is empty throughout."""
        return [self._score(name, *map(int, counts)) for name, counts in self._counts.items()]

    def _score(self, name: str, predicted: int, true: int, both: int) -> Score:
        if predicted and true:
            return Score(name, DICE, 2 * both / (predicted + true), "1", "ok")
        status = "empty_reference" if predicted else "empty_prediction" if true else "both_empty"
        value = 0.0 if predicted or true else 1.0 if self._empty == "brats" else None
        return Score(name, DICE, None if self._empty == "skip" else value, "1", status)
