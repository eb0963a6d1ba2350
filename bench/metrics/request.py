"""What was asked for: metric names parsed, convention and empty-mask rule checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.errors import BenchError, Misstated, unknown
from bench.metrics import CONVENTIONS, EMPTY, METRICS

TOLERANCE = re.compile(r"nsd@(\d+(?:\.\d+)?)mm")
LATENCY = "latency"  # judges the network, whatever the task
VOLUMES = ("volume_error", "relative_volume_error")
COUNTED = ("dice", "iou", *VOLUMES)
REGRESSION = "regression"
# by the task
DEFAULTS = {"segmentation": ("dice",), "classification": ("accuracy",), REGRESSION: ("mae",)}


def tolerance(metric: str) -> float | None:
    """Return the tolerance in mm of an ``nsd@<number>mm``, None for any other name."""
    match = TOLERANCE.fullmatch(metric)
    return float(match[1]) if match else None


def unit(metric: str) -> str:
    """Return the unit of a metric, ``1``, ``mm`` or ``ml``.

    Raises:
        BenchError: no metric has that name.
    """
    if tolerance(metric) is not None:
        return "1"
    if metric not in METRICS:
        raise BenchError(unknown("metric", metric, METRICS))
    return METRICS[metric].unit


def task(metric: str) -> str:
    """Return what a metric judges, ``segmentation`` or ``classification``.

    Raises:
        BenchError: no metric has that name.
    """
    unit(metric)
    return METRICS[metric].task if metric in METRICS else "segmentation"


def of_task(metrics: tuple[str, ...], wanted: str) -> tuple[str, ...]:
    """Return the metrics if all judge the task that is wanted.

    Raises:
        BenchError: an unknown metric, or one of another task; names those that fit.
    """
    for metric in metrics:
        if task(metric) != wanted:
            raise BenchError(
                f"metric {metric!r} judges a {task(metric)}, not a {wanted}; {_take(wanted)}"
            )
    return metrics


def fitting(metrics: tuple[str, ...], wanted: str) -> tuple[str, ...]:
    """Return those metrics that judge a task; the task's default where none is asked for at all."""
    return tuple(m for m in metrics if task(m) == wanted) if metrics else DEFAULTS[wanted]


def check_tasks(metrics: tuple[str, ...], tasks: Mapping[str, str]) -> None:
    """Refuse metrics of which some judge no data set, or that leave a data set without any.

    Args:
        metrics: as a protocol asks for them; none means each task's default.
        tasks: a section's name, by default its data set's -> its task.

    Raises:
        BenchError: an unknown metric.
        Misstated: one that does not fit; names the section and what fits.
    """
    for metric in metrics:
        if metric != LATENCY and tasks and task(metric) not in tasks.values():
            name, other = next(iter(tasks.items()))
            raise Misstated(
                "metrics", f"metric {metric!r}: section {name!r} is for {other}; {_take(other)}"
            )
    for name, other in tasks.items():
        if not fitting(metrics, other):
            requested = ", ".join(metrics)
            raise Misstated(
                "metrics",
                f"section {name!r} is one of {other}, which {requested} cannot judge; {_take(other)}",
            )


def _take(wanted: str) -> str:
    return "take " + ", ".join(name for name, metric in METRICS.items() if metric.task == wanted)


def of_each(metrics: tuple[str, ...]) -> tuple[str, ...]:
    """Return the metrics that have a number for each case on its original grid.

    Those over the voxels of all cases have none, and those of validation loops have one on another grid.
    """
    return tuple(
        m for m in metrics if not (m in METRICS and (METRICS[m].pooled or METRICS[m].looped))
    )


def named(text: str) -> tuple[str, ...]:
    """Return the metrics that a comma-separated text names; ``all``: every one that label maps have."""
    requested = tuple(name.strip() for name in text.split(",") if name.strip())
    every = tuple(
        name
        for name, metric in METRICS.items()
        if metric.task == "segmentation" and not metric.looped
    )
    return every if requested == ("all",) else requested


def looped(metric: str) -> bool:
    """Tell whether a metric is taken as a loop that validates takes it."""
    return metric in METRICS and METRICS[metric].looped


def versions(metrics: Iterable[str]) -> dict[str, int]:
    """Return the version of every metric whose numbers changed on purpose; of the others it is 1."""
    each = {m: METRICS["nsd@1mm" if tolerance(m) is not None else m].version for m in metrics}
    return {metric: version for metric, version in each.items() if version > 1}


@dataclass(frozen=True)
class Request:
    """The metrics of label maps wanted and the conventions they follow."""

    metrics: tuple[str, ...]
    convention: str
    empty: str

    @classmethod
    def checked(cls, metrics: tuple[str, ...], convention: str, empty: str) -> Request:
        """Return the request, or refuse what is unknown.

        Raises:
            BenchError: no metric, an unknown metric or one of classes, an unknown convention or
                empty-mask rule.
        """
        if not metrics:
            raise BenchError("metrics: none asked for; known: " + ", ".join(METRICS))
        of_task(metrics, "segmentation")
        if convention not in CONVENTIONS:
            raise BenchError(unknown("metric convention", convention, CONVENTIONS))
        if empty not in EMPTY:
            raise BenchError(unknown("empty-mask rule", empty, EMPTY))
        return cls(metrics, convention, empty)

    @property
    def counted(self) -> tuple[str, ...]:
        """The metrics that need voxel counts alone."""
        return tuple(metric for metric in self.metrics if metric in COUNTED)

    @property
    def surfaces(self) -> tuple[str, ...]:
        """The metrics that need the surfaces of the masks."""
        return tuple(metric for metric in self.metrics if metric not in COUNTED)


@dataclass(frozen=True)
class Wanted:
    """Which labels and regions to score; both None means every label that occurs.

    ``ignore`` is the value of voxels of the reference that nobody labelled: they count nowhere.

    Raises:
        BenchError: what is ignored is to be scored, too.
    """

    labels: Iterable[int] | None = None
    regions: Mapping[str, tuple[int, ...]] | None = None
    ignore: int | None = None

    def __post_init__(self) -> None:
        labels = None if self.labels is None else tuple(int(v) for v in self.labels)
        object.__setattr__(self, "labels", labels)
        every = {
            *(labels or ()),
            *(int(v) for values in (self.regions or {}).values() for v in values),
        }
        if self.ignore in every:
            raise BenchError(
                f"label {self.ignore} is to be ignored and to be scored; take another value"
            )

    @property
    def every(self) -> bool:
        """Tell whether neither labels nor regions are chosen."""
        return self.labels is self.regions is None

    def targets(self, present: Iterable[int]) -> dict[str, tuple[int, ...]]:
        """Return the label values of each target by its name."""
        labels = sorted(present) if self.every else self.labels or ()
        named = {str(int(value)): (int(value),) for value in labels}
        regions = self.regions or {}
        return named | {name: tuple(int(v) for v in values) for name, values in regions.items()}
