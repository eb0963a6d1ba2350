"""What a plot is, before it is drawn: lines, marks side by side in groups, rows below one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.report.numbers import difference
from bench.stats.comparison import Comparison

BANDS = 3  # lines of a plot at most that have bands; of more these would cover each other


@dataclass(frozen=True)
class Series:
    """One row's values, in print units."""

    title: str
    baseline: bool
    xs: tuple[float, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]  # 0 where there is one run
    printed: tuple[tuple[float, float], ...] = ()  # x and value, as the paper has it
    quoted: bool = False  # has the paper's numbers alone
    runs: tuple[tuple[float | None, ...], ...] = ()  # of each run a value at every x, where known
    scratch: str = ""  # title of the row from scratch that it is read against


@dataclass(frozen=True)
class Plot:
    """One plot of lines, usually of one fine-tuning section."""

    title: str
    x: str  # label of the axis
    y: str
    lower: bool  # is less better?
    series: tuple[Series, ...]
    ticks: tuple[int, ...] = ()  # percents, on a logarithmic axis


@dataclass(frozen=True)
class Group:
    """One place of a chart: what stands there, outermost first, and in which unit it is measured."""

    labels: tuple[str, ...]
    axis: str  # metric and unit
    lower: bool  # is less better?


@dataclass(frozen=True)
class Chart:
    """Rows side by side in every group; the x of a series is the number of a group, counted from 0."""

    title: str
    groups: tuple[Group, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Spots:
    """One row's scores, or what they differ from scratch by, in print units."""

    title: str
    mean: float
    text: str  # the mean in print
    runs: tuple[float, ...]  # mean over patients, of each run
    # of each run, which of the row's pretrainings it starts from, from 0
    pretrained: tuple[int, ...]
    patients: tuple[float, ...]  # mean over runs, of each patient, ascending


@dataclass(frozen=True)
class Strip:
    """Rows below one another on one axis."""

    title: str
    axis: str
    lower: bool  # is less better?
    against: str  # what zero is, empty where values are scores
    rows: tuple[Spots, ...]


@dataclass(frozen=True)
class Dose:
    """What a positive control is above scratch, in print units; its weights are ``dose`` of the ceiling's."""

    dose: float
    difference: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Ladder:
    """The dose curves of one place, by name."""

    title: str
    axis: str
    rope: float  # differences of at most so much are equivalent; 0 where none are
    lines: tuple[tuple[str, tuple[Dose, ...]], ...]


@dataclass(frozen=True)
class Interval:
    """What a row is above scratch, in print units, and what may be said of it."""

    title: str
    group: str  # rows of one group stand together under its name
    difference: float
    low: float
    high: float
    verdict: str
    text: str  # difference and interval in print
    verdict_text: str  # the verdict, and in a word why it is another than the interval suggests
    published: float | None = None  # the difference that the paper printed
    rope: float = 0.0  # differences of at most so much are equivalent; 0 where none are
    detectable: float | None = None  # the smallest true difference that such studies mostly see
    axis: str = ""  # what its group's own axis says; empty: the group shares that of the figure


def in_print(value: float, unit: str) -> float:
    """Return a number as figures have it: shares of one in percent points."""
    return round((100 if unit == "1" else 1) * value, 6)


def line_of(
    heads: tuple[str, str],
    verdict: tuple[str, str],
    of: Comparison,
    unit: str,
    rope: float = 0.0,
    words: Callable[[float, str], str] = difference,
) -> Interval:
    """Return a line of a forest plot, shares of one in percent points.

    Args:
        heads: title of the row, and the group that it stands in.
        verdict: as it is, and as it is printed.
        of: difference, interval and smallest detectable difference, in the unit of the metric.
        unit: of the metric.
        rope: differences of at most so much are equivalent, in the same unit.
        words: prints a difference.
    """
    return Interval(
        *heads,
        difference=in_print(of.difference, unit),
        low=in_print(of.low, unit),
        high=in_print(of.high, unit),
        verdict=verdict[0],
        text=f"{words(of.difference, unit)}  [{words(of.low, unit)}, {words(of.high, unit)}]",
        verdict_text=verdict[1],
        rope=in_print(rope, unit),
        detectable=in_print(of.detectable, unit) if of.detectable == of.detectable else None,
    )


@dataclass(frozen=True)
class Dot:
    """One row scored in two ways, in print units; None where it has no score in one of them."""

    title: str
    x: float | None
    y: float | None
    sds: tuple[float, float] = (0.0, 0.0)  # over runs; 0 where there is one
    control: bool = False


@dataclass(frozen=True)
class Scatter:
    """Rows by their scores in two ways."""

    title: str
    x: str  # label of the axis
    y: str
    lower: bool  # is less better?
    dots: tuple[Dot, ...]
    note: str = ""  # what stands between title and plot
