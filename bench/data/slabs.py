"""From scores that come in slabs along z to a label map on the native grid, in memory of one slab."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.ranges import Triple
from bench.volumes.resampling import WHOLE, Geometry, Way

Paint = Sequence[Sequence[int]]


def restore_slabs(
    slabs: Iterable[np.ndarray], geometry: Geometry, paint: Paint | None = None
) -> np.ndarray:
    """Return the label map on the native grid, uint8 (X, Y, Z); 0 outside the crop.

    Scores are resampled linearly, one class at a time against the best so far, and a native plane is
    made as soon as both prepared planes beside it are there. So besides the map memory holds a slab
    (two where each is made anew), a plane and a few arrays of one class and slab, whatever the depth.

    Args:
        slabs: logits (K, x, y, dz) on the prepared grid in order of z; one slab may be all of it, and
            none is looked at after the next is asked for.
        geometry: the way back.
        paint: None where each voxel is of one class: the highest score wins, ties go to the lower
            class. Else channels are regions that may overlap, here as pairs (channel, label) from the
            largest region to the smallest, the order of nnU-Net's ``region_class_order``: a label is
            painted over those before it wherever its logit is above 0, where the sigmoid is above
            0.5. Logits are what is resampled and compared, as in nnU-Net: the other way, a line
            between two probabilities, would flatten what the network was sure of.

    Raises:
        ValueError: slabs of another grid or of too few or many planes, 0 or above 256 classes, a
            channel or a label that cannot be.
    """
    native = np.zeros(geometry.native_shape, np.uint8)
    inside = native[geometry.inside]
    way = Way(geometry.shape, geometry.cropped)
    first = done = 0
    before: np.ndarray | None = None  # the last plane of the slab before, where planes are mixed
    for slab in slabs:
        _check(slab, first, geometry.shape, paint)
        stop, held = first + slab.shape[3], 0 if before is None else 1
        ready = way.ready(stop)
        if ready > done:
            scores, out = _Scores(before, slab), inside[..., done:ready]
            part = way.planes(first - held, done, ready)
            if paint is None:
                out[...] = _highest(scores, part)
            else:
                _paint(scores, part, paint, out)
        before = slab[..., -1:].copy() if way.mixes_planes else None
        first, done = stop, ready
    if first != geometry.shape[2]:
        raise ValueError(
            f"the slabs end after {first} planes of the prepared grid {geometry.shape}"
        )
    return native


def unchanged(shape: Triple) -> Geometry:
    """Return the geometry of a grid that is its own native one: nothing is cropped or resampled."""
    x, y, z = shape
    return Geometry(shape, (1.0, 1.0, 1.0), ((0, x), (0, y), (0, z)), shape)


class _Scores:
    """Scores one class at a time, (x, y, z): of the plane before a slab, if there is one, and of the slab."""

    def __init__(self, before: np.ndarray | None, slab: np.ndarray) -> None:
        self._before, self._slab = before, slab

    def __len__(self) -> int:
        return len(self._slab)

    def __getitem__(self, k: int) -> np.ndarray:
        slab: np.ndarray = self._slab[k]
        return slab if self._before is None else np.concatenate((self._before[k], slab), -1)


def _check(slab: np.ndarray, first: int, shape: Triple, paint: Paint | None) -> None:
    room = shape[2] - first
    if slab.shape[1:3] != shape[:2] or not 1 <= slab.shape[3] <= room or not 1 <= len(slab) <= 256:
        raise ValueError(f"scores {slab.shape} at plane {first} are not 1-256 classes on {shape}")
    for channel, label in paint or ():
        if not (0 <= channel < len(slab) and 0 <= label < 256):
            raise ValueError(
                f"channel {channel} as label {label}: there are {len(slab)}, and labels to 255"
            )


def _highest(scores: _Scores, way: Way) -> np.ndarray:
    """Return the class with the highest score."""
    background = scores[0]
    best = way.read(background).copy()  # what is read as it is would be the caller's
    winner = np.zeros(best.shape, np.uint8)
    for k in range(1, len(scores)):
        values = scores[k]
        # Between voxels where it loses to the background, a class loses to it too.
        part = way.reach(values > background) if way.resamples else WHOLE
        rival, leader = way.read(values, part), best[part]
        np.copyto(winner[part], k, where=rival > leader)
        np.maximum(leader, rival, out=leader)
    return winner


def _paint(scores: _Scores, way: Way, paint: Paint, out: np.ndarray) -> None:
    """Write the label of the last region in the list that a voxel is in."""
    for channel, label in paint:
        values = scores[channel]
        part = way.reach(values > 0) if way.resamples else WHOLE
        np.copyto(out[part], label, where=way.read(values, part) > 0)
