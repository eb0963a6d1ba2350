"""Archives that strangers made (zip, tar and compressed tar), read without trusting them.

Only regular files under plain relative names are let through. An archive that also holds a link,
a device, a name that leads out of its folder, two files of one name or more bytes than it can
honestly hold is refused as a whole. Members are read in place; ``extract`` writes them, never
over anything. Archives inside an archive are files like any other: nothing here opens them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn, Self, cast

from bench.errors import BenchError, printable

BLOCK = 1 << 20
LOCAL_HEADER = 30  # bytes of a zip entry's header before its name
LARGEST_READ = 64 << 20  # bytes asked for at once; only a forged directory or header asks for more
ENCRYPTED = 0x1  # zip's general purpose flag
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    RecursionError, NotImplementedError, ValueError,
)  # fmt: skip

KINDS: dict[object, str] = {  # of a zip's and of a tar's members
    stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link",
    tarfile.FIFOTYPE: "a fifo", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
}  # fmt: skip


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
    """One regular file of an archive; of a tar it can be read until the next one is asked for."""

    name: str  # relative, parts joined by /
    size: int  # bytes
    _archive: Archive
    _open: Callable[[], IO[bytes]]

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in pieces.

        Raises:
            BenchError: the archive is damaged here, or holds another number of bytes than it says.
        """
        got = 0
        with self._archive.guarded(), self._open() as file:
            while piece := file.read(BLOCK):
                got += len(piece)
                yield piece
            if got != self.size:
                raise EOFError(f"{self.name} ends after {got} of {self.size} bytes")

    def read(self) -> bytes:
        """Return the content; raises as ``chunks`` does."""
        return b"".join(self.chunks())


class Archive:
    """A zip or tar file; use as a context manager and iterate over its members.

    A zip is judged when it is opened, a tar while it is read; what is damaged, refused, or no
    archive raises BenchError.
    """

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path, self.limits = path, limits or Limits()
        self._files = ExitStack()
        self._zip: dict[str, Member] | None = None
        self._tar: tarfile.TarFile | None = None
        try:
            with self.guarded():
                if not stat.S_ISREG(path.stat().st_mode):  # opening a fifo waits for ever
                    raise BenchError(f"{path}: is no regular file")
                self._start(self._files.enter_context(path.open("rb")))
        except BenchError:
            self._files.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def __iter__(self) -> Iterator[Member]:
        if self._zip is not None:
            yield from self._zip.values()
        elif self._tar is not None:
            yield from self._tar_members(self._tar)

    def read(self, name: str) -> bytes:
        """Return one file's content, or raise BenchError; a tar is read on up to that file."""
        found = self._zip.get(name) if self._zip is not None else None
        found = found or next((m for m in self if m.name == name), None)
        if found is None:
            raise BenchError(f"{self.path}: holds no file {name!r}")
        return found.read()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what a damaged archive raises into one line that names it."""
        try:
            yield
        except DAMAGED as error:
            what = printable(str(error)) or type(error).__name__
            raise BenchError(f"{self.path}: damaged, or no archive ({what}); get it again") from None

    def _start(self, file: IO[bytes]) -> None:
        magic = file.read(6)
        file.seek(0)
        self._size = self.path.stat().st_size
        if magic.startswith(b"PK"):
            self._zip = self._judged_zip(zipfile.ZipFile(_Guarded(file)))
            return
        stream = self._files.enter_context(_decompressed(file, magic))
        self._tar = self._files.enter_context(tarfile.TarFile(fileobj=_Guarded(stream)))

    def _judged_zip(self, file: zipfile.ZipFile) -> dict[str, Member]:
        self._files.enter_context(file)
        judge, made = _Judge(self), dict[str, Member]()
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                judge.refuse(info.filename, f"is {KINDS.get(kind, 'something else')}, not a regular file")
            if info.flag_bits & ENCRYPTED:
                judge.refuse(info.filename, "is encrypted; decrypt the archive first")
            if info.is_dir() or kind == stat.S_IFDIR:
                judge.name(info.orig_filename.rstrip("/"))
                continue
            name = judge.file(info.orig_filename, info.file_size)
            made[name] = Member(name, info.file_size, self, partial(file.open, info))
        _apart(judge, file.infolist())
        return made

    def _tar_members(self, tar: tarfile.TarFile) -> Iterator[Member]:
        judge = _Judge(self)
        while True:
            with self.guarded():
                info = tar.next()
                tar.members.clear()  # type: ignore[attr-defined]  # else every header is kept
            if info is None:
                return
            if info.isdir():
                judge.name(info.name)
                continue
            if not info.isreg() or info.issparse():
                what = "a sparse file" if info.issparse() else KINDS.get(info.type, "something else")
                judge.refuse(info.name, f"is {what}, not a regular file")
            name = judge.file(info.name, info.size)
            yield Member(name, info.size, self, partial(_tar_file, tar, info))


def extract(archive: Path, folder: Path, limits: Limits | None = None) -> list[Path]:
    """Write an archive's files under a new folder, which appears whole or not at all.

    Permissions, owners and times of the archive are dropped: files get the user's umask.

    Raises:
        BenchError: the folder exists, or the archive is refused; nothing is left then.
    """
    if folder.exists() or folder.is_symlink():
        raise BenchError(f"{folder}: exists already; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{uuid.uuid4().hex}"
    aside.mkdir()
    try:
        with Archive(archive, limits) as opened:
            names = [_written(opened, member, aside) for member in opened]
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [folder / name for name in names]


def _written(archive: Archive, member: Member, folder: Path) -> str:
    path = folder / member.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for piece in member.chunks():
                file.write(piece)
    except OSError as error:
        raise BenchError(f"{archive.path}: {member.name!r} cannot be written ({error.strerror})") from None
    return member.name


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
            raise BenchError(f"{self._path}: refused, it has more than {self._limits.members} members")
        if name != printable(name):
            self.refuse(name, "has control characters in its name")
        if name.startswith("/") or "\\" in name or ":" in name.split("/")[0]:
            self.refuse(name, "has no plain relative name")
        if ".." in name.split("/"):
            self.refuse(name, "leads out of its folder")
        return str(PurePosixPath(name))

    def file(self, name: str, size: int) -> str:
        """Return a regular file's plain name, or refuse the file."""
        plain = self.name(name)
        if plain == ".":
            self.refuse(name, "has no name")
        if plain in self._seen:
            self.refuse(name, "is there twice")
        if not 0 <= size <= self._limits.member:
            self.refuse(name, f"declares {size} bytes, the limit is {self._limits.member}")
        self._seen.add(plain)
        self._total += size
        if self._total > self._most:
            self.refuse(name, f"makes more than {self._most:.0f} bytes of a small archive: a bomb")
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
            judge.refuse(info.filename, "overlaps with another: a bomb")
        end = info.header_offset + LOCAL_HEADER + info.compress_size


def _decompressed(file: IO[bytes], magic: bytes) -> IO[bytes]:
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(file))
    if magic.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(file))
    return cast(IO[bytes], lzma.open(file)) if magic.startswith(b"\xfd7zXZ") else file


def _tar_file(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    found = tar.extractfile(info)
    if found is None:
        raise ValueError(f"{info.name} cannot be read")
    return found
