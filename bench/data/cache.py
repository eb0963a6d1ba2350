"""Chunked, compressed arrays that lie one after the other in a few files, read by box.

A frame is one Blosc2 array. A crop decodes only the blocks that it touches. Frames are found
through an index: that of a :class:`Pack` (few arrays, JSON) or of ``bench.data.index`` (many).
"""

from __future__ import annotations

import json
import mmap
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import blosc2
import numpy as np

from bench import digest
from bench.errors import BenchError, Damaged, shown

ROLL = 1 << 30  # bytes after which the next file is begun
BLOCK, CHUNK = 32, 64  # edges of what is decoded at once and of what is looked up, in voxels
LEVEL = 3  # of zstd; see docs/speed.md
AGAIN = "delete the folder of this job and run again"
CHECKSUM = "its checksum is another"
Stamp = tuple[int, int, int]  # of ``bench.digest.stamp``
DAMAGED = (RuntimeError, ValueError, TypeError, SyntaxError, OverflowError, OSError, MemoryError)


def compress(array: np.ndarray) -> bytes:
    """Return one Blosc2 frame: zstd over shuffled bytes, cut along the last three axes.

    Blocks of 32 and chunks of 64 voxels a side; along thin axes (a picture has one voxel) the
    other sides are longer, so that a block always holds about as many.
    """
    lead = max(array.ndim - 3, 0)
    packed = blosc2.asarray(
        np.ascontiguousarray(array),
        chunks=(1,) * lead + _cut(array.shape[lead:], CHUNK),
        blocks=(1,) * lead + _cut(array.shape[lead:], BLOCK),
        cparams=blosc2.CParams(
            codec=blosc2.Codec.ZSTD, clevel=LEVEL, filters=[blosc2.Filter.SHUFFLE], nthreads=1
        ),
    )
    return packed.to_cframe()


def _cut(shape: tuple[int, ...], edge: int) -> tuple[int, ...]:
    """Return a box of ``edge`` a side, or of a power of two times that, with half of edge^3 or more."""
    enough, side = edge**3 // 2, edge
    while side < max(shape) and prod(min(n, side) for n in shape) <= enough:
        side *= 2
    return tuple(min(n, side) for n in shape)


class Place(NamedTuple):
    """Where one frame lies."""

    path: str
    start: int
    length: int
    crc: int | None  # None: stored before frames had checksums
    made: Stamp  # of the index that says so

    def mapped(self) -> memoryview:
        """Return the frame in the memory's address space; nothing is read until it is looked at.

        Raises:
            Damaged: the file is no regular file, or empty.
        """
        return _mapped(self.path, self.made, Path.cwd())[self.start : self.start + self.length]

    def check(self) -> None:
        """Compare the frame with its checksum.

        Raises:
            Damaged: it is another.
        """
        if self.crc is not None and zlib.crc32(self.mapped()) != self.crc:
            raise Damaged(Path(self.path), CHECKSUM, f"byte {self.start}")

    def read(self) -> bytes:
        """Return the frame; raises as ``check``."""
        self.check()
        return self.mapped().tobytes()


class Packed:
    """One array, decoded box by box as it is sliced; what is damaged is found by decoding it."""

    def __init__(self, array: blosc2.NDArray, path: Path, start: int) -> None:
        self._array, self._path, self._start = array, path, start
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype = array.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        try:
            voxels: np.ndarray = self._array[key]
        except DAMAGED as error:
            raise Damaged(self._path, str(error), f"byte {self._start}") from None
        return voxels


def unpacked(frame: bytes | memoryview, path: Path, start: int = 0) -> Packed:
    """Open a frame without decoding it.

    Args:
        frame: what ``compress`` made; kept in use, not copied.
        path: the file that it lies in, for messages.
        start: its first byte there.

    Raises:
        Damaged: it is no array of numbers.
    """
    blosc2.set_nthreads(1)
    try:
        array = blosc2.ndarray_from_cframe(frame)
        plain = list(array.schunk.meta) == ["b2nd"] and not len(array.schunk.vlmeta)
    except DAMAGED as error:
        raise Damaged(path, str(error), f"byte {start}") from None
    # A frame may also be a recipe for code, or hold Python objects: bytes of an array are neither.
    if type(array) is not blosc2.NDArray or not plain or array.dtype.kind not in "biuf":
        raise Damaged(path, "no array of numbers", f"byte {start}")
    return Packed(array, path, start)


# Opened again in 0.05 ms: few are kept, because each holds 0.1 MB, and its file open.
def opened_frame(span: Place) -> Packed:
    """Open the frame that lies somewhere in a file; raises as ``unpacked`` does."""
    return _frame(span, Path.cwd())


@lru_cache(maxsize=128)
def _frame(span: Place, _where: Path) -> Packed:
    return unpacked(span.mapped(), Path(span.path), span.start)


# One path may mean two files: it is relative to the folder that a process is in, and a job that was
# damaged is made anew under its name.
@lru_cache(maxsize=128)
def _mapped(path: str, _made: Stamp, _where: Path) -> memoryview:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a fifo would wait for ever
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError("no regular file")
            return memoryview(mmap.mmap(handle, 0, prot=mmap.PROT_READ))
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise Damaged(Path(path), digest.LOST) from None
    except (
        ValueError
    ) as error:  # no file, or an empty one; what the system refuses for now is no damage
        raise Damaged(Path(path), str(error)) from None


@dataclass(frozen=True)
class Entry:
    """Where one array lies."""

    file: str
    start: int
    length: int
    meta: dict[str, Any] = field(default_factory=dict)  # always empty; part of the format
    crc: int | None = None  # of the frame; packs of older versions have none

    def __post_init__(self) -> None:
        valid = (
            type(self.start) is int
            and type(self.length) is int
            and min(self.start, self.length) >= 0
        )
        if not valid or not isinstance(self.file, str) or Path(self.file).name != self.file:
            raise TypeError("an entry has no file, start and length")
        if self.crc is not None and type(self.crc) is not int:
            raise TypeError("a checksum is no number")
        if not isinstance(self.meta, dict):
            raise TypeError("meta is no object")


class PackWriter:
    """Append arrays to a pack; :meth:`close` writes the index. Use as a context manager.

    ``<name>-000.b2`` ... hold the frames (a new file at 1 GiB), ``<name>.json`` says where each lies.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._entries: dict[str, Entry] = {}
        self._shard, self._file = 0, (folder / f"{name}-000.b2").open("wb")
        blosc2.set_nthreads(1)

    def add(self, key: str, array: np.ndarray) -> None:
        """Compress ``array`` (last three axes are x, y, z) under ``key``."""
        self.add_frame(key, compress(array))

    def add_frame(self, key: str, frame: bytes) -> None:
        """Append what ``compress`` made under ``key``."""
        if self._file.tell() and self._file.tell() + len(frame) > ROLL:
            self._finish()
            self._shard += 1
            self._file = (self._folder / f"{self._name}-{self._shard:03d}.b2").open("wb")
        start = self._file.tell()
        self._file.write(frame)
        self._entries[key] = Entry(
            Path(self._file.name).name, start, len(frame), crc=zlib.crc32(frame)
        )

    def _finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Write the index; the pack is readable from here on."""
        self._finish()
        index = {k: asdict(e) for k, e in self._entries.items()}
        (self._folder / f"{self._name}.json").write_text(json.dumps(index))

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


class Pack:
    """Read the arrays of a pack; each frame is compared with its checksum when it is opened."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        index = folder / f"{name}.json"
        self._stamp = digest.stamp(index)
        try:
            read = json.loads(digest.read(index))
            self._entries = {k: Entry(**e) for k, e in read.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise Damaged(index, getattr(error, "strerror", None) or str(error)) from None

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __getitem__(self, key: str) -> Packed:
        if key not in self._entries:
            raise BenchError(f"{self.folder}: its index lacks case {shown(key)}; {AGAIN}")
        stored = self._entries[key]
        span = Place(
            str(self.folder / stored.file), stored.start, stored.length, stored.crc, self._stamp
        )
        span.check()
        return opened_frame(span)
