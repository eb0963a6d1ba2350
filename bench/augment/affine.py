"""Turning and zooming a batch (B, C, X, Y, Z) about its centre; the geometry is a matrix per sample.

A matrix takes the offset of a voxel of the result from the centre, in voxels, to the offset that is
read. It knows no spacing: where voxels are far from cubes, only the plane of x and y is moved
(``in_plane``). Draw and act are apart, so that an image and its label can be moved alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.augment.draw import chance, uniform
from bench.constants import constant
from bench.ranges import Triple

if TYPE_CHECKING:
    from bench.protocol.sections import Augment

ANISOTROPIC = 3  # times the voxels of z along x or y, nnU-Net's threshold


def in_plane(shape: Sequence[int], settings: Augment) -> bool:
    """Return whether only x and y are moved: ``settings.plane``, by default in flat crops; always in 2D."""
    flat = max(shape) > ANISOTROPIC * shape[2] if settings.plane is None else settings.plane
    return flat or shape[2] == 1


def read_size(crop: Triple, settings: Augment) -> Triple:
    """Return how many voxels to read, centred on a crop, for the margin that the settings ask for.

    An even number is added to each side that is moved, so that the crop stays on whole voxels.
    """
    x, y, z = (n + 2 * math.ceil(round(n * (settings.margin - 1) / 2, 6)) for n in crop)
    return (x, y, crop[2] if in_plane(crop, settings) else z)


def draw_affine(
    count: int, plane: bool, settings: Augment, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a turn and a zoom for each sample.

    Returns:
        Matrices (B, 3, 3), and which of them (B,) move anything; the others are the identity.
    """
    turned = chance(count, settings.rotate, generator)
    angles = uniform((count, 3), (-settings.angle, settings.angle), generator) * turned[:, None]
    zoomed = chance(count, settings.zoom, generator)
    extent = uniform((count, 3), settings.zoom_range, generator)
    if settings.zoom_axes == "alike":
        extent = extent[:, :1].expand(-1, 3)
    moving = constant([True, True, not plane], generator.device)
    about = constant([not plane, not plane, True], generator.device)
    extent = torch.where(zoomed[:, None] & moving, extent, 1.0)
    return rotation(torch.deg2rad(angles * about)) * extent[:, None], turned | zoomed


def rotation(angles: Tensor) -> Tensor:
    """Return matrices (B, 3, 3) that turn by ``angles`` (B, 3), in radians about x, then y, then z.

    A quarter turn about z is ``torch.rot90(..., 1, (x, y))``; x and y follow by cyclic exchange.
    """
    cos, sin = angles.cos(), angles.sin()
    total = torch.eye(3, device=angles.device, dtype=angles.dtype).expand(len(angles), 3, 3)
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.zeros_like(total, memory_format=torch.contiguous_format)
        turn[:, axis, axis] = 1
        turn[:, a, a] = turn[:, b, b] = cos[:, axis]
        turn[:, a, b], turn[:, b, a] = sin[:, axis], -sin[:, axis]
        total = (turn[..., None] * total[:, None]).sum(2)  # no matmul: autocast would round it
    return total


def places(matrix: Tensor, shape: Sequence[int], out: Triple) -> Tensor:
    """Return where ``matrix`` (B, 3, 3) reads a batch of ``shape`` voxels for a result of ``out``.

    Returns:
        (B, *out, 3) as ``grid_sample`` counts: z first, each from -1 to 1.
    """
    offsets = []
    for axis, n in enumerate(out):
        line = [1] * 4
        line[axis + 1] = n
        offsets.append(
            (torch.arange(n, device=matrix.device, dtype=matrix.dtype) - (n - 1) / 2).view(line)
        )
    coordinates = []  # term by term: autocast would round a matrix product
    for axis in (2, 1, 0):
        row = matrix[:, axis, :, None, None, None]
        centre = (shape[axis] - out[axis]) // 2 + (out[axis] - 1) / 2  # of the centred crop
        at = row[:, 0] * offsets[0] + row[:, 1] * offsets[1] + row[:, 2] * offsets[2] + centre
        coordinates.append((2 * at + 1) / shape[axis] - 1)
    return torch.stack(coordinates, dim=-1)


def sampled(x: Tensor, at: Tensor, mode: Literal["linear", "nearest"]) -> Tensor:
    """Read ``x`` (B, C, X, Y, Z) at the ``places``: an image linearly, a label its nearest voxel.

    Returns:
        (B, C, *out) of ``x``'s type; zero, the background, where it lies outside ``x``.
    """
    whole = x if x.is_floating_point() else x.float()  # label numbers are exact in float32
    kind = "bilinear" if mode == "linear" else "nearest"
    return functional.grid_sample(
        whole, at, mode=kind, padding_mode="zeros", align_corners=False
    ).to(x.dtype)


def centred(x: Tensor, out: Triple) -> Tensor:
    """Return the centred crop of ``out`` voxels of ``x`` (..., X, Y, Z), as a view."""
    for axis, n in enumerate(out, start=x.ndim - 3):
        x = x.narrow(axis, (x.shape[axis] - n) // 2, n)
    return x
