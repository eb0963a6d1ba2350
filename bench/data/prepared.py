"""A prepared data set, opened: what the later jobs read of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from bench.data.cache import Packed, Stamp
from bench.data.index import FRAMES, NAME, Index
from bench.data.reader import Volume
from bench.dataset import Case
from bench.digest import stamp
from bench.errors import Damaged, shown
from bench.volumes.resampling import Geometry

VOXELS = {"foreground": 3, "classes": 4}  # lists of voxels and their columns


class Prepared:
    """A finished ``prepare`` job, opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index = Index(folder)

    def cases(self) -> list[Case]:
        """Return what was prepared, in the data set's order; labelled by a map (0), a class, or not."""
        index = self._index
        mapped = index.rows["frames"]["length"][:, FRAMES.index("label")] > 0
        labels = np.where(mapped & (index.rows["class"] < 0), 0, index.rows["class"]).tolist()
        return [
            Case(case, patient, (), None if label < 0 else label, index.meta(number))
            for number, (case, patient, label) in enumerate(
                zip(index.cases, index.patients, labels, strict=True)
            )
        ]

    @property
    def faults(self) -> dict[str, str]:
        """By case id, why it could not be read: such a case is listed and has no arrays."""
        return self._index.faults

    def patient(self, case: str) -> str:
        """Return whose scan it is."""
        return self._index.patients[self._index.number(case)]

    def geometry(self, case: str) -> Geometry:
        """Return how the prepared grid lies in the native one."""
        return self._index.geometry(case)

    def label(self, case: str) -> np.ndarray:
        """Return the label map on the prepared grid, uint8 (X, Y, Z)."""
        return self._map(case, "label", "shape")

    def native(self, case: str) -> np.ndarray:
        """Return the label map on the native grid, uint8 (X, Y, Z)."""
        return self._map(case, "native", "native_shape")

    def _map(self, case: str, frame: str, shape: str) -> np.ndarray:
        self._fits(case, self._index.packed(case, frame), shape)
        return self._index.whole(case, frame)

    def _fits(self, case: str, found: Packed, shape: str, lead: int = 0) -> Packed:
        """Refuse a frame that would fill the memory, or mislead: it must be as large as the index says."""
        if found.shape[lead:] != tuple(self._index.row(case)[shape]):
            raise Damaged(
                self.folder / NAME, f"case {shown(case)} is of another shape than it says"
            )
        return found

    def fingerprint(self, case: str) -> np.ndarray | None:
        """Return what ``bench.leaks.fingerprint`` made of the native image, None where there is none."""
        index = self._index
        return index.whole(case, "fingerprint") if index.has(case, "fingerprint") else None

    def volume(self, case: str) -> Volume:
        """Open one case lazily."""
        index, row = self._index, self._index.row(case)
        image = self._fits(case, index.packed(case, "image"), "shape", lead=1)
        label = None
        if index.has(case, "label"):
            label = self._fits(case, index.packed(case, "label"), "shape")
        voxels = [None if label is None else self._voxels(case, *f) for f in VOXELS.items()]
        found = Volume(
            image,
            label,
            step=float(row["step"]),
            offset=float(row["offset"]),
            foreground=voxels[0],
            classes=voxels[1],
        )
        found.name = f"{self.folder}/{case}"
        return found

    def _voxels(self, case: str, frame: str, columns: int) -> Packed | np.ndarray:
        if not self._index.has(case, frame):
            return np.zeros((0, columns), np.int16)
        found = self._index.packed(case, frame)
        if found.shape[1:] != (columns,):
            raise Damaged(
                self.folder / NAME, f"the {frame} of case {shown(case)} is no list of voxels"
            )
        return found


def opened(folder: Path) -> Prepared:
    """Open a prepared data set once per process; finished jobs never change, but may be made anew."""
    # a relative path means another elsewhere
    return _opened(folder, stamp(folder / NAME), Path.cwd())


@lru_cache(maxsize=64)
def _opened(folder: Path, _made: Stamp, _where: Path) -> Prepared:
    return Prepared(folder)
