"""Rows that fine-tune from several snapshots of one pretraining: ``at: [250, 500, last]`` in one row.

Each step becomes a row of its own, called ``voco @ 250``; they share the pretraining, which keeps them all.
"""

from __future__ import annotations

from typing import Any

from bench import registry
from bench.document import Document
from bench.errors import BenchError, shown

LAST = "last"


def spelled_out(document: Document) -> Document:
    """Return a protocol in which every row has one snapshot at most; what is no list stays as it is.

    Raises:
        BenchError: a list of something else than steps and ``last``, or of one twice; names file and line.
    """
    rows = document.value.get("rows")
    if not isinstance(rows, dict) or not any(map(_several, rows.values())):
        return document
    all_rows, lines = dict[str, Any](), dict(document.lines)
    names: dict[str, list[str]] = {}
    for name, row in rows.items():
        added = _rows(name, row, document) if _several(row) else {name: row}
        if double := added.keys() & (all_rows.keys() | rows.keys() - {name}):
            where = document.where(("rows", name))
            raise BenchError(
                f"{where}: {min(double)!r} is already the name of a row; give one of the two another name"
            )
        names[name] = list(added)
        all_rows |= added
        for keys, line in document.lines.items():
            if keys[:2] == ("rows", name):
                lines |= {("rows", row_name, *keys[2:]): line for row_name in added}
    value = {**document.value, "rows": all_rows}
    layout = value.get("layout")
    if isinstance(layout, dict) and isinstance(groups := layout.get("groups"), dict):
        value["layout"] = {**layout, "groups": {k: _named(v, names) for k, v in groups.items()}}
    return Document(document.path, value, lines, document.drawn)


def _several(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("at"), list)


def _rows(name: str, row: dict[str, Any], document: Document) -> dict[str, Any]:
    """Return the rows that one row means, by name."""
    steps, where = row["at"], document.where(("rows", name, "at"))
    if row.get("method") in registry.names("method") and not registry.pretrains(row["method"]):
        raise BenchError(
            f"{where}: method {row['method']!r} is not pretrained and has no snapshots; leave it out"
        )
    right = [s == LAST or (type(s) is int and s > 0) for s in steps]
    if not steps or not all(right) or len({*steps}) < len(steps):
        raise BenchError(
            f"{where}: list steps, each once, and 'last' for the end, got {shown(steps)}"
        )
    pretrain = row.get("pretrain") or {}
    if not isinstance(pretrain, dict) or not _steps(pretrain.get("snapshots", [])):
        # refused where sections are read
        return {name: {k: v for k, v in row.items() if k != "at"}}
    snapshots = _snapshots(pretrain if "snapshots" in pretrain else document.value.get("pretrain"))
    wanted = sorted({*snapshots, *(s for s in steps if s != LAST)})
    if wanted != sorted(snapshots):
        pretrain = {**pretrain, "snapshots": wanted}
    title = row.get("title") or _title(row.get("method"))
    shared = {
        **{k: v for k, v in row.items() if k != "at"},
        **({"pretrain": pretrain} if pretrain else {}),
    }
    return {
        f"{name} @ {step}": {
            **shared,
            "title": f"{title} @ {step}",
            **({} if step == LAST else {"at": step}),
        }
        for step in steps
    }


def _title(method: Any) -> Any:
    """Return a method's own title; what is none is refused later, by its name."""
    registered = method in registry.names("method")
    return registry.declared("method", method, "title", method) if registered else method


def _snapshots(section: Any) -> list[int]:
    given = section.get("snapshots") if isinstance(section, dict) else None
    return [s for s in given if type(s) is int] if isinstance(given, list) else []


def _steps(given: Any) -> bool:
    return isinstance(given, list) and all(type(step) is int for step in given)


def _named(group: Any, names: dict[str, list[str]]) -> Any:
    """Return a group of the table with each row's name replaced by those of its snapshots."""
    if not isinstance(group, list):
        return group
    return [step for name in group for step in names.get(name, [name])] if _texts(group) else group


def _texts(group: list[Any]) -> bool:
    return all(isinstance(name, str) for name in group)
