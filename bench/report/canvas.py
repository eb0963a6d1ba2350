"""What all figures are drawn on: one look, colours of rows, names in lines, files of equal bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.errors import printable
from bench.report.plots import Series
from bench.store import write_atomic

# Okabe and Ito's colour-blind-safe set without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4FB0", "#8C6D31")
LINE = 44  # characters of a plot's title
DOTS, PIXELS = 170, 4e6  # of a PNG: per inch, and in all at most
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
INK, SOFT, GRID, SCRATCH, QUOTED = "#1c2430", "#5b6675", "#e3e7ec", "#4a5360", "#9aa4b1"
PRINTED = "printed in the paper"
STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.edgecolor": "#9aa4b1", "axes.labelcolor": INK,
    "text.color": INK, "xtick.color": SOFT, "ytick.color": SOFT, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "axes.axisbelow": True, "pdf.fonttype": 42, "text.parse_math": False,
}  # fmt: skip


@contextmanager
def style() -> Iterator[None]:
    """Draw with this module's look, whatever a user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def save(figure: Figure, files: tuple[Path, Path]) -> None:
    """Write PNG and PDF without dates or versions, so that equal figures are equal files."""
    png, pdf = files
    made = io.BytesIO(), io.BytesIO()
    with style():
        figure.savefig(made[0], format="png", dpi=_dpi(figure), metadata={"Software": None})
        nothing = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(made[1], format="pdf", metadata=nothing)
    for path, file in zip((png, pdf), made, strict=True):
        write_atomic(path, file.getvalue(), flush=False)


def _dpi(figure: Figure) -> float:
    """Return dots per inch: fewer for a tall figure of many panels, whose picture a page carries."""
    width, height = figure.get_size_inches()
    return float(min(DOTS, (PIXELS / (width * height)) ** 0.5))


class _Wrapper(TextWrapper):
    """Breaks lines at spaces, and in names behind underscores and hyphens."""

    wordsep_re = re.compile(r"(\s+|[^\s_-]*[_-]+)")


def words(text: str, width: int = 22, lines: int = 3) -> str:
    """Return a name as a figure can show it, never hidden from a legend.

    Args:
        text: may hold anything.
        width: characters of a line; breaks are between words, but for words that are longer.
        lines: at most; three dots say that there was more.
    """
    made = "\n".join(_Wrapper(width, max_lines=lines, placeholder=" …").wrap(printable(text)))
    return f" {made}" if made.startswith("_") else made  # matplotlib hides labels that begin with _


def new(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def grid(number: int, columns: int, figure: Figure, *, sharey: bool = False) -> list[Axes]:
    """Return as many axes as there is to draw, in rows of so many columns; places left over stay empty."""
    axes = figure.subplots(-(-number // columns), columns, squeeze=False, sharey=sharey).ravel()
    for ax in axes[number:]:
        ax.set_axis_off()
    return list(axes[:number])


def even(number: int, most: int) -> int:
    """Return the columns of at most so many with which rows are as full as they can be."""
    return -(-number // -(-number // most))


def looks(series: Iterable[Series]) -> dict[str, dict[str, Any]]:
    """Give each row one look; scratch is dark and dashed, what is quoted grey, both behind no colour."""
    rows, number = {one.title: one for one in series}, count()
    found: dict[str, dict[str, Any]] = {}
    for title, row in rows.items():
        if row.baseline:
            found[title] = {"color": SCRATCH, "linestyle": (0, (4, 2)), "marker": "."}
        elif row.quoted:
            found[title] = {"color": QUOTED, "linestyle": "", "marker": "d"}
        else:
            i = next(number)
            dash = DASHES[i // len(COLOURS) % len(DASHES)]
            marker = MARKERS[i % len(MARKERS)]
            found[title] = {"color": COLOURS[i % len(COLOURS)], "linestyle": dash, "marker": marker}
    return found


def hollow(look: dict[str, Any]) -> dict[str, Any]:
    """Return the look of a number that the paper printed, beside ours."""
    return {"linestyle": "", "marker": "d", "markersize": 5, "markerfacecolor": "white",
            "markeredgecolor": look["color"], "markeredgewidth": 1.1}  # fmt: skip


def printed(series: Iterable[Series]) -> list[Line2D]:
    """Return the entry of a legend that says what hollow marks are; none where there are none."""
    if not any(one.printed for one in series):
        return []
    return [Line2D([], [], label=words(PRINTED), **hollow({"color": SOFT}))]
