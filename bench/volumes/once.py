"""Files that are read once: what was hashed is, byte for byte, what is decoded.

Data may be replaced while a case is made of it. Whoever opens a file by ``bench.volumes.zipped`` inside
``reading`` gets the bytes that were read first; folders are listed once, a zip's members are those of
the directory that was read first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

from bench.errors import BenchError
from bench.volumes.archive import Archive

Members = dict[str, tuple[int, int]]  # of a zip, by name: CRC-32 and bytes


class ChangedError(BenchError):
    """A file is not what it was a moment ago."""


class Once:
    """What was read so far: files, lists of folders, directories and members of zips."""

    def __init__(self) -> None:
        self.sealed = False  # from then on nothing is read that was not there before
        self._files: dict[Path, bytes] = {}
        self._folders: dict[Path, list[Path]] = {}
        self._zips: dict[Path, Members] = {}
        self._members: dict[tuple[Path, str], bytes] = {}
        self._opened: dict[Path, Archive] = {}  # a scan may be hundreds of members of one
        self._files_open = ExitStack()

    def file(self, path: Path) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: it cannot be read. ChangedError: it was not there before.
        """
        if path not in self._files:
            self._check(path)
            self._files[path] = path.read_bytes()
        return self._files[path]

    def folder(self, path: Path) -> list[Path]:
        """Return what lies in a folder; raises as ``file`` does."""
        if path not in self._folders:
            self._check(path)
            self._folders[path] = list(path.iterdir())
        return self._folders[path]

    def members(self, archive: Path) -> Members:
        """Return CRC-32 and size of every member of a zip; raises as ``file`` does, and BenchError."""
        if archive not in self._zips:
            self._check(archive)
            self._zips[archive] = members(archive)
        return self._zips[archive]

    def member(self, archive: Path, name: str) -> bytes:
        """Return the content of one member of a zip.

        Raises:
            BenchError: the zip is damaged. ChangedError: the member is another than its directory said.
        """
        if (archive, name) not in self._members:
            if archive not in self._opened:
                self._opened[archive] = self._files_open.enter_context(Archive(archive))
            content = self._opened[archive].read(name)
            if self.members(archive).get(name) != (zlib.crc32(content), len(content)):
                raise ChangedError(f"{archive}: {name} has changed since it was first read")
            self._members[archive, name] = content
        return self._members[archive, name]

    def close(self) -> None:
        """Close the zips that are open."""
        self._files_open.close()

    def _check(self, path: Path) -> None:
        if self.sealed:
            raise ChangedError(f"{path}: is new since the folder was first read")


_CURRENT: ContextVar[Once | None] = ContextVar("once", default=None)


def current() -> Once | None:
    """Return what is read once in this thread now, None outside ``reading``."""
    return _CURRENT.get()


@contextmanager
def reading() -> Iterator[Once]:
    """Have every file read once, in this thread, until the end of the block; holds them in memory."""
    held = Once()
    token = _CURRENT.set(held)
    try:
        yield held
    finally:
        _CURRENT.reset(token)
        held.close()


def members(archive: Path) -> Members:
    """Return CRC-32 and size of every member of a zip; no content is read.

    Raises:
        BenchError: the zip is damaged, or refused (see ``bench.volumes.archive``).
    """
    with Archive(archive) as judged:
        return {member.name: (member.crc, member.size) for member in judged}
