"""Scatters of embeddings, one for each encoder, coloured and marked by data set."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.canvas import COLOURS, MARKERS, even, style, words
from bench.report.pretrainings import short
from bench.report.supplement import Cloud
from bench.report.tiles import Block, Size, Tile, tiled

SIDE = 1.9  # of a panel, inches


def clouds(found: tuple[Cloud, ...], titles: dict[str, str]) -> Figure:
    """Draw one scatter per encoder, coloured by data set.

    Args:
        found: in the order of print.
        titles: printed name of every data set.
    """
    look = {name: _look(i) for i, name in enumerate(titles)}
    with style():
        handles = [
            Line2D(
                [],
                [],
                linestyle="",
                label=words(titles[n], 40),
                **{**k, "markersize": 5, "alpha": 1},
            )
            for n, k in look.items()
        ]
        size = Size(even(len(found), 5), SIDE, SIDE, left=0.08, right=0.08, below=0.12)
        tiles = tuple(Tile(words(cloud.title, 26), _spread(cloud)) for cloud in found)
        figure, (axes,) = tiled([Block(tiles)], size, handles)
        for ax, cloud in zip(axes, found, strict=True):
            _cloud(ax, cloud, look)
        return figure


def _spread(cloud: Cloud) -> str:
    known = cloud.std is not None and cloud.rank is not None
    return words(
        cloud.how + (f", std {short(cloud.std)}, rank {short(cloud.rank)}" if known else ""), 34
    )


def _look(number: int) -> dict[str, Any]:
    """Return a data set's colour and marker: no two of the first 56 share both, nor neighbours either."""
    turn = number // len(COLOURS)
    marker = MARKERS[(number + turn) % len(MARKERS)]
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": marker,
        "markersize": 3.2,
        "alpha": 0.75,
        "markeredgewidth": 0,
    }


def _cloud(ax: Axes, cloud: Cloud, looks: dict[str, dict[str, Any]]) -> None:
    points, group = np.array(cloud.points), np.array(cloud.group)
    for number, name in enumerate(cloud.groups):
        x, y = points[group == number].T
        ax.plot(x, y, linestyle="", **looks[name])
    ax.set(xticks=[], yticks=[], xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), aspect="equal")
    ax.spines[:].set_visible(True)
    ax.grid(visible=False)
