"""Random numbers per sample of a batch, all from one ``torch.Generator``."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.random import rand, randint

Bounds = tuple[float, float]
Each = tuple[Tensor, Tensor]  # bounds (B,) of every sample's own
Shape = int | tuple[int, ...]


def uniform(shape: Shape, bounds: Bounds | Each, generator: torch.Generator) -> Tensor:
    """Draw numbers uniformly from ``bounds``, on the generator's device."""
    low, high = bounds
    return low + (high - low) * rand(shape, generator)


def around_one(shape: Shape, bounds: Bounds, generator: torch.Generator) -> Tensor:
    """Draw factors, as often below 1 as above, uniformly on either side; bounds that hold no 1 as usual."""
    low, high = bounds
    if not low < 1 < high:
        return uniform(shape, bounds, generator)
    u = 2 * rand(shape, generator)
    return torch.where(u < 1, low + (1 - low) * u, 1 + (high - 1) * (u - 1))


def chance(shape: Shape, p: float, generator: torch.Generator) -> Tensor:
    """Draw booleans that are true with probability ``p`` (never at 0, always at 1)."""
    return rand(shape, generator) < p


def seeds(count: int, generator: torch.Generator) -> Tensor:
    """Draw a seed (count,) for a generator of each sample's own (``fields``)."""
    return randint(0, 2**62, count, generator)


def fields(rows: Tensor, seed: Tensor) -> Tensor:
    """Return white noise shaped as ``rows``, each from its ``seed`` (N,) alone.

    So noise is drawn for the rows that have some, and a row's does not depend on the others.
    """
    noise, stream = torch.empty_like(rows), torch.Generator(rows.device)
    for row, s in zip(noise, seed.tolist(), strict=True):
        row.normal_(generator=stream.manual_seed(s))
    return noise


def per_sample(values: Tensor) -> Tensor:
    """Shape (B,) as (B, 1, 1, 1, 1), to combine with a batch of volumes."""
    return values.view(-1, 1, 1, 1, 1)
