"""Random subsets of a grid of patches."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.random import rand


def random_split(
    batch: int, patches: int, ratio: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Split the patches of each sample at random.

    Returns:
        Indices (B, int(ratio * patches)) of the hidden and (B, rest) of the visible patches, on
        the generator's device; the order within each is random too.
    """
    noise = rand((batch, patches), generator)
    order = noise.argsort(dim=1)
    hidden = int(ratio * patches)  # rounds down, as the authors' code of MAE3D
    return order[:, :hidden], order[:, hidden:]


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Pick tokens (B, N, C) by index (B, n): (B, n, C)."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


def marked(index: Tensor, patches: int) -> Tensor:
    """Return which of the ``patches`` are among the indices (B, n), as booleans (B, patches)."""
    return torch.zeros(len(index), patches, dtype=torch.bool, device=index.device).scatter(
        1, index, True
    )
