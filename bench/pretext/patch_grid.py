"""Patches of a grid that may overlap, each mirrored and cut on its own, read out of a window in one go."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.random import rand
from bench.ranges import Triple


def stride_of(patch: Triple, overlap: float) -> Triple:
    """Return by how many voxels patches that share ``overlap`` of their side lie apart."""
    x, y, z = (max(1, round(n * (1 - overlap))) for n in patch)
    return x, y, z


def window_of(patch: Triple, grid: Triple, overlap: float) -> Triple:
    """Return the size of the window that a grid of patches covers."""
    sides = zip(patch, grid, stride_of(patch, overlap), strict=True)
    x, y, z = (p + (n - 1) * s for p, n, s in sides)
    return x, y, z


def cut_patches(
    window: Tensor,
    corner: Tensor,
    patch: Triple,
    shares: tuple[float, float],
    flip: float,
    generator: torch.Generator,
) -> Tensor:
    """Cut patches out of windows, each changed on its own.

    First a part of the window is taken at a random place and padded with zeros to its size again; then each
    patch is mirrored or not, and a part of it is taken and padded likewise. The second keeps a network from
    following edges from patch to patch.

    Args:
        window: (B, C, X, Y, Z).
        corner: (N, 3) of the patches in it, in voxels.
        patch: their size.
        shares: of each side of the window, and of a patch, that are kept.
        flip: probability of a mirror image along x, of each patch.
        generator: the only randomness.

    Returns:
        (B, N, C, *patch).
    """
    rows, number = len(window), len(corner)
    place = rand((rows, 3), generator)[:, None]
    drawn = rand((rows, number, 4), generator)
    mirrored = drawn[..., 3] < flip
    at, seen = [], []
    for axis, (side, whole) in enumerate(zip(patch, window.shape[2:], strict=True)):
        voxel = torch.arange(side, device=window.device).expand(rows, number, side)
        voxel, inside = _moved(voxel, side, shares[1], drawn[..., axis])
        if axis == 0:
            voxel = torch.where(mirrored[..., None], side - 1 - voxel, voxel)
        voxel, within = _moved(corner[:, axis, None] + voxel, whole, shares[0], place[..., axis])
        shape = [rows, number, *(side if a == axis else 1 for a in range(3))]
        at.append(voxel.clamp(0, whole - 1).view(shape))
        seen.append((inside & within).view(shape))
    sample = torch.arange(rows, device=window.device).view(-1, 1, 1, 1, 1)
    voxels = window.movedim(1, -1)[sample, at[0], at[1], at[2]]
    voxels = voxels.masked_fill(~(seen[0] & seen[1] & seen[2])[..., None], 0)
    return voxels.movedim(-1, 2)


def _moved(voxel: Tensor, length: int, share: float, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return which voxels of a line are read, once a part of it was taken and padded to its length again.

    Args:
        voxel: (B, N, p) of the padded line.
        length: of the line.
        share: of it that is taken.
        place: (B, N or 1) in [0, 1), where.

    Returns:
        Voxels of the line (B, N, p), and whether they are such: padding is not.
    """
    kept = max(1, int(length * share))
    start = (place * (length - kept + 1)).long()
    off = voxel - (length - kept) // 2
    return start[..., None] + off, (off >= 0) & (off < kept)
