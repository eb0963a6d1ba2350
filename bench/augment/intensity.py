"""Intensity augmentations on a batch (B, C, X, Y, Z), drawn per sample, shared by its channels.

Every function takes the probability ``p`` that a sample is changed and the bounds of a uniform
draw, and leaves the other samples bit for bit as they were.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.augment.draw import Bounds, chance, per_sample, uniform
from bench.random import randn

TINY = 1e-7  # keeps the range of a constant view from dividing by zero


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
    changed = x * per_sample(uniform(len(x), bounds, generator))
    if clip:
        changed = torch.clamp(changed, *_range(x))
    return torch.where(per_sample(chosen), changed, x)


def contrast(x: Tensor, p: float, bounds: Bounds, generator: torch.Generator) -> Tensor:
    """Stretch about the view's mean by a factor, cut off at the view's former range."""
    chosen = chance(len(x), p, generator)
    mean = x.mean(dim=(1, 2, 3, 4), keepdim=True)
    changed = (x - mean) * per_sample(uniform(len(x), bounds, generator)) + mean
    return torch.where(per_sample(chosen), torch.clamp(changed, *_range(x)), x)


def gamma(
    x: Tensor,
    p: float,
    bounds: Bounds,
    generator: torch.Generator,
    keep: Literal["unit", "range"] = "range",
) -> Tensor:
    """Raise the view, scaled to [0, 1], to a power.

    Args:
        x: views; negative values are fine because of the scaling.
        p: probability per sample.
        bounds: of the exponent.
        generator: the only randomness.
        keep: ``range`` scales back to the view's own range, ``unit`` leaves it in [0, 1].
    """
    chosen = chance(len(x), p, generator)
    low, high = _range(x)
    unit = (x - low) / (high - low).clamp_min(TINY)
    changed = unit ** per_sample(uniform(len(x), bounds, generator))
    if keep == "range":
        changed = changed * (high - low) + low
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
    radius = int(4 * bounds[1] + 0.5)
    taps = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    weights = weights / weights.sum(dim=1, keepdim=True)
    blurred = x
    for axis in (2, 3, 4):
        blurred = _convolve(blurred, weights, axis)
    return torch.where(per_sample(chosen), blurred, x)


def _convolve(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    # A sum of shifted copies: each sample has its own kernel, which a grouped convolution in 3D
    # handles far more slowly.
    radius, length = weights.shape[1] // 2, x.shape[axis]
    pad = [0] * 6
    pad[2 * (4 - axis)] = pad[2 * (4 - axis) + 1] = radius
    padded = functional.pad(x, pad, mode="replicate")
    total = torch.zeros_like(x)
    for tap in range(weights.shape[1]):
        total += per_sample(weights[:, tap]) * padded.narrow(axis, tap, length)
    return total


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    low, high = x.flatten(1).aminmax(dim=1)
    return per_sample(low), per_sample(high)
