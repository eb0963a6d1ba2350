"""Where a patch lies, as fixed sines and cosines."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

BASE = 10_000.0  # Vaswani et al., NeurIPS 2017


def sines(grid: Sequence[int], width: int) -> Tensor:
    """Return the positions of a grid's patches, (N, width): a third of the channels for each axis.

    Of an axis: sines, then cosines, of the coordinate times BASE^(-i / f), i of f frequencies. As He et
    al.'s code for masked autoencoders, with one more axis; channels that do not divide by 6 stay 0.
    """
    count = width // (2 * len(grid))
    scale = BASE ** (-torch.arange(count, dtype=torch.float64) / count)
    at = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in grid)).view(
        -1, len(grid)
    )
    angle = at[:, :, None] * scale
    waves = torch.cat([angle.sin(), angle.cos()], dim=2).flatten(1).float()
    return functional.pad(waves, (0, width - waves.shape[1]))


def rescaled(table: Tensor, grid: Sequence[int], other: Sequence[int]) -> Tensor:
    """Return a grid's positions (N, width) for another grid of the same view, trilinear between centres."""
    if tuple(grid) == tuple(other):
        return table
    maps = table.T.reshape(1, -1, *grid)
    return (
        functional.interpolate(maps, tuple(other), mode="trilinear", align_corners=False)[0]
        .flatten(1)
        .T
    )
