"""What a latency job leaves; reading it needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.store import read_json

FILE = "latency.json"
SHAPE: dict[str, Any] = {"median": float, "low": float, "high": float, "repeats": int, "device": str}


def read(folder: Path) -> float:
    """Return the median in seconds of a finished job.

    Raises:
        BenchError: the file is damaged.
    """
    found = read_json(folder / FILE, SHAPE)
    if not found:
        raise BenchError(f"{folder / FILE}: damaged; delete the folder of this job and run again")
    return float(found["median"])
