"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from bench.errors import BenchError, shown

Kind = type | list[Any] | dict[str, Any]
LARGEST = 2**63  # a number beyond it counts nothing here


def write_atomic(
    path: Path, data: bytes | memoryview | str, aside: Path | None = None, flush: bool = True
) -> None:  # fmt: skip
    """Write aside, flush to disk, rename: readers see the old file or the new one, whole.

    Args:
        path: the file to make or replace.
        data: its content.
        aside: folder on the same disk for the unfinished file; by default beside ``path``.
        flush: survive a power failure; without it the file may come back empty after one.
    """
    raw = data.encode() if isinstance(data, str) else data
    aside = (aside or path.parent) / f".{path.name}.{uuid.uuid4().hex[:8]}"
    try:
        with aside.open("xb") as file:  # never through a link that somebody left there
            file.write(raw)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
        if flush:
            sync(path.parent)  # the new name is on the disk only with its folder
    finally:
        aside.unlink(missing_ok=True)


def append(path: Path, text: str) -> None:
    """Add to a log; not through a link, which could lead to any file of the user's.

    Raises:
        OSError: among them ``ELOOP``, where the log is a symbolic link.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def empty(path: Path) -> None:
    """Leave nothing in a file, at once; not through a link."""
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file of a folder, and the folder itself, to disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Flush one file, or the names in one folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path, kind: Kind = dict) -> dict[str, Any] | None:
    """Return a JSON object, or None where there is no such file.

    Args:
        path: the file.
        kind: what its values must be, as ``misfit`` takes it.

    Raises:
        BenchError: the file is there and is not JSON, or holds something else.
    """
    try:
        return parsed(path.read_bytes(), kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise BenchError(f"{path}: damaged ({error}); delete it and run again") from None


def parsed(raw: bytes, kind: Kind = dict) -> dict[str, Any]:
    """Return the JSON object in ``raw``, whose values must be as ``misfit`` takes ``kind``.

    Raises:
        ValueError: it is none, or holds something else; says what.
    """
    try:
        found = json.loads(raw)
    except RecursionError as error:
        raise ValueError(error) from None
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    if where := misfit(found, kind):
        raise ValueError(where)
    return found


def misfit(value: Any, kind: Any, where: str = "") -> str:
    """Return in words where plain values depart from ``kind``; empty where they do not.

    Args:
        value: what a file held.
        kind: a type (``float`` takes any finite number), ``[kind]`` for a list, or a mapping of keys to
            kinds, of which ``key?`` may be absent or null, or ``*`` for whatever keys there are; other keys
            are not looked at.
        where: path of ``value``.
    """
    if isinstance(kind, list):
        if not isinstance(value, list):
            return f"{where} is no list"
        return next(filter(None, (misfit(v, kind[0], f"{where}[{i}]") for i, v in enumerate(value))), "")
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            return f"{where or 'the file'} is no object"
        every = dict.fromkeys(value, kind["*"]) if "*" in kind else kind
        held = ((key.removesuffix("?"), inner) for key, inner in every.items()
                if not key.endswith("?") or value.get(key[:-1]) is not None)  # fmt: skip
        return next(filter(None, (misfit(value.get(k), v, f"{where}.{k}"[not where :]) for k, v in held)), "")
    if kind in (int, float):
        number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        return "" if number and abs(value) < LARGEST else f"{where} is no number: {shown(value)}"
    return "" if isinstance(value, kind) else f"{where} is no {kind.__name__}: {shown(value)}"
