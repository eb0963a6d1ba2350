"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from bench.errors import BenchError


def write_atomic(path: Path, data: bytes | memoryview | str, aside: Path | None = None) -> None:
    """Write aside, flush to disk, rename: readers see the old file or the new one, whole.

    Args:
        path: the file to make or replace.
        data: its content.
        aside: folder on the same disk for the unfinished file; by default beside ``path``.
    """
    raw = data.encode() if isinstance(data, str) else data
    aside = (aside or path.parent) / f".{path.name}.{uuid.uuid4().hex[:8]}"
    try:
        with aside.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Flush every file of a folder, and the folder itself, to disk."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None where there is no such file.

    Raises:
        BenchError: the file is there and is not JSON.
    """
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise BenchError(f"{path}: damaged ({error}); delete it and run again") from None
    if not isinstance(found, dict):
        raise BenchError(f"{path}: damaged (no JSON object); delete it and run again")
    return found
