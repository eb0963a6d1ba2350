"""Features of a frozen encoder: one vector per voxel, on the image's grid, or one per case."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from bench.nets.base import Encoder
from bench.nets.interpolation import on_grid


class VoxelFeatures(nn.Module):
    """Maps of an encoder's levels, each brought to the image's grid.

    Args:
        encoder: its parameters and the statistics of its norm layers stay as they are: use it in ``eval`` mode.
        levels: which maps of its pyramid, 0 is the finest; all by default.
    """

    def __init__(self, encoder: Encoder, levels: Sequence[int] | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.levels = _chosen(encoder, levels)
        self.widths = tuple(encoder.widths[level] for level in self.levels)

    @property
    def size(self) -> int:
        """Return how many features a voxel has."""
        return sum(self.widths)

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of every voxel, (B, size, X, Y, Z), for images (B, C, X, Y, Z)."""
        return torch.cat([on_grid(m, image.shape[2:]) for m in self.pyramid(image)], 1)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Return the map of each level on its own grid, (B, width, x, y, z)."""
        pyramid = self.encoder(image)
        return [pyramid[level] for level in self.levels]

    def mapped(self, pyramid: Sequence[Tensor], weight: Tensor, shape: Sequence[int]) -> Tensor:
        """Return ``weight @ features`` of every voxel, (B, K, X, Y, Z), for a weight (K, size).

        Each level is mapped on its own grid, before it is interpolated: the result is the same, and cheaper.

        Args:
            pyramid: as ``pyramid`` returns it for images.
            weight: (K, size).
            shape: of the images, (X, Y, Z).
        """
        parts = zip(weight.split(self.widths, 1), pyramid, strict=True)
        maps = [torch.einsum("kc,bc...->bk...", w, m) for w, m in parts]
        return torch.stack([on_grid(m, shape) for m in maps]).sum(0)


class CaseFeatures(nn.Module):
    """One vector per window: mean and maximum over space of each level.

    Args:
        encoder: frozen, as of ``VoxelFeatures``.
        levels: which maps of its pyramid; all by default.
    """

    def __init__(self, encoder: Encoder, levels: Sequence[int] | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.levels = _chosen(encoder, levels)
        self.size = 2 * sum(encoder.widths[level] for level in self.levels)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, size) for images (B, C, X, Y, Z): mean and maximum of one level after the other."""
        pyramid = self.encoder(image)
        maps = [pyramid[level].flatten(2) for level in self.levels]
        return torch.cat([part for m in maps for part in (m.mean(2), m.amax(2))], 1)


def _chosen(encoder: Encoder, levels: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(range(len(encoder.widths))) if levels is None else tuple(levels)


def neighbourhoods(image: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """Return means and standard deviations of intensities in cubes round each voxel.

    Beyond the image lies nothing: there a cube has fewer voxels.

    Args:
        image: (B, C, X, Y, Z); a slice has Z = 1, and its cubes are squares.
        sides: of the cubes, odd, in voxels; of side 1 the intensity itself.
    """
    centre = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)  # squares lose less round it
    maps = []
    for side in sides:
        mean = _mean(image, side)
        maps.append(mean)
        if side > 1:
            squares = _mean((image - centre).square(), side)
            maps.append((squares - (mean - centre).square()).clamp_min(0).sqrt())
    return maps


def _mean(image: Tensor, side: int) -> Tensor:
    """Return the mean over a cube: a row of voxels along one axis after the other."""
    for axis in range(2, image.ndim):
        if side > 1 and image.shape[axis] > 1:
            rows = image.movedim(axis, -1)
            means = avg_pool1d(rows.flatten(0, -2), side, 1, side // 2, count_include_pad=False)
            image = means.reshape(rows.shape).movedim(-1, axis)
    return image
