"""A protocol: the YAML that fixes one comparison, usually one table of a paper.

The file states the paper's values; a scale lays small overrides over them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import plugins
from bench.document import Document, overlay, parse
from bench.errors import BenchError, shown, unknown
from bench.protocol import ceilings, mixture, settings, snapshots
from bench.protocol.checks import PAPERS, check
from bench.protocol.model import (
    Control,
    Origin,
    Protocol,
    Quoted,
    Row,
    beside,
    controls_of,
    finetune_of,
    is_control,
    labelled,
    method_pretrains,
    pretrain_of,
    pretrained_net,
    pretrains,
    row_of,
    tuned_net,
)
from bench.protocol.sections import (
    Augment,
    Finetune,
    Inference,
    Mix,
    Net,
    Optimiser,
    Phantom,
    Pretrain,
    one_of_each,
)
from bench.protocol.views import Layout, View

__all__ = [
    "PAPERS", "Augment", "Control", "Finetune", "Inference", "Layout", "Mix", "Net", "Optimiser", "Origin",
    "Phantom", "Pretrain", "Protocol", "Quoted", "Row", "View", "beside", "controls_of", "finetune_of",
    "is_control", "labelled", "method_pretrains", "mixture", "pretrain_of", "pretrained_net", "pretrains",
    "read", "read_all", "row_of", "tuned_net", "under",
]  # fmt: skip
SCALES = ("paper", "pilot", "smoke")


def read(path: Path, scale: str | None = None, *, drawn: bool = False) -> Protocol:
    """Return the protocol in ``path`` at ``scale`` (its own by default).

    Args:
        path: a YAML file.
        scale: one that it has.
        drawn: its records are drawn and nothing is run, so what it names as ``plugins`` may be gone.

    Raises:
        BenchError: names file, line, key and the nearest valid name.
    """
    document = settings.spelled_out(parse(path))
    origin = Origin(_place(path), _digest(json.dumps(document.value, sort_keys=True)))
    chosen = scale or document.value.get("scale", "paper")
    scales = _scales(document)
    if chosen != "paper":
        if not isinstance(chosen, str) or chosen not in scales:
            has = (
                f"it has: {', '.join(['paper', *scales])}"
                if scales
                else "it states no 'scales'; leave it out"
            )
            raise BenchError(f"{path}: has no scale {shown(chosen)}; {has}")
        document = _laid_over(document, chosen)
    document.drawn = drawn
    _use_plugins(document)
    document = ceilings.spelled_out(snapshots.spelled_out(document))
    document.value["scale"] = chosen
    document.value.setdefault("name", _name(path))
    protocol = replace(document.build(Protocol), folder=path.parent, origin=origin, document=document)
    check(protocol, document)
    return protocol


def _use_plugins(document: Document) -> None:
    """Make known what a protocol brings along, before a name of it is looked up."""
    listed = document.build(tuple[str, ...], document.value.get("plugins", ()), ("plugins",))
    for number, text in enumerate(listed):
        where = document.where(("plugins", str(number)))
        if not text.strip():
            raise BenchError(f"{where}: names no file; a path from the protocol's folder, or leave it out")
        try:
            plugins.use([document.path.parent / text], where)
        except BenchError:
            if not document.drawn:
                raise


def read_all(paths: Sequence[Path], scale: str | None = None, *, drawn: bool = False) -> list[Protocol]:
    """Return the protocols in ``paths``, as ``read`` does.

    Raises:
        BenchError: two have one name, so that they would share records and reports; names both files.
    """
    found: dict[str, tuple[Path, Protocol]] = {}
    for path in paths:
        protocol = read(path, scale, drawn=drawn)
        if protocol.name in found:
            other = found[protocol.name][0]
            raise BenchError(
                f"{path}: is called {protocol.name!r}, as {other} is; give one of them a 'name:' of its own"
            )
        found[protocol.name] = path, protocol
    return [protocol for _, protocol in found.values()]


def _scales(document: Document) -> dict[str, Any]:
    scales = document.value.get("scales", {})
    if not isinstance(scales, dict):
        raise BenchError(f"{document.where(('scales',))}: expected a mapping, got {shown(scales)}")
    for key, over in scales.items():
        where = document.where(("scales", key))
        if key not in SCALES:
            raise BenchError(f"{where}: {unknown('scale', key, SCALES)}")
        if not isinstance(over, dict):
            raise BenchError(f"{where}: expected a mapping, got {shown(over)}")
    return scales


def _laid_over(document: Document, scale: str) -> Document:
    base, over = document.value, document.value["scales"][scale]
    merged = Document(document.path, overlay(base, _replacing(over)), dict(document.lines))
    for keys, line in document.lines.items():  # a mistake in an override is shown at its own line
        if keys[:2] == ("scales", scale) and len(keys) > 2:
            merged.lines |= dict.fromkeys(_reached(base, keys[2:]), line)
    return merged


def _reached(base: Any, keys: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the paths that an override at ``keys`` lands on: a mapping reaches into a list."""
    if not keys:
        return [()]
    if isinstance(base, list) and not keys[0].isdigit():
        return [(str(i), *rest) for i, b in enumerate(base) for rest in _reached(b, keys)]
    inner = base.get(keys[0]) if isinstance(base, dict) else None
    return [(keys[0], *rest) for rest in _reached(inner, keys[1:])]


def _replacing(over: dict[str, Any]) -> dict[str, Any]:
    """Return a scale's overrides with each budget, and the data, replacing what it lies over."""
    found = {
        k: one_of_each(v, k == "pretrain") if k in ("pretrain", "finetune") else v for k, v in over.items()
    }
    if isinstance(rows := over.get("rows"), dict):
        found["rows"] = {k: _replacing(v) if isinstance(v, dict) else v for k, v in rows.items()}
    return found


def under(path: Path) -> tuple[str, ...]:
    """Return a file's path under the nearest ``protocols/``, without suffix; empty where it is elsewhere."""
    parts = path.resolve().with_suffix("").parts
    last = len(parts) - 1 - parts[::-1].index("protocols") if "protocols" in parts[:-1] else len(parts)
    return parts[last + 1 :]


def _name(path: Path) -> str:
    return "_".join(under(path)) or path.resolve().stem


def _place(path: Path) -> str:
    parts = under(path)
    return "/".join(["protocols", *parts]) if parts else _digest(str(path.resolve()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
