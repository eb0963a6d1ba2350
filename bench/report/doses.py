"""Dose curves: how far scratch is left behind as more of a pretraining with labels is handed on."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report import canvas
from bench.report.canvas import COLOURS, INK, LINE, MARKERS, PAPER, SOFT, words
from bench.report.plots import Ladder

HEADING = 34  # letters of a line above a plot
APART = 0.03  # doses between two lines of one plot, so that their intervals stand side by side


def doses(ladders: Sequence[Ladder]) -> Figure:
    """Draw difference from scratch against dose, with intervals: a plot for each place that has doses.

    Where no place has any, the ceilings alone are drawn.
    """
    ladders = [x for x in ladders if any(len(points) > 1 for _, points in x.lines)] or ladders
    names = dict.fromkeys(name for ladder in ladders for name, _ in ladder.lines)
    looks: dict[str, canvas.Look] = {
        name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(names)
    }
    titles = [words(ladder.title, HEADING) for ladder in ladders]
    with canvas.style():
        columns = canvas.even(len(ladders), 3)
        figure, (axes,) = canvas.tiled([("", titles)], (columns, 3.6 if columns > 1 else 4.6, 2.6))
        for ax, ladder in zip(axes, ladders, strict=True):
            if ladder.rope:
                ax.axhspan(-ladder.rope, ladder.rope, color=SOFT, alpha=0.18, lw=0)
            ax.axhline(0, color=SOFT, linewidth=0.9)
            ax.plot(0, 0, marker=".", color=INK, markersize=8, zorder=4)
            for number, (name, points) in enumerate(ladder.lines):
                shift = APART * (number - (len(ladder.lines) - 1) / 2)
                xs, ys = [p.dose + shift for p in points], [p.difference for p in points]
                colour = looks[name]["color"]
                if len(points) > 1:
                    ax.plot([0, *xs], [0, *ys], color=colour, linewidth=1.1)
                ax.vlines(xs, [p.low for p in points], [p.high for p in points], colour, lw=1.4)
                for x, point in zip(xs, points, strict=True):
                    face = colour if point.verdict == "better" else PAPER
                    mark: canvas.Look = {**looks[name], "markerfacecolor": face, "markersize": 6}
                    ax.plot(x, point.difference, zorder=3, **mark)
            ticks = ("0\nscratch", "0.25\n", "0.5\n", "0.75\n", "1\nceiling")
            ax.set_xticks((0, 0.25, 0.5, 0.75, 1), ticks)
            ax.set(xlim=(-0.08, 1.08), xlabel="Dose: share of the ceiling's weights")
            ax.set_ylabel(words(ladder.axis, LINE))
            ax.grid(axis="x", visible=False)
        handles = [
            Line2D([], [], markersize=5, label=words(name, LINE), **look)
            for name, look in looks.items()
        ]
        canvas.legend(figure, handles)
        return figure
