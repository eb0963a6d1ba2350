"""Cubes of a grid, each shaken within its cell, and the orders in which they may come (NumPy)."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product
from math import factorial

import numpy as np

from bench.data.reader import Volume

Triple = tuple[int, int, int]
EVERY = 8  # of so few things all orders are looked at
SOME = 20_000  # of more so many


def read_cells(
    volume: Volume, cube: Triple, grid: Triple, jitter: Triple, rng: np.random.Generator
) -> np.ndarray:  # fmt: skip
    """Read a cube from each cell of a grid that lies at random in the volume, (n, C, *cube).

    A cell is as large as a cube and the jitter together; the cube lies anywhere in it, so that between
    neighbours there is a gap of up to twice the jitter. Cells are in raster order.
    """
    cell = np.add(cube, jitter)
    start = np.array(volume.random_start((cell * grid).tolist(), rng))
    corners = start + np.array(list(product(*map(range, grid)))) * cell
    corners = corners + rng.integers(0, np.add(jitter, 1), size=corners.shape)
    return np.stack([volume.crop(corner, cube) for corner in corners.tolist()])


@lru_cache(maxsize=8)
def far_orders(things: int, count: int, seed: int = 0) -> np.ndarray:
    """Return so many different orders (count, things), each next one as far from those before as can be.

    Far in the Hamming distance, on average over those before; ties are broken by ``seed``. Of more than eight
    things the candidates are some random orders.

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
    chosen, distance = [0], (pool != pool[0]).sum(1)
    for _ in range(count - 1):
        free = distance.astype(float)
        free[chosen] = -1
        chosen.append(int(free.argmax()))
        distance = distance + (pool != pool[chosen[-1]]).sum(1)
    return pool[chosen]
