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

DRAWING = 11  # raised by hand when the same input is drawn differently
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
    made = hashlib.sha256(f"{DRAWING} {version('matplotlib')}".encode())
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        made.update(len(raw).to_bytes(8, "big") + raw)
    return made.hexdigest()


def refresh(figures: list[Figure], folder: Path) -> tuple[Path, ...]:
    """Draw what is missing or out of date, remove what is no longer wanted; return the files."""
    known = _remembered(folder)
    for name in set(known) - {f.name for f in figures}:
        for path in _files(folder, name):
            path.unlink(missing_ok=True)
    for figure in figures:
        files = _files(folder, figure.name)
        if known.get(figure.name) != figure.digest or not all(map(_own, files)):
            drawing().save(figure.draw(), files, figure.title)
    digests = {f.name: f.digest for f in figures}
    if figures or known:
        text = json.dumps(digests, indent=1, sort_keys=True) + "\n"
        write_atomic(folder / MEMORY, text, flush=False)
    return tuple(path for f in figures for path in _files(folder, f.name))


def _remembered(folder: Path) -> dict[str, str]:
    try:
        known = json.loads((folder / MEMORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    # Files of these names are removed: they must not lie anywhere else.
    return {k: v for k, v in known.items() if Path(k).name == k} if isinstance(known, dict) else {}


def current(figure: Figure, folder: Path) -> Path | None:
    """Return the figure's PNG if it was drawn from this very input."""
    return _current(figure, folder, 0)


def current_svg(figure: Figure, folder: Path) -> str:
    """Return the figure as ``<svg>`` for a page, empty where it was not drawn from this very input."""
    svg = _current(figure, folder, 2)
    return svg.read_text(encoding="utf-8") if svg else ""


def _current(figure: Figure, folder: Path, which: int) -> Path | None:
    path = _files(folder, figure.name)[which]
    drawn = _remembered(folder).get(figure.name) == figure.digest and _own(path)
    return path if drawn else None


def _own(path: Path) -> bool:
    """Is a file here that was drawn here, and no link to somebody's picture?"""
    return path.is_file() and not path.is_symlink()


def _files(folder: Path, name: str) -> tuple[Path, Path, Path]:
    return folder / f"{name}.png", folder / f"{name}.pdf", folder / f"{name}.svg"
