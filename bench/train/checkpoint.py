"""Training state that survives a kill at any moment: two generations, written aside, checked."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from bench.digest import short
from bench.errors import BenchError
from bench.store import write_atomic

KEEP = 2
DAMAGED = (  # torch and its unpickler raise all of these where a checksum holds over foreign bytes
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    UnpicklingError,
)


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the state after ``step`` steps; its SHA-256 is part of the name."""
    buffer = io.BytesIO()
    torch.save({"step": step, **state}, buffer)
    data = buffer.getbuffer()
    final = folder / f"step-{step:09d}-{short(data)}.pt"
    write_atomic(final, data)
    for old in sorted(folder.glob("step-*.pt"))[:-KEEP]:
        old.unlink(missing_ok=True)


def latest(folder: Path) -> bytes:
    """Return the newest state whose checksum holds, for ``read``; nothing where there is none."""
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        digest = path.stem.rpartition("-")[2]
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if short(data) == digest:
            return data
        path.unlink(missing_ok=True)  # else it would count as one of the generations kept
    return b""


def read(data: bytes) -> dict[str, Any]:
    """Return a saved state, its step under ``step``; no code in it is run.

    Raises:
        BenchError: these bytes are no state, whatever their checksum says.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a forged protocol number; what follows is refused
            state: dict[str, Any] = torch.load(
                io.BytesIO(data), map_location="cpu", weights_only=True
            )
    except DAMAGED as error:
        what = str(error).partition("\n")[0]
        raise BenchError(
            f"the newest checkpoint is damaged or was not written by bench ({what}); delete the job's "
            "step-*.pt and run again"
        ) from None
    return state
