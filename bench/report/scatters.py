"""Scatters of embeddings, one for each encoder, coloured and marked by data set."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report import canvas
from bench.report.canvas import COLOURS, MARKERS, Look, words
from bench.report.pretrainings import short
from bench.report.supplement import Cloud


def clouds(drawn: tuple[Cloud, ...], titles: dict[str, str]) -> Figure:
    """Draw one scatter per encoder, coloured by data set."""
    looks = {name: _look(i) for i, name in enumerate(titles)}
    with canvas.style():
        names = [words(cloud.title, 23) for cloud in drawn]
        size = (canvas.even(len(drawn), 5), 2.1, 2.15)
        figure, (axes,) = canvas.tiled([("", names)], size)
        for ax, cloud in zip(axes, drawn, strict=True):
            points, group = np.array(cloud.points), np.array(cloud.group)
            for number, name in enumerate(cloud.groups):
                x, y = points[group == number].T
                ax.plot(x, y, markersize=3.2, alpha=0.75, **looks[name])
            ax.set(xticks=[], yticks=[], xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), aspect="equal")
            ax.spines[:].set_visible(True)
            text = cloud.how
            if cloud.std is not None and cloud.rank is not None:
                text += f", std {short(cloud.std)}, rank {short(cloud.rank)}"
            canvas.note(ax, words(text, 34))
        handles = [
            Line2D([], [], label=words(titles[name], 40), markersize=5, **look)
            for name, look in looks.items()
        ]
        canvas.legend(figure, handles)
        return figure


def _look(number: int) -> Look:
    """Return a data set's colour and marker: no two of the first 56 share both, nor neighbours either."""
    marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
    colour = COLOURS[number % len(COLOURS)]
    return {"color": colour, "marker": marker, "linestyle": "", "markeredgewidth": 0}
