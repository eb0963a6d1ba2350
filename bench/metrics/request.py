"""What was asked for: metric names parsed, convention and empty-mask rule checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.errors import BenchError, unknown
from bench.metrics import CONVENTIONS, EMPTY, METRICS

TOLERANCE = re.compile(r"nsd@(\d+(?:\.\d+)?)mm")
OVERLAPS = ("dice", "iou")


def tolerance(metric: str) -> float | None:
    """Return the tolerance in mm of an ``nsd@<number>mm``, None for any other name."""
    match = TOLERANCE.fullmatch(metric)
    return float(match[1]) if match else None


def unit(metric: str) -> str:
    """Return the unit of a metric, ``1`` or ``mm``.

    Raises:
        BenchError: no metric has that name.
    """
    if tolerance(metric) is not None:
        return "1"
    if metric not in METRICS:
        raise BenchError(unknown("metric", metric, METRICS))
    return METRICS[metric].unit


@dataclass(frozen=True)
class Request:
    """The metrics wanted and the conventions they follow."""

    metrics: tuple[str, ...]
    convention: str
    empty: str

    @classmethod
    def checked(cls, metrics: tuple[str, ...], convention: str, empty: str) -> Request:
        """Return the request, or refuse what is unknown.

        Raises:
            BenchError: no metric, an unknown metric, convention or empty-mask rule.
        """
        if not metrics:
            raise BenchError("metrics: none asked for; known: " + ", ".join(METRICS))
        for metric in metrics:
            unit(metric)
        if convention not in CONVENTIONS:
            raise BenchError(unknown("metric convention", convention, CONVENTIONS))
        if empty not in EMPTY:
            raise BenchError(unknown("empty-mask rule", empty, EMPTY))
        return cls(metrics, convention, empty)

    @property
    def overlaps(self) -> tuple[str, ...]:
        """The metrics that need voxel counts alone."""
        return tuple(metric for metric in self.metrics if metric in OVERLAPS)

    @property
    def surfaces(self) -> tuple[str, ...]:
        """The metrics that need the surfaces of the masks."""
        return tuple(metric for metric in self.metrics if metric not in OVERLAPS)


@dataclass(frozen=True)
class Wanted:
    """Which labels and regions to score; both None means every label that occurs."""

    labels: Iterable[int] | None = None
    regions: Mapping[str, tuple[int, ...]] | None = None

    def targets(self, present: Iterable[int]) -> dict[str, tuple[int, ...]]:
        """Return the label values of each target by its name."""
        labels = sorted(present) if self.labels is self.regions is None else self.labels or ()
        named = {str(int(value)): (int(value),) for value in labels}
        regions = self.regions or {}
        return named | {name: tuple(int(v) for v in values) for name, values in regions.items()}
