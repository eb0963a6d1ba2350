"""Linear interpolation of maps between grids, quick on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

MODES = {2: "bilinear", 3: "trilinear"}  # by spatial axes


def on_grid(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate a map (B, C, x, y, z) linearly to a grid of this shape; corners are not aligned.

    A linear map of channels before or after it gives the same, so a linear probe reads each level on
    the level's own grid. On a CPU it is a product with a small matrix along one axis after the other:
    up to forty times as fast as torch's ``interpolate``, equal but for rounding.
    """
    if tuple(values.shape[2:]) == tuple(shape):
        return values
    if values.device.type != "cpu":
        return interpolate(values, size=tuple(shape), mode=MODES[values.ndim - 2]).contiguous()
    values = values.float() if values.dtype.itemsize < torch.float32.itemsize else values
    with torch.autocast("cpu", enabled=False):
        for axis in reversed(range(2, values.ndim)):
            if values.shape[axis] != shape[axis - 2]:
                values = _along(values, axis, shape[axis - 2])
    return values.contiguous()


def _along(values: Tensor, axis: int, size: int) -> Tensor:
    """Interpolate a map linearly along one axis to ``size`` cells."""
    matrix = torch.from_numpy(_matrix(values.shape[axis], size)).to(values.dtype)
    if behind := values.shape[axis + 1 :]:
        return (matrix @ values.flatten(axis + 1)).unflatten(-1, behind)
    return values @ matrix.T


@lru_cache(maxsize=1 << 8)
def _matrix(cells: int, size: int) -> np.ndarray:
    """Return the weight (size, cells) of each of the old cells in each of the new ones."""
    centre = ((np.arange(size) + 0.5) * cells / size - 0.5).clip(0, cells - 1)
    return (1 - abs(centre[:, None] - np.arange(cells))).clip(0)
