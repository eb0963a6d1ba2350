"""What jobs logged as they trained: the losses of pretrainings and fine-tunings, and what methods track."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report import canvas
from bench.report.canvas import COLOURS, DASHES, LINE, SOFT, words
from bench.report.supplement import Course, Curves, Pretext, ProbeCurve

POINTS = 12000  # of a figure at about most: a page carries it
# points of a line at most: means of neighbours, or noise hides the course
CURVE, FIGURE, COURSE = (80, 40, 100)
CHANCE: Any = {"color": SOFT, "linewidth": 1.1, "linestyle": (0, (4, 2))}
ASIDE = {"step", "lr", "epoch", "seconds", "time", "grad_norm"}


def curves(drawn: Sequence[tuple[str, Curves]]) -> Figure:
    """Draw one plot per pretraining: its loss, below it on an axis of their own the terms that were logged."""
    lines = sum(len({*curve} - ASIDE) for _, curve in drawn)
    most = max(25, min(CURVE, POINTS // max(1, lines)))
    terms = any(len({*curve} - ASIDE) > 1 for _, curve in drawn)
    titles = [words(title, LINE) for title, _ in drawn]
    with canvas.style():
        size = (canvas.even(len(drawn), 3), 4.1, 2.6 if terms else 1.8)
        figure, (axes,) = canvas.tiled([("", titles)], size)
        for ax, (_, curve) in zip(axes, drawn, strict=True):
            _curve(ax, curve, most)
        return figure


def _curve(ax: Axes, curve: Curves, most: int) -> None:
    names = [name for name in curve if name not in ASIDE]
    main = next((name for name in ("loss", "total") if name in names), names[0] if names else "")
    terms = [name for name in names if name != main]
    upper, lower = canvas.split(ax, 2, 1, height_ratios=(5, 4)) if terms else (ax, ax)
    steps = np.array(curve["step"], float)
    if main:
        upper.plot(*_thinned(steps, curve[main], most), color=COLOURS[0], linewidth=1.5)
    upper.set_ylabel("loss\n(lower is better)", fontsize=7.5)
    ends = []
    looks = cycle(product(DASHES[:2], COLOURS[1:]))
    for (dash, colour), term in zip(looks, terms, strict=False):
        xs, ys = _thinned(steps, curve[term], most)
        look: Any = {"color": colour, "linestyle": dash, "linewidth": 0.9}
        lower.plot(xs, ys, **look)
        defined = ys[np.isfinite(ys)]
        if len(defined):
            tail = float(defined[-max(1, len(defined) // 10) :].mean())
            ends.append((tail, Line2D([], [], label=words(term, 18), **look)))
    if ends:
        canvas.name_lines(lower, ends)
    canvas.few_numbers(upper)
    canvas.few_numbers(lower)
    lower.set_xlabel("Step")


Rows = Sequence[tuple[str, tuple[Course, ...]]]  # printed names, the fine-tunings of each


def training(drawn: Sequence[tuple[str, str, Rows]]) -> Figure:
    """Draw one plot per row, those of a section to one scale: a line for each run, by label fraction.

    Args:
        drawn: of each section its name, what its loss is, and its rows.
    """
    runs = [run for *_, rows in drawn for _, courses in rows for run in courses]
    most = max(20, min(COURSE, POINTS // len(runs)))
    looks: dict[int, Any] = {
        share: {"color": COLOURS[i % 8], "linestyle": DASHES[i % 4]}
        for i, share in enumerate(sorted({run.fraction for run in runs}))
    }
    blocks = [
        (f"{section}: {loss}", [words(title, 22) for title, _ in rows])
        for section, loss, rows in drawn
    ]
    with canvas.style():
        columns = canvas.even(max(len(rows) for *_, rows in drawn), 5)
        figure, axes = canvas.tiled(blocks, (columns, 2.0, 1.5), share=True)
        for (*_, rows), block in zip(drawn, axes, strict=True):
            for ax, (_, courses) in zip(block, rows, strict=True):
                for run in courses:
                    course = _thinned(np.array(run.steps), run.losses, most)
                    ax.plot(*course, linewidth=0.9, **looks[run.fraction])
                canvas.few_numbers(ax)
            canvas.label_below(block, "Step")
        name = "{} % of the labels".format
        canvas.legend(figure, [Line2D([], [], label=name(s), **look) for s, look in looks.items()])
        return figure


def _thinned(
    steps: np.ndarray, values: Sequence[float | None], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours until at most ``most`` points are left; a mean, never a pick."""
    y = np.array(values, float)
    size = -(-len(y) // most) if len(y) else 1
    edges = np.arange(0, len(y), size)
    counts = np.diff(np.append(edges, len(y)))
    return np.add.reduceat(steps, edges) / counts, np.add.reduceat(y, edges) / counts


def pretexts(drawn: Sequence[tuple[str, Sequence[Pretext]]]) -> Figure:
    """Draw one plot per row: the figure of each pretraining over its steps, what guessing gets dashed."""
    with canvas.style():
        titles = [words(title, 26) for title, _ in drawn]
        ways = ["higher" if first.rises else "lower" for _, (first, *_) in drawn]
        notes = [
            words(f"{first.says}, {way} is better", 36)
            for way, (_, (first, *_)) in zip(ways, drawn, strict=True)
        ]
        tall = 1.6 + 0.13 * max(map(canvas.height, notes))
        figure, (axes,) = canvas.tiled([("", titles)], (canvas.even(len(drawn), 4), 2.6, tall))
        for ax, text, (_, pretexts) in zip(axes, notes, drawn, strict=True):
            canvas.note(ax, text)
            for pretext in pretexts:
                alone = len(pretext.steps) == 1  # a line of one point is not seen
                steps = np.array(pretext.steps, float)
                line = _thinned(steps, pretext.values, FIGURE)
                ax.plot(*line, color=COLOURS[0], linewidth=1.5, marker="o" if alone else "")
                if pretext.chances:
                    chance = _thinned(steps, pretext.chances, FIGURE)
                    ax.plot(*chance, marker="_" if alone else "", **CHANCE)
            canvas.few_numbers(ax)
            ax.set_xlabel("Step")
        if any(pretext.chances for _, pretexts in drawn for pretext in pretexts):
            canvas.legend(figure, [Line2D([], [], label="chance: score of guessing", **CHANCE)])
        return figure


def probes(drawn: Sequence[tuple[str, str, Sequence[ProbeCurve]]]) -> Figure:
    """Draw one plot per row, all to one scale: what its online probe scored over the steps.

    Args:
        drawn: of each row its title, what is scored, and a curve for each seed.
    """
    with canvas.style():
        titles = [words(title, 26) for title, *_ in drawn]
        notes = [words(f"{scored}, higher is better", 36) for _, scored, _ in drawn]
        tall = 1.6 + 0.13 * max(map(canvas.height, notes))
        size = (canvas.even(len(drawn), 4), 2.6, tall)
        figure, (axes,) = canvas.tiled([("", titles)], size, share=True)
        for ax, text, (*_, curves) in zip(axes, notes, drawn, strict=True):
            canvas.note(ax, text)
            for curve in curves:
                ax.plot(curve.steps, curve.values, color=COLOURS[0], linewidth=1.5, marker=".")
            canvas.few_numbers(ax)
        canvas.label_below(axes, "Step")
        return figure
