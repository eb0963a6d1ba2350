"""The learning curve of a fine-tuning: how some cases score as it goes. It looks on and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bench.data.prepared import Prepared
from bench.jobs.finetune.spec import TRACKED, Tracked, target_name
from bench.jobs.predict import decided
from bench.jobs.scoring import of_classes, row
from bench.metrics import score

OF_MAPS, OF_CLASSES = ("dice",), ("accuracy", "qwk")
Rows = list[dict[str, Any]]  # columns of `record.SCORES`
Predict = Callable[..., float]  # `mean_dice` or `mean_accuracy` of some cases


@dataclass(frozen=True)
class Look:
    """What one look at some cases gives: the number that may choose weights, the scores that are kept."""

    mean: float
    rows: Rows


class ValidationCache:
    """Predicts the same cases for whoever asks, once a step.

    Args:
        predict: network -> the mean of its scores; ``seen`` is shown each prediction.
        prepared: the data.
        cases: how many are predicted.
        tracked: the curve that is kept of them; None where weights are chosen and nothing else.
        head: of a classification, by which scores become classes.
        ignore: value of voxels of a label map that nobody labelled.
    """

    def __init__(
        self,
        predict: Predict,
        prepared: Prepared,
        cases: int,
        tracked: Tracked | None,
        head: str = "softmax",
        ignore: int | None = None,
    ) -> None:
        self._predict, self._prepared, self._tracked, self._head = predict, prepared, tracked, head
        self._ignore = ignore
        self.cases = cases
        self._step, self._last = -1, Look(0.0, [])

    def at(self, step: int, network: nn.Module) -> Look:
        """Return what is seen of a network after ``step`` steps."""
        if step != self._step:
            self._step, self._last = step, self._look(network)
        return self._last

    def mean(self, step: int, network: nn.Module) -> float:
        """Return the number alone."""
        return self.at(step, network).mean

    def _look(self, network: nn.Module) -> Look:
        if self._tracked is None:
            return Look(self._predict(network), [])
        if self._tracked.targets:
            rows = Rows()
            mean = self._predict(
                network, seen=lambda case, label: rows.extend(self._of_map(case, label))
            )
            return Look(mean, rows)
        scores = dict[str, np.ndarray]()
        mean = self._predict(network, seen=scores.__setitem__)
        stacked = np.stack([*scores.values()])
        rows = of_classes(
            self._prepared, list(scores), stacked, decided(stacked, self._head), OF_CLASSES
        )
        return Look(mean, rows)

    def _of_map(self, case: str, predicted: np.ndarray) -> Rows:
        """Return the rows of a label map on the prepared grid, of which Dice needs no spacing."""
        tracked, prepared = self._tracked, self._prepared
        assert tracked is not None
        regions = {target_name(values): values for values in tracked.targets}
        scores = score(
            predicted,
            prepared.label(case),
            (1.0, 1.0, 1.0),
            OF_MAPS,
            regions=regions,
            empty=tracked.empty,
            ignore=self._ignore,
        )
        return [row(case, prepared.patient(case), s.target, s) for s in scores]


class Curve:
    """Keeps the scores of every look; ``points`` is what a checkpoint keeps."""

    def __init__(self, tracked: Tracked, steps: int, cache: ValidationCache) -> None:
        self._tracked, self._steps, self._cache = tracked, steps, cache
        self.points: list[tuple[int, Rows]] = []

    def at(self, step: int, network: nn.Module, over: bool = False) -> None:
        """Look where the curve has a point; also where training is ``over`` before its last step."""
        if over or self._tracked.due(step, self._steps):
            self.points.append((step, self._cache.at(step, network).rows))

    def save(self, folder: Path) -> None:
        """Write every point, a row for each case, target and metric."""
        import pandas as pd

        rows = [{"step": step, **row} for step, scored in self.points for row in scored]
        pd.DataFrame(rows).to_parquet(folder / TRACKED, index=False)
