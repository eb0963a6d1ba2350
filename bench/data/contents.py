"""What the files of a data set hold: digests and headers, remembered by path, size and time.

A file counts by its SHA-256, a folder by the names and bytes of its files in order, a member of a
zip by the CRC-32 and size that the zip's directory states: reading tens of thousands of zips whole,
only to name them, would take longer than preparing them. A damaged zip counts as a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from bench.dataset import Case, clean, files_of, zip_of
from bench.errors import BenchError
from bench.ranges import Triple
from bench.volumes import zipped
from bench.volumes.files import is_there
from bench.workers import work

THREADS = 4
MANY = 500  # files that a thread or a process is handed at one time
SLOW = 2e-5  # seconds to ask about a file from which threads wait side by side: a file system on a network
ALONE = 4000  # files to read for the first time from which processes pay
SUM, HEADER = 1, 2  # places in an entry of the memory, after the stamp
UNKNOWN = "-"
FORMS = {
    SUM: re.compile(r"[0-9a-f]{64}"),
    HEADER: re.compile(r"[0-9]{1,9}(x[0-9]{1,9}){3}(@[0-9.e+-]{1,30}){3}"),
}
Progress = Callable[[int, int], None]  # how many of how many
Bar = Callable[[str], AbstractContextManager[Progress]]
Grid = tuple[Triple, tuple[float, float, float]]  # voxels and mm along x, y, z
Readings = dict[str, str | BenchError]


def no_bar(text: str) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return nullcontext(lambda done, total: None)


class Contents:
    """Digests and headers; opened once per command, which sees every file as it is at its first look."""

    def __init__(self, memory: Path | None, bar: Bar = no_bar) -> None:
        self._memory, self._changed, self._bar = memory, False, bar
        self._stamps = dict[str, str]()
        # path -> "stamp sum header"; texts, because 100 000 lists keep the garbage collector busy
        self._records: dict[str, str] = {}
        if memory is not None and memory.is_file():
            try:
                read = json.loads(memory.read_text())
                self._records = read if isinstance(read, dict) else {}
            except (ValueError, RecursionError):
                self._records = {}  # a memory only: it is made again

    def digest(self, cases: Iterable[Case]) -> str:
        """Return one digest over ids, patients, meta and every byte of images and labels."""
        return self.promised(cases)[0]

    def each(self, cases: Iterable[Case]) -> dict[str, str]:
        """Return one digest per case id: what its prepared arrays are made of, 32 hex digits."""
        return self.promised(cases)[1]

    def promised(self, cases: Iterable[Case]) -> tuple[str, dict[str, str]]:
        """Return ``digest`` and ``each`` of one and the same look at the files."""
        cases, each, rows = list(cases), dict[str, str](), list[list[Any]]()
        for case, sums in zip(cases, self._sums(cases), strict=True):
            label = _label(case)
            each[case.id] = _content(sums, label)
            rows.append([case.id, case.patient, sums, *label, *([case.meta] if case.meta else [])])
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16], each

    def header_faults(self, cases: Sequence[Case], channels: int) -> dict[str, str]:
        """Return, by case id, what the files' headers already give away; no voxel is decoded.

        Among the faults are a damaged header, an image and a label that cannot belong together, and
        another number of channels than ``channels``.
        """
        names = _names(cases)
        headers = self._recalled({name: None for files in names for name in files}, HEADER, _header)
        faults, sound = dict[str, str](), set[tuple[object, ...]]()
        for case, files in zip(cases, names, strict=True):
            read = [headers[name] for name in files]
            alike = (len(case.images), case.frame, *read)  # headers of many scans are alike
            if alike in sound:
                continue
            if fault := _fault(case, files_of(case), read, channels):
                faults[case.id] = fault
            else:
                sound.add(alike)
        return faults

    def grids(self, cases: Iterable[Case]) -> Counter[Grid]:
        """Return the sizes, each with its spacing, that headers of cases' first images state, and how often."""
        names = [str(case.images[0]) for case in cases]
        headers = self._recalled(dict.fromkeys(names), HEADER, _header)
        grids = Counter[Grid]()
        for text, count in Counter(str(headers[name]) for name in names).items():
            if FORMS[HEADER].fullmatch(text):
                shape, *spacing = text.split("@")
                (x, y, z, _), (dx, dy, dz) = map(int, shape.split("x")), map(float, spacing)
                grids[(x, y, z), (dx, dy, dz)] += count
        return grids

    def file(self, path: Path) -> str:
        """Return the SHA-256 of a file; of one that is gone as it was seen last, empty where it never was."""
        name = str(path.absolute())
        if is_there(path):
            record = [_stamp(name), _sha256(path), UNKNOWN]
            self._changed = self._changed or self._records.get(name) != " ".join(record)
            self._records[name] = " ".join(record)
        else:
            text = self._records.get(name, "")
            record = text.split(" ") if isinstance(text, str) else []
        return record[SUM] if len(record) == 3 and FORMS[SUM].fullmatch(record[SUM]) else ""

    def forget(self, case: Case) -> None:
        """Drop what is remembered of a case's files, whose bytes are others than was remembered."""
        for file in files_of(case):
            for name in (str(file), str(_voxel_file(str(file)) or "")):
                self._changed = self._records.pop(name, None) is not None or self._changed
                self._stamps.pop(name, None)

    def save(self) -> None:
        """Remember what was hashed for the next command."""
        from bench.store import write_atomic

        if self._changed and self._memory is not None and self._memory.parent.is_dir():
            with suppress(OSError):  # a memory only; `plan` may look where it cannot write
                write_atomic(self._memory, json.dumps(self._records))

    def _sums(self, cases: Sequence[Case]) -> Iterator[list[str]]:
        """Yield the sum of every file of each case; empty where there is no file."""
        files = _names(cases)
        names = {name: None for group in files for name in group}
        voxel_files = {name: str(data) for name in names if (data := _voxel_file(name)) is not None}
        sums = dict[str, str]()
        for name, value in self._recalled(
            names | dict.fromkeys(voxel_files.values()), SUM, _sum
        ).items():
            if isinstance(value, BenchError):
                raise value
            sums[name] = value
        for name, voxels in voxel_files.items():
            sums[name] += sums[voxels]
        yield from ([sums[name] for name in group] for group in files)

    def _recalled(
        self, names: Collection[str], column: int, find: Callable[[str], str]
    ) -> Readings:
        """Return what is known of each path, found anew where its stamp is another; or the BenchError."""
        readings, lacking, formed = Readings(), list[str](), FORMS[column].fullmatch
        self._look(names)
        for name in names:
            stamp, text = self._stamps[name], self._records.get(name, "")
            record = text.split(" ") if isinstance(text, str) else []
            if stamp and len(record) == 3 and record[0] == stamp and formed(record[column]):
                readings[name] = record[column]
            else:
                lacking.append(name)
        for name, value in self._read(lacking, find):
            readings[name] = value
            if self._stamps[name] and isinstance(value, str):
                record = self._record(name, self._stamps[name])
                record[column] = value
                self._records[name] = " ".join(record)
                self._changed = True
        return readings

    def _look(self, names: Iterable[str]) -> None:
        """Ask the file system about files that nobody looked at yet, one by one while it answers at once."""
        new = [name for name in names if name not in self._stamps]
        first, start = new[:MANY], time.perf_counter()
        self._stamps |= {name: _stamp(name) for name in first}
        if time.perf_counter() - start < SLOW * len(first):
            self._stamps |= {name: _stamp(name) for name in new[MANY:]}
            return
        with ThreadPoolExecutor(THREADS) as pool:
            for group in pool.map(_stamped, _groups(new[MANY:])):
                self._stamps |= group

    def _read(
        self, names: Sequence[str], find: Callable[[str], str]
    ) -> Iterator[tuple[str, str | BenchError]]:
        """Yield what is found in files: by threads, or where they are many by as many processes as cores."""
        cores = os.cpu_count() or 1
        if len(names) < ALONE or cores == 1:
            with ThreadPoolExecutor(THREADS) as pool:
                yield from zip(names, pool.map(partial(_tried, find), names), strict=True)
            return
        done = 0
        every = work(_groups(names), partial(_reader, find), cores)
        with self._bar("reading files for the first time") as progress, closing(every) as groups:
            for group in groups:
                yield from group.items()
                done += len(group)
                progress(done, len(names))

    def _record(self, name: str, stamp: str) -> list[str]:
        """Return stamp, sum and header of a file as far as they are known of its present state."""
        text = self._records.get(name)
        record = text.split(" ") if isinstance(text, str) else []
        if len(record) != 3 or not stamp or record[0] != stamp:
            return [stamp, UNKNOWN, UNKNOWN]
        values = [
            UNKNOWN if FORMS[column].fullmatch(record[column]) is None else record[column]
            for column in FORMS
        ]
        return [stamp, *values]


def content_of(case: Case) -> str:
    """Return what ``Contents.each`` says of one case, out of its files as they are read now.

    Raises:
        BenchError: a zip is damaged. OSError: a file cannot be read.
    """
    files = [(str(file), _voxel_file(str(file))) for file in files_of(case)]
    sums = [_sum(name) + (_sum(str(voxels)) if voxels else "") for name, voxels in files]
    return _content(sums, _label(case))


def _names(cases: Iterable[Case]) -> list[list[str]]:
    return [[str(file) for file in files_of(case)] for case in cases]


def _content(sums: list[str], label: list[int | None]) -> str:
    # json.dumps([sums, *label]), whose encoder takes longer to be made than this text, 100 000 times
    text = ", ".join(['["' + '", "'.join(sums) + '"]', *map(str, label)]).replace("None", "null")
    return hashlib.sha256(f"[{text}]".encode()).hexdigest()[:32]


def _label(case: Case) -> list[int | None]:
    label = case.label if isinstance(case.label, int) else None
    return [label] if case.frame is None else [label, case.frame]


class _Group(tuple[str, ...]):
    """Files that are handed over together."""

    def __str__(self) -> str:
        return f"{self[0]} and {len(self) - 1} files more"


def _groups(names: Sequence[str]) -> list[_Group]:
    return [_Group(names[start : start + MANY]) for start in range(0, len(names), MANY)]


def _stamped(names: _Group) -> dict[str, str]:
    return {name: _stamp(name) for name in names}


@contextmanager
def _reader(find: Callable[[str], str]) -> Iterator[Callable[[_Group], Readings]]:
    yield lambda names: {name: _tried(find, name) for name in names}


def _fault(
    case: Case, files: Sequence[Path], headers: Sequence[str | BenchError], channels: int
) -> str:
    shapes, counts = list[tuple[int, ...]](), list[int]()
    for header in headers:
        if isinstance(header, BenchError):
            return str(header)
        sizes = tuple(map(int, header.partition("@")[0].split("x")))
        shapes.append(sizes[:-1])
        counts.append(sizes[-1])
    images = counts[: len(case.images)]
    present = sum(images) if case.frame is None else len(images)
    if present != channels:
        return f"{files[0]}: {present} channel(s), the data set declares {channels}"
    if case.frame is not None and case.frame >= min(counts):
        return f"{files[0]}: frame {case.frame} of {min(counts)} (counted from 0) is not there"
    for file, shape in zip(files[1:], shapes[1:], strict=True):
        if sorted(shape) != sorted(shapes[0]):  # the order of axes may differ between two headers
            return f"{file}: {shape} voxels, its image {files[0].name}: {shapes[0]}"
    return ""


def _tried(find: Callable[[str], str], name: str) -> str | BenchError:
    try:
        return find(name)
    except BenchError as error:
        return error
    except OSError as error:
        return BenchError(f"{name}: cannot be read ({error.strerror})")


def _header(name: str) -> str:
    from bench.volumes.reading import read_header

    header = read_header(Path(name))
    if header.stated.conflict:
        raise BenchError(f"{name}: {header.stated.conflict}")
    shape = "x".join(str(n) for n in (*header.shape, header.channels))
    return "@".join([shape, *(str(float(side)) for side in header.spacing)])


def _voxel_file(name: str) -> Path | None:
    """Return the file of the voxels, where a header is a file of its own and this is there."""
    data = voxel_file(name)
    return data if data is not None and data.is_file() else None


def voxel_file(name: str) -> Path | None:
    """Return the file of voxels that a header names, where it is a file of its own; it need not exist."""
    if name.lower().endswith(".mhd"):
        from bench.volumes.metaimage import data_file
    elif name.lower().endswith(".nhdr"):
        from bench.volumes.nrrd import data_file
    else:
        return None
    with suppress(BenchError):  # header_faults says what is wrong
        return data_file(Path(name))
    return None


def _stamp(name: str) -> str:
    """Return what changes with a file, a folder's files or a zip; empty where there is none of these."""
    try:
        status = os.stat(name)  # noqa: PTH116 - a Path for each of 100 000 files takes longer than the answer
    except (OSError, ValueError):
        archive = zip_of(Path(name))
        return "" if archive is None else _stamp(str(archive))
    if stat.S_ISREG(status.st_mode):
        return f"{status.st_size}:{status.st_mtime_ns}"
    if stat.S_ISDIR(status.st_mode):
        inside = [f"{path.name}/{_stamp(str(path))}" for path in _inside(name)]
        return hashlib.sha256("\n".join(inside).encode()).hexdigest()
    return ""


def _inside(name: str) -> list[Path]:
    return clean(path for path in zipped.inside(Path(name)) if path.is_file())


def _sum(name: str) -> str:
    path = Path(name)
    if path.is_file():
        return _sha256(path)
    if path.is_dir():
        return _listed([[inside.name, _sha256(inside)] for inside in _inside(name)])
    archive = zip_of(path)
    if archive is None:
        return ""
    try:
        members = zipped.names(archive)
    except BenchError:  # nothing can be read of it; the bytes tell when it was mended
        return _sha256(archive)
    member = path.relative_to(archive).as_posix()
    if member in members:
        return _listed([list(members[member])])
    below = [[key, *value] for key, value in members.items() if key.startswith(f"{member}/")]
    return _listed(sorted(below)) if below else ""


def _listed(value: list[list[Any]]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with zipped.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
