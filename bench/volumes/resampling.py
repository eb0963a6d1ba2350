"""Resampling, and the way from a prepared grid back to the native one.

Grids are matched over the whole field of view: output voxel j of n lies at input position
(j + 0.5) * N / n - 0.5, so voxel centres do not drift in either direction (``align_corners=False``
of torch; nnU-Net does the same). The spacing that results is the field of view over n and differs
from the recipe's by less than half a voxel over the whole volume.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from bench.ranges import Triple

Box = tuple[slice, slice, slice]
Edges = tuple[tuple[float, ...], ...]
WHOLE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Geometry:
    """How a prepared grid lies in the native RAS+ grid: crop ``box``, resampled to ``shape``."""

    native_shape: Triple
    native_spacing: tuple[float, float, float]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # half-open, native voxels
    shape: Triple  # prepared
    # where axes are not at right angles: the vectors in mm from a native voxel to the next, one for each axis
    native_edges: Edges | None = None

    def __post_init__(self) -> None:
        # Read back from JSON these are lists, which never equal an array's shape.
        object.__setattr__(self, "native_shape", tuple(self.native_shape))
        object.__setattr__(self, "native_spacing", tuple(self.native_spacing))
        object.__setattr__(self, "box", tuple(tuple(side) for side in self.box))
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.native_edges is not None:
            object.__setattr__(
                self, "native_edges", tuple(tuple(edge) for edge in self.native_edges)
            )

    @property
    def cropped(self) -> Triple:
        """Return the native voxels inside the box."""
        x, y, z = (hi - lo for lo, hi in self.box)
        return (x, y, z)

    @property
    def inside(self) -> Box:
        """Return the box as an index into a native array (X, Y, Z)."""
        x, y, z = (slice(lo, hi) for lo, hi in self.box)
        return (x, y, z)


def restore(label: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return a prepared-grid label map on the native grid, uint8 (X, Y, Z); 0 outside the crop."""
    if label.shape != geometry.shape:
        raise ValueError(f"label {label.shape} is not on the prepared grid {geometry.shape}")
    native = np.zeros(geometry.native_shape, np.uint8)
    native[geometry.inside] = nearest(label.astype(np.uint8, copy=False), geometry.cropped)
    return native


def linear(array: np.ndarray, shape: Triple) -> np.ndarray:
    """Return float32 (X, Y, Z) resampled linearly to ``shape``; edge voxels extend outwards."""
    x, y, z = array.shape
    return Way((x, y, z), shape).read(array)


class Way:
    """How a grid is read from another over the same field of view, whole or some planes at a time.

    Args:
        before: voxels along x, y, z of the grid that there is.
        after: of the one that is wanted.
    """

    def __init__(self, before: Triple, after: Triple) -> None:
        self._depth, self._planes = before[2], after[2]
        self._places = [
            None if n == m else _places(n, m) for n, m in zip(before, after, strict=True)
        ]
        # Shrinking axes first: the later passes then touch fewer voxels.
        self._order = sorted(range(3), key=lambda a: after[a] / before[a])

    @property
    def resamples(self) -> bool:
        """Tell whether the grids differ."""
        return any(points is not None for points in self._places)

    @property
    def mixes_planes(self) -> bool:
        """Tell whether a new plane is read from two."""
        return self._places[2] is not None

    def ready(self, stop: int) -> int:
        """Return how many new planes need none of the old ones from ``stop`` on."""
        points = self._places[2]
        if points is None:
            return stop
        return self._planes if stop == self._depth else int(np.searchsorted(points, stop - 1))

    def planes(self, first: int, low: int, high: int) -> Way:
        """Return the way to new planes ``low`` to ``high``; the old ones given begin with ``first``."""
        part = copy(self)
        points = self._places[2]
        part._places = [*self._places[:2], None if points is None else points[low:high] - first]
        return part

    def read(self, array: np.ndarray, part: Box = WHOLE) -> np.ndarray:
        """Return float32 (X, Y, Z), interpolated linearly; of the new voxels those in ``part``."""
        out = array.astype(np.float32, copy=False)
        for axis in self._order:
            where, n = self._places[axis], out.shape[axis]
            if where is None:
                out = out[(slice(None),) * axis + (part[axis],)]
                continue
            points = where[part[axis]]
            low = np.minimum(points.astype(np.intp), max(n - 2, 0))
            weight = (points - low).astype(np.float32)
            below = np.take(out, low, axis)
            above = np.take(out, np.minimum(low + 1, n - 1), axis)
            above -= below
            above *= np.expand_dims(weight, [a for a in range(3) if a != axis])
            above += below
            out = above
        return np.ascontiguousarray(out)

    def reach(self, mask: np.ndarray) -> Box:
        """Return the box of the new voxels that any voxel of the mask contributes to."""
        sides = []
        for axis, points in enumerate(self._places):
            hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            if not hit.size:
                return (slice(0), slice(0), slice(0))
            if points is None:
                points = np.arange(mask.shape[axis])
            near = np.flatnonzero((points > hit[0] - 1) & (points < hit[-1] + 1))
            sides.append(slice(int(near[0]), int(near[-1]) + 1) if near.size else slice(0))
        return (sides[0], sides[1], sides[2])


def smooth(array: np.ndarray, shape: Triple) -> np.ndarray:
    """Return float32 (X, Y, Z) resampled to ``shape``, averaged over hats as wide as two new voxels.

    As torch's ``antialias=True``: axes that shrink by less than two lose no detail between samples,
    axes that grow are read linearly.
    """
    out = array.astype(np.float32, copy=False)
    for axis, m in enumerate(shape):
        n = out.shape[axis]
        if m < n:
            distance = np.abs((np.arange(m)[:, None] + 0.5) * (n / m) - 0.5 - np.arange(n))
            hats = np.maximum(1 - distance / (n / m), 0).astype(np.float32)
            hats /= hats.sum(1, keepdims=True)
            out = np.moveaxis(np.tensordot(hats, out, axes=(1, axis)), 0, axis)
    return linear(out, shape)


def _places(n: int, m: int) -> np.ndarray:
    """Return where the centres of ``m`` voxels lie among ``n`` over the same length."""
    return np.clip((np.arange(m) + 0.5) * (n / m) - 0.5, 0, n - 1)


def nearest(array: np.ndarray, shape: Triple) -> np.ndarray:
    """Return (X, Y, Z) resampled to ``shape`` by the voxel that holds each new centre."""
    picks = [
        np.minimum(((np.arange(m) + 0.5) * (n / m)).astype(np.intp), n - 1)
        for n, m in zip(array.shape, shape, strict=True)
    ]
    return np.ascontiguousarray(array[np.ix_(*picks)])
