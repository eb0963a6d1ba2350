"""Training state that survives a kill at any moment: two generations, written aside, checked."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from bench.store import write_atomic

KEEP = 2


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the state after ``step`` steps; its SHA-256 is part of the name."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    digest = hashlib.sha256(data).hexdigest()[:16]
    final = folder / f"step-{step:09d}-{digest}.pt"
    write_atomic(final, data)
    for old in sorted(folder.glob("step-*.pt"))[:-KEEP]:
        old.unlink(missing_ok=True)


def latest(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Return the newest state whose checksum holds, and its step; None where there is none."""
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        _, step, digest = path.stem.split("-")
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest()[:16] == digest:
            return int(step), torch.load(io.BytesIO(data), weights_only=True)
        path.unlink(missing_ok=True)  # else it would count as one of the generations kept
    return None
