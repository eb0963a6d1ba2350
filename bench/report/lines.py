"""Lines over something: all rows of a plot in one, or each in a plot of its own where they are many."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report import canvas
from bench.report.canvas import COLOURS, LINE, SOFT, Look, hollow, words
from bench.report.plots import BANDS, Plot, Series

MARKED = 25  # points of a line that are marked each
MANY = 6  # lines of a plot at most that are told apart in one
NAME = 24  # letters of a line of a name


def plots(drawn: tuple[Plot, ...]) -> Figure:
    """Draw plots of lines, names beside their ends; rows of which there are many have a plot each."""
    with canvas.style():
        return _small(drawn) if max(len(plot.series) for plot in drawn) > MANY else _large(drawn)


def _large(drawn: tuple[Plot, ...]) -> Figure:
    series = [line for plot in drawn for line in plot.series]
    look = canvas.looks(series)
    names = {title: words(title, NAME) for title in look}
    wide = 4.6 + 0.06 * canvas.longest(names.values())
    tall = max(2.7, 0.15 * sum(map(canvas.height, names.values())))
    titles = [words(plot.title, LINE) for plot in drawn]
    figure, (axes,) = canvas.tiled([("", titles)], (canvas.even(len(drawn), 2), wide, tall))
    for ax, plot in zip(axes, drawn, strict=True):
        ends = []
        for line in plot.series:
            _line(ax, line, look[line.title], bands=len(plot.series) <= BANDS)
            _, end = max(list(zip(line.xs, line.means, strict=True)) or line.printed)
            ends.append((end, Line2D([], [], label=names[line.title], **look[line.title])))
        canvas.few_numbers(ax, 6)
        _scale(ax, plot, [f"{tick} %" for tick in plot.ticks])
        ax.set(xlabel=plot.x, ylabel=words(_axis(plot), 36))
        canvas.name_lines(ax, ends)
    canvas.legend(figure, canvas.printed(series))
    return figure


def _small(drawn: tuple[Plot, ...]) -> Figure:
    """Draw every row in a plot of its own, over the row from scratch and, pale, all others."""
    rows = [[line for line in plot.series if not line.baseline] for plot in drawn]
    series = [line for plot in drawn for line in plot.series]
    scratch = canvas.looks([line for line in series if line.baseline])
    look = {"color": COLOURS[0], "linestyle": "-", "marker": "o", "markersize": 4}
    blocks = [
        (f"{plot.title}: {_axis(plot)}", [words(line.title, 20) for line in lines])
        for plot, lines in zip(drawn, rows, strict=True)
    ]
    figure, axes = canvas.tiled(blocks, (min(6, max(map(len, rows))), 1.75, 1.5), share=True)
    used = set[str]()
    for plot, lines, block in zip(drawn, rows, axes, strict=True):
        for ax, line in zip(block, lines, strict=True):
            others = [other for other in lines if other is not line]
            xs = [x for other in others for x in (*other.xs, np.nan)]
            means = [mean for other in others for mean in (*other.means, np.nan)]
            ax.plot(xs, means, color=SOFT, linewidth=0.4, alpha=0.45)
            for base in plot.series:
                if base.baseline and line.scratch in ("", base.title):
                    used.add(base.title)
                    thin = {"linewidth": 1.1, "markersize": 3}
                    ax.plot(base.xs, base.means, zorder=3, **{**scratch[base.title], **thin})
            _line(ax, line, look)
            *ticks, last = plot.ticks or ("",)  # the last alone says what the numbers are
            canvas.few_numbers(ax)
            _scale(ax, plot, [*map(str, ticks), f"{last} %"])
        canvas.label_below(block, plot.x)
    handles: list[Artist] = [
        Line2D([], [], label=words(title, LINE), **scratch[title])
        for title in scratch
        if title in used
    ]
    handles.append(Line2D([], [], color=SOFT, linewidth=0.5, alpha=0.6, label="other rows"))
    if any(line.runs for line in series):
        run: Look = {"color": COLOURS[0], "linewidth": 0.7, "alpha": 0.7}
        handles.append(Line2D([], [], label="single runs", **run))
    canvas.legend(figure, [*handles, *canvas.printed(series)])
    return figure


def _axis(plot: Plot) -> str:
    return f"{plot.y}, {'lower' if plot.lower else 'higher'} is better"


def _line(ax: Axes, line: Series, look: Look, *, bands: bool = False) -> None:
    """Draw a line and what its runs differ by: a band, else every run as a thin line."""
    xs, means, sds = np.array(line.xs), np.array(line.means), np.array(line.sds)
    marker = "" if len(xs) > MARKED else look["marker"]
    ax.plot(
        xs, means, **{"linewidth": 1.7, "markersize": 4.5, "zorder": 3, **look, "marker": marker}
    )
    ax.plot([x for x, _ in line.printed], [v for _, v in line.printed], zorder=4, **hollow(look))
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


def _scale(ax: Axes, plot: Plot, labels: list[str]) -> None:
    """Give a plot that has ticks of its own a logarithmic axis with these labels."""
    if plot.ticks:
        ax.set_xscale("log")
        ax.minorticks_off()
        ax.set_xticks(plot.ticks, labels)
        ax.margins(x=0.06)
