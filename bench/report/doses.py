"""Dose curves: how far scratch is left behind as more of a pretraining with labels is handed on."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report import canvas
from bench.report.canvas import COLOURS, INK, LINE, MARKERS, PAPER, SOFT, even, height, words
from bench.report.plots import Dose, Ladder

WIDE, TALL = 3.4, 2.7  # inches of a plot
HEADING = 34  # letters of a line above a plot of that width
APART = 0.03  # doses between two lines of one plot, so that their intervals stand side by side


def doses(found: Sequence[Ladder]) -> Figure:
    """Draw difference from scratch against dose, with intervals: a plot for each place that has doses.

    Where no place has any, the ceilings alone are drawn.
    """
    found = [
        ladder for ladder in found if any(len(points) > 1 for _, points in ladder.lines)
    ] or found
    names = dict.fromkeys(name for ladder in found for name, _ in ladder.lines)
    look = {n: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, n in enumerate(names)}
    columns = even(len(found), 3)
    label = [words(name, LINE) for name in names]
    below = 0.17 * sum(map(height, label)) + 0.1
    with canvas.style():
        figure = canvas.new(max(4.6, WIDE * columns), TALL * -(-len(found) // columns) + below)
        for ax, ladder in zip(canvas.grid(len(found), columns, figure), found, strict=True):
            _ladder(ax, ladder, look)
        handles = [
            Line2D([], [], color=colour, marker=marker, markersize=5, label=text)
            for text, (colour, marker) in zip(label, look.values(), strict=True)
        ]
        figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=8)
        return figure


def _ladder(ax: Axes, ladder: Ladder, look: dict[str, tuple[str, str]]) -> None:
    if ladder.rope:
        ax.axhspan(-ladder.rope, ladder.rope, color=SOFT, alpha=0.18, lw=0)
    ax.axhline(0, color=SOFT, linewidth=0.9)
    ax.plot(0, 0, marker=".", color=INK, markersize=8, zorder=4)
    middle = (len(ladder.lines) - 1) / 2
    for number, (name, points) in enumerate(ladder.lines):
        colour, marker = look[name]
        xs = [point.dose + APART * (number - middle) for point in points]
        if len(points) > 1:
            ax.plot(
                [0, *xs], [0, *(point.difference for point in points)], color=colour, linewidth=1.1
            )
        for x, point in zip(xs, points, strict=True):
            _point(ax, x, point, colour, marker)
    ax.set_title(words(ladder.title, HEADING))
    ax.set_xlim(-0.08, 1.08)
    ax.set_xticks(
        (0, 0.25, 0.5, 0.75, 1), ("0\nscratch", "0.25\n", "0.5\n", "0.75\n", "1\nceiling")
    )
    ax.grid(axis="x", visible=False)
    ax.set_xlabel("Dose: share of the ceiling's weights", fontsize=8)
    ax.set_ylabel(words(ladder.axis, LINE), fontsize=8)


def _point(ax: Axes, x: float, point: Dose, colour: str, marker: str) -> None:
    face = colour if point.verdict == "better" else PAPER
    ax.plot([x, x], [point.low, point.high], color=colour, linewidth=1.4)
    ax.plot(
        x,
        point.difference,
        marker=marker,
        color=colour,
        markerfacecolor=face,
        markersize=6,
        zorder=3,
    )
