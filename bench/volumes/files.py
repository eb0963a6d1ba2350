"""Volume files by their names; imports no reader, so that adapters are quick to load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from bench.dataset import LITTER, clean
from bench.errors import BenchError

Item = TypeVar("Item", Path, os.DirEntry[str])
LOOKED_AT = 20  # files and folders of a folder that are asked for DICOM
LONGEST = 255  # bytes of a file's name
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mhd", ".mha")
DICOM = "DICOM; convert it with dcm2niix"
MAGIC = b"DICM"  # at byte 128
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def is_volume(path: Path | str) -> bool:
    """Tell by its name whether a file is one that this module reads."""
    return str(path).lower().endswith(SUFFIXES)


def is_there(path: Path) -> bool:
    """Tell whether there is such a file; there is none whose name no system takes."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture that is read here."""
    return path.name.lower().endswith(PICTURES)


def is_dicom(path: Path) -> bool:
    """Tell by its first bytes, or by a name of the format's own, whether a file is DICOM."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return path.suffix.lower() in (".dcm", ".ima") or file.read(132)[128:] == MAGIC
    except (OSError, ValueError):
        return False


def dicom_inside(folder: Path, depth: int = 3) -> str:
    """Return in words that there is DICOM in a folder, to end a message with; else nothing.

    The first files of each folder stand for the rest: scans have thousands of slices.
    """
    try:
        inside = sorted(islice(folder.iterdir(), LOOKED_AT))
    except OSError:
        return ""
    if any(is_dicom(path) for path in inside):
        return f"; {folder} holds {DICOM}"
    below = (dicom_inside(path, depth - 1) for path in inside if depth > 1 and path.is_dir())
    return next(filter(None, below), "")


def stem(path: Path | str) -> str:
    """Return a file's name without its suffix (``.nii.gz`` counts as one)."""
    name = os.path.basename(path)  # noqa: PTH119 - a Path for each of 200 000 names takes longer than all else
    low = name.lower()
    for suffix in SUFFIXES:
        if low.endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def nameable(path: str) -> bool:
    """Tell whether a file of this path, as a listing states it, can exist and be printed."""
    name = os.path.basename(path)  # noqa: PTH119
    return bool(stem(name)) and path.isprintable() and len(name.encode()) <= LONGEST


def within(root: Path, depth: int) -> list[Path]:
    """Return everything up to ``depth`` levels below a folder, litter left out.

    Unlike ``rglob`` it follows symbolic links: people link data, they do not copy it. A link to a
    folder above itself is not entered.

    Raises:
        BenchError: a folder cannot be listed; what lies in it would be missing without a word.
    """
    return clean(_walk(root, depth, (os.path.realpath(root),)))


def inside(folder: Path) -> dict[str, Path]:
    """Return what lies in a folder by its name, litter left out, in no order; nothing where there is none.

    Raises:
        BenchError: it cannot be listed.
    """
    return {path.name: path for path in _listed(folder, Path.iterdir)}


def _listed(folder: Path, entries: Callable[[Path], Iterable[Item]]) -> list[Item]:
    try:
        return [item for item in entries(folder) if not LITTER.match(item.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise BenchError(
            f"{folder}: cannot be listed ({error.strerror}); correct its permissions"
        ) from None


def _walk(folder: Path, depth: int, above: tuple[str, ...]) -> Iterator[Path]:
    for item in _listed(folder, os.scandir):
        path = folder / item.name
        yield path
        if depth > 1 and _is_folder(item):
            real = os.path.realpath(path) if item.is_symlink() else f"{above[-1]}/{item.name}"
            if real not in above:
                yield from _walk(path, depth - 1, (*above, real))


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link in a circle, or behind a closed folder
        return False
