"""What is done to intensities, given by how much: rows (N, C, X, Y, Z) and an amount for each.

The draws stand apart (``intensity``, ``effects``). Ranges, means and spreads are those of a row.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.augment import rows
from bench.augment.draw import per_sample

Keep = Literal["unit", "range", "moments"]
TINY = 1e-7  # keeps the range of a constant view from dividing by zero
AXES = (1, 2, 3, 4)


def multiply(x: Tensor, factor: Tensor, clip: bool) -> Tensor:
    """Multiply by ``factor`` (N,), then (``clip``) cut off at the row's former range."""
    changed = x * per_sample(factor)
    return _cut(changed, *_range(x)) if clip else changed


def stretch(x: Tensor, factor: Tensor) -> Tensor:
    """Stretch about the row's mean by ``factor`` (N,), cut off at the row's former range."""
    mean = x.mean(dim=AXES, keepdim=True)
    return _cut((x - mean).mul_(per_sample(factor)).add_(mean), *_range(x))


def power(x: Tensor, exponent: Tensor, keep: Keep, quick: bool = False) -> Tensor:
    """Raise the row, scaled to [0, 1], to ``exponent`` (N,).

    Args:
        x: rows; negative values are fine because of the scaling.
        exponent: above 0.
        keep: ``unit`` leaves the result in [0, 1], ``range`` scales back to the row's own range,
            ``moments`` does so and then restores its mean and standard deviation.
        quick: may the last digits differ from those of ``torch.pow``?
    """
    low, high = _range(x)
    unit = (x - low).div_((high - low).clamp_min(TINY))
    changed = (rows.raised if quick and rows.apart(x) else torch.pow)(unit, per_sample(exponent))
    if keep != "unit":
        changed.mul_(high - low).add_(low)
    if keep == "moments":
        std, mean = torch.std_mean(x, dim=AXES, keepdim=True)
        now, centre = torch.std_mean(changed, dim=AXES, keepdim=True)
        changed.sub_(centre).mul_(std / now.clamp_min(TINY)).add_(mean)
    return changed


def blur(x: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur each row by a Gaussian of ``sigma`` (N, 3) voxels, cut at ``radius``, borders repeated."""
    taps = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    for axis in range(3):
        weights = torch.exp(-0.5 * (taps / sigma[:, axis, None]) ** 2)
        x = _convolve(x, weights / weights.sum(dim=1, keepdim=True), axis + 2)
    return x


def bell(sigma: Tensor, radius: int) -> Tensor:
    """Return the weights (N, 2 ``radius`` + 1) of Gaussians of ``sigma`` (N,), each cut at 4 of its own."""
    taps = torch.arange(-radius, radius + 1, device=sigma.device, dtype=sigma.dtype)
    near = taps.abs() <= (4 * sigma[:, None] + 0.5).floor()
    # beyond is cut, and underflow is slow
    steps = (taps / sigma[:, None].clamp_min(1e-6)).clamp(-10, 10)
    weights = torch.exp(-0.5 * steps**2) * near
    return weights / weights.sum(dim=1, keepdim=True)


def smooth(x: Tensor, sigma: Tensor, limit: float) -> Tensor:
    """Blur each row by a Gaussian of ``sigma`` (N,) at most ``limit``, cut at 4 sigma, borders repeated."""
    if rows.apart(x) and x.dtype == torch.float32:
        return rows.blurred(x, bell(sigma, int(4 * float(sigma.max()) + 0.5)))
    weights = bell(sigma.to(x.dtype), int(4 * limit + 0.5))
    for axis in (2, 3, 4):
        x = _convolve(x, weights, axis)
    return x


def coarsen(x: Tensor, share: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Sample each row on fewer voxels, the nearest ones, and return linearly to the old grid.

    Args:
        x: (N, C, X, Y, Z).
        share: (N,) of the voxels that are kept along each axis, in (0, 1]; 1 changes nothing.
        axes: of x, y, z (0, 1, 2) those that are thinned.
    """
    for axis in axes:
        lower, upper, weight = _thinned(x.shape[axis + 2], share)
        along = [1] * 5
        along[0], along[axis + 2] = lower.shape

        def read(
            index: Tensor, x: Tensor = x, along: list[int] = along, axis: int = axis
        ) -> Tensor:
            return x.gather(axis + 2, index.view(along).expand_as(x))

        x = torch.lerp(read(lower), read(upper), weight.view(along).to(x.dtype))
    return x


def _thinned(length: int, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for every voxel of a line, the two voxels it is mixed from and the second one's weight."""
    coarse = (share * length).round().clamp_min(1)[:, None]  # voxels of the coarse line
    place = torch.arange(length, device=share.device) + 0.5
    at = (place * (coarse / length) - 0.5).clamp_min(0)
    lower = at.floor()
    upper = torch.minimum(lower + 1, coarse - 1)

    def nearest(cell: Tensor) -> Tensor:
        return ((cell + 0.5) * (length / coarse)).floor().clamp_max(length - 1).long()

    return nearest(lower), nearest(upper), at - lower


def _convolve(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    # A sum of shifted copies: each row has its own kernel, which a grouped convolution in 3D
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
    flat = x.flatten(1)  # two passes: aminmax along an axis is twenty times slower on the CPU
    return per_sample(flat.amin(1)), per_sample(flat.amax(1))


def _cut(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    # clamp with tensors is four times slower on the CPU
    return torch.minimum(torch.maximum(x, low, out=x), high, out=x)
