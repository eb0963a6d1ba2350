"""The drawing itself. Figure objects only, no global state; the same input gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from bench.report.bars import bars, dots
from bench.report.canvas import (
    COLOURS,
    LINE,
    MARKERS,
    SOFT,
    even,
    grid,
    hollow,
    looks,
    new,
    printed,
    save,
    style,
    words,
)
from bench.report.masks import panels
from bench.report.plots import Plot, Series
from bench.report.pretrainings import short
from bench.report.supplement import Cloud, Course, Curves, Pretext

__all__ = ["bars", "clouds", "curves", "dots", "panels", "plots", "pretexts", "save", "training"]
MARKED = 25  # points of a line that are marked each
BANDS = 4  # lines of a plot at most that have bands; of more these would cover each other
ERRORS = 8  # error bars of a line at about most
SIDE = 2.5  # of a cloud's panel, inches
CHANCE: Any = {"color": SOFT, "linewidth": 1.1, "linestyle": (0, (4, 2))}


def plots(found: tuple[Plot, ...]) -> Figure:
    """Draw plots of lines, each ± one sd over runs: a band, or error bars where lines are many."""
    series = [line for plot in found for line in plot.series]
    with style():
        look = looks(series)
        columns = even(len(found), 3)
        figure = new(2.2 + 4.1 * columns, 3.7 * -(-len(found) // columns))
        for ax, plot in zip(grid(len(found), columns, figure), found, strict=True):
            _lines_of(ax, plot, look)
        handles = [
            Line2D([], [], label=words(title), linewidth=1.8, **{"markersize": 4.5, **own})
            for title, own in look.items()
        ]
        figure.legend(handles=[*handles, *printed(series)], loc="outside right upper", frameon=False,
                      fontsize=8.5)  # fmt: skip
        return figure


def _lines_of(ax: Axes, plot: Plot, look: dict[str, dict[str, Any]]) -> None:
    bands = len(plot.series) <= BANDS
    for number, line in enumerate(plot.series):
        aside = 0.0 if bands else number / (len(plot.series) - 1) - 0.5  # error bars apart from each other
        _line(ax, line, look[line.title], aside, log=bool(plot.ticks), bands=bands)
    if plot.ticks:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(plot.ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{t} %" for t in plot.ticks])
        ax.set_xlim(min(plot.ticks) / 1.15, max(plot.ticks) * 1.15)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    ax.grid(axis="x", visible=False)
    ax.set_title(words(plot.title, LINE))
    ax.set_xlabel(plot.x)
    ax.set_ylabel(words(plot.y, LINE) + ("\nlower is better" if plot.lower else ""))


def _line(
    ax: Axes, line: Series, look: dict[str, Any], aside: float, *, log: bool, bands: bool
) -> None:  # fmt: skip
    xs, means, sds = np.array(line.xs), np.array(line.means), np.array(line.sds)
    shift = 1.06**aside if log else 1.0
    crowded = len(xs) > MARKED
    ax.plot(xs * shift, means, linewidth=1.8 if bands else 1.4, markersize=4.5,
            **(look | {"marker": ""} if crowded else look))  # fmt: skip
    low = np.minimum(sds, means - np.minimum(means, 0))  # only kappa goes below zero
    if sds.any() and bands:
        ax.fill_between(xs * shift, means - low, means + sds, color=look["color"], alpha=0.13, lw=0)
    elif sds.any():
        step = -(-len(xs) // ERRORS)
        first = int((aside + 0.5) * (step - 1))
        ax.errorbar(xs * shift, means, (low, sds), errorevery=(first, step), color=look["color"],
                    linestyle="", linewidth=0.8, capsize=1.8, capthick=0.8, alpha=0.8)  # fmt: skip
    ax.plot([x * shift for x, _ in line.printed], [value for _, value in line.printed], zorder=3,
            **hollow(look))  # fmt: skip


def curves(found: Mapping[str, Curves]) -> Figure:
    """Draw one small plot per pretraining: its loss strong, the terms it consists of thin."""
    with style():
        columns = min(3, len(found))
        figure = new(0.4 + 3.3 * columns, 2.5 * -(-len(found) // columns))
        for ax, (name, curve) in zip(grid(len(found), columns, figure), found.items(), strict=True):
            _curve(ax, name, curve)
        return figure


def _curve(ax: Axes, name: str, curve: Curves) -> None:
    aside = {"step", "lr", "epoch", "seconds", "time", "grad_norm"}
    terms = [c for c in curve if c not in aside]
    main = next((c for c in ("loss", "total") if c in terms), terms[0] if terms else "")
    terms = [c for c in terms if c != main][: len(COLOURS) - 1]
    steps = np.array(curve["step"], float)
    for colour, term in zip(COLOURS[1:], terms, strict=False):
        ax.plot(*_thinned(steps, curve[term]), color=colour, linewidth=0.9, label=words(term))
    if main:
        ax.plot(*_thinned(steps, curve[main]), color=COLOURS[0], linewidth=1.7, label=words(main))
    ax.set_title(words(name))
    ax.set_xlabel("Step")
    ax.set_ylabel("Loss")
    if terms:
        ax.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=3, frameon=False)


def training(plots: dict[str, list[Course]]) -> Figure:
    """Draw one small plot per row, all to one scale: a line for each run, coloured by label fraction."""
    shares = sorted({c.fraction for courses in plots.values() for c in courses})
    colours = dict(zip(shares, cycle(COLOURS), strict=False))
    with style():
        columns = min(4, len(plots))
        figure = new(0.4 + 2.5 * columns, 2.2 * -(-len(plots) // columns) + 0.3)
        axes = grid(len(plots), columns, figure, sharey=True)
        for ax, (name, courses) in zip(axes, plots.items(), strict=True):
            for course in courses:
                ax.plot(course.steps, course.losses, color=colours[course.fraction], linewidth=1.0)
            ax.set_title(words(name, LINE * 2 // 3), fontsize=8.5)
            ax.set_xlabel("Step")
        for ax in axes[::columns]:
            ax.set_ylabel("Loss")
        handles = [Line2D([], [], label=f"{share} %", color=colour) for share, colour in colours.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(7, len(handles)), frameon=False,
                      fontsize=8.5)  # fmt: skip
        return figure


def _thinned(
    steps: np.ndarray, values: Sequence[float | None], most: int = 400
) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours until at most ``most`` points are left; a mean, never a pick."""
    y = np.array(values, float)
    size = -(-len(y) // most) if len(y) else 1
    edges = np.arange(0, len(y), size)
    counts = np.diff(np.append(edges, len(y)))
    return np.add.reduceat(steps, edges) / counts, np.add.reduceat(y, edges) / counts


def pretexts(found: list[tuple[str, Pretext]]) -> Figure:
    """Draw one small plot per pretraining: its figure over the steps, what guessing gets dashed."""
    with style():
        columns = even(len(found), 3)
        figure = new(0.4 + 3.3 * columns, 2.5 * -(-len(found) // columns))
        for ax, (title, pretext) in zip(grid(len(found), columns, figure), found, strict=True):
            _pretext(ax, title, pretext)
        if any(pretext.chances for _, pretext in found):
            chance = Line2D([], [], label="chance", **CHANCE)
            figure.legend(handles=[chance], loc="outside lower center", frameon=False, fontsize=8)
        return figure


def _pretext(ax: Axes, title: str, pretext: Pretext) -> None:
    alone = len(pretext.steps) == 1  # a line of one point is not seen
    look: dict[str, Any] = {"color": COLOURS[0], "linewidth": 1.7, "marker": "o" if alone else ""}
    ax.plot(pretext.steps, pretext.values, **look)
    if pretext.chances:
        ax.plot(pretext.steps, pretext.chances, marker="_" if alone else "", **CHANCE)
    ax.set_title(words(title, 34, 2))
    ax.set_xlabel("Step")
    ax.set_ylabel(words(pretext.says, 26, 2), fontsize=8)


def clouds(found: tuple[Cloud, ...], titles: dict[str, str]) -> Figure:
    """Draw one scatter per encoder, coloured by data set.

    Args:
        found: in the order of print.
        titles: printed name of every data set.
    """
    look = {name: _look(i) for i, name in enumerate(titles)}
    with style():
        columns = even(len(found), 4)
        rows, legend = -(-len(found) // columns), -(-len(look) // columns)
        figure = new(SIDE * columns + 0.2, (SIDE + 0.45) * rows + 0.3 * legend)
        for ax, cloud in zip(grid(len(found), columns, figure), found, strict=True):
            _cloud(ax, cloud, look)
        handles = [
            Line2D([], [], linestyle="", label=words(titles[n]), **{**k, "markersize": 5, "alpha": 1})
            for n, k in look.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(columns + 1, len(handles)),
                      frameon=False, fontsize=8, handletextpad=0.2)  # fmt: skip
        return figure


def _look(number: int) -> dict[str, Any]:
    """Return a data set's colour and, once the colours are used up, its marker."""
    marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
    return {"color": COLOURS[number % len(COLOURS)], "marker": marker, "markersize": 3.4, "alpha": 0.75,
            "markeredgewidth": 0}  # fmt: skip


def _cloud(ax: Axes, cloud: Cloud, looks: dict[str, dict[str, Any]]) -> None:
    points, group = np.array(cloud.points), np.array(cloud.group)
    for number, name in enumerate(cloud.groups):
        x, y = points[group == number].T
        ax.plot(x, y, linestyle="", **looks[name])
    ax.set(xticks=[], yticks=[], xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), aspect="equal")
    ax.spines[:].set_visible(True)
    ax.grid(visible=False)
    ax.set_title(words(cloud.title, 34, 2), fontsize=8.5)
    known = cloud.std is not None and cloud.rank is not None
    spread = f" (std {short(cloud.std)}, rank {short(cloud.rank)})" if known else ""
    ax.set_xlabel(cloud.how + spread, fontsize=7.5)
