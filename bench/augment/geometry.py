"""Flips, quarter turns and resized boxes on a batch (B, C, X, Y, Z), each with its geometry.

The draw and the act are apart, so that an image and its label can be moved alike.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bench.augment import rows
from bench.augment.draw import chance, per_sample
from bench.constants import constant
from bench.random import randint
from bench.ranges import Triple


def flip(x: Tensor, flipped: Tensor, inplace: bool = False) -> Tensor:
    """Mirror each sample along the axes marked in ``flipped`` (B, 3); undoes itself.

    ``inplace`` changes ``x`` itself where it can (on the CPU).
    """
    if rows.apart(x):
        return _moved(x, flipped.tolist(), [0] * len(x), inplace)
    for axis in range(3):
        x = torch.where(per_sample(flipped[:, axis]), x.flip(axis + 2), x)
    return x


def random_flip(
    x: Tensor, p: float, generator: torch.Generator, inplace: bool = False
) -> tuple[Tensor, Tensor]:
    """Mirror every axis of every sample with probability ``p``; return also (B, 3) booleans."""
    flipped = chance((len(x), 3), p, generator)
    return flip(x, flipped, inplace), flipped


def rot90(x: Tensor, turns: Tensor, inplace: bool = False) -> Tensor:
    """Turn each sample by ``turns`` (B,) times 90 degrees in the x-y plane, as ``torch.rot90``.

    A plane that is not square takes even turns only: an odd one would change the shape.
    ``inplace`` changes ``x`` itself where it can (on the CPU).
    """
    if rows.apart(x):
        return _moved(x, [[False] * 3] * len(x), turns.tolist(), inplace)
    if x.shape[2] == x.shape[3]:
        x = torch.where(per_sample(turns % 2 == 1), x.transpose(2, 3), x)
    x = torch.where(per_sample((turns == 1) | (turns == 2)), x.flip(2), x)
    return torch.where(per_sample((turns == 2) | (turns == 3)), x.flip(3), x)


def flip_rot90(x: Tensor, flipped: Tensor, turns: Tensor, inplace: bool = False) -> Tensor:
    """Mirror each sample, then turn it, as ``flip`` and ``rot90``; on the CPU each is moved once."""
    if rows.apart(x):
        return _moved(x, flipped.tolist(), turns.tolist(), inplace)
    return rot90(flip(x, flipped), turns)


def _moved(x: Tensor, flipped: list[list[bool]], turns: list[int], inplace: bool) -> Tensor:
    y = x if inplace else torch.empty_like(x)
    for old, new, (a, b, c), k in zip(x, y, flipped, turns, strict=True):
        # a turn mirrors y, both or x; an odd one then exchanges them
        marks = (a != (k in (2, 3)), b != (k in (1, 2)), c)
        axes = [axis for axis, marked in enumerate(marks, start=1) if marked]
        if axes or k:
            mirrored = old.flip(axes)  # a copy, also along no axis
            new.copy_(mirrored.transpose(1, 2) if k % 2 else mirrored)
        elif not inplace:
            new.copy_(old)
    return y


def draw_turns(x: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Draw (B,) numbers of quarter turns: 0 with probability 1 - p, else one of 1, 2, 3 alike.

    Where the x-y plane is not square only the half turn is left, with the same ``p``.
    """
    rotated = chance(len(x), p, generator)
    turns = randint(1, 4, len(x), generator)
    if x.shape[2] != x.shape[3]:
        turns = torch.full_like(turns, 2)
    return turns * rotated


def random_rot90(
    x: Tensor, p: float, generator: torch.Generator, inplace: bool = False
) -> tuple[Tensor, Tensor]:
    """Turn each sample with probability ``p``; return also the number of quarter turns (B,)."""
    turns = draw_turns(x, p, generator)
    return rot90(x, turns, inplace), turns


def random_flip_rot90(
    x: Tensor, flip: float, rot90: float, generator: torch.Generator, inplace: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Do as ``random_flip``, then ``random_rot90``; return also what both draw."""
    flipped, turns = chance((len(x), 3), flip, generator), draw_turns(x, rot90, generator)
    return flip_rot90(x, flipped, turns, inplace), flipped, turns


def resize_box(x: Tensor, start: Tensor, size: Tensor, out: Triple) -> Tensor:
    """Cut one box from each sample and resize it to ``out`` by linear interpolation.

    Args:
        x: (B, C, X, Y, Z).
        start: (B, 3) corner of the box in voxels; may be fractional.
        size: (B, 3) its size in voxels. A box of ``size == out`` on whole voxels is copied.
        out: voxels of the result.

    Returns:
        (B, C, *out); voxel j reads index ``start + (j + .5) size / out - .5``, clamped to ``x``.
    """
    start, size = start.to(x), size.to(x)
    if rows.apart(x) and x.dtype == torch.float32:
        return rows.boxes(x, start, size, out)
    shape = constant(x.shape[2:], x.device, x.dtype)
    scale, offset = size / shape, (2 * start + size) / shape - 1
    theta = torch.zeros(len(x), 3, 4, device=x.device, dtype=x.dtype)
    for axis in range(3):  # a sampling grid names the last axis first
        theta[:, 2 - axis, 2 - axis], theta[:, 2 - axis, 3] = scale[:, axis], offset[:, axis]
    with torch.autocast(x.device.type, enabled=False):  # it would round the coordinates to 16 bits
        grid = functional.affine_grid(theta, [len(x), x.shape[1], *out], align_corners=False)
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
