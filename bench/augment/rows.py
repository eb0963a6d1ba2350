"""Work on some rows of a batch (B, C, X, Y, Z) and on no others; on the CPU so that memory is read once.

There, as many rows are taken at a time as stay in the cache, and a weighted sum along an axis is a bag of
whole lines of memory (``embedding_bag``). Elsewhere all rows are taken together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.ranges import Triple

CACHED = 2**18  # voxels at a time, 1 MB
LINE = 8  # voxels; shorter lines of memory are not worth a look-up each
MATRIX = 96  # voxels; up to this length a product with a matrix is faster than turning the axis to the front


def apart(x: Tensor) -> bool:
    """Return whether a batch is worked on in small parts: on the CPU, where no gradient is wanted."""
    return x.device.type == "cpu" and not (x.requires_grad and torch.is_grad_enabled())


def change(
    x: Tensor, chosen: Tensor, act: Callable[[Tensor, Tensor], object], inplace: bool
) -> Tensor:
    """Change the rows that are ``chosen`` (B,), in a copy unless ``inplace``.

    Elsewhere than on the CPU all rows are changed and those that are not chosen put back: to learn on the host
    which they are would wait for the device.

    Args:
        x: (B, C, X, Y, Z).
        chosen: booleans on its device.
        act: changes rows (N, C, X, Y, Z) in place, told which of the batch they are, (N,); a row's change
            depends on no other row.
        inplace: change ``x`` itself.
    """
    if x.device.type != "cpu":
        changed = x.clone()
        act(changed, torch.arange(len(x), device=x.device))
        picked = torch.where(chosen.view(-1, 1, 1, 1, 1), changed, x)
        return x.copy_(picked) if inplace else picked
    y = x if inplace else x.clone()
    at = chosen.nonzero()[:, 0]
    step = max(1, CACHED // max(y[:1].numel(), 1)) if apart(y) else len(x)
    for part in at.split(step) if len(at) else ():
        if step == 1:
            act(y[int(part) : int(part) + 1], part)
        else:
            rows = y[part]
            act(rows, part)
            y.index_copy_(0, part, rows)
    return y


def raised(x: Tensor, exponent: Tensor) -> Tensor:
    """Raise values from 0 to 1 to powers above 0, by NumPy's logarithm, five times as fast as torch's."""
    with np.errstate(divide="ignore"):  # of 0; its power is 0
        logarithm = torch.from_numpy(np.log2(x.numpy(force=True)))
    return logarithm.mul_(exponent).exp2_()


def boxes(x: Tensor, start: Tensor, size: Tensor, out: Triple) -> Tensor:
    """Cut and resize a box of each row as ``geometry.resize_box`` says, one axis after the other."""
    resampled = x.new_empty(*x.shape[:2], *out)
    axes = [a for a in range(3) if x.shape[a + 2] > 1 or out[a] > 1]
    taps = [_between(start[:, a], size[:, a], x.shape[a + 2], out[a]) for a in axes]
    step = max(1, CACHED // max(resampled[:1].numel(), 1))
    for i in range(0, len(x), step):
        rows, block = x[i : i + step], resampled[i : i + step]
        for a, (index, weight) in zip(axes, taps, strict=True):
            last = block if a == axes[-1] else None
            rows = summed(rows, a + 2, index[i : i + step], weight[i : i + step], last)
        if rows is not block:
            block.copy_(rows)
    return resampled


def _between(start: Tensor, size: Tensor, length: int, out: int) -> tuple[Tensor, Tensor]:
    """Return the two voxels of a line between which each voxel of the result lies, and their weights."""
    place = (torch.arange(out, dtype=start.dtype) + 0.5) / out
    at = (start[:, None] + place * size[:, None] - 0.5).clamp(0, length - 1)
    lower = at.floor()
    weight = at - lower
    index = torch.stack([lower, (lower + 1).clamp_max(length - 1)], dim=-1)
    return index.int(), torch.stack([1 - weight, weight], dim=-1)


def blurred(x: Tensor, weights: Tensor) -> Tensor:
    """Blur each row along all axes by its own ``weights`` (N, 2 r + 1), borders repeated."""
    radius = weights.shape[1] // 2
    taps = torch.arange(-radius, radius + 1, dtype=torch.int32)
    for axis, n in enumerate(x.shape[2:], start=2):
        if n > 1:
            index = (torch.arange(n, dtype=torch.int32)[:, None] + taps).clamp_(0, n - 1)
            x = summed(x, axis, index.expand(len(x), -1, -1), weights[:, None].expand(-1, n, -1))
    return x


def summed(
    x: Tensor, axis: int, index: Tensor, weight: Tensor, out: Tensor | None = None
) -> Tensor:
    """Return weighted sums of voxels along an axis, on the CPU.

    Args:
        x: (N, C, X, Y, Z).
        axis: of ``x``.
        index: (N, J, T) int32: voxel j of the result, along the axis, is a sum over T of a row's voxels.
        weight: (N, J, T), of its terms.
        out: where the result may be written, contiguous; it is returned if it was.
    """
    n, count, length = len(x), index.shape[1], x.shape[axis]
    inner = math.prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    lines = x.reshape(n, -1, length, inner)
    if inner >= LINE:
        return _bags(lines, index, weight).view(shape)
    if inner == 1 and length <= MATRIX:
        matrix = x.new_zeros(n, count, length).scatter_add_(2, index.long(), weight)
        buffer = None if out is None else out.view(n, lines.shape[1], count)
        with torch.autocast("cpu", enabled=False):
            product = torch.bmm(lines[..., 0], matrix.mT, out=buffer)
        return product.view(shape) if out is None else out
    turned = lines.transpose(1, 2).reshape(n, 1, length, -1)
    return _bags(turned, index, weight).view(n, count, -1, inner).transpose(1, 2).reshape(shape)


def _bags(lines: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum lines (N, O, L, inner) to (N, O, J, inner)."""
    n, outer, length, inner = lines.shape
    first = torch.arange(0, n * outer * length, length, dtype=torch.int32).view(n, outer, 1, 1)
    sums = functional.embedding_bag(
        (first + index[:, None]).view(-1, index.shape[2]),
        lines.reshape(-1, inner),
        per_sample_weights=weight[:, None].expand(-1, outer, -1, -1).reshape(-1, index.shape[2]),
        mode="sum",
    )
    return sums.view(n, outer, index.shape[1], inner)
