"""Boxes of a volume at any size, read as views of one size (in a loader worker)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from bench.data.reader import Volume
from bench.ranges import Triple

Ratio = Literal["isotropic", "per_axis", "volume"]
TRIES = 512  # pairs of boxes that are looked at before both are the same


def shares(bounds: tuple[float, float], kind: Ratio, rng: np.random.Generator) -> np.ndarray:
    """Draw which share of each axis a box covers, (3,).

    Args:
        bounds: of the uniform draw.
        kind: one share for all axes, one each, or one of the volume whose cube root all axes take.
        rng: the only randomness.
    """
    drawn = rng.uniform(*bounds, size=3 if kind == "per_axis" else 1)
    return np.broadcast_to(drawn ** (1 / 3) if kind == "volume" else drawn, 3)


def overlapping(
    shape: Triple, sizes: Sequence[Triple], iou: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two boxes whose intersection over union is above ``iou``; where none are found twice the same.

    Args:
        shape: of the volume in voxels; boxes lie inside and are cut to it.
        sizes: of which each box has one, all equally likely.
        iou: of two boxes, at least.
        rng: the only randomness.

    Returns:
        Their corners and sizes, (2, 3) int64 each.
    """
    drawn = np.array(sizes)[rng.integers(len(sizes), size=(TRIES, 2))]
    size = np.minimum(drawn, shape)
    start = rng.integers(0, np.array(shape) - size + 1)
    shared = np.minimum(*(start + size).swapaxes(0, 1)) - np.maximum(*start.swapaxes(0, 1))
    common = np.clip(shared, 0, None).prod(1)
    good = np.flatnonzero(common > iou * (size.prod(2).sum(1) - common))
    if good.size:
        return start[good[0]], size[good[0]]
    return start[0, [0, 0]], size[0, [0, 0]]


def read_box(
    volume: Volume, share: np.ndarray, out: Sequence[int], rng: np.random.Generator
) -> np.ndarray:
    """Read a box with a share of each axis from a uniform place, resized to ``out``: (C, *out)."""
    size = np.clip(np.rint(share * volume.shape), 1, volume.shape).astype(int)
    return read_at(volume, volume.random_start(size.tolist(), rng), size, out)


def read_at(
    volume: Volume,
    start: Sequence[int] | np.ndarray,
    size: Sequence[int] | np.ndarray,
    out: Sequence[int],
) -> np.ndarray:
    """Read a box, padded where it lies outside, resized to ``out`` trilinearly: (C, *out)."""
    box = volume.crop([int(n) for n in start], [int(n) for n in size])
    if box.shape[1:] == tuple(out):
        return box
    x = torch.from_numpy(box)[None]
    return functional.interpolate(x, tuple(out), mode="trilinear", align_corners=False)[0].numpy()
