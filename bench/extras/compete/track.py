"""A track: a protocol, and the records of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.extras.bundle.opening import as_folder
from bench.imported_scores import View, views
from bench.protocol import Protocol, read
from bench.protocol.named import find
from bench.report.supplement import Supplement
from bench.show.reports import RESULTS, recorded
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Track:
    """What a newcomer competes with."""

    path: Path  # of the protocol
    protocol: Protocol  # at the scale of its records
    place: Path  # where its records lie, as a person knows it
    view: View

    @property
    def name(self) -> str:
        """Return the protocol's name."""
        return self.protocol.name

    @property
    def table(self) -> pd.DataFrame:
        """Return the rows."""
        return self.view.table

    @property
    def beside(self) -> Supplement:
        """Return what stands beside the rows."""
        return self.view.beside


def tracked(path: Path, place: Path | None) -> Track:
    """Return a protocol's track.

    Args:
        path: its file, or its name.
        place: the output folder or bundle that has its records; by default the one in ``results/``.

    Raises:
        BenchError: there are no records of it, or none that can be read.
    """
    file = find(path)
    name = read(file, drawn=True).name
    place = place or _beside_us(file, name)
    with as_folder(place) as folder:
        every = {view.file.stem: view for view in views(folder, place)}
        protocol, table = recorded(file, None, Store(folder))
        if table.empty:
            raise BenchError(
                f"--records {place}: has no row of {name!r} yet; run 'bench run {file}' first"
            )
        view = every[name]
        _ = view.table, view.beside, view.curves  # read now: a bundle is gone when it is copied
        return Track(file, protocol, place, view)


def _beside_us(path: Path, name: str) -> Path:
    """Return the folder of ``results/`` that has a protocol's records."""
    folders = [file.parents[1] for file in sorted(RESULTS.glob(f"*/records/{name}.parquet"))]
    if len(folders) == 1:
        return folders[0]
    if folders:
        raise BenchError(
            f"{name}: several folders have its records, {', '.join(map(str, folders))}; choose one "
            "with --records"
        )
    raise BenchError(
        f"{path}: no records of {name!r} lie in results/; run the protocol and name its output folder, or a bundle, "
        "with --records"
    )
