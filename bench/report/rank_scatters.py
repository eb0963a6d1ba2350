"""Scatters of rows that were scored in two ways, each point named at the right."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import canvas
from bench.report.canvas import COLOURS, INK, MARKERS, PAPER, SOFT, words
from bench.report.plots import Dot, Scatter

WIDE, LINE = 5.6, 0.135  # inches of a plot with its names; of one name
NAMED = (4, 1)  # widths of plot and names


def scatters(drawn: tuple[Scatter, ...]) -> Figure:
    """Draw one plot per scatter, two side by side."""
    most = max(sum(None not in (d.x, d.y) for d in plot.dots) for plot in drawn)
    with canvas.style():
        size = (canvas.even(len(drawn), 2), WIDE, max(3.0, LINE * most + 0.9))
        figure, (axes,) = canvas.tiled([("", [words(p.title, 52) for p in drawn])], size)
        for ax, plot in zip(axes, drawn, strict=True):
            _scatter(ax, plot)
        return figure


def _scatter(tile: Axes, plot: Scatter) -> None:
    ax, names = canvas.split(tile, 1, 2, width_ratios=NAMED)
    names.set_axis_off()
    named = [
        (dot, INK if dot.control else COLOURS[i % len(COLOURS)])
        for i, dot in enumerate(plot.dots)
        if None not in (dot.x, dot.y)
    ]
    for i, (dot, colour) in enumerate(named):
        _point(ax, dot, colour, MARKERS[i // len(COLOURS) % len(MARKERS)])
    canvas.few_numbers(ax, 6)
    ax.locator_params(axis="x", integer=False)
    ax.grid(axis="x", visible=True)
    if plot.lower:  # better to the right and upwards
        ax.invert_xaxis()
        ax.invert_yaxis()
    ax.set(xlabel=plot.x, ylabel=plot.y)
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # which stay, whatever is drawn across
    for dot in plot.dots:
        _half(ax, dot)
    _names(ax, named)
    canvas.note(ax, words(plot.note, 78))


def _point(ax: Axes, dot: Dot, colour: str, marker: str) -> None:
    look: Any = {"color": colour, "marker": marker, "markersize": 4.5, "elinewidth": 0.5}
    look |= {"marker": "s", "markerfacecolor": PAPER} if dot.control else {}
    assert dot.x is not None and dot.y is not None
    ax.errorbar(dot.x, dot.y, xerr=dot.sds[0] or None, yerr=dot.sds[1] or None, **look)


def _half(ax: Axes, dot: Dot) -> None:
    """Draw a row that has one of the two scores: a control as a line across with its name, others as a tick."""
    across = dot.y is None
    at, limits = (dot.x, ax.get_xlim()) if across else (dot.y, ax.get_ylim())
    if at is None or None not in (dot.x, dot.y) or not min(limits) <= at <= max(limits):
        return
    line = ax.axvline if across else ax.axhline
    if not dot.control:
        line(at, 0, 0.035, color=SOFT, linewidth=0.8)
        return
    line(at, color=SOFT, linewidth=0.8, linestyle=(0, (4, 2)))
    text: Any = {"fontsize": 6.5, "color": SOFT, "va": "bottom", "ha": "right"}
    if across:
        text |= {"transform": ax.get_xaxis_transform(), "rotation": 90}
    else:
        text |= {"transform": ax.get_yaxis_transform()}
    ax.text(*((at, 0.045) if across else (0.99, at)), words(dot.title, 60), **text)


def _names(ax: Axes, named: list[tuple[Dot, str]]) -> None:
    """Name points to the right of the plot, in the order of their heights, a thin line from each."""
    up = -1 if ax.yaxis_inverted() else 1
    named = sorted(named, key=lambda each: up * (each[0].y or 0.0))
    thread = {"arrowstyle": "-", "linewidth": 0.5, "color": SOFT, "alpha": 0.45, "relpos": (0, 0.5)}
    at: Any = {"xycoords": "data", "textcoords": "axes fraction", "va": "center", "fontsize": 7}
    heights = np.linspace(0, 1, len(named) + 2)[1:-1]
    for (dot, colour), height in zip(named, heights, strict=True):
        label_at = (1.06, float(height))
        ax.annotate(
            words(dot.title, 40), (dot.x, dot.y), label_at, color=colour, arrowprops=thread, **at
        )
