"""Intensity augmentations on a batch (B, C, X, Y, Z), drawn per sample, shared by its channels.

Every function takes the probability ``p`` that a sample is changed and the bounds of a uniform
draw, works on those samples only and leaves the others bit for bit as they were; with ``inplace`` it
changes ``x`` itself and not a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from bench.augment import values
from bench.augment.draw import Bounds, Each, chance, fields, per_sample, seeds, uniform
from bench.augment.rows import change

Act = Callable[[Tensor, Tensor], Tensor]  # rows (N, C, X, Y, Z), amounts (N,) -> rows


def scale(
    x: Tensor, p: float, amount: float, generator: torch.Generator, inplace: bool = False
) -> Tensor:
    """Multiply by 1 + u, u uniform in +-``amount``."""
    return brightness(x, p, (1 - amount, 1 + amount), generator, clip=False, inplace=inplace)


def shift(
    x: Tensor, p: float, amount: float | Tensor, generator: torch.Generator, inplace: bool = False
) -> Tensor:
    """Add u, uniform in +-``amount`` in units of the prepared intensities; (B,) gives each sample its own."""
    bounds = (-amount, amount)  # both numbers, or both of every sample
    return _changed(x, p, bounds, generator, inplace, lambda rows, u: rows + per_sample(u))  # type: ignore[arg-type]


def brightness(
    x: Tensor,
    p: float,
    bounds: Bounds,
    generator: torch.Generator,
    clip: bool = True,
    inplace: bool = False,
) -> Tensor:
    """Multiply by a factor, then (``clip``) cut off at the view's former range."""
    return _changed(
        x, p, bounds, generator, inplace, lambda rows, f: values.multiply(rows, f, clip)
    )


def contrast(
    x: Tensor, p: float, bounds: Bounds, generator: torch.Generator, inplace: bool = False
) -> Tensor:
    """Stretch about the view's mean by a factor, cut off at the view's former range."""
    return _changed(x, p, bounds, generator, inplace, values.stretch)


def gamma(
    x: Tensor,
    p: float,
    bounds: Bounds | Each,
    generator: torch.Generator,
    keep: values.Keep = "range",
    inplace: bool = False,
) -> Tensor:
    """Raise the view, scaled to [0, 1], to a power; ``keep`` says what of it stays (``values.power``)."""
    act = partial(values.power, keep=keep, quick=True)
    return _changed(x, p, bounds, generator, inplace, act)


def gaussian_noise(
    x: Tensor,
    p: float,
    bounds: Bounds | Each,
    generator: torch.Generator,
    unit: Literal["variance", "std"] = "variance",
    inplace: bool = False,
) -> Tensor:
    """Add white noise whose variance (or standard deviation) is drawn from ``bounds``."""
    chosen = chance(len(x), p, generator)
    std = uniform(len(x), bounds, generator)
    std = std.sqrt() if unit == "variance" else std
    seed = seeds(len(x), generator)

    def act(rows: Tensor, at: Tensor) -> None:
        rows.addcmul_(per_sample(std[at]).to(rows), fields(rows, seed[at]))

    return change(x, chosen, act, inplace)


def gaussian_blur(
    x: Tensor, p: float, bounds: Bounds, generator: torch.Generator, inplace: bool = False
) -> Tensor:
    """Blur by a Gaussian whose sigma is drawn in voxels; cut at 4 sigma, borders repeated."""
    return _changed(x, p, bounds, generator, inplace, partial(values.smooth, limit=bounds[1]))


def _changed(
    x: Tensor, p: float, bounds: Bounds | Each, generator: torch.Generator, inplace: bool, act: Act
) -> Tensor:
    """Draw who is changed, and by how much; ``act`` makes rows and their amounts into new rows."""
    chosen = chance(len(x), p, generator)
    amount = uniform(len(x), bounds, generator)
    return change(x, chosen, lambda rows, at: rows.copy_(act(rows, amount[at])), inplace)
