"""Amounts of augmentation have units: what 1 is, on the scale for which a paper states them.

A shift of 0.1 is meant for intensities in [0, 1], noise of variance 0.1 for z-scores. A method says which
(``intensity`` in its ``Params``), a recipe says what it leaves (``zscored`` in a batch), and where the two
differ the amount follows the view itself.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from bench.augment.draw import Bounds, Each
from bench.pretext.losses import full_precision

Scale = Literal["unit", "zscore"]  # [0, 1], or mean 0 and standard deviation 1


@torch.no_grad()
@full_precision
def unit_of(x: Tensor, stated: Scale, zscored: Tensor | None) -> Tensor | None:
    """Return what 1 of a stated scale is in each row's intensities, (N,); None where it is 1 in all.

    1 where the row is on that scale; else the row's own range (maximum - minimum) for amounts stated for
    [0, 1], and its own standard deviation for those stated for z-scores.

    Args:
        x: (N, C, X, Y, Z) views before the step.
        stated: the scale for which the amounts are stated.
        zscored: (N,) booleans, which rows were prepared as z-scores, the others to [0, 1]; None where
            nobody said: amounts are taken as they are.
    """
    if zscored is None:
        return None
    fits = zscored if stated == "zscore" else ~zscored
    if fits.all():
        return None
    flat = x.flatten(1)
    spread = (
        flat.std(dim=1, correction=0) if stated == "zscore" else flat.amax(dim=1) - flat.amin(dim=1)
    )
    return torch.where(fits, torch.ones_like(spread), spread)


def amounts(
    bounds: Bounds, x: Tensor, stated: Scale, zscored: Tensor | None, power: int = 1
) -> Bounds | Each:
    """Return bounds, stated for a scale, in each row's own intensities, (N,) each; unchanged where they fit.

    The other arguments are those of ``unit_of``; ``power`` is 2 for a variance.
    """
    one = unit_of(x, stated, zscored)
    return bounds if one is None else (bounds[0] * one**power, bounds[1] * one**power)


def twice(zscored: Tensor | None) -> Tensor | None:
    """Return ``zscored`` (B,) of both views of each sample, (2 B,), in the order of their samples."""
    return None if zscored is None else zscored.repeat_interleave(2)
