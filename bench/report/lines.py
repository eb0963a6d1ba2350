"""Lines over something: all rows of a plot in one, or each in a plot of its own where they are many."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from bench.report.canvas import (
    COLOURS,
    LINE,
    SOFT,
    STEPS,
    even,
    hollow,
    looks,
    printed,
    style,
    words,
)
from bench.report.plots import BANDS, Plot, Series
from bench.report.tiles import LETTER, SIDE, Block, End, Size, Tile, name_ends, tiled

MARKED = 25  # points of a line that are marked each
MANY = 6  # lines of a plot at most that are told apart in one
NAME = 24  # letters of a line of a name
Look = dict[str, Any]


def plots(found: tuple[Plot, ...]) -> Figure:
    """Draw plots of lines, names at their ends; rows of which there are many have a plot each."""
    with style():
        return _apart(found) if max(len(plot.series) for plot in found) > MANY else _together(found)


def _together(found: tuple[Plot, ...]) -> Figure:
    series = [line for plot in found for line in plot.series]
    look = looks(series)
    names = {title: words(title, NAME) for title in look}
    longest = max(len(line) for name in names.values() for line in name.split("\n"))
    lines = sum(name.count("\n") + 1 for name in names.values())
    size = Size(
        even(len(found), 2), 3.4, max(2.3, 0.15 * lines), right=0.42 + longest * SIDE * LETTER
    )
    tiles = tuple(Tile(words(plot.title, LINE), words(_axis(plot), 56)) for plot in found)
    figure, (axes,) = tiled([Block(tiles)], size, printed(series))
    for ax, plot in zip(axes, found, strict=True):
        for line in plot.series:
            _line(ax, line, look[line.title])
            _spread(ax, line, look[line.title], bands=len(plot.series) <= BANDS)
        _scaled(ax, plot)
        ends = [(_end(line), line) for line in plot.series]
        name_ends(ax, [End(*end, names[line.title], look[line.title]) for end, line in ends if end])
    return figure


def _apart(found: tuple[Plot, ...]) -> Figure:
    """Draw every row in a plot of its own, over the row from scratch and, pale, all others."""
    blocks, shown = [], []
    for plot in found:
        rows = [line for line in plot.series if not line.baseline]
        shown.append((plot, rows))
        tiles = tuple(Tile(words(line.title, 20)) for line in rows)
        blocks.append(Block(tiles, words(plot.title, 2 * LINE), words(_axis(plot), 90)))
    columns = min(6, max(len(rows) for _, rows in shown))
    scratch = looks([line for plot in found for line in plot.series if line.baseline])
    used = [
        title
        for title in scratch
        if any(title in (s.scratch, *_all(p)) for p, rows in shown for s in rows)
    ]
    handles: list[Artist] = [
        Line2D([], [], label=words(name, LINE), **scratch[name]) for name in used
    ]
    handles.append(Line2D([], [], color=SOFT, linewidth=0.5, alpha=0.6, label="other rows"))
    every = [line for plot in found for line in plot.series]
    if any(line.runs for line in every):
        handles.append(
            Line2D([], [], color=COLOURS[0], linewidth=0.7, alpha=0.7, label="single runs")
        )
    size = Size(columns, 1.5, 1.15, right=0.2, gap=0.2)
    figure, axes = tiled(blocks, size, [*handles, *printed(every)])
    for (plot, rows), own in zip(shown, axes, strict=True):
        limits = _limits(plot)
        for number, (ax, line) in enumerate(zip(own, rows, strict=True)):
            others = [other for other in plot.series if other is not line and not other.baseline]
            ax.plot(*_joined(others), color=SOFT, linewidth=0.4, alpha=0.45)
            for base in (s for s in plot.series if s.baseline and line.scratch in ("", s.title)):
                _line(ax, base, scratch[base.title] | {"linewidth": 1.1, "markersize": 3})
            look = {
                "color": COLOURS[0],
                "marker": "o",
                "linestyle": "-",
                "linewidth": 1.7,
                "markersize": 4,
            }
            _line(ax, line, look)
            _spread(ax, line, look, bands=False)
            _scaled(ax, plot, limits, few=True)
            ax.tick_params(labelleft=number % columns == 0)
            for label, side in zip(
                ax.get_xticklabels() if plot.ticks else (), _sides(plot), strict=False
            ):
                label.set_horizontalalignment(side)  # neighbours' labels would meet
            ax.set_xlabel(plot.x if number >= len(rows) - columns and number % columns == 0 else "")
    return figure


def _sides(plot: Plot) -> list[Literal["left", "center", "right"]]:
    middle: list[Literal["left", "center", "right"]] = ["center"] * (len(plot.ticks) - 2)
    return ["left", *middle, "right"]


def _all(plot: Plot) -> list[str]:
    """Return the baselines that stand in every plot: of rows that name none."""
    open_ended = any(not s.scratch for s in plot.series if not s.baseline)
    return [s.title for s in plot.series if s.baseline and open_ended]


def _axis(plot: Plot) -> str:
    return f"{plot.y}, {'lower' if plot.lower else 'higher'} is better"


def _line(ax: Axes, line: Series, look: Look) -> None:
    xs, means = np.array(line.xs), np.array(line.means)
    mark = {"marker": ""} if len(xs) > MARKED else {}
    ax.plot(xs, means, **{"linewidth": 1.7, "markersize": 4.5, "zorder": 3, **look, **mark})
    ax.plot([x for x, _ in line.printed], [v for _, v in line.printed], zorder=4, **hollow(look))


def _spread(ax: Axes, line: Series, look: Look, *, bands: bool) -> None:
    """Draw what runs differ by: a band where there are few rows, else every run as a thin line."""
    xs, means, sds = np.array(line.xs), np.array(line.means), np.array(line.sds)
    low = np.minimum(sds, means - np.minimum(means, 0))  # only kappa goes below zero
    thin = {"color": look["color"], "linewidth": 0.7, "alpha": 0.6}
    if not sds.any():
        return
    if bands:
        ax.fill_between(xs, means - low, means + sds, color=look["color"], alpha=0.15, lw=0)
    elif line.runs:
        for run in line.runs:
            ax.plot(xs, np.array(run, float), **thin)
    else:  # of values over all test cases at once nothing finer is kept
        ax.errorbar(xs, means, (low, sds), linestyle="", capsize=1.8, **thin)


def _end(line: Series) -> tuple[float, float] | None:
    """Return the last point of a line, ours where there is one."""
    own = list(zip(line.xs, line.means, strict=True)) or list(line.printed)
    return max(own) if own else None


def _joined(series: list[Series]) -> tuple[list[float], list[float]]:
    """Return several lines as one that is broken between them."""
    xs, ys = list[float](), list[float]()
    for line in series:
        xs += [*line.xs, float("nan")]
        ys += [*line.means, float("nan")]
    return xs, ys


def _limits(plot: Plot) -> tuple[float, float]:
    """Return the ends of an axis that all of a plot's rows share."""
    values = [v for s in plot.series for v in (*s.means, *(v for _, v in s.printed))]
    values += [v for s in plot.series for run in s.runs for v in run if v is not None]
    low, high = min(values), max(values)
    more = 0.06 * ((high - low) or abs(high) or 1.0)
    return low - more, high + more


def _scaled(
    ax: Axes, plot: Plot, limits: tuple[float, float] | None = None, *, few: bool = False
) -> None:
    ax.grid(axis="x", visible=False)
    if plot.ticks:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(plot.ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        # in a small plot it alone says what the numbers are: others would meet
        last = max(plot.ticks)
        ax.set_xticks(plot.ticks, [f"{t}" if few and t != last else f"{t} %" for t in plot.ticks])
        wide = max(plot.ticks) / min(plot.ticks)
        ax.set_xlim(min(plot.ticks) / wide**0.06, max(plot.ticks) * wide**0.06)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(3 if few else 6, integer=True, steps=STEPS))
        ax.set_xlim(*ax.get_xlim())
    ax.yaxis.set_major_locator(MaxNLocator(4 if few else 6, steps=STEPS))
    ax.set_ylim(*(limits or ax.get_ylim()))
    ax.set_xlabel(plot.x, fontsize=7.5, labelpad=1.5)
