"""A prepared data set, opened: what the later jobs read of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from bench.data.arrays import Arrays
from bench.data.cache import Pack
from bench.data.geometry import Geometry
from bench.data.reader import Volume
from bench.dataset import Case


class Prepared:
    """A finished ``prepare`` job, opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images, self._labels = Pack(folder, "image"), Pack(folder, "label")
        self._natives = Pack(folder, "native")
        self._foreground = Arrays(folder / "foreground.npz")

    def cases(self) -> list[Case]:
        """Return what was prepared, labelled or not."""
        return [Case(key, self.patient(key), (), self._known(key)) for key in self._images]

    def _known(self, case: str) -> int | None:
        """Return a case's class, 0 for one with a label map, None without a label."""
        found: int | None = self._images.meta(case).get("class")
        return 0 if found is None and case in self._labels else found

    def patient(self, case: str) -> str:
        """Return whose scan it is."""
        found: str = self._images.meta(case)["patient"]
        return found

    def geometry(self, case: str) -> Geometry:
        """Return how the prepared grid lies in the native one."""
        return Geometry(**self._images.meta(case)["geometry"])

    def label(self, case: str) -> np.ndarray:
        """Return the label map on the prepared grid, uint8 (X, Y, Z)."""
        return self._labels[case][:]

    def native(self, case: str) -> np.ndarray:
        """Return the label map on the native grid, uint8 (X, Y, Z)."""
        return self._natives[case][:]

    def volume(self, case: str) -> Volume:
        """Open one case lazily."""
        meta = self._images.meta(case)
        labelled = case in self._labels
        return Volume(
            self._images[case], self._labels[case] if labelled else None,
            step=meta["step"], offset=meta["offset"],
            foreground=self._foreground[case] if labelled else None,
        )  # fmt: skip


@lru_cache(maxsize=8)
def opened(folder: Path) -> Prepared:
    """Open a prepared data set once per process; finished jobs never change."""
    return Prepared(folder)
