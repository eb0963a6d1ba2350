"""What a latency job leaves; reading it needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.digest import read_json
from bench.errors import Damaged

FILE = "latency.json"
SHAPE: dict[str, Any] = {"median": float, "low": float, "high": float, "repeats": int, "device": str}


def read(folder: Path) -> float:
    """Return the median in seconds of a finished job.

    Raises:
        Damaged: the file is lost or not what was published.
    """
    found = read_json(folder / FILE, SHAPE)
    if found is None:
        raise Damaged(folder / FILE, "it is lost")
    return float(found["median"])
