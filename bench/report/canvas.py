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
from bench.report.svg import GRID, INK, PAPER, SOFT, themed
from bench.store import write_atomic

__all__ = ["GRID", "INK", "PAPER", "SOFT"]
# At least 3:1 on white and on a dark page (#1a2028), which leaves little room for lightness: the first two
# are Okabe and Ito's; all pairs differ under the three kinds of colour blindness, but markers and dashes
# are what tells rows apart, and names stand beside them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc6fa0", "#9a55ee", "#7a7d2e", "#4797b8", "#c4364f")
LINE = 44  # characters of a plot's title
LINES = 16  # of a name at most: what is longer is no name
DOTS, PIXELS = 170, 4e6  # of a PNG: per inch, and in all at most
HATCHES = ("", "////", "....", "xxxx")  # of bars, once the colours are used up
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
SCRATCH = (  # rows from scratch, each of another network or fine-tuning
    {"color": INK, "linestyle": (0, (4, 2)), "marker": "."},
    {"color": SOFT, "linestyle": (0, (1.2, 1.6)), "marker": "x"},
    {"color": INK, "linestyle": (0, (7, 2, 1.2, 2)), "marker": "+"},
    {"color": SOFT, "linestyle": (0, (7, 3)), "marker": "1"},
)
STEPS = (1, 2, 5, 10)  # of the numbers along an axis
PRINTED = "printed in the paper"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.labelcolor": SOFT,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "xtick.major.width": 0.6,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "pdf.fonttype": 42,
    "text.parse_math": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw with this module's look, whatever a user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def save(figure: Figure, files: tuple[Path, Path, Path], title: str) -> None:
    """Write PNG, PDF and SVG without dates or versions, so that equal figures are equal files."""
    png, pdf, svg = files
    made = io.BytesIO(), io.BytesIO()
    with style():
        figure.savefig(made[0], format="png", dpi=_dpi(figure), metadata={"Software": None})
        nothing = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(made[1], format="pdf", metadata=nothing)
        write_atomic(svg, themed(figure, svg.stem, title), flush=False)
    for path, file in zip((png, pdf), made, strict=True):
        write_atomic(path, file.getvalue(), flush=False)


def _dpi(figure: Figure) -> float:
    """Return dots per inch: fewer for a tall figure of many panels."""
    width, height = figure.get_size_inches()
    return float(min(DOTS, (PIXELS / (width * height)) ** 0.5))


class _Names(TextWrapper):
    """Breaks lines at spaces, and behind underscores and hyphens."""

    wordsep_re = re.compile(r"(\s+|[^\s_-]*[_-]+)")


def words(text: str, width: int = 22) -> str:
    """Return a name as a figure can show it, whole, never hidden from a legend.

    Args:
        text: may hold anything.
        width: characters of a line; breaks are between words, but for words that are longer.
    """
    said = printable(text)
    wrapper = _Names if any(len(word) > width for word in said.split()) else TextWrapper
    lines = wrapper(
        width, max_lines=LINES, placeholder=" …", break_on_hyphens=wrapper is _Names
    ).wrap(said)
    made = "\n".join(lines)
    return f" {made}" if made.startswith("_") else made  # matplotlib hides labels that begin with _


def height(text: str) -> int:
    """Return the lines of a text that is broken already."""
    return text.count("\n") + 1 if text else 0


def new(width: float, tall: float, *, constrained: bool = True) -> Figure:
    """Return an empty figure of so many inches."""
    figure = Figure(
        figsize=(width, tall), layout="constrained" if constrained else None, facecolor=PAPER
    )
    FigureCanvasAgg(figure)
    return figure


def grid(number: int, columns: int, figure: Figure) -> list[Axes]:
    """Return as many axes as there is to draw, in rows of so many columns; places left over stay empty."""
    axes = figure.subplots(-(-number // columns), columns, squeeze=False).ravel()
    for ax in axes[number:]:
        ax.set_axis_off()
    return list(axes[:number])


def even(number: int, most: int) -> int:
    """Return the columns of at most so many with which rows are as full as they can be."""
    return -(-number // -(-number // most))


def looks(series: Iterable[Series]) -> dict[str, dict[str, Any]]:
    """Give each row one look; rows from scratch are dark and dashed, each otherwise; what is quoted grey."""
    rows, number, scratch = {one.title: one for one in series}, count(), count()
    found: dict[str, dict[str, Any]] = {}
    for title, row in rows.items():
        if row.baseline:
            found[title] = dict(SCRATCH[next(scratch) % len(SCRATCH)])
        elif row.quoted:
            found[title] = {"color": SOFT, "linestyle": "", "marker": "d"}
        else:
            i = next(number)
            dash = DASHES[i // len(COLOURS) % len(DASHES)]
            marker = MARKERS[i % len(MARKERS)]
            found[title] = {"color": COLOURS[i % len(COLOURS)], "linestyle": dash, "marker": marker}
    return found


def hollow(look: dict[str, Any]) -> dict[str, Any]:
    """Return the look of a number that the paper printed, beside ours."""
    return {
        "linestyle": "",
        "marker": "d",
        "markersize": 5,
        "markerfacecolor": PAPER,
        "markeredgecolor": look["color"],
        "markeredgewidth": 1.1,
    }


def printed(series: Iterable[Series]) -> list[Line2D]:
    """Return the entry of a legend that says what hollow marks are; none where there are none."""
    if not any(one.printed for one in series):
        return []
    return [Line2D([], [], label=words(PRINTED), **hollow({"color": SOFT}))]
