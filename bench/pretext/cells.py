"""Cubes of a grid, each shaken within its cell, and the orders in which they may come (NumPy)."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product
from math import factorial
from typing import Literal

import numpy as np

from bench.data.reader import Volume
from bench.ranges import Triple

Far = Literal["mean", "least", "random"]
EVERY = 8  # of so few things all orders are looked at
SOME = 20_000  # of more so many


def cell_corners(
    cube: Triple, grid: Triple, jitter: Triple, rng: np.random.Generator
) -> np.ndarray:
    """Draw where the cubes of a grid lie in it, (n, 3) in voxels from its corner, cells in raster order.

    A cell is as large as a cube and the jitter together; the cube lies anywhere in it, so that between
    neighbours there is a gap of up to twice the jitter.
    """
    cells = np.array(list(product(*map(range, grid)))) * np.add(cube, jitter)
    return cells + rng.integers(0, np.add(jitter, 1), size=cells.shape)


def read_cells(
    volume: Volume,
    cube: Triple,
    grid: Triple,
    jitter: Triple,
    rng: np.random.Generator,
    start: Triple | None = None,
) -> np.ndarray:
    """Read a cube from each cell of a grid, (n, C, *cube) in raster order.

    The grid begins at ``start``, by default at random such that it lies in the volume.
    """
    whole = (np.add(cube, jitter) * grid).tolist()
    image = volume.crop(volume.random_start(whole, rng) if start is None else start, whole)
    cubes = [
        tuple(slice(a, a + n) for a, n in zip(corner, cube, strict=True))
        for corner in cell_corners(cube, grid, jitter, rng).tolist()
    ]
    return np.stack([image[:, *box] for box in cubes])


@lru_cache(maxsize=8)
def far_orders(things: int, count: int, seed: int = 0, by: Far = "mean") -> np.ndarray:
    """Return so many different orders (count, things), each next one as far from those before as can be.

    Far in the Hamming distance: on average over those before (Noroozi & Favaro, ECCV 2016), or to the
    nearest of them and then on average (``least``), or not at all (``random``). ``seed`` breaks ties. Of
    more than eight things the candidates are some random orders.

    Raises:
        ValueError: there are not so many.
    """
    rng = np.random.default_rng(seed)
    if things <= EVERY:
        every = np.array(list(permutations(range(things))), dtype=np.int64)
        pool = rng.permutation(every)
    else:
        drawn = rng.permuted(np.tile(np.arange(things), (max(SOME, 20 * count), 1)), axis=1)
        pool = rng.permutation(np.unique(drawn, axis=0))
    if count > len(pool):
        raise ValueError(f"of {things} there are {factorial(things)} orders")
    return pool[:count] if by == "random" else pool[_greedy(pool, count, by)]


def _greedy(pool: np.ndarray, count: int, by: Far) -> list[int]:
    """Return which orders of a pool (N, things) are taken, the first one first."""
    # compared place by place: many times quicker
    columns = np.ascontiguousarray(pool.T.astype(np.int16))
    chosen, total = [0], np.zeros(len(pool), np.int64)
    nearest = np.full(len(pool), len(columns))
    whole = 1 + count * len(columns)  # above every sum of distances
    for _ in range(count - 1):
        distance = (columns != columns[:, chosen[-1:]]).sum(0)
        total += distance
        nearest = np.minimum(nearest, distance)
        score = total + whole * nearest * (by == "least")
        score[chosen] = -1
        chosen.append(int(score.argmax()))
    return chosen
