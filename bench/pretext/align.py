"""Where the cells of a view's feature map lie in its volume, and two views' maps laid over each other.

A view is a box of the volume, ``start`` and ``size`` (B, 3) in voxels, resized to the crop and then
mirrored along the axes marked in ``flipped`` (B, 3). Maps are (B, C, X, Y, Z); a map's index space counts
cells as ``resize_box`` counts voxels: cell j is centred on index j and covers [j, j + 1) of a box.
``bench.augment.flip`` undoes the mirroring of a map as it does that of a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor

from bench.augment import resize_box
from bench.constants import constant
from bench.errors import BenchError
from bench.pretext.losses import full_precision
from bench.ranges import Triple

Box = tuple[Tensor, Tensor]
Coordinates = Literal["scaled", "literal"]


def chosen_map(grids: Sequence[Triple], wanted: int | None, least: int) -> int:
    """Return which map of a pyramid is used: the one wanted, else the deepest with enough cells.

    Args:
        grids: cells of each map along x, y, z, finest first.
        wanted: the map that is asked for; -1 is the last.
        least: enough cells; where no map has as many, the deepest of those with the most is taken.

    Raises:
        BenchError: there is no such map.
    """
    if wanted is None:
        counts = [prod(grid) for grid in grids]
        return max(i for i, count in enumerate(counts) if count >= min(least, max(counts)))
    if not -len(grids) <= wanted < len(grids):
        raise BenchError(f"level = {wanted}; the network has maps 0 to {len(grids) - 1}")
    return wanted % len(grids)


def centres(start: Tensor, size: Tensor, flipped: Tensor, cells: Triple) -> Tensor:
    """Return the volume's voxel index (fractional) at the centre of each cell of a view's feature map.

    Args:
        start: (B, 3) corner of the view's box in voxels of the volume.
        size: (B, 3) the box's size in voxels of the volume.
        flipped: (B, 3) booleans, axes along which the resized box was mirrored.
        cells: of the map, along x, y, z.

    Returns:
        (B, *cells, 3): along an axis of n cells, cell j lies at start + (j' + .5) size / n - .5, where
        j' is n - 1 - j if the axis was mirrored and j if not.
    """
    axes = []
    for axis, n in enumerate(cells):
        cell = torch.arange(n, device=start.device).expand(len(start), n)
        cell = torch.where(flipped[:, axis, None].bool(), n - 1 - cell, cell)
        at = start[:, axis, None] + (cell + 0.5) * (size[:, axis, None] / n) - 0.5
        line = [len(start), 1, 1, 1]
        line[axis + 1] = n
        axes.append(at.view(line).expand(-1, *cells))
    return torch.stack(axes, dim=-1)


def overlap(
    box: Box, other: Box, cells: Triple, view: Triple, coordinates: Coordinates = "scaled"
) -> Box:
    """Return the part of a view that another one shows, too, as a box of its (unmirrored) feature map.

    Args:
        box: start and size of the view in voxels of the volume, (B, 3) each.
        other: of the other view.
        cells: of the map.
        view: voxels of the view, to which its box was resized.
        coordinates: ``scaled`` counts the box's voxels, o * cells / size. ``literal`` is Xie et al. 2020,
            Eq. 6, o / stride with stride = view / cells: it takes voxels of the box for voxels of the
            view, which only a box of the view's own size is; what leaves the map is cut off.

    Returns:
        Start and size in cells, (B, 3) each; size zero where the views share nothing.
    """
    (start, size), (other_start, other_size) = box, other
    low = torch.maximum(start, other_start)
    high = torch.maximum(torch.minimum(start + size, other_start + other_size), low)
    n = constant(cells, start.device, torch.get_default_dtype())
    if coordinates == "scaled":
        return (low - start) * (n / size), (high - low) * (n / size)
    per_voxel = n / constant(view, start.device)
    first, last = (
        torch.clamp((o - start) * per_voxel, torch.zeros_like(n), n) for o in (low, high)
    )
    return first, last - first


@full_precision
def roi_align(maps: Tensor, start: Tensor, size: Tensor) -> Tensor:
    """Read a box of each map at as many evenly spread places as the map has cells, linearly.

    Args:
        maps: (B, C, X, Y, Z).
        start: (B, 3) corner of the box in cells, fractional.
        size: (B, 3) its size in cells. The whole map comes back as it is.

    Returns:
        As ``maps``; a place beyond the outermost cells' centres reads the nearest place within them.
    """
    x, y, z = maps.shape[2:]
    return resize_box(maps, start, size, (x, y, z))
