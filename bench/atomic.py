"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


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
