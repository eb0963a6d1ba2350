"""Where each data set lies on this machine, and what its files hold."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: not TOML ({error})") from None
    folders = read.get("data", {})
    if not isinstance(folders, dict) or not all(isinstance(v, str) for v in folders.values()):
        raise BenchError(f"{path}: [data] maps data set names to folders")
    return {k: Path(v).expanduser() for k, v in folders.items()}


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


class Contents:
    """SHA-256 of files, remembered by path, size and modification time."""

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._known: dict[str, list] = {}
        if memory is not None and memory.is_file():
            try:
                self._known = json.loads(memory.read_text())
            except ValueError:
                self._known = {}  # a memory only: it is made again

    def digest(self, cases: Iterable[Case]) -> str:
        """Return one digest over ids, patients and every byte of images and labels."""
        cases = list(cases)
        paths = sorted({f for c in cases for f in files_of(c) if f.is_file()})
        with ThreadPoolExecutor(4) as pool:
            sums = dict(zip(paths, pool.map(self._file, paths), strict=True))
        rows = [
            [c.id, c.patient, [sums.get(f, "") for f in files_of(c)],
             c.label if isinstance(c.label, int) else None]
            for c in cases
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def _file(self, path: Path) -> str:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(path))
        if known and known[:2] == stamp:
            return known[2]
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[str(path)] = [*stamp, found]
        return found

    def save(self) -> None:
        """Remember what was hashed for the next command."""
        from bench.store import write_atomic

        if self._memory is not None and self._memory.parent.is_dir():
            with suppress(OSError):  # a memory only; `plan` may look where it cannot write
                write_atomic(self._memory, json.dumps(self._known))
