"""Figures that take a page's colours: matplotlib's SVG made small, without a background, safe beside others.

Ink, lines and hollow marks become the CSS variables ``--ink``, ``--soft``, ``--line`` and ``--card`` of the
page, each with the printed colour to fall back on; the colours of rows stay. Text stays text, in the
page's own font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as Tree

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from bench.errors import printable

INK, SOFT, GRID, PAPER = "#1c2430", "#5b6675", "#e3e7ec", "#ffffff"
THEME = {
    INK: f"var(--ink,{INK})",
    SOFT: f"var(--soft,{SOFT})",
    GRID: f"var(--line,{GRID})",
    PAPER: f"var(--card,{PAPER})",
}
SPACE, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
NARROW, WIDE = 1.2, 1.6  # pixels of a point: text of 9 points is never below 10.8 pixels
SHARED = ("fill", "stroke", "stroke-width", "clip-path", "font-size", "text-anchor")
DOTS, PIXELS = 110, 8e5  # of pictures inside a figure: per inch, and in all at most
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
COLOUR = re.compile(r"#[0-9a-f]{6}")
DEFAULT = {
    "stroke-linejoin": "round",
    "stroke-linecap": "butt",
    "text-anchor": "start",
    "fill": THEME[INK],
}


def themed(figure: Figure, name: str, title: str) -> str:
    """Return a figure as one ``<svg>``, the same bytes for the same figure.

    Args:
        figure: drawn in the colours of ``bench.report.canvas``.
        name: stands before every id, so that several figures may share a page.
        title: what a screen reader says.
    """
    made = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        width, height = figure.get_size_inches()
        # of pictures inside; all else has none
        dots = min(DOTS, (PIXELS / (width * height)) ** 0.5)
        figure.savefig(made, format="svg", transparent=True, dpi=dots, metadata=nothing)
    root = Tree.fromstring(made.getvalue())
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    name, title = re.sub(r"[^\w-]", "_", name), printable(title)
    ids = _short_ids(root, name)
    out = Tree.Element(
        "svg",
        {
            "xmlns": SPACE[1:-1],
            "viewBox": f"0 0 {_short(width)} {_short(height)}",
            "role": "img",
            "aria-labelledby": f"{name}-title",
            "fill": THEME[INK],
            "font-family": "system-ui,sans-serif",
            "stroke-linejoin": "round",
            "stroke-linecap": "butt",
            "style": f"width:100%;min-width:{width * NARROW:.0f}px;max-width:{width * WIDE:.0f}px;height:auto",
        },
    )
    Tree.SubElement(out, "title", {"id": f"{name}-title"}).text = title
    for child in root:
        out.extend(_lean(child, ids))
    return Tree.tostring(out, encoding="unicode")


def _short_ids(root: Tree.Element, name: str) -> dict[str, str]:
    """Return new ids for what others refer to, numbered in their order."""
    used = re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", Tree.tostring(root, encoding="unicode"))
    return {old: f"{name}-{number}" for number, old in enumerate(dict.fromkeys(used))}


def _lean(element: Tree.Element, ids: dict[str, str]) -> Iterator[Tree.Element]:
    """Yield what is left of an element: groups that say nothing give way to what they hold."""
    tag = element.tag.removeprefix(SPACE)
    if tag in ("metadata", "style"):  # a style sheet would be the whole page's
        return
    kept = _attributes(element, ids)
    if tag == "text":
        yield _text(element, kept)
        return
    children = [made for child in _aligned(element) for made in _lean(child, ids)]
    if tag == "g":
        if not children:
            return
        _hoist(kept, children)
        if not kept:
            yield from children
            return
    elif tag == "path" and "id" not in kept and _unseen(kept):
        return
    made = Tree.Element(tag, kept)
    made.extend(children)
    yield made


def _unseen(kept: dict[str, str]) -> bool:
    return not kept.get("d") or (
        kept.get("fill") == "none" and kept.get("stroke", "none") == "none"
    )


def _attributes(element: Tree.Element, ids: dict[str, str]) -> dict[str, str]:
    """Return an element's attributes: its style as such, colours of the theme, short numbers."""
    found = {k: v for k, v in element.attrib.items() if k not in ("style", "id", LINK)}
    found |= _style(element)
    if (own := element.get("id", "")) in ids:
        found["id"] = ids[own]
    if link := element.get(LINK):
        found["href"] = f"#{ids[link[1:]]}" if link.startswith("#") else "".join(link.split())
    for key, value in found.items():
        if key in ("id", "href"):
            continue
        if "url(" in value:
            found[key] = re.sub(r"#([^)]+)", lambda m: f"#{ids[m[1]]}", value)
            continue
        value = NUMBER.sub(lambda m: _short(float(m[0])), value)
        found[key] = COLOUR.sub(lambda m: THEME.get(m[0], m[0]), value)
    if "d" in found:
        found["d"] = re.sub(r"\s*([MLCQz])\s*", r"\1", found["d"].strip())
    return {k: v for k, v in found.items() if v != DEFAULT.get(k)}


def _style(element: Tree.Element) -> dict[str, str]:
    parts = (part.partition(":") for part in element.get("style", "").split(";") if part.strip())
    return {k.strip(): v.strip() for k, _, v in parts}


def _short(number: float) -> str:
    """Return at most two decimals: a hundredth of a point."""
    said = f"{number:.2f}".rstrip("0").rstrip(".")
    return "0" if said == "-0" else said


def _hoist(kept: dict[str, str], children: list[Tree.Element]) -> None:
    """Say once for a group what all in it say."""
    if len(children) < 2:
        return
    for key in SHARED:
        values = {child.get(key) for child in children}
        if len(values) == 1 and (value := values.pop()) and key not in kept:
            kept[key] = value
            for child in children:
                del child.attrib[key]


def _text(element: Tree.Element, kept: dict[str, str]) -> Tree.Element:
    """Return words: their size and weight, without the font that they were measured in."""
    kept.pop("font-family", None)
    if "font" in kept:  # 700 10px 'DejaVu Sans'
        words = kept.pop("font").split("'")[0].split()
        kept |= {"font-size": words[-1]} | ({"font-weight": words[0]} if len(words) > 1 else {})
    kept["font-size"] = kept.get("font-size", "9").removesuffix("px")
    if kept.get("transform", "").startswith(("rotate(-0 ", "rotate(0 ")):
        del kept["transform"]
    made = Tree.Element("text", kept)
    made.text = element.text
    return made


def _aligned(element: Tree.Element) -> list[Tree.Element]:
    """Return the children of a group; lines of one text are aligned as they were in another font.

    matplotlib says how a single line is aligned, and of several lines only where each begins in a font
    that the page may not have. What their beginnings, middles or ends share is how they were aligned.
    """
    children = list(element)
    lines = [
        c for c in children if c.tag == f"{SPACE}text" and "text-anchor" not in c.get("style", "")
    ]
    if len(lines) < 2 or len(lines) != len([c for c in children if c.tag == f"{SPACE}text"]):
        return children
    placed = [re.findall(r"-?[\d.]+", line.get("transform", "")) for line in lines]
    if any(len(found) < 2 for found in placed):
        return children
    upright = all(len(found) > 2 and abs(float(found[2])) == 90 for found in placed)
    at = 1 if upright else 0
    way = -1.0 if upright else 1.0
    begins = [way * float(found[at]) for found in placed]
    wide = [_width(line) for line in lines]
    shares = {"start": 0.0, "middle": 0.5, "end": 1.0}

    def spread(share: float) -> float:
        points = [b + share * w for b, w in zip(begins, wide, strict=True)]
        return round(max(points) - min(points), 2)

    anchor = min(shares, key=lambda one: spread(shares[one]))
    for line, found, begin, width in zip(lines, placed, begins, wide, strict=True):
        found[at] = f"{way * (begin + shares[anchor] * width):.6f}"
        turned = f" rotate({found[2]})" if len(found) > 2 and float(found[2]) else ""
        line.set("transform", f"translate({found[0]} {found[1]}){turned}")
        line.set("style", f"{line.get('style', '')}; text-anchor: {anchor}")
    return children


def _width(line: Tree.Element) -> float:
    """Return how long a line was as matplotlib measured it, in points."""
    style: dict[str, Any] = _style(line)
    bold = (
        "bold"
        if re.search(r"\b700\b|bold", f"{style.get('font', '')}{style.get('font-weight', '')}")
        else "normal"
    )
    size = re.search(r"([\d.]+)px", f"{style.get('font', '')} {style.get('font-size', '')}")
    font = FontProperties(family="DejaVu Sans", weight=bold, size=float(size[1]) if size else 9.0)
    return float(text_to_path.get_text_width_height_descent(line.text or "", font, ismath=False)[0])
