"""Fit boxes by Gauss-Newton steps: where exactly in one scan another one lies.

Boxes of one shape are fitted at once: over the few places of one, Python takes longer than its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.leaks.fingerprint import read, sampling
from bench.leaks.poses import COARSE, DETAIL, Pose, gauss, grain

EXTENT = (0.5, 1.25)  # share of an axis; wider than 0.6 to 1, as thick slices move the ends
OUTSIDE = 0.13  # share of an axis by which a box may stick out, for the same reason
TOGETHER = 32  # boxes fitted at once; what they need fits into the cache


@dataclass(frozen=True, eq=False)
class _Boxes:
    """A box in each of B volumes of one shape, of 2 or 3 axes."""

    scan: np.ndarray  # float32 (B, X, Y) or (B, X, Y, Z)
    counts: list[int]  # places to compare, per axis
    blur: float
    start: np.ndarray  # (B, axis), as a share of the axis
    extent: np.ndarray

    def matrices(self) -> list[np.ndarray]:
        """Return what reads the boxes, (B, count, size) per axis."""
        return [self._matrix(axis, 0.0) for axis in range(len(self.counts))]

    def changes(
        self, matrices: list[np.ndarray], shown: np.ndarray | None, norm: np.ndarray
    ) -> list[np.ndarray]:
        """Return how what is shown changes as the boxes move along each axis, in units of ``norm`` (B,).

        ``shown``, of length 1, gives it cheaply, by differences between places; along a few thick
        slices, and where it is not given, the boxes are read again half a voxel to either side.
        """
        changes = []
        for axis, count in enumerate(self.counts):
            if shown is not None and count > 4:
                apart = (self.extent[:, axis] / count).astype(np.float32)
                changes.append(np.gradient(shown, axis=axis + 1) / _spread(apart, shown))
                continue
            half = 0.5 / self.scan.shape[axis + 1]
            slope = (self._matrix(axis, half) - self._matrix(axis, -half)) / (2 * half)
            change = read(self.scan, [*matrices[:axis], slope, *matrices[axis + 1 :]])
            changes.append(change / _spread(norm, change))
        return changes

    def shifted(
        self, moves: np.ndarray, bounds: tuple[float | np.ndarray, float | np.ndarray]
    ) -> _Boxes:
        """Return the boxes after shift and stretch per axis (B, 2 axes)."""
        centre = self.start + self.extent / 2 + moves[:, 0::2]
        extent = np.clip(self.extent + moves[:, 1::2], *bounds)
        start = np.clip(centre - extent / 2, -OUTSIDE, 1 + OUTSIDE - extent)
        return replace(self, start=start, extent=extent)

    def _matrix(self, axis: int, shift: float) -> np.ndarray:
        size, start = self.scan.shape[axis + 1], self.start[:, axis] + shift
        return sampling(size, self.counts[axis], start, self.extent[:, axis], self.blur)


def fitted(
    poses: Sequence[Pose], places: dict[int, int], *, steps: int = 3, detail: bool = False
) -> list[Pose]:
    """Move and stretch boxes by Gauss-Newton steps; return each as it correlated best.

    The poses share their volumes' shapes, blur and counts of places: thumbnails do, or there is one pose.
    """
    counts = poses[0].counts(places)
    high = [gauss(n, DETAIL) for n in counts] if detail else None
    target, _ = _units(grain(np.stack([p.target(counts) for p in poses]), high))
    start, extent = (np.stack([getattr(p, side) for p in poses]) for side in ("start", "extent"))
    boxes = _Boxes(np.stack([p.scan for p in poses]), counts, poses[0].blur, start, extent)
    bounds = EXTENT if places is COARSE else _bounds(poses[0])
    best = np.full(len(poses), -1.0)
    for step in range(steps + 1):
        matrices = boxes.matrices()
        shown, norm = _units(grain(read(boxes.scan, matrices), high))
        fit = np.einsum("bi,bi->b", _flat(shown), _flat(target))
        better = fit > best
        best = np.where(better, fit, best)
        start = np.where(better[:, None], boxes.start, start)
        extent = np.where(better[:, None], boxes.extent, extent)
        if step < steps:
            changes = boxes.changes(matrices, None if detail else shown, norm)
            boxes = boxes.shifted(_moves(_columns(shown, changes, high), target), bounds)
    boxes_by_pose = zip(poses, start, extent, best, strict=True)
    return [replace(p, start=s, extent=e, fit=float(f)) for p, s, e, f in boxes_by_pose]


def _columns(
    shown: np.ndarray, changes: list[np.ndarray], high: list[np.ndarray] | None
) -> np.ndarray:
    """Return offset, gain, and shift and stretch per axis as images, (B, 2 + 2 axes, places)."""
    images = [np.ones_like(shown), shown]
    for axis, change in enumerate(changes, start=1):
        count = shown.shape[axis]
        ramp = (np.arange(count, dtype=np.float32) + 0.5) / count - 0.5
        ramp = ramp.reshape(-1, *(1,) * (shown.ndim - 1 - axis))
        images += [grain(change, high), grain(change * ramp, high)]
    return np.stack([_flat(image) for image in images], axis=1)


def _moves(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return shift and stretch per axis (B, 2 axes), by least squares; none where there is no gain."""
    normal = columns @ columns.swapaxes(1, 2)
    diagonal = np.arange(normal.shape[1])
    normal[:, diagonal, diagonal] = normal[:, diagonal, diagonal] * 1.001 + 1e-9
    solved = np.linalg.solve(normal, columns @ _flat(target)[..., None])[..., 0]
    gain = solved[:, 1:2]
    moves = np.clip(solved[:, 2:] / np.maximum(gain, 0.3), -0.1, 0.1)
    return np.where(np.abs(gain) < 1e-3, 0, moves)


def _bounds(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest extent, given where resamplers put the first and last voxel."""
    return 0.57 - 0.5 / np.array(pose.scan.shape), 1.03 + 1.3 / np.array(pose.copy.shape)


def _units(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images (B, ...) without their means, of length 1, and the lengths (B,) they had."""
    flat = _flat(images)
    flat = flat - flat.mean(1, keepdims=True)
    norm = np.maximum(np.sqrt(np.einsum("bi,bi->b", flat, flat)), 1e-9)
    flat /= norm[:, None]
    return flat.reshape(images.shape), norm


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def _spread(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return values (B,) in a shape that divides images (B, ...)."""
    return values.reshape(-1, *(1,) * (images.ndim - 1))
