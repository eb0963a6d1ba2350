"""What all figures are drawn on: one look, colours of rows, names in lines, files of equal bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from textwrap import TextWrapper
from typing import Any
from xml.etree import ElementTree as Tree

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.text import Text

from bench.errors import printable
from bench.report.plots import Series
from bench.store import write_atomic

INK, SOFT, GRID, PAPER = "#1c2430", "#5b6675", "#e3e7ec", "#ffffff"
# At least 3:1 on white and on a dark page (#1a2028), which leaves little room for lightness: the first two
# are Okabe and Ito's; all pairs differ under the three kinds of colour blindness, but markers and dashes
# are what tells rows apart, and names stand beside them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc6fa0", "#9a55ee", "#7a7d2e", "#4797b8", "#c4364f")
NARROW = 4.2  # inches of a figure at least: a legend has room below it
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
PRINTED = "printed in the paper"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlepad": 4,
    "axes.titley": 1.0,  # matplotlib would look for room above each plot again and again
    "axes.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
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
    width, tall = figure.get_size_inches()
    dots = min(DOTS, (PIXELS / (width * tall)) ** 0.5)
    nothing = {"CreationDate": None, "Creator": None, "Producer": None}
    with style():
        # hinted letters of another size are wider: what is laid out is what is drawn
        if dots < DOTS:
            figure.dpi = dots
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)  # once for all three files
        figure.set_layout_engine("none")
        picture, sheet = io.BytesIO(), io.BytesIO()
        figure.dpi = dots
        FigureCanvasAgg(figure).print_png(picture, metadata={"Software": None})
        FigureCanvasPdf(figure).print_pdf(sheet, metadata=nothing)
        write_atomic(png, picture.getvalue(), flush=False)
        write_atomic(pdf, sheet.getvalue(), flush=False)
        write_atomic(svg, themed(figure, svg.stem, title), flush=False)


class _Names(TextWrapper):
    """Breaks lines at spaces, and behind underscores and hyphens."""

    wordsep_re = re.compile(r"(\s+|[^\s_-]*[_-]+)")


def words(text: str, width: int = 22) -> str:
    """Return a name as a figure can show it, whole, never hidden from a legend.

    Args:
        text: may hold anything.
        width: characters of a line; breaks are between words, but for words that are longer.
    """
    text = printable(text)
    split = any(len(word) > width for word in text.split())
    wrapper = (_Names if split else TextWrapper)(width, max_lines=LINES, placeholder=" …")
    wrapper.break_on_hyphens = split
    text = "\n".join(wrapper.wrap(text))
    return f" {text}" if text.startswith("_") else text  # matplotlib hides labels that begin with _


def height(text: str) -> int:
    """Return the lines of a text that is broken already."""
    return text.count("\n") + 1 if text else 0


def longest(names: Iterable[str]) -> int:
    """Return the letters of the longest line of some names."""
    return max((len(line) for name in names for line in name.split("\n")), default=0)


def new(width: float, tall: float) -> Figure:
    """Return an empty figure of so many inches; its layout makes room for all words in it."""
    figure = Figure(figsize=(width, tall), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def grid(number: int, columns: int, figure: FigureBase, *, share: bool = False) -> list[Axes]:
    """Return so many axes of one size in rows; ``share``: with one y axis for all."""
    rows = -(-number // columns)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share).ravel()
    for ax in axes[number:]:
        ax.remove()
    return list(axes[:number])


def tiled(
    blocks: Sequence[tuple[str, Sequence[str]]],
    size: tuple[int, float, float],
    *,
    share: bool = False,
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and the axes of each block: small plots of one size in rows.

    Args:
        blocks: heading of each, and the titles of its plots.
        size: plots side by side, and inches of one across and downwards without its title.
        share: have the plots of a block one y axis?
    """
    columns, wide, tall = size
    blocks = [(words(name, int(wide * columns / 0.095)), titles) for name, titles in blocks]
    inches = []
    for name, titles in blocks:
        lines = [titles[i : i + columns] for i in range(0, len(titles), columns)]
        of_lines = sum(tall + 0.14 * max(map(height, line)) for line in lines)
        inches.append(0.22 * height(name) + of_lines)
    figure = new(max(wide * columns, NARROW), sum(inches))
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=inches).ravel()
    drawn = [
        grid(len(titles), columns, part, share=share)
        for part, (_, titles) in zip(parts, blocks, strict=True)
    ]
    for part, axes, (name, titles) in zip(parts, drawn, blocks, strict=True):
        if name:
            part.suptitle(name, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        for ax, title in zip(axes, titles, strict=True):
            ax.set_title(title)
    return figure, drawn


def note(ax: Axes, text: str) -> None:
    """Write what a plot shows between its title and itself."""
    ax.set_title(ax.get_title("left"), pad=4 + 9.5 * height(text))
    at: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
    ax.annotate(text, (0, 1), (0, 3), **at, va="bottom", fontsize=7.5, color=SOFT)


def split(ax: Axes, rows: int, columns: int, **layout: Any) -> tuple[Axes, Axes]:
    """Return two plots in the place of one: below each other with one x axis, or beside each other."""
    spec = ax.get_subplotspec()
    assert spec is not None
    axes: Any = spec.subgridspec(rows, columns, **layout).subplots(sharex=rows > 1)
    axes[0].set_title(ax.get_title("left"))
    ax.remove()
    return axes[0], axes[1]


def name_lines(ax: Axes, ends: Iterable[tuple[float, Line2D]]) -> None:
    """Name lines to the right of a plot, in the order in which they end there: y and line of each."""
    handles = [line for _, line in sorted(ends, key=lambda end: -end[0])]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7.5)


def label_below(axes: Sequence[Axes], text: str) -> None:
    """Write once below a block of plots what the x axes of all are."""
    part = axes[0].get_figure()
    assert isinstance(part, FigureBase)
    part.supxlabel(text, x=0.01, ha="left", fontsize=8, color=SOFT)


def few_numbers(ax: Axes, number: int = 4) -> None:
    """Set about so many numbers along each axis of a small plot, whole ones below it."""
    ax.grid(axis="x", visible=False)
    steps = (1, 2, 5, 10)
    ax.locator_params(axis="x", nbins=number, steps=steps, integer=True)
    ax.locator_params(axis="y", nbins=number, steps=steps)


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Write a legend below a figure, which grows by it, in as many columns as there is room for."""
    names = [str(handle.get_label()) for handle in handles]
    if not names:
        return
    columns = min(len(names), int(figure.get_figwidth() / (0.5 + 0.071 * longest(names)))) or 1
    rows = -(-len(names) // columns)
    lines = max(sum(map(height, names[i : i + rows])) for i in range(0, len(names), rows))
    figure.set_figheight(figure.get_figheight() + 0.17 * lines + 0.1)
    figure.legend(handles=list(handles), loc="outside lower left", ncols=columns)


def even(number: int, most: int) -> int:
    """Return the column count of at most ``most`` that gives the most even rows."""
    return -(-number // -(-number // most))


Look = dict[str, Any]  # colour, dashes and marker of a row, as matplotlib takes them


def looks(series: Iterable[Series]) -> dict[str, Look]:
    """Return a look for each title; rows from scratch are dark and dashed, each otherwise; quoted rows grey."""
    rows, number, scratch = {line.title: line for line in series}, count(), count()
    styles: dict[str, Look] = {}
    for title, row in rows.items():
        if row.baseline:
            styles[title] = dict(SCRATCH[next(scratch) % len(SCRATCH)])
        elif row.quoted:
            styles[title] = {"color": SOFT, "linestyle": "", "marker": "d"}
        else:
            i = next(number)
            dash, marker = DASHES[i // len(COLOURS) % len(DASHES)], MARKERS[i % len(MARKERS)]
            styles[title] = {
                "color": COLOURS[i % len(COLOURS)],
                "linestyle": dash,
                "marker": marker,
            }
    return styles


def hollow(look: Look) -> Look:
    """Return the look of a number that the paper printed, beside ours."""
    edge = {"markerfacecolor": PAPER, "markeredgecolor": look["color"], "markeredgewidth": 1.1}
    return {"linestyle": "", "marker": "d", "markersize": 5, **edge}


def printed(series: Iterable[Series]) -> list[Line2D]:
    """Return the entry of a legend that says what hollow marks are; none where there are none."""
    label = words(PRINTED)
    return [Line2D([], [], label=label, **hollow({"color": SOFT}))][
        : any(s.printed for s in series)
    ]


# Figures that take a page's colours: matplotlib's SVG made small, without a background, safe beside others.
#
# Ink, lines and hollow marks become the CSS variables ``--ink``, ``--soft``, ``--line`` and ``--card`` of the
# page, each with the printed colour to fall back on; the colours of rows stay. Text stays text, in the
# page's own font.
THEME = {
    INK: f"var(--ink,{INK})",
    SOFT: f"var(--soft,{SOFT})",
    GRID: f"var(--line,{GRID})",
    PAPER: f"var(--card,{PAPER})",
}
FAMILY = "system-ui,sans-serif"
SPACE = re.compile(r"\{.*\}")
PHONE, SCREEN = 1.2, 1.6  # pixels of a point: text of 9 has at least 10.8, on a phone 6.5
SIDES = 6  # points at the left and the right, for letters of the page's font that are wider
SVG_DOTS, SVG_PIXELS = 110, 8e5  # of pictures inside a figure: per inch, and in all at most
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
COLOUR = re.compile("|".join(THEME))
REFERENCE = re.compile(r"(?<=^#)\w+$|(?<=url\(#)\w+")
BLANK = re.compile(r"\s*([MLCQz:;])\s*")
FONT = re.compile(r"(font-family:)?'DejaVu Sans'[^;]*")
ANCHORS = {"center": ("middle", 0.5), "right": ("end", 1.0)}


def themed(figure: Figure, name: str, title: str) -> str:
    """Return a figure as one ``<svg>``, the same bytes for the same figure.

    Args:
        figure: laid out, and drawn in the colours of ``bench.report.canvas``.
        name: stands behind every id, so that several figures may share a page.
        title: what a screen reader says.
    """
    wide, tall = figure.get_size_inches()
    points = 72 * wide + 2 * SIDES
    _mark_lines(figure)
    figure.patch.set_visible(False)
    figure.dpi = min(SVG_DOTS, (SVG_PIXELS / (wide * tall)) ** 0.5)
    drawn = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        FigureCanvasSVG(figure).print_svg(drawn, metadata=nothing)
    name = re.sub(r"[^\w-]", "_", name)
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"{-SIDES} 0 {_short(points)} {_short(72 * tall)}",
        "role": "img",
        "aria-labelledby": f"{name}-title",
        "fill": THEME[INK],
        "font-family": FAMILY,
        "stroke-linejoin": "round",
        "style": f"--least:{points * PHONE:.0f}px;width:100%;min-width:var(--least);"
        f"max-width:{points * SCREEN:.0f}px;height:auto",
    }
    out = Tree.Element("svg", attributes)
    Tree.SubElement(out, "title", {"id": f"{name}-title"}).text = printable(title)
    used = {*re.findall(r"#(\w+)", drawn.getvalue())}
    named = (id for id in re.findall(r'\bid="(\w+)"', drawn.getvalue()) if id in used)
    # numbered: matplotlib's names change with the last digit of a place
    ids = {id: f"{name}-{number}" for number, id in enumerate(named)}
    for child in Tree.fromstring(drawn.getvalue()):
        out.extend(_lean(child, ids))
    return Tree.tostring(out, encoding="unicode")


def _mark_lines(figure: Figure) -> None:
    """Say in the id of every text of several lines how these are aligned, and on which x or y.

    matplotlib writes each line where it begins in a font that the page may not have.
    """
    figure.dpi = 72
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        anchor, share = ANCHORS.get(text.get_horizontalalignment(), ("", 0.0))
        if anchor and "\n" in text.get_text() and text.get_rotation() in (0, 90):
            box, upright = text.get_window_extent(), text.get_rotation() == 90
            along = figure.bbox.y1 - box.y0 - share * box.height
            along = along if upright else box.x0 + share * box.width
            text.set_gid(f"lines {anchor} {'y' if upright else 'x'} {_short(along)}")


def _lean(element: Tree.Element, ids: dict[str, str]) -> list[Tree.Element]:
    """Return what is left of an element: groups that say nothing give way to what they hold."""
    element.tag = SPACE.sub("", element.tag)
    if element.tag in ("metadata", "style"):  # a style sheet would be the whole page's
        return []
    if element.get("id", "").startswith("lines "):
        _align(element)
    element.attrib = {key: value for key, value in _attributes(element, ids) if value}
    element.tail = None
    if element.tag == "text":
        return [element]
    element.text = None
    element[:] = [part for child in element for part in _lean(child, ids)]
    if element.tag == "g":
        _share_style(element)
        return [element] if element.attrib else list(element)
    unseen = element.tag == "defs" or element.get("style") == "fill:none"
    return [] if unseen and not len(element) else [element]


def _attributes(element: Tree.Element, ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield an element's attributes: ids that others refer to, colours of the theme, short numbers."""
    for key, raw in element.attrib.items():
        value = REFERENCE.sub(lambda m: ids.get(m[0], m[0]), raw)
        if key == "id":
            yield key, ids.get(value, "")
        elif key.endswith("href"):
            yield "href", "".join(value.split())
        elif not value.startswith("rotate(-0 "):
            value = FONT.sub(lambda m: "" if m[1] else FAMILY, BLANK.sub(r"\1", value))
            value = NUMBER.sub(lambda m: _short(float(m[0])), value.replace(";;", ";").strip("; "))
            yield key, COLOUR.sub(lambda m: THEME[m[0]], value)


def _share_style(group: Tree.Element) -> None:
    """Say once for a group what all in it say."""
    styles = {child.get("style", "") for child in group}
    if len(styles) == 1 and len(group) > 1 and "style" not in group.attrib and all(styles):
        group.set("style", styles.pop())
        for child in group:
            del child.attrib["style"]


def _align(lines: Tree.Element) -> None:
    """Align the lines of one text on an x or a y as its id says, in whatever font."""
    _, anchor, axis, along = lines.attrib["id"].split()
    for line in lines:
        point = re.findall(r"-?[\d.]+", line.attrib["transform"])
        point[axis == "y"] = along
        turned = " rotate(-90)" if axis == "y" else ""
        line.set("transform", f"translate({point[0]} {point[1]}){turned}")
        line.set("style", f"{line.get('style', '')};text-anchor:{anchor}")


def _short(number: float) -> str:
    """Return at most two decimals: a hundredth of a point."""
    text = f"{number:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
