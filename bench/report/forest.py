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
from matplotlib.ticker import MaxNLocator

from bench.report.canvas import (
    COLOURS,
    GRID,
    INK,
    LINE,
    MARKERS,
    PRINTED,
    SOFT,
    STEPS,
    height,
    hollow,
    new,
    style,
    words,
)
from bench.report.plots import Interval, Spots, Strip

NAME = 30  # letters of a line of a row's name
LETTER = 0.068  # inches of a letter of 8 points
WIDE = 4.4  # inches of the axis
PITCH, ROW, DENSE = 0.15, 0.25, 0.33  # inches: a line of words, a row of a forest, a row of dots
# multiples of it fill 0 to 1 evenly: places of dots without a draw of chance
GOLDEN = (5**0.5 - 1) / 2
TINTS = {"better": COLOURS[0], "worse": COLOURS[1]}


def forest(rows: Sequence[Interval], axis: str, *, lower: bool = False) -> Figure:
    """Draw a difference and its interval for each row, the region of equivalence shaded, a verdict in words.

    Args:
        rows: in the order of print, those of a group together.
        axis: what the differences are of, their unit, and against what they are.
        lower: is less better?
    """
    groups = [(name, list(own)) for name, own in groupby(rows, lambda one: one.group)]
    numbers = max(len(row.text) for row in rows) * LETTER + 0.15
    verdicts = max(len(row.said) for row in rows) * LETTER
    ropes = {row.rope for row in rows} - {0.0}
    with style():
        handles = list[Artist]()
        if ropes:
            within = (
                f"equivalent: within {min(ropes):g} of scratch" if len(ropes) == 1 else "equivalent"
            )
            handles.append(Patch(facecolor=SOFT, alpha=0.18, label=within))
        if any(row.published is not None for row in rows):
            handles.append(Line2D([], [], label=f"difference {PRINTED}", **hollow({"color": SOFT})))
        named = [(name, [words(row.title, NAME) for row in own]) for name, own in groups]
        figure, axes = _stacked(named, ROW, numbers + verdicts + 0.2, handles)
        low, high = _reach(rows, max(ropes, default=0.0))
        for (ax, centres), (_, own) in zip(axes, groups, strict=True):
            if rope := min(row.rope for row in own):
                ax.axvspan(-rope, rope, color=SOFT, alpha=0.18, lw=0)
            ax.axvline(0, color=SOFT, linewidth=0.9)
            for row, y in zip(own, centres, strict=True):
                _interval(ax, row, y, low, high)
                at: dict[str, Any] = {
                    "transform": ax.get_yaxis_transform(),
                    "va": "center_baseline",
                    "fontsize": 8,
                }
                ax.text(1 + 0.1 / WIDE, y, row.text, **at)
                weight = "bold" if row.verdict in TINTS else "normal"
                ax.text(1 + (numbers + 0.1) / WIDE, y, row.said, fontweight=weight, **at)
            ax.set_xlim(low, high)
        _below([ax for ax, _ in axes], axis, lower)
        return figure


def _interval(ax: Axes, row: Interval, y: float, low: float, high: float) -> None:
    colour = TINTS.get(row.verdict, INK)
    ax.plot([max(row.low, low), min(row.high, high)], [y, y], color=colour, linewidth=1.4)
    for end, cut, mark in ((row.low, row.low < low, "<"), (row.high, row.high > high, ">")):
        if cut:  # it goes on
            ax.plot(
                low if mark == "<" else high,
                y,
                marker=mark,
                color=colour,
                markersize=4,
                clip_on=False,
            )
        else:
            ax.plot([end, end], [y - 0.045, y + 0.045], color=colour, linewidth=1.1)
    filled = row.verdict in TINTS
    ax.plot(
        row.difference,
        y,
        marker="o",
        markersize=5.5,
        color=colour,
        linestyle="",
        markerfacecolor=colour if filled else INK,
        zorder=3,
    )
    if row.published is not None:
        ax.plot(
            min(max(row.published, low), high),
            y,
            zorder=4,
            clip_on=False,
            **hollow({"color": SOFT}),
        )


def _reach(rows: Sequence[Interval], rope: float) -> tuple[float, float]:
    """Return the ends of the axis: every difference, and intervals but for those far wider than most."""
    points = [row.difference for row in rows] + [
        row.published for row in rows if row.published is not None
    ]
    ends = np.array([(row.low, row.high) for row in rows])
    usual = 3 * float(np.median(ends[:, 1] - ends[:, 0]))
    low = min(*points, -1.6 * rope, max(float(ends[:, 0].min()), min(points) - usual))
    high = max(*points, 1.6 * rope, min(float(ends[:, 1].max()), max(points) + usual))
    return low - 0.03 * (high - low), high + 0.03 * (high - low)


def spots(found: Sequence[Strip]) -> Figure:
    """Draw a line of dots for each row: its runs as marks, its patients small and pale, its mean as a bar."""
    with style():
        several = any(len({*row.pretrained}) > 1 for strip in found for row in strip.rows)
        run = "run, shape by pretraining" if several else "run: mean over patients"
        thin: dict[str, Any] = {"linestyle": "", "color": INK}
        handles: list[Artist] = [
            Line2D([], [], marker="|", markersize=11, markeredgewidth=2, label="mean", **thin),
            Line2D([], [], marker="o", markersize=5.5, linestyle="", color=COLOURS[0], label=run),
            Line2D(
                [],
                [],
                marker="o",
                markersize=2.6,
                linestyle="",
                color=SOFT,
                alpha=0.55,
                markeredgewidth=0,
                label="patient: mean over runs",
            ),
        ]
        named = [(strip.title, [words(row.title, NAME) for row in strip.rows]) for strip in found]
        figure, axes = _stacked(named, DENSE, 0.75, handles, each=True)
        for (ax, centres), strip in zip(axes, found, strict=True):
            low, high = _most(
                [
                    other
                    for other in found
                    if (other.axis, other.against) == (strip.axis, strip.against)
                ]
            )
            if strip.against:
                ax.axvline(0, color=SOFT, linewidth=0.9)
            for row, y in zip(strip.rows, centres, strict=True):
                _dotted(ax, row, y, low, high)
                ax.text(
                    1 + 0.1 / WIDE,
                    y,
                    row.text,
                    transform=ax.get_yaxis_transform(),
                    va="center_baseline",
                    fontsize=8,
                )
            ax.set_xlim(low, high)
            more = f", against {strip.against}" if strip.against else ""
            _below([ax], strip.axis + more, strip.lower)
        return figure


def _most(strips: Sequence[Strip]) -> tuple[float, float]:
    """Return the ends of a shared axis: every run, and patients from the 1st to the 99th percentile."""
    rows = [row for strip in strips for row in strip.rows]
    every = np.concatenate([row.patients for row in rows])
    runs = [v for row in rows for v in (*row.runs, row.mean)] + ([0.0] if strips[0].against else [])
    low, high = (
        (float(v) for v in np.percentile(every, (1, 99))) if len(every) else (min(runs), max(runs))
    )
    low, high = min(low, *runs), max(high, *runs)
    more = 0.04 * ((high - low) or 1.0)
    return low - more, high + more


def _dotted(ax: Axes, row: Spots, y: float, low: float, high: float) -> None:
    ax.axhline(y, color=GRID, linewidth=0.7)
    values = np.array(row.patients, float)
    aside = y + (np.arange(1, len(values) + 1) * GOLDEN % 1 - 0.5) * 0.6 * DENSE
    inside = (values >= low) & (values <= high)
    pale: dict[str, Any] = {"linestyle": "", "color": SOFT, "alpha": 0.55, "markeredgewidth": 0}
    ax.plot(values[inside], aside[inside], marker="o", markersize=2.6, **pale)
    for mark, beyond, end in (("<", values < low, low), (">", values > high, high)):
        if beyond.any():
            ax.plot(
                np.full(beyond.sum(), end),
                aside[beyond],
                marker=mark,
                markersize=3.5,
                clip_on=False,
                **{**pale, "alpha": 0.8},
            )
    ax.plot([row.mean] * 2, [y - 0.4 * DENSE, y + 0.4 * DENSE], color=INK, linewidth=1.8, zorder=3)
    for number, which in enumerate(dict.fromkeys(row.pretrained)):
        own = [v for v, seed in zip(row.runs, row.pretrained, strict=True) if seed == which]
        ax.plot(
            own,
            [y] * len(own),
            marker=MARKERS[number % len(MARKERS)],
            markersize=5.5,
            linestyle="",
            color=COLOURS[0],
            alpha=0.85,
            markeredgewidth=0,
            zorder=4,
        )


Stacked = list[tuple[Axes, list[float]]]


def _stacked(
    groups: Sequence[tuple[str, list[str]]],
    row: float,
    right: float,
    handles: Sequence[Artist],
    *,
    each: bool = False,
) -> tuple[Figure, Stacked]:
    """Return a figure and, of each group of named rows, its axes and the heights of its rows, in inches.

    ``each``: has every group an axis with numbers, or the last alone?
    """
    names = [name for _, own in groups for name in own]
    left = max(len(line) for name in names for line in name.split("\n")) * LETTER + 0.25
    sizes = [[max(row, height(name) * PITCH + 0.06) for name in own] for _, own in groups]
    heads = [words(name, 2 * LINE) for name, _ in groups]
    above = [height(head) * 0.19 + 0.06 for head in heads]
    width = left + WIDE + right
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    across = max(1, min(len(handles), int(width / (0.6 + LETTER * longest))))
    legend = 0.2 * -(-len(handles) // across) + 0.1
    below = [0.5 if each or last else 0.12 for last in [*[False] * (len(groups) - 1), True]]
    tall = sum(map(sum, sizes)) + sum(above) + sum(below) + legend
    figure, top, made = new(width, tall, constrained=False), 0.03, Stacked()
    for (_, own), size, head, room in zip(groups, sizes, heads, above, strict=True):
        figure.text(0.08 / width, 1 - top / tall, head, fontsize=9.5, fontweight="bold", va="top")
        top += room
        ax = figure.add_axes(
            (left / width, 1 - (top + sum(size)) / tall, WIDE / width, sum(size) / tall)
        )
        centres = [sum(size[:i]) + size[i] / 2 for i in range(len(size))]
        ax.set_yticks(centres, own, fontsize=8, color=INK)
        ax.set_ylim(sum(size), 0)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=7.5, pad=2)
        ax.grid(axis="y", visible=False)
        ax.spines["left"].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=STEPS))
        made.append((ax, centres))
        top += sum(size) + below[len(made) - 1]
    if handles:
        figure.legend(
            handles=list(handles),
            loc="lower left",
            bbox_to_anchor=(0, 0),
            ncols=across,
            frameon=False,
            fontsize=8,
            borderaxespad=0.2,
        )
    return figure, made


def _below(axes: Sequence[Axes], axis: str, lower: bool) -> None:
    """Say below the last of some axes what they are and which way is better."""
    better = "\N{LEFTWARDS ARROW} better" if lower else "better \N{RIGHTWARDS ARROW}"
    axes[-1].set_xlabel(f"{axis}, {better}", fontsize=8, labelpad=2)
    for ax in axes[:-1]:
        ax.tick_params(labelbottom=False)
