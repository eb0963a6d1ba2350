"""Random numbers per sample of a batch, all from one ``torch.Generator``."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.random import rand

Bounds = tuple[float, float]


def uniform(count: int, bounds: Bounds, generator: torch.Generator) -> Tensor:
    """Draw ``count`` numbers uniformly from ``bounds``, on the generator's device."""
    low, high = bounds
    return low + (high - low) * rand(count, generator)


def chance(shape: int | tuple[int, ...], p: float, generator: torch.Generator) -> Tensor:
    """Draw booleans that are true with probability ``p`` (never at 0, always at 1)."""
    return rand(shape, generator) < p


def per_sample(values: Tensor) -> Tensor:
    """Shape (B,) as (B, 1, 1, 1, 1), to combine with a batch of volumes."""
    return values.view(-1, 1, 1, 1, 1)
