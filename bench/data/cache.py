"""Many chunked, compressed arrays in a few files, read by box.

One pack is ``<name>-000.b2`` ... (concatenated Blosc2 frames, a new file at 1 GiB) and
``<name>.json``, which says where each array lies. A crop decodes only the blocks that it touches.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from bench.errors import BenchError, shown

ROLL = 1 << 30
BLOCK = 32  # voxels per block edge: the smallest unit that is decoded
AGAIN = "delete the folder of this job and run again"
HUGE = 1e30  # a step or offset above it is none
META: dict[str, tuple[type, ...]] = {  # what readers take out of an entry's meta
    "patient": (str,), "step": (float, int), "offset": (float, int), "spacing": (list, tuple),
    "geometry": (dict,),
}  # fmt: skip
CHUNK = 64  # voxels per chunk edge: the unit that is looked up


@dataclass(frozen=True)
class Entry:
    """Where one array lies, and what its reader must know about it."""

    file: str
    start: int
    length: int
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = type(self.start) is int and type(self.length) is int and min(self.start, self.length) >= 0
        if not whole or not isinstance(self.file, str) or Path(self.file).name != self.file:
            raise TypeError("an entry has no file, start and length")
        for name, kinds in META.items():
            value = self.meta.get(name, kinds[0]())
            if not isinstance(value, kinds) or (isinstance(value, float | int) and not abs(value) < HUGE):
                raise TypeError(f"{name} is {shown(value)}")


class PackWriter:
    """Append arrays to a pack; :meth:`close` writes the index. Use as a context manager."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._entries: dict[str, Entry] = {}
        self._shard, self._file = 0, (folder / f"{name}-000.b2").open("wb")
        blosc2.set_nthreads(1)

    def add(self, key: str, array: np.ndarray, **meta: Any) -> None:
        """Compress ``array`` (last three axes are x, y, z) under ``key``."""
        self.add_frame(key, compress(array), **meta)

    def add_frame(self, key: str, frame: bytes, **meta: Any) -> None:
        """Append what ``compress`` made under ``key``."""
        if self._file.tell() and self._file.tell() + len(frame) > ROLL:
            self._finish()
            self._shard += 1
            self._file = (self._folder / f"{self._name}-{self._shard:03d}.b2").open("wb")
        start = self._file.tell()
        self._file.write(frame)
        self._entries[key] = Entry(Path(self._file.name).name, start, len(frame), meta)

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
    """Read arrays of a pack; handles stay open."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        index = folder / f"{name}.json"
        try:
            read = json.loads(index.read_text())
            self._entries = {k: Entry(**e) for k, e in read.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BenchError(
                f"{index}: cannot be read ({error}); delete the folder {folder} and run again"
            ) from None

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def meta(self, key: str) -> dict[str, Any]:
        """Return what was stored beside the array."""
        return _Meta(self.folder, self._entry(key).meta)

    def __getitem__(self, key: str) -> Packed:
        entry = self._entry(key)
        return _open(str(self.folder / entry.file), entry.start)

    def _entry(self, key: str) -> Entry:
        if key not in self._entries:
            raise BenchError(f"{self.folder}: its index lacks case {shown(key)}; {AGAIN}")
        return self._entries[key]


class _Meta(dict[str, Any]):
    """What was stored beside an array; what is lacking is damage, named with the folder."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._folder = folder

    def __missing__(self, name: str) -> Any:
        raise BenchError(f"{self._folder}: an index lacks {name!r} of a case; {AGAIN}")


class Packed:
    """One array of a pack, decoded box by box as it is sliced."""

    def __init__(self, array: blosc2.NDArray, where: str) -> None:
        self._array, self._where = array, where
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype = array.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        try:
            found: np.ndarray = self._array[key]
        except (RuntimeError, ValueError) as error:
            raise BenchError(f"{self._where}: damaged ({error}); {AGAIN}") from None
        return found


def compress(array: np.ndarray) -> bytes:
    """Return one Blosc2 frame: zstd over shuffled bytes, blocks of 32 and chunks of 64 voxels."""
    lead = array.ndim - 3
    chunk = tuple(min(n, CHUNK) for n in array.shape[lead:])
    block = tuple(min(n, BLOCK) for n in array.shape[lead:])
    packed = blosc2.asarray(
        np.ascontiguousarray(array),
        chunks=(1,) * lead + chunk,
        blocks=(1,) * lead + block,
        cparams=blosc2.CParams(
            codec=blosc2.Codec.ZSTD, clevel=5, filters=[blosc2.Filter.SHUFFLE], nthreads=1
        ),
    )
    return packed.to_cframe()


@lru_cache(maxsize=4096)
def _open(path: str, start: int) -> Packed:
    # The handle decodes lazily; memory mapping keeps a crop free of system calls once it is warm.
    blosc2.set_nthreads(1)
    try:
        found = blosc2.open(path, mode="r", offset=start, mmap_mode="r")
    except (RuntimeError, ValueError, TypeError, SyntaxError, OverflowError, OSError) as error:
        raise BenchError(f"{path}: damaged at byte {start} ({error}); {AGAIN}") from None
    # A frame may also be a recipe for code, or hold Python objects: bytes of an array are neither.
    if type(found) is not blosc2.NDArray or found.dtype.kind not in "biuf":
        raise BenchError(f"{path}: no array of numbers at byte {start}; {AGAIN}")
    return Packed(found, f"{path}, byte {start}")
