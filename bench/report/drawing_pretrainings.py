"""Drawing of pretrainings: the tracked figures over steps, and the encoders' embeddings in the plane."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.drawing import COLOURS, MARKERS, SOFT, new, style, words
from bench.report.pretrainings import short
from bench.report.supplement import Cloud, Pretext

ACROSS = 4  # clouds, at most
SIDE = 2.5  # of a cloud's panel, inches


def courses(found: list[tuple[str, Pretext]]) -> Figure:
    """Draw one small plot per pretraining: its figure over the steps, what guessing gets dashed."""
    with style():
        rows, columns = _grid(len(found), 3)
        figure = new(0.4 + 3.3 * columns, 2.5 * rows)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, (title, pretext) in zip(axes, found, strict=False):
            _course(ax, title, pretext)
        for ax in axes[len(found) :]:
            ax.set_axis_off()
        return figure


def _course(ax: Axes, title: str, pretext: Pretext) -> None:
    alone = len(pretext.steps) == 1  # a line of one point is not seen
    look: dict[str, Any] = {"color": COLOURS[0], "linewidth": 1.7, "marker": "o" if alone else ""}
    ax.plot(pretext.steps, pretext.values, **look)
    if pretext.chances:
        ax.plot(pretext.steps, pretext.chances, color=SOFT, linewidth=1.1, linestyle=(0, (4, 2)),
                marker="_" if alone else "", label="chance")  # fmt: skip
        ax.legend(frameon=False, fontsize=7, loc="best")
    ax.set_title(_lines(title, 34))
    ax.set_xlabel("Step")
    ax.set_ylabel(_lines(pretext.says, 26), fontsize=8)


def _grid(panels: int, across: int) -> tuple[int, int]:
    """Return rows and columns, as full as they can be."""
    rows = -(-panels // across)
    return rows, -(-panels // rows)


def _lines(text: str, width: int) -> str:
    """Return a text in at most two lines."""
    return "\n".join(wrap(words(text, 2 * width - 6), width)[:2])


def clouds(found: tuple[Cloud, ...], titles: dict[str, str]) -> Figure:
    """Draw one scatter per encoder, coloured by data set.

    Args:
        found: in the order of print.
        titles: printed name of every data set.
    """
    looks = {name: _look(i) for i, name in enumerate(titles)}
    with style():
        rows, columns = _grid(len(found), ACROSS)
        figure = new(SIDE * columns + 0.2, (SIDE + 0.45) * rows + 0.3 * -(-len(looks) // columns))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, cloud in zip(axes, found, strict=False):
            _cloud(ax, cloud, looks)
        for ax in axes[len(found) :]:
            ax.set_axis_off()
        handles = [
            Line2D([], [], linestyle="", label=words(titles[n]), **{**k, "markersize": 5, "alpha": 1})
            for n, k in looks.items()
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
    ax.set_title(_lines(cloud.title, 34), fontsize=8.5)
    if cloud.std is not None and cloud.rank is not None:
        ax.set_xlabel(f"{cloud.how} (std {short(cloud.std)}, rank {short(cloud.rank)})", fontsize=7.5)
    else:
        ax.set_xlabel(cloud.how, fontsize=7.5)
