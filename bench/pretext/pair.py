"""Two overlapping boxes of one volume, drawn and read in a loader worker (NumPy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.data.reader import Volume
from bench.method import Arrays

TRIES = 512  # candidates for the second box before it falls back on the first one's centre


@dataclass(frozen=True)
class Pairing:
    """How the two boxes of a pair lie to each other.

    Args:
        scale: bounds of a box's size as a multiple of the view's, per axis.
        overlap: least share of the smaller box that both cover.
        axis_overlap: the same along every single axis.
        isotropic: one scale for all axes of a box.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    overlap: float = 0.0
    axis_overlap: float = 0.0
    isotropic: bool = False


def draw_pair(
    shape: tuple[int, int, int], crop: tuple[int, int, int], rule: Pairing, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw starts and sizes, (2, 3) int64 each, of two boxes in a volume of ``shape``.

    The first box is uniform over the volume, the second uniform over what ``rule`` leaves. Along
    axes that are shorter than a box it is centred and hangs over, which reads as padding. Along an
    axis where the view has one voxel, a slice, the boxes have one, too, the same in both.
    """
    scale = rng.uniform(*rule.scale, size=(2, 1 if rule.isotropic else 3))
    size = _scaled(scale, crop)
    room = np.asarray(shape) - size
    first = _place(room[0], 1, rng)[0]
    tried = _place(room[1], TRIES, rng)
    tried = np.where(np.asarray(crop) == 1, first, tried)
    good = np.flatnonzero(_allowed(first, tried, size, rule))
    second = tried[good[0]] if good.size else first + (size[0] - size[1]) // 2
    return np.stack([first, second]), size


def _scaled(scale: np.ndarray | float, crop: tuple[int, int, int]) -> np.ndarray:
    wanted = np.rint(scale * np.asarray(crop)).astype(np.int64)
    return np.where(np.asarray(crop) == 1, 1, np.maximum(wanted, 1))


def _place(room: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.integers(0, np.maximum(room, 0) + 1, size=(count, 3))
    return np.where(room >= 0, drawn, room // 2)


def _allowed(first: np.ndarray, second: np.ndarray, size: np.ndarray, rule: Pairing) -> np.ndarray:
    low = np.maximum(first, second)
    high = np.minimum(first + size[0], second + size[1])
    shared = np.clip(high - low, 0, None)
    along = (shared / size.min(axis=0)).min(axis=1)
    volume = shared.prod(axis=1) / size.prod(axis=1).min()
    return (along > 0) & (along >= rule.axis_overlap) & (volume >= rule.overlap)


def read_pair(
    volume: Volume, crop: tuple[int, int, int], rule: Pairing, rng: np.random.Generator
) -> Arrays:
    """Read both boxes, each inside a patch of the largest size so that pairs stack.

    Returns:
        ``pair`` (2, C, *largest) float32, the box in the corner of its patch; ``start`` and
        ``size`` (2, 3) int64 of the boxes in voxels of the volume.
    """
    start, size = draw_pair(volume.shape, crop, rule, rng)
    largest = _scaled(rule.scale[1], crop).tolist()
    pair = np.stack([volume.crop(corner.tolist(), largest) for corner in start])
    return {"pair": pair, "start": start, "size": size}
