"""Quarter turns of whole batches (B, C, X, Y, Z) as classes to be told apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.augment.draw import per_sample

Turn = tuple[int, int]  # axis (0, 1, 2 for x, y, z) and how many quarters

FLAT: tuple[Turn, ...] = ((2, 0), (2, 1), (2, 2), (2, 3))  # of a slice; class k is np.rot90(slice, k)


def turn(x: Tensor, axis: int, quarters: int) -> Tensor:
    """Turn a batch about an axis; voxels are moved, none is interpolated.

    About z as ``torch.rot90(..., quarters, (x, y))``; x and y follow by cyclic exchange.
    """
    return torch.rot90(x, quarters, (2 + (axis + 1) % 3, 2 + (axis + 2) % 3))


def all_turns(x: Tensor, turns: Sequence[Turn]) -> Tensor:
    """Return every turn of every sample, (B, len(turns), C, X, Y, Z)."""
    return torch.stack([turn(x, *t) for t in turns], dim=1)


def turned(x: Tensor, turns: Sequence[Turn], which: Tensor) -> Tensor:
    """Return each sample under its own one of ``turns``: indices ``which``, (B,)."""
    result = x
    for number, t in enumerate(turns):
        result = torch.where(per_sample(which == number), turn(x, *t), result)
    return result
