"""What a plot is, before it is drawn: lines over something, or marks side by side in groups."""

from __future__ import annotations

from dataclasses import dataclass


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
