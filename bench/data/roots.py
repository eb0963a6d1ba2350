"""Where each data set lies on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from bench import registry
from bench.data.contents import Contents as Contents
from bench.dataset import Dataset
from bench.document import read_toml
from bench.errors import BenchError, Misstated, unknown
from bench.typed import SURE


@dataclass(frozen=True)
class Roots:
    """``--data DIR`` (or ``BENCH_DATA``) and the folders that ``bench.toml`` names one by one."""

    data: Path | None = None
    named: dict[str, Path] = field(default_factory=dict)
    # is all of it synthetic? Then a pretraining list may name cases that are not here
    phantoms: bool = False

    @classmethod
    def here(cls, data: Path | None) -> Roots:
        """Return the roots of this command: flag, environment, ``bench.toml``."""
        environment = os.environ.get("BENCH_DATA")
        data = data or (Path(environment) if environment else None)
        if data is not None and not data.is_dir():
            what = "is a file, no folder" if data.exists() else "no such data folder"
            raise BenchError(f"{data}: {what}; name an existing one with --data")
        named = {name: folder.absolute() for name, folder in _named(Path("bench.toml")).items()}
        return cls(data.absolute() if data is not None else None, named)

    def find(self, name: str) -> Path | None:
        """Return a data set's folder, or None where it is not on this machine."""
        folder = self.named.get(name) or (self.data / name if self.data else None)
        return folder if folder is not None and folder.is_dir() else None

    def strange(self) -> list[str]:
        """Return the names of bench.toml that no registered data set has: one's folders, or slips."""
        return [name for name in self.named if name not in registry.names("dataset")]

    def require(self, name: str) -> Path:
        """Return a data set's folder.

        Raises:
            BenchError: it is not there; says where it was looked for.
        """
        found = self.find(name)
        if found is None:
            if name in self.named:
                where = _absent(self.named[name])
                raise BenchError(
                    f"data set {name!r}: {where}; correct it in bench.toml, under [data]"
                )
            where = _absent(self.data / name) if self.data else "no --data DIR was given"
            if near := get_close_matches(name, self.strange(), n=1, cutoff=SURE):
                where += f", and [data] of bench.toml has {near[0]!r}; if this is the same, correct its name, else"
            else:
                where += ";"
            raise BenchError(
                f"data set {name!r}: {where} put it or a link to it there, name it in bench.toml "
                f"under [data], or make a phantom with 'bench phantom {name} DIR'"
            )
        return found


def _absent(folder: Path) -> str:
    """Return what is in the place of a data set's folder."""
    if folder.is_symlink():
        return f"the link {folder} leads nowhere"
    return f"{folder} is a file, not a folder" if folder.exists() else f"{folder} does not exist"


def _named(path: Path) -> dict[str, Path]:
    """Return the folders that ``[data]`` of ``bench.toml`` names."""
    document = read_toml(path)
    if document is None:
        return {}
    stated = document.build(dict[str, str], document.value.get("data", {}), ("data",))
    return {
        name: _folder(document.where(("data", name)), Path(text)) for name, text in stated.items()
    }


def _folder(where: str, folder: Path) -> Path:
    try:
        found = folder.expanduser()
        found.exists()  # it may be absent, but not impossible
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BenchError(f"{where}: {why}; name an existing folder") from None
    return found


def adapter(name: str, roots: Roots) -> Dataset:
    """Return a registered adapter, or one read from a folder in MSD layout.

    Raises:
        Misstated: neither is there; names the nearest registered one.
        BenchError: the folder's ``dataset.json`` is not there, or cannot be used.
    """
    if name in registry.names("dataset"):
        return registry.load("dataset", name)()
    from bench.data.layout_msd import is_laid_out, msd_folder

    folder = roots.require(name) if name in roots.named else roots.find(name)
    if folder is None:
        if roots.data is not None and roots.data.name == name and is_laid_out(roots.data):
            raise Misstated(
                "dataset",
                f"--data {roots.data} is the data set {name!r} itself; name the folder that holds it",
            )
        inside = [p.name for p in roots.data.iterdir() if p.is_dir()] if roots.data else []
        said = unknown("data set", name, {*registry.names("dataset"), *roots.named, *inside})
        where = "under --data DIR" if roots.data is None else f"in {roots.data}"
        raise Misstated(
            "dataset",
            f"{said} (or give your own data this name: a folder in MSD layout {where}; is --data right?)",
        )
    return msd_folder(folder)
