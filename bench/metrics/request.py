"""What was asked for: metric names parsed, convention and empty-mask rule checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from bench.errors import BenchError, Misstated, unknown
from bench.metrics import CONVENTIONS, EMPTY, METRICS, Metric

TOLERANCE = re.compile(r"nsd@(\d+(?:\.\d+)?)mm")
SIZE = re.compile(r"(lesion_[a-z]+)@(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?)|\+)ml")
Size = tuple[float, float]  # ml: the first belongs to it, the second does not
LATENCY = "latency"  # judges the network, whatever the task
VOLUMES = ("volume_error", "relative_volume_error")
COUNTED = ("dice", "iou", *VOLUMES)
LESION = "lesion_"
# of lesions of the reference alone, so they can be of those of one size
SIZED = tuple(
    LESION + name for name in ("reference", "matched", "missed", "split", "recall", "sq", "dice")
)
BINS = ("0-0.1ml", "0.1-1ml", "1-10ml", "10+ml")
REGRESSION = "regression"
# by the task
DEFAULTS = {"segmentation": ("dice",), "classification": ("accuracy",), REGRESSION: ("mae",)}


def tolerance(metric: str) -> float | None:
    """Return the tolerance in mm of an ``nsd@<number>mm``, None for any other name."""
    match = TOLERANCE.fullmatch(metric)
    return float(match[1]) if match else None


def size_of(metric: str) -> tuple[str, Size | None]:
    """Return a metric of lesions without its size, and the size; None where it has none.

    ``lesion_recall@0.1-1ml`` is of lesions from 0.1 ml to below 1 ml, ``lesion_recall@10+ml`` from 10 ml on.
    """
    match = SIZE.fullmatch(metric)
    if not match:
        return metric, None
    return match[1], (float(match[2]), float(match[3] or "inf"))


def declared(metric: str) -> Metric | None:
    """Return what is declared of a metric, any tolerance or size left out; None: there is no such metric."""
    if tolerance(metric) is not None:
        return METRICS["nsd@1mm"]
    name, size = size_of(metric)
    if size is not None and (name not in SIZED or size[0] >= size[1]):
        return None
    return METRICS.get(name)


def unit(metric: str) -> str:
    """Return the unit of a metric, ``1``, ``mm``, ``ml`` or ``count``.

    Raises:
        BenchError: no metric has that name.
    """
    declaration = declared(metric)
    if declaration is not None:
        return declaration.unit
    name, size = size_of(metric)
    if size is not None and size[0] >= size[1]:
        raise BenchError(
            f"metric {metric!r}: size {size[0]:g}-{size[1]:g} ml: the first number must be below "
            "the second"
        )
    if size is not None and name in METRICS:
        raise BenchError(
            f"metric {metric!r}: a size can be set only for metrics of reference lesions; use one of "
            + ", ".join(SIZED)
        )
    raise BenchError(unknown("metric", metric, METRICS))


def task(metric: str) -> str:
    """Return what a metric judges, ``segmentation`` or ``classification``.

    Raises:
        BenchError: no metric has that name.
    """
    unit(metric)
    declaration = declared(metric)
    return declaration.task if declaration else "segmentation"


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
                f"section {name!r} is for {other}, and {requested} cannot judge this task; {_take(other)}",
            )


def _take(wanted: str) -> str:
    return "use " + ", ".join(name for name, metric in METRICS.items() if metric.task == wanted)


def of_each(metrics: tuple[str, ...]) -> tuple[str, ...]:
    """Return the metrics that have a number for each case on its original grid.

    Those over the voxels of all cases have none, and those of validation loops have one on another grid.
    """
    return tuple(
        m for m in metrics if not (m in METRICS and (METRICS[m].pooled or METRICS[m].looped))
    )


def named(text: str) -> tuple[str, ...]:
    """Return the metrics that a comma-separated text names.

    Besides names it takes ``all``, every metric of label maps but those of lesions, ``lesions``, those without
    a size, and ``lesions_by_size``, how many lesions of each size there are and were found.
    """
    requested = (name.strip() for name in text.split(",") if name.strip())
    return tuple(dict.fromkeys(metric for name in requested for metric in _group(name)))


def _group(name: str) -> list[str]:
    """Return the metrics that a name stands for: itself, where it is not the name of a group."""
    maps = [m for m, metric in METRICS.items() if metric.task == "segmentation"]
    lesions = [m for m in maps if m.startswith(LESION)]
    if name == "all":
        return [m for m in maps if m not in lesions and not METRICS[m].looped]
    if name == "lesions_by_size":
        counts = product(BINS, ("lesion_reference", "lesion_recall"))
        return [f"{metric}@{size}" for size, metric in counts]
    return lesions if name == "lesions" else [name]


def looped(metric: str) -> bool:
    """Tell whether a metric is taken as a loop that validates takes it."""
    return metric in METRICS and METRICS[metric].looped


def versions(metrics: Iterable[str]) -> dict[str, int]:
    """Return the version of every metric whose numbers changed on purpose; of the others it is 1."""
    each = {m: declaration.version for m in metrics if (declaration := declared(m))}
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
        others = {*self.counted, *self.lesions}
        return tuple(metric for metric in self.metrics if metric not in others)

    @property
    def lesions(self) -> tuple[str, ...]:
        """The metrics that need the connected components of the masks."""
        return tuple(metric for metric in self.metrics if metric.startswith(LESION))


@dataclass(frozen=True)
class Wanted:
    """Which labels and regions to score; both None means every label that occurs.

    ``ignore`` is the value of voxels of the reference that nobody labelled: they count nowhere. ``mapping`` has
    the labels that values of a prediction stand for, where they are others.

    Raises:
        BenchError: what is ignored is to be scored, too.
    """

    labels: Iterable[int] | None = None
    regions: Mapping[str, tuple[int, ...]] | None = None
    ignore: int | None = None
    mapping: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = None if self.labels is None else tuple(int(v) for v in self.labels)
        object.__setattr__(self, "labels", labels)
        every = {
            *(labels or ()),
            *(int(v) for values in (self.regions or {}).values() for v in values),
        }
        if self.ignore in every:
            raise BenchError(
                f"label {self.ignore} cannot be both ignored and scored; use another value"
            )

    @property
    def every(self) -> bool:
        """Tell whether neither labels nor regions are chosen."""
        return self.labels is self.regions is None

    def mapped(self, prediction: np.ndarray) -> np.ndarray:
        """Return a prediction with the labels that its values stand for."""
        top = max(self.mapping.values(), default=0)
        labels = prediction.astype(
            np.result_type(prediction, np.min_scalar_type(top)), copy=bool(self.mapping)
        )
        for value, label in self.mapping.items():
            labels[prediction == value] = label
        return labels

    def labels_of(self, prediction: set[int], reference: set[int]) -> tuple[set[int], set[int]]:
        """Return the labels that the values of both sides stand for; void and 0 are none."""
        none = {0, self.ignore}
        return {self.mapping.get(v, v) for v in prediction} - none, reference - none

    def targets(self, present: Iterable[int]) -> dict[str, tuple[int, ...]]:
        """Return the label values of each target by its name."""
        labels = sorted(present) if self.every else self.labels or ()
        named = {str(int(value)): (int(value),) for value in labels}
        regions = self.regions or {}
        return named | {name: tuple(int(v) for v in values) for name, values in regions.items()}
