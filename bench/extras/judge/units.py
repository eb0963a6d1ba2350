"""Shares of one and percent: which of them the scores of a metric are, and whether all are one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.extras.judge.columns import SHARES, Measure, metric_in

if TYPE_CHECKING:
    import pandas as pd

PERCENT, SHARE = "percent", "share"
MOST_PERCENT = 100.5
FEW = 0.02  # of scores may look like the other unit
# shares that go from 0 to 1, whoever computes them
BOUNDED = SHARES - {"score", "mainscore", "map", "ap", "kappa", "qwk", "mcc", "ssim"}
GROUP = ("dataset", "target", "method")


class Units:
    """Brings the scores of each metric to shares of one.

    Args:
        frame: the joined table.
        where: returns the file and line of a row, for messages.
        unit: ``1`` or ``%``: of all shares, unchecked; "" to find out.

    Raises:
        BenchError: the unit is another.
    """

    def __init__(self, frame: pd.DataFrame, where: Callable[[int], str], unit: str) -> None:
        if unit not in ("", "1", "%"):
            raise BenchError(f"--unit {unit}: is neither 1 nor %")
        self.frame, self.where, self.unit = frame, where, unit
        self.values = frame["value"].to_numpy(copy=True)

    def of(self, measure: Measure, at: np.ndarray) -> tuple[Measure, bool]:
        """Return what a metric is measured in, and whether it was in percent; change its values to shares.

        Args:
            measure: as its name tells.
            at: the rows of this metric.

        Raises:
            BenchError: some are shares and some percent, or one is beyond the bounds.
        """
        measure = self._shares(measure, at)
        if measure.unit != "1":
            return measure, False
        stated = {"1": SHARE, "%": PERCENT}.get(self.unit)
        scale = stated or self._scale(measure.name, at)
        self._refuse_beyond(measure.name, at, 100.0 if scale == PERCENT else 1.0)
        if scale == PERCENT:
            self.values[at] /= 100
        elif np.nanmax(np.abs(self.values[at]), initial=0) > 1.5:
            measure = replace(measure, unit="")
        return measure, scale == PERCENT

    def _shares(self, measure: Measure, at: np.ndarray) -> Measure:
        """Take scores of a metric that no name tells of for shares where all are from 0 to 1."""
        scores = self.values[at][~np.isnan(self.values[at])]
        declared = metric_in(measure.name) or measure.unit
        if declared or not len(scores) or scores.min() < 0 or scores.max() > 1:
            return measure
        return replace(measure, unit="1")

    def _refuse_beyond(self, name: str, at: np.ndarray, most: float) -> None:
        """Refuse an overlap or a rate that is below 0 or above all of its unit."""
        if metric_in(name) not in BOUNDED:
            return
        beyond = (self.values[at] < 0) | (self.values[at] > most * (1 + 1e-6))
        if beyond.any():
            first = int(at[np.flatnonzero(beyond)[0]])
            raise BenchError(
                f"{self.where(first)}: {name} of {self.values[first]:g} is not between 0 and {most:g}; correct it, "
                "or name another metric with --metric or --score"
            )

    def _scale(self, name: str, at: np.ndarray) -> str:
        """Return whether the scores of a metric are shares or percent."""
        size = np.abs(self.values[at])
        large, small = size > 1.5, (size > 0.02) & (size <= 1)
        if not large.any():
            return SHARE
        self._refuse_scales(name, at, large, small)
        if np.count_nonzero(small) > FEW * np.count_nonzero(large | small):
            rows = [int(at[np.flatnonzero(which)[0]]) for which in (small, large)]
            first, second = (f"{self.where(row)} has {self.values[row]:g}" for row in rows)
            raise _mixed(name, f"{first}, {second}")
        return PERCENT if np.nanmax(size) <= MOST_PERCENT else SHARE  # of more neither is true

    def _refuse_scales(
        self, name: str, at: np.ndarray, large: np.ndarray, small: np.ndarray
    ) -> None:
        """Refuse methods of which one has shares and another percent, on one target."""
        methods = self.frame["method"].cat.categories
        codes = [self.frame[key].cat.codes.to_numpy()[at].astype(np.int64) for key in GROUP]
        sizes = [len(self.frame[key].cat.categories) for key in GROUP]
        group = (codes[0] * sizes[1] + codes[1]) * sizes[2] + codes[2]
        present, of_row, count = np.unique(group, return_inverse=True, return_counts=True)
        big, little = (np.bincount(of_row, which, len(present)) for which in (large, small))
        share, percent = (little > 0) & (big == 0), 2 * big > count
        for target in np.unique(present // sizes[2]):
            of_target = present // sizes[2] == target
            shares, percents = (
                methods[present[of_target & which] % sizes[2]] for which in (share, percent)
            )
            if len(shares) and len(percents):
                raise _mixed(name, f"method {shares[0]!r} has 0 to 1, {percents[0]!r} percent")


def _mixed(name: str, text: str) -> BenchError:
    return BenchError(
        f"{name}: units are mixed: {text}; convert all to one unit, or give --unit 1 or --unit % for all"
    )
