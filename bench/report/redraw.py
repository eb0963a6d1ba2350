"""One figure, and drawing only those whose input changed.

matplotlib takes half a second to import, so the drawing itself lives in ``drawing.py`` and is
imported only when something must be drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.store import write_atomic

DRAWING = 15  # raised by hand when the same input is drawn differently
MEMORY = "figures.json"


@dataclass(frozen=True)
class Figure:
    """One figure: a file name without suffix, what it shows, its input, who draws it."""

    name: str
    title: str
    digest: str
    embed: bool
    draw: Callable[[], Any]
    reason: str = ""  # why it is not embedded
    captions: tuple[str, ...] = ()


def drawing() -> Any:
    """Return the module that draws."""
    from bench.report import drawing as module

    return module


def digest(*parts: str | bytes) -> str:
    """Return what tells a figure's input from another."""
    total = hashlib.sha256(f"{DRAWING} {version('matplotlib')}".encode())
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "big") + raw)
    return total.hexdigest()


def refresh(figures: list[Figure], folder: Path) -> tuple[Path, ...]:
    """Draw what is missing or out of date, remove what is no longer wanted; return the files."""
    drawn = _remembered(folder)
    for name in set(drawn) - {f.name for f in figures}:
        for path in _files(folder, name):
            path.unlink(missing_ok=True)
    for figure in figures:
        files = _files(folder, figure.name)
        if drawn.get(figure.name) != figure.digest or not all(map(_is_drawn, files)):
            drawing().save(figure.draw(), files, figure.title)
    digests = {f.name: f.digest for f in figures}
    if figures or drawn:
        text = json.dumps(digests, indent=1, sort_keys=True) + "\n"
        write_atomic(folder / MEMORY, text, flush=False)
    return tuple(path for f in figures for path in _files(folder, f.name))


def _remembered(folder: Path) -> dict[str, str]:
    try:
        digests = json.loads((folder / MEMORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    # Files of these names are removed: they must not lie anywhere else.
    names = digests if isinstance(digests, dict) else {}
    return {name: digest for name, digest in names.items() if Path(name).name == name}


def current_svg(figure: Figure, folder: Path) -> str:
    """Return the figure as ``<svg>`` for a page, empty where it was not drawn from this very input."""
    svg = _files(folder, figure.name)[2]
    drawn = _remembered(folder).get(figure.name) == figure.digest and _is_drawn(svg)
    return svg.read_text(encoding="utf-8") if drawn else ""


def _is_drawn(path: Path) -> bool:
    """Tell whether a file exists and is no link to somebody's picture."""
    return path.is_file() and not path.is_symlink()


def _files(folder: Path, name: str) -> tuple[Path, Path, Path]:
    return folder / f"{name}.png", folder / f"{name}.pdf", folder / f"{name}.svg"
