"""Intensity augmentations on a batch (B, C, X, Y, Z), drawn per sample, shared by its channels.

Every function takes the probability ``p`` that a sample is changed and the bounds of a uniform
draw, and leaves the other samples bit for bit as they were.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from bench.augment import values
from bench.augment.draw import Bounds, chance, per_sample, uniform
from bench.random import randn


def scale(x: Tensor, p: float, amount: float, generator: torch.Generator) -> Tensor:
    """Multiply by 1 + u, u uniform in +-``amount``."""
    return brightness(x, p, (1 - amount, 1 + amount), generator, clip=False)


def shift(x: Tensor, p: float, amount: float, generator: torch.Generator) -> Tensor:
    """Add u, uniform in +-``amount`` in units of the prepared intensities."""
    chosen = chance(len(x), p, generator)
    u = uniform(len(x), (-amount, amount), generator)
    return torch.where(per_sample(chosen), x + per_sample(u), x)


def brightness(x: Tensor, p: float, bounds: Bounds, generator: torch.Generator, clip: bool = True) -> Tensor:
    """Multiply by a factor, then (``clip``) cut off at the view's former range."""
    chosen = chance(len(x), p, generator)
    changed = values.multiply(x, uniform(len(x), bounds, generator), clip)
    return torch.where(per_sample(chosen), changed, x)


def contrast(x: Tensor, p: float, bounds: Bounds, generator: torch.Generator) -> Tensor:
    """Stretch about the view's mean by a factor, cut off at the view's former range."""
    chosen = chance(len(x), p, generator)
    changed = values.stretch(x, uniform(len(x), bounds, generator))
    return torch.where(per_sample(chosen), changed, x)


def gamma(
    x: Tensor, p: float, bounds: Bounds, generator: torch.Generator, keep: values.Keep = "range"
) -> Tensor:
    """Raise the view, scaled to [0, 1], to a power; ``keep`` says what of it stays (``values.power``)."""
    chosen = chance(len(x), p, generator)
    changed = values.power(x, uniform(len(x), bounds, generator), keep)
    return torch.where(per_sample(chosen), changed, x)


def gaussian_noise(
    x: Tensor,
    p: float,
    bounds: Bounds,
    generator: torch.Generator,
    unit: Literal["variance", "std"] = "variance",
) -> Tensor:
    """Add white noise whose variance (or standard deviation) is drawn from ``bounds``."""
    chosen = chance(len(x), p, generator)
    std = uniform(len(x), bounds, generator)
    std = std.sqrt() if unit == "variance" else std
    noise = randn(x.shape, generator, x.dtype)
    return torch.where(per_sample(chosen), x + per_sample(std) * noise, x)


def gaussian_blur(x: Tensor, p: float, bounds: Bounds, generator: torch.Generator) -> Tensor:
    """Blur by a Gaussian whose sigma is drawn in voxels; cut at 4 sigma, borders repeated."""
    chosen = chance(len(x), p, generator)
    sigma = uniform(len(x), bounds, generator)
    blurred = values.blur(x, sigma[:, None].expand(-1, 3), int(4 * bounds[1] + 0.5))
    return torch.where(per_sample(chosen), blurred, x)
