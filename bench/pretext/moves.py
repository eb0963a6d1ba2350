"""What torchio's RandomFlip and RandomAffine do by default, for a whole batch on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench import augment
from bench.augment.affine import places, rotation, sampled
from bench.augment.draw import chance, uniform


@dataclass(frozen=True)
class Moves:
    """How views are moved.

    Args:
        flip: probability of a mirror image along x.
        degrees: turns about each axis are within so many, either way.
        zoom: zooms of each axis are within so much of 1, either way.
    """

    flip: float = 0.5
    degrees: float = 10.0
    zoom: float = 0.1

    def applied(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Mirror (B, C, X, Y, Z), turn and zoom it about the centre; what comes in from outside is 0."""
        n = len(x)
        mirrored = chance(n, self.flip, generator)[:, None]
        x = augment.flip(x, functional.pad(mirrored, (0, 2)))
        angles = torch.deg2rad(uniform((n, 3), (-self.degrees, self.degrees), generator))
        extent = 1 / uniform((n, 3), (1 - self.zoom, 1 + self.zoom), generator)
        x1, y1, z1 = x.shape[2:]
        return sampled(
            x, places(rotation(angles) * extent[:, None], x.shape[2:], (x1, y1, z1)), "linear"
        )


def reach(pair: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest value and the range of both views (B, 2, C, X, Y, Z), a number for each channel."""
    dims = (1, 3, 4, 5)
    low = pair.amin(dims, keepdim=True)
    return low, (pair.amax(dims, keepdim=True) - low).clamp_min(torch.finfo(pair.dtype).tiny)
