"""What scanners do to MR images: uneven coils, motion, cut-off frequencies. Rows, and an amount for each.

The formulas are those of yucca and gardening_tools, whose authors pretrain with them; the draws stand with whoever
takes these.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.augment.draw import per_sample

SPACE = (2, 3, 4)


def within(changed: Tensor, x: Tensor) -> Tensor:
    """Cut a changed row off at the range that it had, of all channels."""
    flat = x.flatten(1)
    return changed.clamp(per_sample(flat.amin(1)), per_sample(flat.amax(1)))


def bias_field(x: Tensor, centre: Tensor) -> Tensor:
    """Multiply by 1 less the squared distance to ``centre`` (N, 3), in voxels over each side, summed."""
    distance = x.new_zeros(())
    for axis, n in enumerate(x.shape[2:]):
        at = (torch.arange(n, device=x.device) - centre[:, axis, None]) / n
        shape = [len(x), 1, 1, 1, 1]
        shape[axis + 2] = n
        distance = distance + at.square().reshape(shape)
    return (1 - distance).to(x.dtype) * x


def ghosting(x: Tensor, strength: Tensor, every: Tensor, axis: Tensor) -> Tensor:
    """Weaken every so many planes of frequencies along an axis, as motion between echoes does.

    Args:
        x: (N, C, X, Y, Z).
        strength: (N,) by which these planes are multiplied, the first among them and the last not.
        every: (N,) planes from one to the next.
        axis: (N,) 0, 1 or 2.
    """

    def gain(n: int) -> Tensor:
        at = torch.arange(n, device=x.device)
        weak = (at % every[:, None] == 0) & (at < n - 1)
        return torch.where(weak, strength[:, None], 1.0)

    return _in_frequencies(x, gain, axis)


def ringing(x: Tensor, count: Tensor, axis: Tensor) -> Tensor:
    """Cut off high frequencies along an axis: Gibbs' ringing.

    Args:
        x: (N, C, X, Y, Z).
        count: (N,) how many of the axis' frequencies are kept, the lowest; an odd number rounds up.
        axis: (N,) 0, 1 or 2.
    """

    def gain(n: int) -> Tensor:
        at = torch.arange(n, device=x.device) - n // 2
        half = ((count + 1) // 2)[:, None]
        inside = (at >= -half) & (at < half)
        return torch.fft.ifftshift(inside.to(x.dtype), dim=1)

    return _in_frequencies(x, gain, axis)


def _in_frequencies(x: Tensor, gain: Callable[[int], Tensor], axis: Tensor) -> Tensor:
    """Multiply the frequencies of rows along their axis by ``gain(n)`` (N, n); magnitudes come back.

    A row is moved so far up that none of its values is below 0, and back.
    """
    floor = per_sample(x.flatten(1).amin(1).clamp(max=0))
    waves = torch.fft.fftn(x - floor, dim=SPACE)
    for a, n in enumerate(x.shape[2:]):
        shape = [len(x), 1, 1, 1, 1]
        shape[a + 2] = n
        along = torch.where((axis == a)[:, None], gain(n), 1.0)
        waves = waves * along.reshape(shape)
    return torch.fft.ifftn(waves, dim=SPACE).abs() + floor
