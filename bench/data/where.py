"""Where each data set lies on this machine, and what its files hold."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import registry
from bench.dataset import Case, Dataset, files_of
from bench.errors import BenchError, unknown


@dataclass(frozen=True)
class Roots:
    """``--data DIR`` (or ``BENCH_DATA``) and the folders that ``bench.toml`` names one by one."""

    data: Path | None = None
    named: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def here(cls, data: Path | None) -> Roots:
        """Return the roots of this command: flag, environment, ``bench.toml``."""
        environment = os.environ.get("BENCH_DATA")
        data = data or (Path(environment) if environment else None)
        if data is not None and not data.is_dir():
            raise BenchError(f"{data}: no such data folder; name an existing one with --data")
        return cls(data, _toml(Path("bench.toml")))

    def find(self, name: str) -> Path | None:
        """Return a data set's folder, or None where it is not on this machine."""
        if name in self.named:
            return self.named[name]
        folder = self.data / name if self.data else None
        return folder if folder is not None and folder.is_dir() else None

    def require(self, name: str) -> Path:
        """Return a data set's folder.

        Raises:
            BenchError: it is not there; says where it was looked for.
        """
        found = self.find(name)
        if found is None:
            where = f"{self.data / name} does not exist" if self.data else "no --data DIR was given"
            raise BenchError(
                f"data set {name!r}: {where}; put it or a link to it there, name it in bench.toml "
                f"under [data], or make a phantom with 'bench phantom {name} DIR'"
            )
        return found


def _toml(path: Path) -> dict[str, Path]:
    if not path.is_file():
        return {}
    try:
        read = tomllib.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # among them TOMLDecodeError
        raise BenchError(f"{path}: not TOML ({error})") from None
    folders = read.get("data", {})
    if not isinstance(folders, dict) or not all(isinstance(v, str) for v in folders.values()):
        raise BenchError(f"{path}: [data] maps data set names to folders")
    return {name: _folder(path, name, Path(text)) for name, text in folders.items()}


def _folder(path: Path, name: str, folder: Path) -> Path:
    try:
        found = folder.expanduser()
        found.exists()  # it may be absent, but not impossible
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BenchError(f"{path}: [data] {name}: {why}; name an existing folder") from None
    return found


def adapter(name: str, roots: Roots) -> Dataset:
    """Return a registered adapter, or one read from a folder in MSD layout.

    Raises:
        BenchError: neither is there; names the nearest registered one.
    """
    if name in registry.names("dataset"):
        return registry.load("dataset", name)()
    folder = roots.find(name)
    if folder is not None and (folder / "dataset.json").is_file():
        from bench.data.msd import msd_folder

        return msd_folder(folder)
    raise BenchError(
        unknown("data set", name, registry.names("dataset"))
        + "; any folder with a dataset.json in MSD layout works by its name under --data"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header(path: Path) -> list[Any]:
    from bench.data.volume import read_header

    header = read_header(path)
    return [list(header.shape), header.channels]


def _beside(path: Path) -> Path | None:
    """Return the file of the voxels, where a header is a file of its own."""
    if path.suffix.lower() != ".mhd":
        return None
    from bench.data.metaimage import data_file

    with suppress(BenchError):  # check_headers says what is wrong
        data = data_file(path)
        return data if data.is_file() else None
    return None


class Contents:
    """SHA-256 and headers of files, remembered by path, size and modification time."""

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._known: dict[str, list] = {}
        if memory is not None and memory.is_file():
            try:
                read = json.loads(memory.read_text())
                self._known = dict(read) if isinstance(read, dict) else {}
            except (ValueError, RecursionError):
                self._known = {}  # a memory only: it is made again

    def digest(self, cases: Iterable[Case]) -> str:
        """Return one digest over ids, patients and every byte of images and labels."""
        cases = list(cases)
        paths = sorted({f for c in cases for f in files_of(c) if f.is_file()})
        with ThreadPoolExecutor(4) as pool:
            sums = dict(zip(paths, pool.map(self._file, paths), strict=True))
        rows = [
            [c.id, c.patient, [sums.get(f, "") for f in files_of(c)],
             c.label if isinstance(c.label, int) else None, *([] if c.frame is None else [c.frame])]
            for c in cases
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def check_headers(self, name: str, cases: Sequence[Case], channels: int) -> None:
        """Refuse what the files' headers already give away; no voxel is decoded.

        Raises:
            BenchError: a damaged header, an image and a label that cannot belong together, or
                another number of channels than ``channels``; says how many cases, shows the first.
        """
        with ThreadPoolExecutor(4) as pool:
            faults = [f for f in pool.map(lambda case: self._fault(case, channels), cases) if f]
        if faults:
            raise BenchError(
                f"{name}: {len(faults)} of {len(cases)} cases cannot be used, first {faults[0]}; "
                f"mend or remove them, 'bench check {name} --data ...' lists all"
            )

    def _fault(self, case: Case, channels: int) -> str:
        try:
            images = [self._remembered(f"header {f}", f, _header) for f in case.images]
            labels = [self._remembered(f"header {f}", f, _header) for f in files_of(case)[len(images) :]]
        except BenchError as error:
            return str(error)
        found = sum(count if case.frame is None else 1 for _, count in images)
        if found != channels:
            return f"{case.images[0]}: {found} channel(s), the data set declares {channels}"
        few = min(count for _, count in [*images, *labels])
        if case.frame is not None and case.frame >= few:
            return f"{case.images[0]}: frame {case.frame} of {few} (counted from 0) is not there"
        first = images[0][0]
        for file, (shape, _) in zip(files_of(case)[1:], [*images[1:], *labels], strict=True):
            if sorted(shape) != sorted(first):  # the order of axes may differ between two headers
                return f"{file}: {tuple(shape)} voxels, its image {case.images[0].name}: {tuple(first)}"
        return ""

    def _file(self, path: Path) -> str:
        found: str = self._remembered(str(path), path, _sha256)
        data = _beside(path)
        if data is not None:
            found += self._remembered(str(data), data, _sha256)
        return found

    def _remembered(self, key: str, path: Path, find: Callable[[Path], Any]) -> Any:
        try:
            stat = path.stat()
        except OSError as error:
            raise BenchError(f"{path}: cannot be read ({error.strerror})") from None
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(key)
        if known and known[:2] == stamp:
            return known[2]
        found = find(path)
        self._known[key] = [*stamp, found]
        return found

    def save(self) -> None:
        """Remember what was hashed for the next command."""
        from bench.store import write_atomic

        if self._memory is not None and self._memory.parent.is_dir():
            with suppress(OSError):  # a memory only; `plan` may look where it cannot write
                write_atomic(self._memory, json.dumps(self._known))
