"""Finished parts of an unfinished job, which the next attempt takes over."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from bench.digest import short
from bench.store import write_atomic


class Kept:
    """Arrays by number in a folder that survives attempts; each file's name has its checksum."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays of part ``number``."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        data = buffer.getvalue()
        write_atomic(self._folder / f"kept-{number:06d}-{short(data)}.npz", data)

    def get(self, number: int) -> dict[str, np.ndarray] | None:
        """Return what an earlier attempt kept of part ``number``; None where that is nothing whole."""
        for path in self._folder.glob(f"kept-{number:06d}-*.npz"):
            data = path.read_bytes()
            if short(data) == path.stem.rpartition("-")[2]:
                try:
                    with np.load(io.BytesIO(data), allow_pickle=False) as found:
                        return {name: found[name] for name in found.files}
                except (
                    ValueError,
                    zipfile.BadZipFile,
                ):  # right sum, wrong content: somebody's own file
                    continue
        return None
