"""The drawing itself. Figure objects only, no global state; the same input gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from bench.errors import printable
from bench.report.plots import Plot, Series
from bench.report.pretrainings import short
from bench.report.supplement import Cloud, Course, Curves, Panel, Pretext
from bench.store import write_atomic

# Okabe and Ito's colour-blind-safe set without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4FB0", "#8C6D31")
LINE = 44  # characters of a plot's title
DOTS, PIXELS = 170, 4e6  # of a PNG: per inch, and in all at most
MARKED = 25  # points of a line that are marked each
SIDE = 2.5  # of a cloud's panel, inches
BRIGHT = (  # for labels over grey images; neighbours in the list differ in hue and lightness
    "#56B4E9", "#E69F00", "#00C08B", "#F0E442", "#FF6FB5", "#D55E00", "#B18CFF", "#9BE564",
    "#2E86FF", "#FFC9A3", "#00B5C4", "#C74B7B", "#C9B458", "#8FA3FF",
)  # fmt: skip
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
INK, SOFT, GRID = "#1c2430", "#5b6675", "#e3e7ec"
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


def words(text: str, most: int = 48) -> str:
    """Return a name as a figure can show it: one line, not endless, never hidden from a legend."""
    line = printable(text)
    line = line if len(line) <= most else line[: most - 1] + "…"
    return f" {line}" if line.startswith("_") else line  # matplotlib hides labels that begin with _


def new(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _plots(number: int, columns: int, figure: Figure, *, sharey: bool = False) -> list[Axes]:
    """Return as many axes as there is to draw, in rows of so many columns; places left over stay empty."""
    axes = figure.subplots(-(-number // columns), columns, squeeze=False, sharey=sharey).ravel()
    for ax in axes[number:]:
        ax.set_axis_off()
    return list(axes[:number])


def _even(number: int, most: int) -> int:
    """Return the columns of at most so many with which rows are as full as they can be."""
    return -(-number // -(-number // most))


def plots(found: tuple[Plot, ...]) -> Figure:
    """Draw plots of lines, each with a band of ± one sd over runs."""
    with style():
        columns = min(3, len(found))
        figure = new(1.7 + 4.1 * columns, 3.7 * -(-len(found) // columns))
        looks = _looks(found)
        for ax, plot in zip(_plots(len(found), columns, figure), found, strict=True):
            _lines_of(ax, plot, looks)
        handles = [
            Line2D([], [], label=fill(words(title), LINE // 2), linewidth=1.8, markersize=4.5, **look)
            for title, look in looks.items()
        ]
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8.5)
        return figure


def _looks(plots: tuple[Plot, ...]) -> dict[str, dict]:
    """Give each row one look in every plot; scratch is dark, dashed and behind no colour."""
    lines, number = {s.title: s for plot in plots for s in plot.series}, count()
    looks: dict[str, dict] = {}
    for title, line in lines.items():
        if line.baseline:
            looks[title] = {"color": "#4a5360", "linestyle": (0, (4, 2)), "marker": "."}
        else:
            i = next(number)
            dash = DASHES[i // len(COLOURS) % len(DASHES)]
            marker = MARKERS[i % len(MARKERS)]
            looks[title] = {"color": COLOURS[i % len(COLOURS)], "linestyle": dash, "marker": marker}
    return looks


def _lines_of(ax: Axes, plot: Plot, looks: dict[str, dict]) -> None:
    for line in plot.series:
        _line(ax, line, looks[line.title])
    if plot.ticks:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(plot.ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{t} %" for t in plot.ticks])
        ax.set_xlim(min(plot.ticks) / 1.15, max(plot.ticks) * 1.15)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    ax.grid(axis="x", visible=False)
    ax.set_title(fill(words(plot.title, 2 * LINE), LINE))
    ax.set_xlabel(plot.x)
    ax.set_ylabel(words(plot.y) + (", lower is better" if plot.lower else ""))


def _line(ax: Axes, line: Series, look: dict) -> None:
    means, sds = np.array(line.means), np.array(line.sds)
    crowded = len(line.xs) > MARKED
    ax.plot(line.xs, means, linewidth=1.8, markersize=4.5, **(look | {"marker": ""} if crowded else look))
    if sds.any():
        low = np.maximum(means - sds, np.minimum(means, 0))  # only kappa goes below zero
        ax.fill_between(line.xs, low, means + sds, color=look["color"], alpha=0.13, lw=0)


def curves(found: Mapping[str, Curves]) -> Figure:
    """Draw one small plot per pretraining: its loss strong, the terms it consists of thin."""
    with style():
        columns = min(3, len(found))
        figure = new(0.4 + 3.3 * columns, 2.5 * -(-len(found) // columns))
        for ax, (name, curve) in zip(_plots(len(found), columns, figure), found.items(), strict=True):
            _curve(ax, name, curve)
        return figure


def _curve(ax: Axes, name: str, curve: Curves) -> None:
    aside = {"step", "lr", "epoch", "seconds", "time", "grad_norm"}
    terms = [c for c in curve if c not in aside]
    main = next((c for c in ("loss", "total") if c in terms), terms[0] if terms else "")
    terms = [c for c in terms if c != main][: len(COLOURS) - 1]
    steps = np.array(curve["step"], float)
    for colour, term in zip(COLOURS[1:], terms, strict=False):
        ax.plot(*_thinned(steps, curve[term]), color=colour, linewidth=0.9, label=words(term))
    if main:
        ax.plot(*_thinned(steps, curve[main]), color=COLOURS[0], linewidth=1.7, label=words(main))
    ax.set_title(words(name))
    ax.set_xlabel("Step")
    ax.set_ylabel("Loss")
    if terms:
        ax.legend(fontsize=7, loc="best", framealpha=0.8, edgecolor="none")


def training(plots: dict[str, list[Course]]) -> Figure:
    """Draw one small plot per row, all to one scale: a line for each run, coloured by label fraction."""
    shares = sorted({c.fraction for courses in plots.values() for c in courses})
    colours = dict(zip(shares, cycle(COLOURS), strict=False))
    with style():
        columns = min(4, len(plots))
        figure = new(0.4 + 2.5 * columns, 2.2 * -(-len(plots) // columns) + 0.3)
        axes = _plots(len(plots), columns, figure, sharey=True)
        for ax, (name, courses) in zip(axes, plots.items(), strict=True):
            for course in courses:
                ax.plot(course.steps, course.losses, color=colours[course.fraction], linewidth=1.0)
            ax.set_title(fill(words(name), LINE * 2 // 3), fontsize=8.5)
            ax.set_xlabel("Step")
        for ax in axes[::columns]:
            ax.set_ylabel("Loss")
        handles = [Line2D([], [], label=f"{share} %", color=colour) for share, colour in colours.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(7, len(handles)), frameon=False,
                      fontsize=8.5)  # fmt: skip
        return figure


def _thinned(
    steps: np.ndarray, values: Sequence[float | None], most: int = 400
) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours until at most ``most`` points are left; a mean, never a pick."""
    y = np.array(values, float)
    size = -(-len(y) // most) if len(y) else 1
    edges = np.arange(0, len(y), size)
    counts = np.diff(np.append(edges, len(y)))
    return np.add.reduceat(steps, edges) / counts, np.add.reduceat(y, edges) / counts


def panels(found: list[Panel], labels: dict[int, str]) -> Figure:
    """Draw cases downwards; image, reference and every row's prediction across."""
    cases = list(dict.fromkeys(p.case for p in found))
    titles = list(dict.fromkeys(p.title for p in found))
    with style():
        first = found[0]
        tall = first.image.shape[0] / first.image.shape[1] * first.aspect
        side = 1.75
        figure = new(side * (2 + len(titles)) + 0.3, (side * tall + 0.03) * len(cases) + 0.6)
        axes = figure.subplots(len(cases), 2 + len(titles), squeeze=False)
        figure.set_layout_engine("compressed", w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
        for row, case in zip(axes, cases, strict=True):
            _case(row, case, [p for p in found if p.case == case], titles)
        for ax, title in zip(axes[0], ["Image", "Reference", *titles], strict=True):
            ax.set_title(fill(words(title), LINE // 2), fontsize=8.5, loc="center")
        masks = [m for p in found for m in (p.reference, p.prediction)]
        present = sorted({int(v) for m in masks for v in np.unique(m) if v})
        handles = [
            Patch(facecolor=_label_colour(v), label=words(labels.get(v, f"label {v}"))) for v in present
        ]
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=min(7, len(handles)),
                          frameon=False, fontsize=8)  # fmt: skip
        return figure


def _case(row: np.ndarray, case: str, found: list[Panel], titles: list[str]) -> None:
    for ax in row:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    row[0].set_ylabel(words(case), fontsize=8)
    by_title = {p.title: p for p in found}
    first = found[0]
    _slice(row[0], first, None)
    _slice(row[1], first, first.reference)
    for ax, title in zip(row[2:], titles, strict=True):
        if title in by_title:
            _slice(ax, by_title[title], by_title[title].prediction)
        else:
            ax.text(0.5, 0.5, "no prediction", ha="center", va="center", fontsize=7.5, color=SOFT,
                    transform=ax.transAxes)  # fmt: skip


def _slice(ax: Axes, panel: Panel, mask: np.ndarray | None) -> None:
    ax.imshow(panel.image, cmap="gray", vmin=0, vmax=255, aspect=panel.aspect,
              interpolation="antialiased")  # fmt: skip
    if mask is None:
        return
    present = [int(v) for v in np.unique(mask) if v]
    tint = np.zeros((256, 4))
    for value in present:
        tint[value] = (*to_rgb(_label_colour(value)), 0.38)
    ax.imshow(mask, cmap=ListedColormap(tint), vmin=0, vmax=255, aspect=panel.aspect,
              interpolation="nearest")  # fmt: skip
    for value in present:
        if not (mask == value).all():
            ax.contour(mask == value, levels=[0.5], colors=[_label_colour(value)], linewidths=1.1)


def _label_colour(value: int) -> str:
    return BRIGHT[(value - 1) % len(BRIGHT)]


def pretexts(found: list[tuple[str, Pretext]]) -> Figure:
    """Draw one small plot per pretraining: its figure over the steps, what guessing gets dashed."""
    with style():
        columns = _even(len(found), 3)
        figure = new(0.4 + 3.3 * columns, 2.5 * -(-len(found) // columns))
        for ax, (title, pretext) in zip(_plots(len(found), columns, figure), found, strict=True):
            _pretext(ax, title, pretext)
        return figure


def _pretext(ax: Axes, title: str, pretext: Pretext) -> None:
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
        columns = _even(len(found), 4)
        rows, legend = -(-len(found) // columns), -(-len(looks) // columns)
        figure = new(SIDE * columns + 0.2, (SIDE + 0.45) * rows + 0.3 * legend)
        for ax, cloud in zip(_plots(len(found), columns, figure), found, strict=True):
            _cloud(ax, cloud, looks)
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
    known = cloud.std is not None and cloud.rank is not None
    spread = f" (std {short(cloud.std)}, rank {short(cloud.rank)})" if known else ""
    ax.set_xlabel(cloud.how + spread, fontsize=7.5)
