"""Synthetic data says so: ``bench`` leaves a mark in every folder of phantoms that it writes."""

from __future__ import annotations

import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.dataset import Dataset

MARK = ".bench_phantom"  # of no case: hidden, and litter to every adapter (bench.dataset.LITTER)
NOTICE = "Synthetic scans, written by bench; nobody was scanned. Leave this file here: reports say so by it.\n"


def write(dataset: type[Dataset], folder: Path, cases: int, seed: int) -> None:
    """Write ``cases`` phantoms into a folder, new or empty, and mark them: aside first, so all of them or none.

    Raises:
        BenchError: the data set has no phantom, or not so many.
        OSError: it cannot be written; among them that another command was quicker.
    """
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    aside.mkdir(parents=True)  # tempfile's own are closed to the user's group, whatever the umask
    try:
        dataset.phantom(aside, cases, seed)
        mark(aside)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def mark(folder: Path) -> None:
    """Mark a folder of phantoms; one that cannot be written to stays as it is."""
    if not is_synthetic(folder):
        with suppress(OSError):
            (folder / MARK).write_text(NOTICE)


def is_synthetic(folder: Path) -> bool:
    """Tell whether a data set's folder was written by ``write``."""
    return (folder / MARK).is_file()
