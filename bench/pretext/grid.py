"""A window tiled by equal boxes, and how much of another box lies in each (NumPy, in a worker).

The tile at (i, j, k) has the index (i * gy + j) * gz + k throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays
from bench.ranges import Triple


def tiles(window: np.ndarray, grid: Triple) -> np.ndarray:
    """Return the tiles of a window (C, gx*sx, gy*sy, gz*sz) as a view of it, (gx, gy, gz, C, sx, sy, sz)."""
    c = window.shape[0]
    sx, sy, sz = (n // g for n, g in zip(window.shape[1:], grid, strict=True))
    gx, gy, gz = grid
    split = window.reshape(c, gx, sx, gy, sy, gz, sz)
    return split.transpose(1, 3, 5, 0, 2, 4, 6)


def overlaps(start: Sequence[int], size: Triple, grid: Triple) -> np.ndarray:
    """Return the share of a box of the tiles' size that lies in each tile, (gx*gy*gz,) float32.

    Args:
        start: corner of the box in the window, in voxels.
        size: of the box and of every tile.
        grid: tiles along x, y, z. The shares sum to 1 where the box lies inside the window.
    """
    shares = []
    for a, s, g in zip(start, size, grid, strict=True):
        edge = np.arange(g) * s
        shared = np.minimum(edge + s, a + s) - np.maximum(edge, a)
        shares.append(np.clip(shared, 0, None) / s)
    return reduce(np.multiply.outer, shares).ravel().astype(np.float32)


def window_of(size: Triple, grid: Triple, shape: Triple) -> Triple:
    """Return the size of a window of ``grid`` tiles of ``size``.

    Raises:
        BenchError: a volume of ``shape`` is too small for it.
    """
    x, y, z = (g * s for g, s in zip(grid, size, strict=True))
    if any(n < w for n, w in zip(shape, (x, y, z), strict=True)):
        raise BenchError(
            f"a {grid} grid of {size} crops needs {(x, y, z)} voxels and a volume has {shape};"
            f" let the pretraining recipe resize to {(x, y, z)}, or use a smaller crop or grid"
        )
    return x, y, z


def read_tiled(
    volume: Volume, size: Triple, grid: Triple, count: int, rng: np.random.Generator, last: bool
) -> Arrays:
    """Read a window of ``grid`` tiles and ``count`` boxes of a tile's size anywhere in it.

    A volume larger than the window is read at a random place; it is never padded.

    Args:
        volume: holds at least ``grid * size`` voxels.
        size: of a tile.
        grid: tiles along x, y, z.
        count: how many random boxes.
        rng: the only randomness.
        last: may a box lie at the window's far end (an inclusive upper bound)?

    Returns:
        ``boxes`` (count + n, C, *size), the random ones and behind them the tiles; ``target`` (count, n)
        shares.

    Raises:
        BenchError: the volume is too small.
    """
    window = window_of(size, grid, volume.shape)
    image = volume.crop(volume.random_start(window, rng), window)
    room = np.subtract(window, size)
    room = room if last else np.maximum(room - 1, 0)
    starts = rng.integers(0, room + 1, size=(count, 3)).tolist()
    boxes = np.empty((count + math.prod(grid), len(image), *size), image.dtype)
    for box, (x, y, z) in zip(boxes, starts, strict=False):
        box[:] = image[:, x : x + size[0], y : y + size[1], z : z + size[2]]
    tiled = tiles(image, grid)
    boxes[count:].reshape(tiled.shape)[:] = tiled
    return {"boxes": boxes, "target": np.stack([overlaps(c, size, grid) for c in starts])}
