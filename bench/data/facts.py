"""What a case holds, measured on its own grid: size, spacing, grey values, labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bench.dataset import Case
from bench.ranges import Triple
from bench.volumes.reading import LabelVolume, Volume3D

PERCENTILES = (0.5, 50.0, 99.5)
ENOUGH = 1 << 18  # voxels of a channel that its percentiles are read from
TABLE = 1 << 16  # label values below this are counted by a table


@dataclass(frozen=True)
class Facts:
    """One case that could be read. ``counts``: voxels by raw label value, None without a label map."""

    case: Case
    shape: Triple
    spacing: tuple[float, float, float]  # mm
    grey: tuple[tuple[float, ...], ...]  # lowest, PERCENTILES and highest of each channel
    counts: dict[int, int] | None
    level: int  # the slice along z that shows most of every label; without one the middle
    voxel: float  # mm3
    # of each channel: 101, from the lowest to the highest
    quantiles: tuple[tuple[float, ...], ...] = ()

    def ml(self, voxels: int) -> float:
        """Return the volume of so many voxels."""
        return voxels * self.voxel / 1000


def facts(case: Case, image: Volume3D, label: LabelVolume | None) -> Facts:
    """Return what there is to say of a case; its label map may have any values."""
    x, y, z = image.array.shape[1:]
    slices = [] if label is None else list(_per_slice(label.array))
    counts = Counter[int]()
    for counted in slices:
        counts.update(counted)
    shares = [sum(n / counts[value] for value, n in counted.items() if value) for counted in slices]
    return Facts(
        case,
        (x, y, z),
        image.spacing,
        tuple(_grey(channel) for channel in image.array),
        None if label is None else dict(counts),
        shares.index(max(shares)) if any(shares) else z // 2,
        float(abs(np.linalg.det(image.affine[:3, :3]))),  # a sheared voxel is no product of edges
        tuple(tuple(np.percentile(_thinned(c), range(101)).tolist()) for c in image.array),
    )


def named(
    counts: Mapping[int, int],
    labels: Mapping[int, str],
    raw: Mapping[int, int],
    ignore: int | None = None,
) -> tuple[dict[int, int], dict[int, int]]:
    """Return the voxels of each declared label, and of each raw value that nobody declared.

    Args:
        counts: voxels by raw value.
        labels: the declared ones.
        raw: raw value to label, where they differ.
        ignore: the raw value of voxels that nobody labelled; it is neither.
    """
    declared = {0: 0, **(raw or {value: value for value in labels})}
    counts = {value: n for value, n in counts.items() if value != ignore}
    voxels = Counter[int]()
    for value, n in counts.items():
        if declared.get(value):
            voxels[declared[value]] += n
    return dict(voxels), {value: n for value, n in counts.items() if value not in declared}


def _grey(channel: np.ndarray) -> tuple[float, ...]:
    """Return the extremes of a channel (X, Y, Z), and its percentiles by every n-th voxel along each axis."""
    low, middle, high = np.percentile(_thinned(channel), PERCENTILES)
    return (float(channel.min()), float(low), float(middle), float(high), float(channel.max()))


def _thinned(channel: np.ndarray) -> np.ndarray:
    """Return every n-th voxel of a channel along each axis, about ``ENOUGH`` in all."""
    n = max(1, math.ceil((channel.size / ENOUGH) ** (1 / 3)))
    thinned: np.ndarray = channel[::n, ::n, ::n].astype(np.float64)
    return thinned


def _per_slice(label: np.ndarray) -> Iterator[dict[int, int]]:
    """Yield the voxels of each value in each slice along z."""
    small = label.min() >= 0 and label.max() < TABLE
    for z in range(label.shape[2]):
        plane = label[..., z].ravel()
        if small:  # many times faster than sorting
            counted = np.bincount(plane.astype(np.int64))
            values = np.flatnonzero(counted)
            counts = counted[values]
        else:
            values, counts = np.unique(plane, return_counts=True)
        yield dict(zip(values.tolist(), counts.tolist(), strict=True))
