"""What a plot of lines is: scores over something, one line for each row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """One row's line, in print units."""

    title: str
    baseline: bool
    xs: tuple[float, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]  # 0 where there is one run


@dataclass(frozen=True)
class Plot:
    """One plot, usually of one fine-tuning section."""

    title: str
    x: str  # label of the axis
    y: str
    lower: bool  # is less better?
    series: tuple[Series, ...]
    ticks: tuple[int, ...] = ()  # percents, on a logarithmic axis
