"""Rows below one another on one axis: intervals of what they differ by, and the dots these are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from bench.report import canvas
from bench.report.canvas import COLOURS, GRID, INK, MARKERS, PRINTED, SOFT, hollow, words
from bench.report.numbers import MINUS
from bench.report.plots import Interval, Spots, Strip

NAME = 30  # letters of a line of a row's name
LETTER = 0.068  # inches of a letter of 8 points
WIDE = 4.4  # inches of the axis
PITCH, ROW, DENSE = 0.15, 0.25, 0.33  # inches: a line of words, a row of a forest, a row of dots
BELOW = 0.07  # inches from an interval to what could have been seen
# multiples of it fill 0 to 1 evenly: heights of dots without a draw of chance
GOLDEN = (5**0.5 - 1) / 2
TINTS = {"better": COLOURS[0], "worse": COLOURS[1]}
DETECTABLE = "smallest difference that four of five such studies find (uncorrected)"
BRACKETS: Any = {"color": SOFT, "linestyle": (0, (1, 1.6)), "linewidth": 0.9, "marker": "|"}
OUTSIDE: Any = {
    "textcoords": "offset points",
    "annotation_clip": False,
    "fontsize": 6.5,
    "color": SOFT,
    "va": "center",
}
PALE: Any = {"linestyle": "", "color": SOFT, "alpha": 0.55, "markeredgewidth": 0}


def forest(
    rows: Sequence[Interval], axis: str, lower: bool = False, against: str = "", way: str = "better"
) -> Figure:
    """Draw a difference and its interval for each row, the region of equivalence shaded, a verdict in words.

    Args:
        rows: in the order of print, those of a group together.
        axis: what the differences are of, their unit, and against what they are; of groups without their own.
        lower: is less better?
        against: what zero is; "" for scratch.
        way: what lies at the axis' arrow.
    """
    groups = [(name, list(members)) for name, members in groupby(rows, lambda row: row.group)]
    ropes = {row.rope for row in rows} - {0.0}
    handles = list[Artist]()
    if ropes:
        what = f"of {against}" if against else "of scratch"
        where = f": within {min(ropes):g} {what}" if len(ropes) == 1 else ""
        handles.append(Patch(facecolor=SOFT, alpha=0.18, label=f"equivalent{where}"))
    if any(row.published is not None for row in rows):
        handles.append(Line2D([], [], label=f"difference {PRINTED}", **hollow({"color": SOFT})))
    if any(row.detectable is not None for row in rows):
        handles.append(Line2D([], [], label=DETECTABLE, **BRACKETS))
    names = [(name, [row.title for row in members]) for name, members in groups]
    letters = max(len(row.text) for row in rows) + max(len(row.verdict_text) for row in rows)
    with canvas.style():
        labels = [members[0].axis or axis for _, members in groups]
        last = [above != below for above, below in zip(labels, [*labels[1:], ""], strict=True)]
        figure, axes = _stacked(
            names, ROW, letters * LETTER + 0.3, [0.4 if end else 0.25 for end in last]
        )
        reach = {
            text: _reach([row for row in rows if (row.axis or axis) == text]) for text in labels
        }
        texts = list[Text]()
        for (ax, heights), (_, members), text, end in zip(axes, groups, labels, last, strict=True):
            low, high = reach[text]
            ax.set_xlim(low, high)
            ax.set_xlabel(_better(text, lower, way) if end else "")
            if rope := min(row.rope for row in members):
                ax.axvspan(-rope, rope, color=SOFT, alpha=0.18, lw=0)
                for limit in (-rope, rope):  # seen, too, where the band is narrow
                    ax.axvline(limit, color=SOFT, linewidth=0.9, linestyle=(0, (3, 2)))
            ax.axvline(0, color=SOFT, linewidth=0.9)
            for row, y in zip(members, heights, strict=True):
                _interval(ax, row, y, low, high)
                texts.append(_write(ax, row.text, y))
        widest = max(texts, key=lambda text: len(text.get_text()))
        for (ax, heights), (_, members) in zip(axes, groups, strict=True):
            for row, y in zip(members, heights, strict=True):
                weight = "bold" if row.verdict in TINTS else "normal"
                _write(ax, row.verdict_text, y, right_of=widest, fontweight=weight)
        canvas.legend(figure, handles)
        return figure


def _interval(ax: Axes, row: Interval, y: float, low: float, high: float) -> None:
    """Draw a difference and its interval; arrows say where this goes on beyond the axis."""
    look: Any = {"color": TINTS.get(row.verdict, INK), "linestyle": "", "clip_on": False}
    if row.detectable is not None:
        ends = np.array([-row.detectable, row.detectable])
        marked = ((ends > low) & (ends < high)).tolist()  # no bracket where it goes on
        least: Any = {**BRACKETS, "markersize": 4, "markevery": marked, "clip_on": False}
        ax.plot(np.clip(ends, low, high), [y + BELOW] * 2, **least)
    reach = np.clip([row.low, row.high], low, high)
    ax.plot(reach, [y, y], **{**look, "linestyle": "-", "linewidth": 1.4})
    for end, beyond, arrow in ((reach[0], row.low < low, "<"), (reach[1], row.high > high, ">")):
        ax.plot(end, y, marker=arrow if beyond else "|", markersize=4 if beyond else 6, **look)
    ax.plot(row.difference, y, marker="o", markersize=5.5, zorder=3, **look)
    if row.published is not None:
        printed = float(np.clip(row.published, low, high))
        ax.plot(printed, y, zorder=4, clip_on=False, **hollow({"color": SOFT}))


def _reach(rows: Sequence[Interval]) -> tuple[float, float]:
    """Return the ends of an axis: every difference, and intervals and brackets but for the widest."""
    rope = max(row.rope for row in rows)
    printed = [row.published for row in rows if row.published is not None]
    points = [row.difference for row in rows] + printed
    least = [row.detectable or 0.0 for row in rows]
    ends = np.array(
        [(min(row.low, -d), max(row.high, d)) for row, d in zip(rows, least, strict=True)]
    )
    usual = 3 * float(np.median(ends[:, 1] - ends[:, 0]))
    low = min(*points, -1.6 * rope, max(float(ends[:, 0].min()), min(points) - usual))
    high = max(*points, 1.6 * rope, min(float(ends[:, 1].max()), max(points) + usual))
    edge = 0.03 * (high - low) or 1.0  # all may be 0
    return low - edge, high + edge


def spots(strips: Sequence[Strip]) -> Figure:
    """Draw a line of dots for each row: its runs as marks, its patients small and pale, its mean as a bar."""
    several = any(len({*row.pretrained}) > 1 for strip in strips for row in strip.rows)
    run = "run, shape by pretraining" if several else "run: mean over patients"
    mean: Any = {"marker": "|", "markersize": 11, "markeredgewidth": 2, "color": INK}
    handles = [
        Line2D([], [], linestyle="", label="mean", **mean),
        Line2D([], [], linestyle="", label=run, marker="o", markersize=5.5, color=COLOURS[0]),
        Line2D([], [], label="patient: mean over runs", marker="o", markersize=2.6, **PALE),
    ]
    names = [(strip.title, [row.title for row in strip.rows]) for strip in strips]
    with canvas.style():
        figure, axes = _stacked(names, DENSE, 0.75, [0.45] * len(names))
        for (ax, heights), strip in zip(axes, strips, strict=True):
            kind = (strip.axis, strip.against)
            low, high = _most([other for other in strips if (other.axis, other.against) == kind])
            if strip.against:
                ax.axvline(0, color=SOFT, linewidth=0.9)
            for row, y in zip(strip.rows, heights, strict=True):
                _dotted(ax, row, y, (low, high), "+" if strip.against else "")
                _write(ax, row.text, y)
            ax.set_xlim(low, high)
            against = f", against {strip.against}" if strip.against else ""
            ax.set_xlabel(_better(strip.axis + against, strip.lower))
        canvas.legend(figure, handles)
        return figure


def _most(strips: Sequence[Strip]) -> tuple[float, float]:
    """Return the ends of a shared axis: every run, and patients from the 1st to the 99th percentile."""
    rows = [row for strip in strips for row in strip.rows]
    values = [v for row in rows for v in (*row.runs, row.mean)] + [0.0] * bool(strips[0].against)
    patients = np.concatenate([row.patients for row in rows])
    if len(patients):
        values += np.percentile(patients, (1, 99)).tolist()
    more = 0.04 * ((max(values) - min(values)) or 1.0)
    return min(values) - more, max(values) + more


def _dotted(ax: Axes, row: Spots, y: float, ends: tuple[float, float], sign: str) -> None:
    """Draw a row's patients, runs and mean; triangles at the ends of the axis are patients beyond these."""
    low, high = ends
    ax.axhline(y, color=GRID, linewidth=0.7)
    values = np.array(row.patients, float)
    heights = y + (np.arange(1, len(values) + 1) * GOLDEN % 1 - 0.5) * 0.6 * DENSE
    beyond: Any = {**PALE, "alpha": 0.8, "markersize": 3.5, "clip_on": False}
    for which, look in (
        ((values >= low) & (values <= high), {**PALE, "marker": "o", "markersize": 2.6}),
        (values < low, {**beyond, "marker": "<"}),
        (values > high, {**beyond, "marker": ">"}),
    ):
        if which.any():
            ax.plot(np.clip(values[which], low, high), heights[which], **look)
    for edge, outside, side in (
        (low, values[values < low], "left"),
        (high, values[values > high], "right"),
    ):
        if len(outside):  # over the row, where no dots are
            at, away = (edge, y - 0.42 * DENSE), (6 if side == "left" else -6, 0)
            ax.annotate(_extremes(outside, sign), at, away, ha=side, **OUTSIDE)
    ax.plot([row.mean] * 2, [y - 0.4 * DENSE, y + 0.4 * DENSE], color=INK, linewidth=1.8, zorder=3)
    run: Any = {"markersize": 5.5, "color": COLOURS[0], "alpha": 0.85, "markeredgewidth": 0}
    for marker, seed in zip(MARKERS * 9, dict.fromkeys(row.pretrained), strict=False):
        means = [v for v, start in zip(row.runs, row.pretrained, strict=True) if start == seed]
        ax.plot(means, [y] * len(means), linestyle="", marker=marker, zorder=4, **run)


def _extremes(values: np.ndarray, sign: str) -> str:
    """Return the least and the largest of values in print, once where they are alike."""
    ends = (f"{end:{sign}.1f}".replace("-", MINUS) for end in (values.min(), values.max()))
    return " to ".join(dict.fromkeys(ends))


def _stacked(
    groups: Sequence[tuple[str, list[str]]], row: float, right: float, below: Sequence[float]
) -> tuple[Figure, list[tuple[Axes, np.ndarray]]]:
    """Return a figure and, of each group of named rows, its axes and the heights of its rows, in inches."""
    names = [[words(name, NAME) for name in titles] for _, titles in groups]
    sizes = [
        np.array([max(row, canvas.height(n) * PITCH + 0.06) for n in group]) for group in names
    ]
    heads = [words(name, int((WIDE + right) / 0.09)) for name, _ in groups]
    width = canvas.longest(name for group in names for name in group) * LETTER + 0.4 + WIDE + right
    tall = sum(map(sum, sizes)) + 0.2 * sum(map(canvas.height, heads)) + 0.5
    figure = canvas.new(width, tall + sum(below[:-1]))
    ratios = [float(size.sum()) for size in sizes]
    grid = figure.subplots(len(groups), 1, squeeze=False, height_ratios=ratios)
    rows = []
    for ax, head, titles, size in zip(grid[:, 0], heads, names, sizes, strict=True):
        heights = size.cumsum() - size / 2
        ax.set_title(head, fontsize=9.5)
        ax.set_yticks(heights, titles, fontsize=8, color=INK)
        ax.set_ylim(size.sum(), 0)
        ax.tick_params(axis="y", pad=8)
        ax.grid(axis="y", visible=False)
        ax.spines["left"].set_visible(False)
        rows.append((ax, heights))
    return figure, rows


def _write(ax: Axes, text: str, y: float, right_of: Artist | None = None, **look: Any) -> Text:
    """Write a text to the right of a row: beside the axes, or beside another text."""
    at: Any = {"xycoords": ("axes fraction" if right_of is None else right_of, "data")}
    at |= {"textcoords": "offset points", "annotation_clip": False, "fontsize": 8}
    return ax.annotate(text, (1, y), (8, 0), va="center_baseline", **at, **look)


def _better(axis: str, lower: bool, way: str = "better") -> str:
    """Return what an axis says, and which way is better."""
    arrow = f"\N{LEFTWARDS ARROW} {way}" if lower else f"{way} \N{RIGHTWARDS ARROW}"
    return f"{axis}, {arrow}"
