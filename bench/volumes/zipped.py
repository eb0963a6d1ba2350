"""Files that lie inside zip archives, read in place: ``a.zip/T1/T1.nii.gz``.

Bulk downloads come as one zip per visit, tens of thousands of them: unpacking doubles the disk.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from bench.dataset import zip_of
from bench.volumes import once
from bench.volumes.archive import Archive


def opened(path: Path) -> BinaryIO:
    """Open a file, or a member of a zip, for reading.

    Raises:
        OSError: it cannot be opened, as ``Path.open`` says. BenchError: the zip is damaged or refused.
    """
    archive, held = None if path.is_file() else zip_of(path), once.current()
    if archive is None:
        return path.open("rb") if held is None else io.BytesIO(held.file(path))
    name = _member(archive, path)
    content = held.member(archive, name) if held else _content(archive, name, _stamp(archive))
    return io.BytesIO(content)


def names(archive: Path) -> once.Members:
    """Return CRC-32 and size in bytes of every file of a zip by its name; no content is read.

    Raises:
        BenchError: the zip is damaged, or refused as a whole (see ``bench.volumes.archive``).
    """
    held = once.current()
    return held.members(archive) if held else _members(archive, _stamp(archive))


def inside(folder: Path) -> list[Path]:
    """Return what lies in a folder of the file system; raises OSError as ``Path.iterdir`` does."""
    held = once.current()
    return list(folder.iterdir()) if held is None else held.folder(folder)


def size(path: Path) -> int:
    """Return the bytes of a file or of a member of a zip; raises as ``opened`` does."""
    archive, held = None if path.is_file() else zip_of(path), once.current()
    if archive is not None:
        return names(archive)[_member(archive, path)][1]
    return path.stat().st_size if held is None else len(held.file(path))


def _member(archive: Path, path: Path) -> str:
    """Return the name of a member that is there."""
    name = path.relative_to(archive).as_posix()
    if name not in names(archive):
        raise FileNotFoundError(2, f"{archive.name} holds no {name}", str(path))
    return name


def _stamp(archive: Path) -> tuple[int, int]:
    stat = archive.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=1024)
def _members(archive: Path, _stamp: tuple[int, int]) -> once.Members:
    return once.members(archive)


# Header, voxels and checksum of one file are asked for one after the other.
@lru_cache(maxsize=2)
def _content(archive: Path, name: str, _stamp: tuple[int, int]) -> bytes:
    with Archive(archive) as judged:
        return judged.read(name)
