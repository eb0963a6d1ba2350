"""What jobs logged as they trained: the losses of pretrainings and fine-tunings, and what methods track."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.canvas import COLOURS, DASHES, LINE, SOFT, STEPS, even, style, words
from bench.report.supplement import Course, Curves, Pretext
from bench.report.tiles import Block, End, Size, Tile, name_ends, split, tiled

POINTS = 12000  # of a figure at about most: a page carries it
# points of a line at most: means of neighbours, or noise hides the course
CURVE, FIGURE, COURSE = (80, 40, 100)
CHANCE: Any = {"color": SOFT, "linewidth": 1.1, "linestyle": (0, (4, 2))}
ASIDE = {"step", "lr", "epoch", "seconds", "time", "grad_norm"}


def curves(found: Sequence[tuple[str, Curves]]) -> Figure:
    """Draw one plot per pretraining: its loss, below it on an axis of their own the terms that were logged.

    Args:
        found: printed name and curve of each.
    """
    terms = [[name for name in curve if name not in {*ASIDE, _main(curve)}] for _, curve in found]
    lines = sum(map(len, terms)) + len(found)
    most = max(25, min(CURVE, POINTS // max(1, lines)))
    with style():
        size = Size(even(len(found), 3), 2.5, 2.1 if any(terms) else 1.4, left=0.5, right=1.15)
        tiles = tuple(Tile(words(title, LINE), "loss, lower is better") for title, _ in found)
        figure, (axes,) = tiled([Block(tiles)], size)
        for ax, (_, curve), own in zip(axes, found, terms, strict=True):
            _curve(ax, curve, own, most)
        return figure


def _main(curve: Curves) -> str:
    terms = [name for name in curve if name not in ASIDE]
    return next((name for name in ("loss", "total") if name in terms), terms[0] if terms else "")


def _curve(ax: Axes, curve: Curves, terms: list[str], most: int) -> None:
    steps = np.array(curve["step"], float)
    lower = None
    if terms:
        ax, lower = split(ax, 0.55, 0.12)
    if main := _main(curve):
        ax.plot(*_thinned(steps, curve[main], most), color=COLOURS[0], linewidth=1.5)
    _numbered(ax)
    if lower is None:
        ax.set_xlabel("Step", fontsize=7.5, labelpad=1.5)
        return
    ends = []
    styles = zip(cycle(COLOURS[1:]), cycle(DASHES[:1] * 7 + DASHES[1:2] * 7), strict=False)
    for (colour, dash), term in zip(styles, terms, strict=False):
        xs, ys = _thinned(steps, curve[term], most)
        look: dict[str, Any] = {"color": colour, "linestyle": dash}
        lower.plot(xs, ys, linewidth=0.9, **look)
        known = np.flatnonzero(np.isfinite(ys))
        if len(known):
            tail = ys[known[-max(1, len(known) // 10) :]].mean()
            ends.append(End(float(xs[known[-1]]), float(tail), words(term, 18), look))
    _numbered(lower)
    lower.set_xlim(*lower.get_xlim())
    lower.set_ylim(*lower.get_ylim())
    lower.set_xlabel("Step", fontsize=7.5, labelpad=1.5)
    name_ends(lower, ends, 7)


def _numbered(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=STEPS))
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
    ax.grid(axis="x", visible=False)


Named = tuple[str, tuple[Course, ...]]  # a row's printed name, its fine-tunings


def training(found: Sequence[tuple[str, str, Sequence[Named]]]) -> Figure:
    """Draw one plot per row, those of a section to one scale: a line for each run, by label fraction.

    Args:
        found: of each section its name, what its loss is, and its rows.
    """
    every = [c for *_, rows in found for _, courses in rows for c in courses]
    most = max(20, min(COURSE, POINTS // len(every)))
    shares = sorted({c.fraction for c in every})
    looks: dict[int, dict[str, Any]] = {
        s: {"color": COLOURS[i % 8], "linestyle": DASHES[i % 4]} for i, s in enumerate(shares)
    }
    with style():
        size = Size(even(max(len(rows) for *_, rows in found), 5), 1.75, 1.2, right=0.2, gap=0.14)
        blocks = [
            Block(
                tuple(Tile(words(title, 22)) for title, _ in rows),
                words(section, 2 * LINE),
                words(loss, 100),
            )
            for section, loss, rows in found
        ]
        handles = [
            Line2D([], [], label=f"{s} % of the labels", linewidth=1.5, **looks[s]) for s in shares
        ]
        figure, axes = tiled(blocks, size, handles)
        for (*_, rows), own in zip(found, axes, strict=True):
            limits = _shared([c for _, courses in rows for c in courses])
            for number, (ax, (_, courses)) in enumerate(zip(own, rows, strict=True)):
                for course in courses:
                    ax.plot(
                        *_thinned(np.array(course.steps), course.losses, most),
                        linewidth=0.9,
                        **looks[course.fraction],
                    )
                _numbered(ax)
                ax.xaxis.set_major_locator(MaxNLocator(3, integer=True, steps=STEPS))
                ax.set_ylim(*limits)
                ax.tick_params(labelleft=number % size.columns == 0)
                ax.set_xlabel(
                    "Step" if number % size.columns == 0 else "", fontsize=7.5, labelpad=1.5
                )
        return figure


def _shared(courses: Sequence[Course]) -> tuple[float, float]:
    low, high = (f(loss for c in courses for loss in c.losses) for f in (min, max))
    more = 0.05 * ((high - low) or 1.0)
    return low - more, high + more


def _thinned(
    steps: np.ndarray, values: Sequence[float | None], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours until at most ``most`` points are left; a mean, never a pick."""
    y = np.array(values, float)
    size = -(-len(y) // most) if len(y) else 1
    edges = np.arange(0, len(y), size)
    counts = np.diff(np.append(edges, len(y)))
    return np.add.reduceat(steps, edges) / counts, np.add.reduceat(y, edges) / counts


def pretexts(found: Sequence[tuple[str, Sequence[Pretext]]]) -> Figure:
    """Draw one plot per row: the figure of each pretraining over its steps, what guessing gets dashed."""
    with style():
        size = Size(even(len(found), 4), 2.0, 1.2, left=0.5, right=0.2)
        tiles = tuple(
            Tile(
                words(title, 26),
                words(f"{p.says}, {'higher' if p.rises else 'lower'} is better", 36),
            )
            for title, (p, *_) in found
        )
        guessed = any(pretext.chances for _, some in found for pretext in some)
        chance = [Line2D([], [], label="chance: what guessing gets", **CHANCE)] if guessed else []
        figure, (axes,) = tiled([Block(tiles)], size, chance)
        for ax, (_, some) in zip(axes, found, strict=True):
            for pretext in some:
                _pretext(ax, pretext)
        return figure


def _pretext(ax: Axes, pretext: Pretext) -> None:
    alone = len(pretext.steps) == 1  # a line of one point is not seen
    look: dict[str, Any] = {"color": COLOURS[0], "linewidth": 1.5, "marker": "o" if alone else ""}
    steps = np.array(pretext.steps, float)
    ax.plot(*_thinned(steps, pretext.values, FIGURE), **look)
    if pretext.chances:
        ax.plot(*_thinned(steps, pretext.chances, FIGURE), marker="_" if alone else "", **CHANCE)
    _numbered(ax)
    ax.set_xlabel("Step", fontsize=7.5, labelpad=1.5)
