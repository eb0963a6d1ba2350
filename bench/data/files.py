"""Volume files by their names; imports no reader, so that adapters are quick to load."""

from __future__ import annotations

from pathlib import Path

from bench.dataset import clean

LONGEST = 255  # bytes of a file's name
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mhd", ".mha")


def is_volume(path: Path) -> bool:
    """Tell by its name whether a file is one that this module reads."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """Return a file's name without its volume suffix (``.nii.gz`` counts as one)."""
    low = path.name.lower()
    suffix = next((s for s in SUFFIXES if low.endswith(s)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]


def nameable(path: str) -> bool:
    """Tell whether a file of this path, as a listing states it, can exist and be printed."""
    name = Path(path).name
    return bool(stem(Path(path))) and path.isprintable() and len(name.encode()) <= LONGEST


def within(root: Path, depth: int) -> list[Path]:
    """Return everything up to ``depth`` levels below a folder, litter left out.

    Unlike ``rglob`` it follows symbolic links: people link data, they do not copy it.
    """
    return clean(p for n in range(1, depth + 1) for p in root.glob("/".join(["*"] * n)))
