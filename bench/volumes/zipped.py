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
    if held is not None:
        _found(names(archive), archive, path)
        return io.BytesIO(held.member(archive, path.relative_to(archive).as_posix()))
    return io.BytesIO(_content(archive, path.relative_to(archive).as_posix(), _stamp(archive)))


def names(archive: Path) -> dict[str, int]:
    """Return the size in bytes of every file of a zip by its name; no content is read.

    Raises:
        BenchError: the zip is damaged, or refused as a whole (see ``bench.volumes.archive``).
    """
    held = once.current()
    if held is not None:
        return {name: size for name, (_, size) in held.members(archive).items()}
    return dict(_listing(archive, _stamp(archive)))


def inside(folder: Path) -> list[Path]:
    """Return what lies in a folder of the file system; raises OSError as ``Path.iterdir`` does."""
    held = once.current()
    return list(folder.iterdir()) if held is None else held.folder(folder)


def size(path: Path) -> int:
    """Return the bytes of a file or of a member of a zip; raises as ``opened`` does."""
    archive = None if path.is_file() else zip_of(path)
    if archive is None:
        held = once.current()
        return path.stat().st_size if held is None else len(held.file(path))
    return _found(names(archive), archive, path)


def _found(sizes: dict[str, int], archive: Path, path: Path) -> int:
    name = path.relative_to(archive).as_posix()
    if name not in sizes:
        raise FileNotFoundError(2, f"{archive.name} holds no {name}", str(path))
    return sizes[name]


def _stamp(archive: Path) -> tuple[int, int]:
    stat = archive.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=1024)
def _listing(archive: Path, _stamp: tuple[int, int]) -> dict[str, int]:
    with Archive(archive) as opened_archive:
        return {member.name: member.size for member in opened_archive}


# Header, voxels and checksum of one file are asked for one after the other.
@lru_cache(maxsize=2)
def _content(archive: Path, name: str, stamp: tuple[int, int]) -> bytes:
    _found(_listing(archive, stamp), archive, archive / name)
    with Archive(archive) as opened_archive:
        return opened_archive.read(name)
