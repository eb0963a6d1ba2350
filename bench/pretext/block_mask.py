"""Blocks of voxels that a network with a decoder does not see and rebuilds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Literal

import torch
from torch import Tensor

from bench.method import Batch, Recipe, Restores, Triple
from bench.nets.base import patchify
from bench.pretext.losses import reconstruction
from bench.pretext.mask import marked, random_split, take
from bench.ranges import Count, Share


@dataclass(frozen=True)
class HidesBlocks(Restores):
    """Of a method that hides cubes of each crop, so many of all."""

    mask_ratio: Share = 0.75
    block: Count = 16  # voxels a side

    def check(self, crop: Triple, recipe: Recipe) -> None:
        """Refuse blocks that do not fill the crop, and a mask that hides none of them or all."""
        if any(n % self.block for n in crop):
            raise self.refusal(f"blocks of {self.block} voxels do not fill crops of {tuple(crop)}")
        count = prod(grid(crop, self.block))
        if not 0 < int(self.mask_ratio * count) < count:
            raise self.refusal(
                f"mask_ratio {self.mask_ratio:g} of {count} blocks hides "
                f"{int(self.mask_ratio * count)}; use smaller blocks, or another mask_ratio"
            )

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Draw which blocks of each crop are hidden, (B, m) indices; nothing else changes."""
        x = batch["crop"]
        count = prod(grid(x.shape[2:], self.block))
        hidden, _ = random_split(len(x), count, self.mask_ratio, generator)
        return {"crop": x, "hidden": hidden}


def grid(crop: Sequence[int], block: int) -> Triple:
    """Return how many blocks a crop has along each axis; the last ones may be cut."""
    x, y, z = (ceil(n / block) for n in crop)
    return (x, y, z)


def hidden_voxels(index: Tensor, block: int, crop: Sequence[int]) -> Tensor:
    """Return which voxels lie in hidden blocks, booleans (B, 1, X, Y, Z).

    Args:
        index: (B, m) blocks, counted along z first.
        block: voxels a side.
        crop: X, Y, Z.
    """
    blocks = grid(crop, block)
    hidden = marked(index, prod(blocks)).unflatten(1, blocks)
    for axis in (1, 2, 3):
        hidden = hidden.repeat_interleave(block, dim=axis)
    x, y, z = crop
    return hidden[:, None, :x, :y, :z]


def rebuilding_errors(
    image: Tensor, target: Tensor, index: Tensor, block: int, kind: Literal["l1", "mse"]
) -> dict[str, Tensor]:
    """Return ``total``, the error of an image on hidden voxels, and ``flat``, that of each block's means.

    Args:
        image: (B, C, X, Y, Z) what was predicted.
        target: the same shape; blocks fill it. A block has a mean in each channel.
        index: (B, m) blocks that were hidden.
        block: voxels a side.
        kind: absolute or squared.
    """
    predicted, true = (take(patchify(x, (block,) * 3), index) for x in (image, target))
    channels = true.unflatten(-1, (-1, target.shape[1]))
    flat = channels.mean(dim=-2, keepdim=True).expand_as(channels).flatten(-2)
    return {
        "total": reconstruction(predicted, true, kind),
        "flat": reconstruction(flat, true, kind),
    }
