"""Boxes of a volume at any size, read as views of one size (in a loader worker)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from bench.data.reader import Volume

Ratio = Literal["isotropic", "per_axis", "volume"]


def shares(bounds: tuple[float, float], kind: Ratio, rng: np.random.Generator) -> np.ndarray:
    """Draw which share of each axis a box covers, (3,).

    Args:
        bounds: of the uniform draw.
        kind: one share for all axes, one each, or one of the volume whose cube root all axes take.
        rng: the only randomness.
    """
    drawn = rng.uniform(*bounds, size=3 if kind == "per_axis" else 1)
    return np.broadcast_to(drawn ** (1 / 3) if kind == "volume" else drawn, 3)


def read_box(
    volume: Volume, share: np.ndarray, out: Sequence[int], rng: np.random.Generator
) -> np.ndarray:  # fmt: skip
    """Read a box with a share of each axis from a uniform place, resized to ``out``: (C, *out)."""
    size = np.clip(np.rint(share * volume.shape), 1, volume.shape).astype(int)
    return read_at(volume, volume.random_start(size.tolist(), rng), size, out)


def read_at(
    volume: Volume, start: Sequence[int] | np.ndarray, size: Sequence[int] | np.ndarray, out: Sequence[int]
) -> np.ndarray:
    """Read a box, padded where it lies outside, resized to ``out`` trilinearly: (C, *out)."""
    box = volume.crop([int(n) for n in start], [int(n) for n in size])
    if box.shape[1:] == tuple(out):
        return box
    x = torch.from_numpy(box)[None]
    return functional.interpolate(x, tuple(out), mode="trilinear", align_corners=False)[0].numpy()
