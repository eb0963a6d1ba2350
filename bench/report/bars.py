"""Bars and dots: rows side by side in groups; dots where the axis of bars would not begin at 0."""

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

from bench.report import canvas
from bench.report.canvas import COLOURS, GRID, HATCHES, INK, LINE, PAPER, SOFT, Look, hollow, words
from bench.report.plots import Chart, Group, Series

UNIT = 0.17  # inches of a bar
WIDE = 13.2  # inches of a figure
CUT = 0.4  # values that all lie above so much of the highest are drawn as dots, on an axis that is cut
# inches of a letter of a label, and letters for which there is always room
LETTER, LETTERS = (0.072, 11)
TITLE = 0.092  # inches of a letter of a title
DOWN = 9  # strips below one another
WHISKER: Any = {"linewidth": 0.8, "capsize": 1.6, "capthick": 0.8, "linestyle": "", "zorder": 3}


def bars(charts: Sequence[Chart]) -> Figure:
    """Draw bars in groups, an error bar of ± one sd on each; a chart that is too wide goes on below."""
    look = canvas.looks([row for chart in charts for row in chart.series])
    words_of = [w for chart in charts for g in chart.groups for w in g.labels[-1].split()]
    letters = min(LETTERS, max(map(len, words_of), default=0)) + 1
    unit = max(UNIT * (len(look) + 1), LETTER * letters)
    strips = [
        (chart, part) for chart in charts for part in _lines_of(chart, int((WIDE - 1) / unit))
    ]
    longest = max(_positions(chart, part)[-1] + 1 for chart, part in strips)
    inches = 0.9 + unit * longest
    columns = min(len(strips), max(1, int(WIDE / inches)))
    with canvas.style():
        figure = canvas.new(max(inches * columns, 5), 2.75 * -(-len(strips) // columns) + 0.1)
        axes = canvas.grid(len(strips), columns, figure)
        for ax, (chart, part) in zip(axes, strips, strict=True):
            _bars(ax, chart, part, look)
            _name_groups(ax, chart, part, unit)
            wide = max(LINE // 2, int(unit * (_positions(chart, part)[-1] + 1.2) / TITLE))
            ax.set_title(words(chart.title, wide) if part[0] == 0 else "")
            ax.set_xlim(-0.6, longest - 0.4)
        canvas.legend(figure, _handles(charts, look, bars=not any(map(_is_cut, charts))))
        return figure


def _is_cut(chart: Chart) -> bool:
    """Tell whether an axis of bars would not begin at 0."""
    return extent(chart)[0] != 0


def _fills(look: dict[str, Look]) -> dict[str, Look]:
    """Return the faces of rows' bars: hatched where a colour comes again, as scratch's grey does."""
    faces = dict[str, Look]()
    for title, row in look.items():
        colour = row["color"] if row["color"] in COLOURS else SOFT
        again = sum(face["facecolor"] == colour for face in faces.values())
        hatch = HATCHES[again % len(HATCHES)]
        faces[title] = {"facecolor": colour, "hatch": hatch, "edgecolor": PAPER, "linewidth": 0}
    return faces


def _lines_of(chart: Chart, most: int) -> list[list[int]]:
    """Return the numbers of a chart's groups in lines of about so many, broken between outer groups."""
    numbers = range(len(chart.groups))
    lines = -(-len(numbers) // max(most, 1))
    parts = [list[int]()]
    for _, members in groupby(numbers, lambda n: chart.groups[n].labels[:-1] or n):
        outer = list(members)
        if parts[-1] and len(parts[-1]) + len(outer) / 2 > len(numbers) / lines:
            parts.append([])
        parts[-1] += outer
    return parts


def _positions(chart: Chart, part: list[int]) -> list[float]:
    """Return where the groups of a line stand: 1 apart, half of one more between outer groups."""
    outer = list(dict.fromkeys(chart.groups[n].labels[:-1] for n in part))
    return [i + 0.5 * outer.index(chart.groups[n].labels[:-1]) for i, n in enumerate(part)]


def _bars(ax: Axes, chart: Chart, part: list[int], look: dict[str, Look]) -> None:
    """Draw the bars of a line of groups, and what the paper printed."""
    at: dict[float, float] = dict(zip(part, _positions(chart, part), strict=True))
    start, end = extent(chart)
    width, fills = 0.82 / len(chart.series), _fills(look)
    for number, row in enumerate(chart.series):
        shift = (number + 0.5) * width - 0.41
        for x, mean, sd in zip(row.xs, row.means, row.sds, strict=True):
            if x in at:
                ends = _whisker(mean, sd)
                if start:  # a bar from elsewhere than 0 has a length that says nothing
                    dot: Any = {**_mark(look[row.title]), **WHISKER, "ecolor": INK}
                    ax.errorbar(at[x] + shift, mean, yerr=ends, **dot)
                    continue
                face: Any = {**fills[row.title], "yerr": ends, "ecolor": INK}
                ax.bar(at[x] + shift, mean, 0.9 * width, error_kw=WHISKER, **face)
        mark = hollow(look[row.title] if row.quoted else {"color": INK})
        shown = [(at[x] + shift, value) for x, value in row.printed if x in at]
        ax.plot(*np.reshape(shown, (-1, 2)).T, zorder=4, **mark)
    ax.set_ylim(start, end)
    ax.grid(axis="x", visible=False)
    begins = f"axis begins at {start:g}" if start else ""
    lower = "lower is better" if chart.groups[0].lower else ""
    ax.set_ylabel("\n".join(filter(None, (chart.groups[0].axis, begins, lower))))


def _name_groups(ax: Axes, chart: Chart, part: list[int], unit: float) -> None:
    """Name every group below the axis; what several share below these."""
    letters = max(3, int(unit / LETTER))
    positions = _positions(chart, part)
    inner = [chart.groups[n].labels[-1] for n in part]
    turned = any(len(word) > letters + 1 for text in inner for word in text.split())
    names = [words(text, 26 if turned else letters + 1) for text in inner]
    ax.set_xticks(positions, names, fontsize=8)
    ax.tick_params(axis="x", length=0)
    if turned:
        for label in ax.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    outer: dict[tuple[str, ...], list[float]] = {}
    for n, x in zip(part, positions, strict=True):
        outer.setdefault(chart.groups[n].labels[:-1], []).append(x)
    if any(outer):
        below = "\n" * max(map(canvas.height, names))
        axis = ax.secondary_xaxis(location=0)
        axis.set_xticks(
            [(xs[0] + xs[-1]) / 2 for xs in outer.values()],
            [below + words(", ".join(n), int(len(xs) * unit / LETTER)) for n, xs in outer.items()],
            fontsize=8,
            color=INK,
        )
        axis.tick_params(axis="x", length=0)
        axis.spines[:].set_visible(False)


def extent(chart: Chart) -> tuple[float, float]:
    """Return where the axis of bars begins and ends: at 0, or below the least where all bars are long."""
    shown = [value for row in chart.series for _, value in row.printed]
    pairs = [pair for row in chart.series for pair in zip(row.means, row.sds, strict=True)]
    low = min([*(mean - down_and_up(mean, sd)[0][0] for mean, sd in pairs), *shown])
    high = max([*(mean + sd for mean, sd in pairs), *shown])
    start = 0.0
    if not 0 <= low < CUT * high:
        below = low - max(0.1 * (high - low), 0.02 * abs(high))
        start = round(float(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(below, high)[0]), 9)
    return start, high + 0.05 * ((high - start) or 1)


def down_and_up(mean: float, sd: float) -> tuple[list[float], list[float]]:
    """Return the ends of an error bar as matplotlib takes them; only what is below 0 itself reaches there."""
    return [min(sd, mean - min(mean, 0.0))], [sd]


def _whisker(mean: float, sd: float) -> tuple[list[float], list[float]] | None:
    return down_and_up(mean, sd) if sd else None


def dots(charts: Sequence[Chart]) -> Figure:
    """Draw a strip for each group, in its own unit and with better to the right: a dot for each row."""
    look = canvas.looks([row for chart in charts for row in chart.series])
    strips = [(chart, n) for chart in charts for n in range(len(chart.groups))]
    columns = 1 if len(strips) <= DOWN else 2
    lines = max(canvas.height(_name(chart.groups[n])) for chart, n in strips)
    tall = max(0.55 + 0.13 * len(look), 0.25 + 0.15 * lines) * -(-len(strips) // columns) + 0.6
    with canvas.style():
        handles = _handles(charts, look, bars=False)
        aside = 0.17 * sum(canvas.height(str(handle.get_label())) for handle in handles) + 0.2
        figure = canvas.new(2.2 + 5.0 * columns, max(tall, aside))
        axes = canvas.grid(len(strips), columns, figure)
        for ax, (chart, n) in zip(axes, strips, strict=True):
            _strip(ax, chart, n, look)
            if n == 0 and len(charts) > 1:
                ax.set_title(words(chart.title, LINE))
        figure.legend(handles=handles, loc="outside right upper")
        return figure


def _strip(ax: Axes, chart: Chart, n: int, look: dict[str, Look]) -> None:
    group = chart.groups[n]
    for y, row in enumerate(chart.series):
        mark = _mark(look[row.title])
        ax.axhline(y, color=GRID, linewidth=0.8)
        for x, mean, sd in zip(row.xs, row.means, row.sds, strict=True):
            if x == n:
                error = _whisker(mean, sd)
                ax.errorbar(mean, y, xerr=error, **{**mark, **WHISKER})
        values = [value for x, value in row.printed if x == n]
        ax.plot(values, [y] * len(values), zorder=4, **hollow(mark))
    ax.set_ylim(len(chart.series) - 0.4, -0.6)
    ax.margins(x=0.08)
    ax.set_yticks([])
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)
    if group.lower:
        ax.invert_xaxis()
    ax.set_ylabel(_name(group), rotation=0, ha="right", va="center")


def _name(group: Group) -> str:
    """Return what stands beside a strip, in lines."""
    *outer, last = (*group.labels, *([] if group.axis in group.labels else [group.axis]))
    turned = "lower is better: axis reversed" if group.lower else ""
    return "\n".join(filter(None, [words(", ".join(outer), 28), words(last, 28), turned]))


def _mark(look: Look) -> Look:
    """Return a row's look as a dot."""
    return {**look, "linestyle": "", "markersize": 9 if look["marker"] == "." else 6}


def _handles(charts: Sequence[Chart], look: dict[str, Look], *, bars: bool) -> list[Artist]:
    """Return the entries of a legend: rows, then what hollow marks are."""
    series: list[Series] = [row for chart in charts for row in chart.series]
    quoted, handles = {row.title for row in series if row.quoted}, list[Artist]()
    for title, row in look.items():
        name = words(title, LINE if bars else LINE // 2)
        if bars and title not in quoted:
            handles.append(Patch(label=name, **_fills(look)[title]))
        else:
            mark = hollow(row) if title in quoted else _mark(row)
            handles.append(Line2D([], [], label=name, **mark))
    return [*handles, *canvas.printed(series)]
