"""Which patches of a grid predictive coding knows and which it predicts: tables of indices (NumPy).

A grid has n patches along each axis; patch (i, j, k) has the index (i n + j) n + k. A row is what shares i,
counted along x, and a column what shares j and k. The current patch lies in row n / 2 - 1, rounded down. What
is known is an inverted pyramid: itself, and of each row above it as far to the sides as that row is above.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Literal

import numpy as np

Boundary = Literal["reflect", "zero"]
ZERO = -1  # the index of a patch that lies outside the grid, where such a one is all zeros


@lru_cache(maxsize=8)
def pyramid(n: int, dims: int, skip_row: bool, boundary: Boundary) -> tuple[np.ndarray, np.ndarray]:
    """Return what is known and what is predicted in each column, as indices of patches.

    Args:
        n: patches along each axis, 2 at least.
        dims: axes of the grid, 2 or 3.
        skip_row: is the row below the current patch left out of what is predicted?
        boundary: of what lies outside the grid, the patch that lies as far inside, or a patch of zeros.

    Returns:
        Known patches (columns, T), the top row first and the current patch last; those to predict
        (columns, L), from top to bottom. Columns are in raster order.
    """
    now, shape = n // 2 - 1, (n,) * dims
    columns = np.array([(0, *column) for column in product(range(n), repeat=dims - 1)])[:, None]
    above = [
        (row, *off)
        for row in range(now + 1)
        for off in product(range(row - now, now - row + 1), repeat=dims - 1)
    ]
    below = [(row, *[0] * (dims - 1)) for row in range(now + 1 + skip_row, n)]
    wanted = np.ravel_multi_index(np.moveaxis(columns + np.array(below), 2, 0), shape)
    at = columns + np.array(above)
    inside = ((at >= 0) & (at < n)).all(axis=2)
    at = n - 1 - np.abs(n - 1 - np.abs(at))
    known = np.ravel_multi_index(np.moveaxis(at, 2, 0), shape)
    return np.where(inside | (boundary == "reflect"), known, ZERO), wanted
