"""One vector of several scales: the maps of an encoder's pyramid, averaged, compressed and joined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.errors import BenchError


class PyramidVector(nn.Module):
    """Joins the averages over space of an encoder's maps, each through a linear layer of its own.

    Args:
        widths: channels of every map, finest first.
        levels: how many maps, counted from the coarsest; all by default.
        compress: channels that each contributes; 0 takes the averages as they are.

    Raises:
        BenchError: the encoder has fewer maps.
    """

    def __init__(self, widths: Sequence[int], levels: int | None = None, compress: int = 0) -> None:
        super().__init__()
        levels = len(widths) if levels is None else levels
        if not 1 <= levels <= len(widths):
            raise BenchError(f"pyramid_levels: this encoder has 1 to {len(widths)}, got {levels}")
        self.levels, chosen = levels, widths[-levels:]
        self.compress = nn.ModuleList(nn.Linear(w, compress) for w in chosen if compress)
        self.width = compress * levels or sum(chosen)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return (B, width) from maps (B, widths[i], x, y, z)."""
        means = [m.mean(dim=tuple(range(2, m.ndim))) for m in features[-self.levels :]]
        if self.compress:
            means = [layer(mean) for layer, mean in zip(self.compress, means, strict=True)]
        return torch.cat(means, dim=1)
