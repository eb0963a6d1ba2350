"""Figures that take a page's colours: matplotlib's SVG made small, without a background, safe beside others.

Ink, lines and hollow marks become the CSS variables ``--ink``, ``--soft``, ``--line`` and ``--card`` of the
page, each with the printed colour to fall back on; the colours of rows stay. Text stays text, in the
page's own font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree as Tree

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.errors import printable

INK, SOFT, GRID, PAPER = "#1c2430", "#5b6675", "#e3e7ec", "#ffffff"
THEME = {
    INK: f"var(--ink,{INK})",
    SOFT: f"var(--soft,{SOFT})",
    GRID: f"var(--line,{GRID})",
    PAPER: f"var(--card,{PAPER})",
}
FAMILY = "system-ui,sans-serif"
SPACE = re.compile(r"\{.*\}")
NARROW, WIDE = 1.2, 1.6  # pixels of a point: text of 9 has at least 10.8, on a phone 6.5
SIDES = 6  # points at the left and the right, for letters of the page's font that are wider
DOTS, PIXELS = 110, 8e5  # of pictures inside a figure: per inch, and in all at most
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
    figure.dpi = min(DOTS, (PIXELS / (wide * tall)) ** 0.5)
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
        "style": f"--least:{points * NARROW:.0f}px;width:100%;min-width:var(--least);"
        f"max-width:{points * WIDE:.0f}px;height:auto",
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
