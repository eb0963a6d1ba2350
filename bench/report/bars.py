"""Bars and dots: rows side by side in groups."""

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
    HATCHES,
    INK,
    LINE,
    PAPER,
    SOFT,
    STEPS,
    grid,
    height,
    hollow,
    looks,
    new,
    printed,
    style,
    words,
)
from bench.report.plots import Chart, Group, Series
from bench.report.tiles import legend_of

UNIT = 0.17  # inches of a bar
WIDE = 13.2  # inches of a figure
CUT = 0.4  # bars that are all longer than so much of the longest are cut
# inches of a letter of a label, and letters for which there is always room
LETTER, LETTERS = (0.072, 11)
TITLE = 0.092  # inches of a letter of a title
DOWN = 9  # strips below one another
WHISKER: Any = {"linewidth": 0.8, "capsize": 1.6, "capthick": 0.8}


def bars(found: Sequence[Chart]) -> Figure:
    """Draw bars in groups, an error bar of ± one sd on each; a chart that is too wide goes on below."""
    series = [one for chart in found for one in chart.series]
    with style():
        look = looks(series)
        names = [
            len(word) for chart in found for g in chart.groups for word in g.labels[-1].split()
        ]
        unit = max(UNIT * (len(look) + 1), LETTER * (min(LETTERS, max(names, default=0)) + 1))
        strips = [
            (chart, part) for chart in found for part in _lines_of(chart, int((WIDE - 1) / unit))
        ]
        longest = max(_length(chart, part) for chart, part in strips)
        inches = 0.9 + unit * longest
        columns = min(len(strips), max(1, int(WIDE / inches)))
        wide, handles = max(inches * columns, 5), _handles(series, look, bars=True)
        across, foot = legend_of(wide, handles)
        figure = new(wide, 2.75 * -(-len(strips) // columns) + 0.1 + foot)
        for ax, (chart, part) in zip(grid(len(strips), columns, figure), strips, strict=True):
            _bars(ax, chart, part, look, unit)
            ax.set_xlim(-0.6, longest - 0.4)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=across, frameon=False, fontsize=8.5
        )
        return figure


def _fills(look: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the faces of rows' bars: hatched where a colour comes again, as scratch's grey does."""
    made = dict[str, dict[str, Any]]()
    for title, own in look.items():
        colour = own["color"] if own["color"] in COLOURS else SOFT
        again = sum(face["facecolor"] == colour for face in made.values())
        hatch = HATCHES[again % len(HATCHES)]
        made[title] = {"facecolor": colour, "hatch": hatch, "edgecolor": PAPER, "linewidth": 0}
    return made


def _lines_of(chart: Chart, most: int) -> list[list[int]]:
    """Return the numbers of a chart's groups in lines of about so many, broken between outer groups."""
    numbers = range(len(chart.groups))
    outer = [list(part) for _, part in groupby(numbers, lambda n: chart.groups[n].labels[:-1] or n)]
    lines = -(-len(chart.groups) // max(most, 1))
    each, made = len(chart.groups) / lines, [list[int]()]
    for part in outer:
        if made[-1] and len(made[-1]) + len(part) / 2 > each:
            made.append([])
        made[-1] += part
    return made


def _length(chart: Chart, part: list[int]) -> float:
    """Return the length of a line in groups: half of one more between outer groups."""
    return len(part) + 0.5 * (len({chart.groups[n].labels[:-1] for n in part}) - 1)


def _bars(
    ax: Axes, chart: Chart, part: list[int], look: dict[str, dict[str, Any]], unit: float
) -> None:
    outer = list(dict.fromkeys(chart.groups[n].labels[:-1] for n in part))
    at = {n: i + 0.5 * outer.index(chart.groups[n].labels[:-1]) for i, n in enumerate(part)}
    start, end = extent(chart)
    width, fills = 0.82 / len(chart.series), _fills(look)
    for number, row in enumerate(chart.series):
        shift = (number + 0.5) * width - 0.41
        for x, mean, sd in zip(row.xs, row.means, row.sds, strict=True):
            if x in at:
                place = at[int(x)] + shift
                ax.bar(place, mean - start, width * 0.9, bottom=start, **fills[row.title])
                if sd:
                    ax.errorbar(place, mean, down_and_up(mean, sd), color=INK, zorder=3, **WHISKER)
        mark = hollow(look[row.title] if row.quoted else {"color": INK})
        shown = [(at[int(x)] + shift, value) for x, value in row.printed if x in at]
        ax.plot(*np.reshape(shown, (-1, 2)).T, zorder=4, **mark)
    ax.set_ylim(start, end)
    ax.grid(axis="x", visible=False)
    wide = unit * (_length(chart, part) + 0.2)
    ax.set_title(words(chart.title, max(LINE // 2, int(wide / TITLE))) if part[0] == 0 else "")
    group = chart.groups[0]
    said = (
        group.axis,
        f"axis begins at {start:g}" if start else "",
        "lower is better" if group.lower else "",
    )
    ax.set_ylabel("\n".join(filter(None, said)))
    _ticks(ax, chart, at, unit)


def _ticks(ax: Axes, chart: Chart, at: dict[int, float], unit: float) -> None:
    """Name every group below the axis; what several share below these."""
    letters = max(3, int(unit / LETTER))
    inner = [chart.groups[n].labels[-1] for n in at]
    longest = max(len(word) for text in inner for word in text.split() or [""])
    turned = longest > letters + 1
    said = [words(text, 26 if turned else letters + 1) for text in inner]
    ax.set_xticks(list(at.values()), said, fontsize=8)
    ax.tick_params(axis="x", length=0)
    if turned:
        for label in ax.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    outer: dict[tuple[str, ...], list[float]] = {}
    for n, x in at.items():
        if chart.groups[n].labels[:-1]:
            outer.setdefault(chart.groups[n].labels[:-1], []).append(x)
    if outer:
        below = "\n" * max(text.count("\n") + 1 for text in said)
        axis = ax.secondary_xaxis(location=0)
        names = [
            below + words(", ".join(name), int(len(xs) * unit / LETTER))
            for name, xs in outer.items()
        ]
        axis.set_xticks(
            [(xs[0] + xs[-1]) / 2 for xs in outer.values()], names, fontsize=8, color=INK
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


def dots(found: Sequence[Chart]) -> Figure:
    """Draw a strip for each group, in its own unit and with better to the right: a dot for each row."""
    series = [one for chart in found for one in chart.series]
    with style():
        look = looks(series)
        strips = [(chart, n) for chart in found for n in range(len(chart.groups))]
        columns = 1 if len(strips) <= DOWN else 2
        lines = max(_name(chart.groups[n]).count("\n") + 1 for chart, n in strips)
        tall = max(0.55 + 0.13 * len(look), 0.25 + 0.15 * lines)
        handles = _handles(series, look, bars=False)
        beside = 0.17 * sum(height(str(handle.get_label())) for handle in handles) + 0.2
        figure = new(2.2 + 5.0 * columns, max(tall * -(-len(strips) // columns) + 0.6, beside))
        for ax, (chart, n) in zip(grid(len(strips), columns, figure), strips, strict=True):
            _strip(ax, chart, n, look)
            if n == 0 and len(found) > 1:
                ax.set_title(words(chart.title, LINE))
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8.5)
        return figure


def _strip(ax: Axes, chart: Chart, n: int, look: dict[str, dict[str, Any]]) -> None:
    group = chart.groups[n]
    for y, row in enumerate(chart.series):
        mark = _mark(look[row.title])
        ax.axhline(y, color=GRID, linewidth=0.8)
        for mean, sd in [
            (m, s) for x, m, s in zip(row.xs, row.means, row.sds, strict=True) if x == n
        ]:
            if sd:
                ax.errorbar(mean, y, xerr=down_and_up(mean, sd), color=mark["color"], **WHISKER)
            ax.plot(mean, y, zorder=3, **mark)
        ax.plot(
            [v for x, v in row.printed if x == n],
            [y for x, _ in row.printed if x == n],
            zorder=4,
            **hollow(mark),
        )
    ax.set_ylim(len(chart.series) - 0.4, -0.6)
    ax.margins(x=0.08)
    ax.set_yticks([])
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    ax.tick_params(axis="x", labelsize=7.5, length=2, pad=1.5)
    if group.lower:
        ax.invert_xaxis()
    ax.set_ylabel(_name(group), rotation=0, ha="right", va="center", fontsize=8)


def _name(group: Group) -> str:
    """Return what stands beside a strip, in lines."""
    *outer, last = (*group.labels, *([] if group.axis in group.labels else [group.axis]))
    turned = "lower is better: axis turned" if group.lower else ""
    return "\n".join(filter(None, [words(", ".join(outer), 28), words(last, 28), turned]))


def _mark(look: dict[str, Any]) -> dict[str, Any]:
    """Return a row's look as a dot."""
    return {**look, "linestyle": "", "markersize": 9 if look["marker"] == "." else 6}


def _handles(series: list[Series], look: dict[str, dict[str, Any]], *, bars: bool) -> list[Artist]:
    """Return the entries of a legend: rows, then what hollow marks are."""
    quoted, made = {row.title for row in series if row.quoted}, list[Artist]()
    for title, own in look.items():
        name = words(title, LINE if bars else LINE // 2)
        if title in quoted:
            made.append(Line2D([], [], label=name, **hollow(own)))
        elif bars:
            made.append(Patch(label=name, **_fills(look)[title]))
        else:
            made.append(Line2D([], [], label=name, **_mark(own)))
    return [*made, *printed(series)]
