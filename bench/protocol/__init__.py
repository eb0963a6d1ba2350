"""A protocol: the YAML that fixes one comparison, usually one table of a paper.

The file states the paper's values; a scale lays small overrides over them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bench import plugins
from bench.document import Document, parse
from bench.errors import BenchError
from bench.protocol import ceilings, external, mixture, settings, snapshots
from bench.protocol.checks import PAPERS, check, unread
from bench.protocol.model import (
    Control,
    Origin,
    Protocol,
    Quoted,
    Row,
    base_of,
    beside,
    controls_of,
    finetune_of,
    from_scratch,
    is_control,
    labelled,
    method_pretrains,
    pretrain_of,
    pretrained_net,
    pretrains,
    row_of,
    tuned_net,
)
from bench.protocol.override import SCALES, Override, at_scale
from bench.protocol.sections import (
    Augment,
    Finetune,
    Inference,
    Mix,
    Net,
    Optimiser,
    Phantom,
    Pretrain,
)
from bench.protocol.views import Layout, View
from bench.typed import plain

__all__ = [
    "PAPERS", "SCALES", "Augment", "Control", "Finetune", "Inference", "Layout", "Mix", "Net", "Optimiser",
    "Origin", "Override", "Phantom", "Pretrain", "Protocol", "Quoted", "Row", "View", "base_of", "beside",
    "controls_of", "finetune_of", "from_scratch", "is_control", "labelled", "method_pretrains", "mistakes", "mixture",
    "pretrain_of", "pretrained_net", "pretrains", "read", "read_all", "row_of", "tuned_net", "under",
    "unread",
]  # fmt: skip


def read(
    path: Path, scale: str | None = None, overrides: Sequence[Override] = (), *, drawn: bool = False
) -> Protocol:
    """Return the protocol in ``path`` at ``scale`` (its own by default).

    Args:
        path: a YAML file.
        scale: one that it has.
        overrides: what ``--set`` says, the last of one key counts.
        drawn: its records are drawn and nothing is run, so what it names as ``plugins`` may be gone.

    Raises:
        BenchError: names file, line, key and the nearest valid name.
    """
    document = settings.spelled_out(parse(path))
    stated = {key: value for key, value in document.value.items() if key != "detects"}  # a forecast
    origin = Origin(_place(path), _digest(json.dumps(stated, sort_keys=True)))
    chosen = scale or document.value.get("scale", "paper")
    document = at_scale(document, chosen)
    # no part of it stands in two places
    document.value, document.drawn = (plain(document.value), drawn)
    for override in overrides:
        # records may be of a key that was another then
        with suppress(*[BenchError] if drawn else ()):
            override.lay(document)
    _use_plugins(document)
    document = ceilings.spelled_out(snapshots.spelled_out(document))
    with plugins.contained():
        for override in () if drawn else overrides:  # a report needs no class of a method
            override.lay_rows(document)
    document.value["scale"] = chosen
    document.value.setdefault("name", _name(path))
    texts = tuple(override.text for override in overrides)
    built = document.build(Protocol)
    sections = external.sections(built.finetune, built.sections)
    built = replace(built, finetune=sections)
    protocol = replace(built, folder=path.parent, origin=origin, document=document, overrides=texts)
    check(protocol)
    return protocol


def mistakes(path: Path, but: str) -> list[str]:
    """Return a line for each scale of a file that cannot be read, without the scale ``but``."""
    lines = []
    for scale in ("paper", *parse(path).value.get("scales", {})):
        if scale != but:
            try:
                read(path, scale)
            except BenchError as error:
                lines.append(f"scale {scale!r} could not be run: {error}")
    return lines


def _use_plugins(document: Document) -> None:
    """Make known what a protocol brings along, before a name of it is looked up."""
    listed = document.build(tuple[str, ...], document.value.get("plugins", ()), ("plugins",))
    for number, text in enumerate(listed):
        where = document.where(("plugins", str(number)))
        if not text.strip():
            raise BenchError(
                f"{where}: names no file; write a path from the protocol's folder, or leave it out"
            )
        try:
            plugins.use([document.path.parent / text], where)
        except BenchError:
            if not document.drawn:
                raise


def read_all(
    paths: Sequence[Path],
    scale: str | None = None,
    sets: Sequence[str] = (),
    *,
    drawn: bool = False,
) -> list[Protocol]:
    """Return the protocols in ``paths``, as ``read`` does; ``sets`` are KEY=VALUE, for those that have it.

    Raises:
        BenchError: two have one name, so that they would share records and reports; names both files.
    """
    by_name: dict[str, tuple[Path, Protocol]] = {}
    overrides = [Override(text) for text in sets]
    for path in paths:
        protocol = read(path, scale, overrides, drawn=drawn)
        if protocol.name in by_name:
            other = by_name[protocol.name][0]
            raise BenchError(
                f"{path}: is called {protocol.name!r}, as {other} is; give one of them a 'name:' of its own"
            )
        by_name[protocol.name] = path, protocol
    for override in overrides:
        override.require_used()
    return [protocol for _, protocol in by_name.values()]


def under(path: Path) -> tuple[str, ...]:
    """Return a file's path under the nearest ``protocols/``, without suffix; empty where it is elsewhere."""
    parts = path.resolve().with_suffix("").parts
    last = (
        len(parts) - 1 - parts[::-1].index("protocols") if "protocols" in parts[:-1] else len(parts)
    )
    return parts[last + 1 :]


def _name(path: Path) -> str:
    return "_".join(under(path)) or path.resolve().stem


def _place(path: Path) -> str:
    parts = under(path)
    return "/".join(["protocols", *parts]) if parts else _digest(str(path.resolve()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
