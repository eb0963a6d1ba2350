"""Zip archives that strangers made, read in place without trusting them.

Only regular files under plain relative names are let through. An archive that also holds a link,
a device, a name that leads out of its folder, two files of one name or more bytes than it can
honestly hold is refused as a whole. Archives inside an archive are files like any other: nothing
here opens them.
"""

from __future__ import annotations

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn, Self

from bench.errors import BenchError, printable

LOCAL_HEADER = 30  # bytes of a zip entry's header before its name
LARGEST_READ = 64 << 20  # bytes asked for at once; only a forged directory or header asks for more
ENCRYPTED = 0x1  # zip's general purpose flag
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RecursionError,
    NotImplementedError,
    ValueError,
)

KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Limits:
    """What an archive may hold, decompressed; the defaults fit every data set in use here."""

    member: int = 4 << 30  # bytes of one file
    total: int = 256 << 30  # bytes of all
    members: int = 500_000
    ratio: float = 100.0  # bytes of all per byte of the archive
    free: int = 1 << 30  # bytes up to which the ratio is not asked: an empty mask deflates 1000 : 1

    def bomb(self, size: int, packed: int) -> bool:
        """Tell whether this many bytes are more than so many compressed ones honestly hold."""
        return size > max(self.free, self.ratio * packed)


@dataclass(frozen=True)
class Member:
    """One regular file of an archive."""

    name: str  # relative, parts joined by /
    size: int  # bytes
    crc: int
    _archive: Archive
    _open: Callable[[], IO[bytes]]

    def read(self) -> bytes:
        """Return the content.

        Raises:
            BenchError: the archive is damaged here, or holds another number of bytes than it says.
        """
        with self._archive.guarded(), self._open() as file:
            content = file.read(self.size)
            if len(content) != self.size or file.read(1):
                raise EOFError(
                    f"{self.name} does not hold the {self.size} bytes that its header declares"
                )
            return content


class Archive:
    """A zip file; use as a context manager and iterate over its members.

    It is judged when it is opened: what is damaged, refused, or no zip raises BenchError.
    """

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path, self.limits = path, limits or Limits()
        self._files = ExitStack()
        try:
            with self.guarded():
                if not stat.S_ISREG(path.stat().st_mode):  # opening a fifo waits for ever
                    raise BenchError(f"{path}: is not a regular file")
                self._size = path.stat().st_size
                if not self._size:
                    raise EOFError("empty file")
                file = zipfile.ZipFile(_Guarded(self._files.enter_context(path.open("rb"))))
                self._members = self._judged(self._files.enter_context(file))
        except BenchError:
            self._files.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def read(self, name: str) -> bytes:
        """Return one file's content, or raise BenchError."""
        if name not in self._members:
            raise BenchError(f"{self.path}: holds no file {name!r}")
        return self._members[name].read()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what a damaged archive raises into one line that names it."""
        try:
            yield
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise BenchError(f"{self.path}: cannot be read ({error.strerror})") from None
        except DAMAGED as error:
            what = printable(str(error)) or type(error).__name__
            raise BenchError(
                f"{self.path}: damaged, or not an archive ({what}); download it again"
            ) from None

    def _judged(self, file: zipfile.ZipFile) -> dict[str, Member]:
        judge, members = _Judge(self), dict[str, Member]()
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                judge.refuse(
                    info.filename, f"is {KINDS.get(kind, 'something else')}, not a regular file"
                )
            if info.flag_bits & ENCRYPTED:
                judge.refuse(info.filename, "is encrypted; decrypt the archive first")
            if info.is_dir() or kind == stat.S_IFDIR:
                judge.name(info.orig_filename.rstrip("/"))
                continue
            name = judge.file(info.orig_filename, info.file_size)
            members[name] = Member(name, info.file_size, info.CRC, self, partial(file.open, info))
        _apart(judge, file.infolist())
        return members


class _Judge:
    """Sees every entry once, in order, before its content is touched."""

    def __init__(self, archive: Archive) -> None:
        self._path, self._limits = archive.path, archive.limits
        self._most = min(self._limits.total, self._limits.free + self._limits.ratio * archive._size)
        self._seen: set[str] = set()
        self._count, self._total = 0, 0

    def refuse(self, name: str, why: str) -> NoReturn:
        raise BenchError(f"{self._path}: refused, its member {name!r} {why}")

    def name(self, name: str) -> str:
        """Return a plain relative name, or refuse it."""
        self._count += 1
        if self._count > self._limits.members:
            raise BenchError(
                f"{self._path}: refused, it has more than {self._limits.members} members"
            )
        if name != printable(name):
            self.refuse(name, "has control characters in its name")
        if name.startswith("/") or "\\" in name or ":" in name.split("/")[0]:
            self.refuse(name, "has an absolute path or '\\' or ':' in its name")
        if ".." in name.split("/"):
            self.refuse(name, "leads out of its folder")
        return str(PurePosixPath(name))

    def file(self, name: str, size: int) -> str:
        """Return a regular file's plain name, or refuse the file."""
        plain = self.name(name)
        if plain == ".":
            self.refuse(name, "has no name")
        if plain in self._seen:
            self.refuse(name, "is in the archive twice")
        if not 0 <= size <= self._limits.member:
            self.refuse(name, f"declares {size} bytes, the limit is {self._limits.member}")
        self._seen.add(plain)
        self._total += size
        if self._total > self._most:
            self.refuse(
                name,
                f"would unpack to more than {self._most:.0f} bytes, too much for such a small "
                "archive (a zip bomb?)",
            )
        return plain


class _Guarded(io.RawIOBase):
    """A file of which nobody reads too much: directories and headers are read as long as they claim."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > LARGEST_READ:
            raise ValueError(f"{size} bytes of header")
        return self._file.read(size if size >= 0 else LARGEST_READ)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def _apart(judge: _Judge, infos: list[zipfile.ZipInfo]) -> None:
    """Refuse entries that share compressed bytes: many large files out of one small one."""
    end = 0
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset < end:
            judge.refuse(info.filename, "overlaps with another member (a zip bomb?)")
        end = info.header_offset + LOCAL_HEADER + info.compress_size
