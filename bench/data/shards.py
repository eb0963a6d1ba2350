"""Frames of cases as they are made: appended to shard files, and journalled once they are on the disk.

Every writer has files of its own and only appends, and nobody else changes them: what was journalled
outlives a kill, and an orphan that comes back while the next attempt is at work.
A shard ``x.b2`` goes with its journal ``x.jsonl``: one line per case, written after its frames were
flushed. What follows in either is nobody's and is left behind.
"""

from __future__ import annotations

import json
import os
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from bench.data import cache, index
from bench.dataset import Case
from bench.errors import BenchError
from bench.volumes.resampling import Geometry

SMALL = 64 << 20  # bytes; shards below are copied together in the end
PIECE = 1 << 20  # bytes copied at a time
FLUSH = 1.0  # seconds of work that a kill may cost each writer, besides the case that it is at


@dataclass(frozen=True)
class Made:
    """One prepared case: what its row says, and its frames by name."""

    case: str
    content: str  # 32 hex digits, see ``bench.data.contents``
    geometry: Geometry
    step: float
    offset: float
    frames: Mapping[str, bytes]
    fault: str = ""  # why the case could not be read; then it has no frames

    @classmethod
    def unread(cls, case: str, content: str, fault: str) -> Self:
        """Return a case that could not be read."""
        return cls(
            case,
            content,
            Geometry((1, 1, 1), (1.0, 1.0, 1.0), ((0, 1),) * 3, (1, 1, 1)),
            0.0,
            0.0,
            {},
            fault,
        )


class Writer:
    """Appends cases to shards of its own; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._stem, self._shards = folder / uuid.uuid4().hex[:12], 0
        self._file: BinaryIO | None = None
        self._lines: list[str] = []
        self._flushed = time.monotonic()

    def add(self, made: Made) -> None:
        """Append a case; it counts from the next flush on."""
        size = sum(map(len, made.frames.values()))
        if self._file is not None and self._file.tell() + size > cache.ROLL:
            self.close()
        if self._file is None:
            self._file = self._path(".b2").open("xb")
        self._lines.append(json.dumps(self._entry(made, self._file)))
        if time.monotonic() - self._flushed > FLUSH:
            self.flush()

    def _entry(self, made: Made, file: BinaryIO) -> dict[str, Any]:
        places = {}
        for name, frame in made.frames.items():
            places[name] = [file.tell(), len(frame), zlib.crc32(frame)]
            file.write(frame)
        grid = made.geometry
        return {
            "case": made.case,
            "content": made.content,
            "step": made.step,
            "offset": made.offset,
            "native_shape": grid.native_shape,
            "native_spacing": grid.native_spacing,
            "box": grid.box,
            "shape": grid.shape,
            "frames": places,
            "fault": made.fault,
            **({"edges": grid.native_edges} if grid.native_edges else {}),
        }

    def flush(self) -> None:
        """Put what was added on the disk: first the frames, then the lines that vouch for them."""
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        with self._path(".jsonl").open("ab") as journal:
            journal.write("".join(f"{line}\n" for line in self._lines).encode())
            journal.flush()
            os.fsync(journal.fileno())
        self._lines, self._flushed = [], time.monotonic()

    def close(self) -> None:
        """Flush; whatever is added next goes to another file."""
        if self._file is not None:
            self.flush()
            self._file.close()
            self._file, self._shards = None, self._shards + 1

    def _path(self, suffix: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}-{self._shards:03d}{suffix}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()  # after a failure, too: what is finished is kept


class Gathered:
    """What writers left in a folder of the cases wanted, as rows of an index.

    ``rows`` is as ``bench.data.index.ROW`` says, its files counted as in ``files``; ``done`` tells
    which rows are filled. Memory is that of the rows, 0.25 kB per case.
    """

    def __init__(self, folder: Path, contents: Mapping[str, str]) -> None:
        """Read all journals; nothing is changed.

        Args:
            folder: where the writers wrote.
            contents: digest by case id, in the order of the index; a case of another content is left.
        """
        self.rows = np.zeros(len(contents), index.ROW)
        self.done = np.zeros(len(contents), bool)
        self.faults: dict[str, str] = {}  # by case, why it could not be read
        self.edges: dict[str, np.ndarray] = {}  # by case, where the axes are not at right angles
        self.files: list[tuple[Path, int]] = []  # and how many bytes of each count
        wanted = {
            case: (number, content) for number, (case, content) in enumerate(contents.items())
        }
        for shard in sorted(folder.glob("*.b2")):
            if filled := self._filled(shard, wanted):
                self.files.append((shard, max(_end(self.rows[number]) for number in filled)))

    def _filled(self, shard: Path, wanted: dict[str, tuple[int, str]]) -> list[int]:
        """Take over what a journal vouches for, as far as it and its shard are whole."""
        filled: list[int] = []
        size = shard.stat().st_size
        for entry in _entries(shard.with_suffix(".jsonl")):
            number, content = wanted.get(entry["case"], (-1, ""))
            if number < 0 or self.done[number] or entry["content"] != content:
                continue
            try:
                self.rows[number] = _row(entry, len(self.files))
                edges = np.array(entry["edges"], float).reshape(3, 3) if "edges" in entry else None
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
                break
            if _end(self.rows[number]) > size:
                break
            filled.append(number)
            if edges is not None:
                self.edges[entry["case"]] = edges
            if self.rows[number]["step"] == 0:
                self.faults[entry["case"]] = str(entry.get("fault") or "unreadable")
        if index.wrong(self.rows[filled], [*(end for _, end in self.files), size]):
            return []  # numbers that no writer wrote
        # Flushed before its line was written; a disk that lied about that loses its last bytes first.
        while filled and not _intact(shard, self.rows[filled[-1]]):
            filled.pop()
        self.done[filled] = True
        return filled

    def place(self, folder: Path) -> list[str]:
        """Put the shards into the job's folder and return their names; the rows then count by these.

        Large ones are linked, so that until the job is published nothing has left the folder that
        survives; small ones, as many short attempts leave them, become one file, and what a killed
        writer left is copied as far as it counts.
        """
        frames = self.rows["frames"]
        there = frames["length"] > 0
        first = {
            n: int(np.argmax((there & (frames["file"] == n)).any(1)))
            for n in range(len(self.files))
        }
        names: list[str] = []
        files, bases = np.zeros(len(self.files), np.int32), np.zeros(len(self.files), np.int64)
        room = 0
        for number in sorted(first, key=lambda n: first[n]):
            shard, size = self.files[number]
            if not names or size > min(room, SMALL):
                names.append(f"shard-{len(names):04d}.b2")
                room = cache.ROLL if size <= SMALL else 0
            target = folder / names[-1]
            if size <= SMALL or not _linked(shard, size, target):
                bases[number] = _append(shard, size, target)
            room -= size
            files[number] = len(names) - 1
        frames["start"] += np.where(there, bases[frames["file"]], 0)
        frames["file"] = np.where(there, files[frames["file"]], 0)
        return names


def join(found: Gathered, folder: Path, cases: Sequence[Case]) -> None:
    """Make a prepared data set of all shards: its index is in the order of ``cases``.

    Raises:
        BenchError: a case is lacking.
    """
    if not found.done.all():
        lacking = cases[int(np.argmin(found.done))].id
        raise BenchError(
            f"case {lacking}: its prepared data are lost; check the disk, then run again"
        )
    files = found.place(folder)
    # of a map
    unread = [0 if case.label is not None and case.id in found.faults else -1 for case in cases]
    labels = zip(cases, unread, strict=True)
    found.rows["class"] = [
        case.label if isinstance(case.label, int) else other for case, other in labels
    ]
    index.write(folder, found.rows, cases, files, found.faults, found.edges)
    index.Index(folder)  # refused here rather than by a later job


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal up to the first that is not whole."""
    try:
        with journal.open("rb") as file:
            for line in file:
                found = json.loads(line) if line.endswith(b"\n") else None
                if not isinstance(found, dict) or not isinstance(found.get("case"), str):
                    return
                yield {"content": None, **found}
    except (FileNotFoundError, ValueError, RecursionError):
        return


def _row(entry: dict[str, Any], file: int) -> np.ndarray:
    row = np.zeros((), index.ROW)
    for name in ("step", "offset", "native_shape", "native_spacing", "box", "shape"):
        row[name] = np.array(entry[name]).reshape(row[name].shape)
    row["class"] = -1
    row["content"] = np.frombuffer(bytes.fromhex(entry["content"]), np.uint8)
    for name, (start, length, crc) in entry["frames"].items():
        row["frames"][index.FRAMES.index(name)] = (file, start, length, crc)
    return row


def _end(row: np.ndarray) -> int:
    return int((row["frames"]["start"] + row["frames"]["length"]).max())


def _intact(shard: Path, row: np.ndarray) -> bool:
    with shard.open("rb") as file:
        for _, start, length, crc in row["frames"].tolist():
            file.seek(max(start, 0))
            if length and zlib.crc32(file.read(max(length, 0))) != crc:
                return False
    return True


def _linked(shard: Path, size: int, target: Path) -> bool:
    """Give a shard a second name, if all of it counts and the file system can."""
    if shard.stat().st_size != size:
        return False
    try:
        os.link(shard, target)
    except OSError:
        return False
    return True


def _append(shard: Path, size: int, target: Path) -> int:
    """Append the first ``size`` bytes of one file to another; return where they begin there."""
    with shard.open("rb") as source, target.open("ab") as file:
        start = file.tell()
        for at in range(0, size, PIECE):
            file.write(source.read(min(PIECE, size - at)))
    return start
