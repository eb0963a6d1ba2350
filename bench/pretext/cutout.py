"""Boxes that are cut out of crops until a share of the voxels is gone (Tang et al.'s code, CVPR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.constants import constant
from bench.pretext.deform import last_entry, triple, written_out
from bench.random import rand, randn
from bench.ranges import Triple


@dataclass(frozen=True)
class Boxes:
    """How much is cut, and by how large boxes.

    Args:
        most: highest share of the voxels, of which a uniform part is drawn for each row.
        least_side: shortest side, as a share of the axis; boxes begin no nearer to an axis' end.
        side: sides are shorter than this share.
    """

    most: float = 0.3
    least_side: float = 0.05
    side: float = 0.25

    @property
    def number(self) -> int:
        """Boxes that are drawn for a row: twice as many as mean ones would cover it, and some more."""
        mean = ((self.least_side + self.side) / 2) ** 3
        return int(2 * self.most / mean) + 8


def drawn(
    rows: int, shape: Triple, boxes: Boxes, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw boxes for each row until they cover what it lost; overlaps count twice, as in the code.

    Returns:
        Corners and sizes (W, 3), clipped at the border, and the row (W,) of each.
    """
    wanted = rand(rows, generator) * boxes.most * (shape[0] * shape[1] * shape[2])
    u = rand((rows, boxes.number, 6), generator)
    sides = constant(shape, generator.device)
    least, most = ((sides * share).long() for share in (boxes.least_side, boxes.side))
    start = (u[..., :3] * (sides - least)).long()
    size = least + (u[..., 3:] * (most - least)).long()
    size = torch.minimum(size.clamp_min(1), sides - start)  # the code's may have no voxel
    covered = size.prod(dim=2).cumsum(dim=1)
    needed = covered - size.prod(dim=2) < wanted[:, None]
    row, number = needed.nonzero().unbind(1)
    return start[row, number], size[row, number], row


def noisy(x: Tensor, boxes: Boxes, generator: torch.Generator) -> Tensor:
    """Return crops (B, C, X, Y, Z) with boxes of normal noise, each box's scaled to [0, 1].

    Where boxes overlap the later one counts.
    """
    start, size, row = drawn(len(x), triple(x), boxes, generator)
    # (C, voxels of all rows)
    noise = randn(tuple(x.shape), generator).to(x.dtype).transpose(0, 1).flatten(1)
    window, _, place = written_out(start, size, row, triple(x))
    values = noise[:, place]
    low = x.new_full((len(row),), torch.inf).scatter_reduce_(0, window, values.amin(0), "amin")
    high = x.new_full((len(row),), -torch.inf).scatter_reduce_(0, window, values.amax(0), "amax")
    last = last_entry(place, noise.shape[1])
    covers = window[last.clamp_min(0)] if len(window) else last
    if not len(window):
        return x
    unit = (noise - low[covers]) / (high - low)[covers].clamp_min(torch.finfo(x.dtype).tiny)
    flat = torch.where(last < 0, x.transpose(0, 1).flatten(1), unit)
    return flat.unflatten(1, (len(x), *x.shape[2:])).transpose(0, 1)


def holes(rows: int, shape: Triple, boxes: Boxes, generator: torch.Generator) -> Tensor:
    """Return the union of each row's boxes, (rows, 1, X, Y, Z) booleans."""
    start, size, row = drawn(rows, shape, boxes, generator)
    mask = torch.zeros(rows * shape[0] * shape[1] * shape[2], dtype=torch.bool, device=start.device)
    mask[written_out(start, size, row, shape)[2]] = True
    return mask.view(rows, 1, *shape)
