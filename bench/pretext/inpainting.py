"""Holes in slices: one in the centre, and irregular ones (Pathak et al. 2016 and their code).

A hole is one mask (X, Y) of booleans for all slices of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

TRIES = 128  # patterns drawn at once, of which the first with an allowed area counts


def centre_hole(shape: tuple[int, int], side: float, ring: int, device: torch.device) -> Tensor:
    """Return a mask of the centre, ``side`` times as long as the slice along each axis, less a ``ring``.

    Args:
        shape: pixels along x and y.
        side: share of each axis; .5 covers a quarter of the pixels.
        ring: pixels all around by which it is smaller than that.
        device: where the mask is made.
    """
    hole = torch.zeros(shape, dtype=torch.bool, device=device)
    x, y = (slice((n - h) // 2 + ring, (n + h) // 2 - ring) for n, h in _sides(shape, side))
    hole[x, y] = True
    return hole


def _sides(shape: tuple[int, int], side: float) -> list[tuple[int, int]]:
    # as even or odd as the axis, so that it lies in the centre
    return [(n, n - 2 * round((1 - side) * n / 2)) for n in shape]


def blobs(
    shape: tuple[int, int], density: float, resolution: float, area: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Return a mask of irregular holes: where coarse uniform noise, made fine bicubically, is low.

    Of many patterns the first counts whose area lies strictly within bounds; should none, the one nearest to
    their middle. The draw is the same in every part of a batch, which share the mask.

    Args:
        shape: pixels along x and y.
        density: noise below it is a hole.
        resolution: cells of noise per pixel; the lower, the larger the holes.
        area: bounds of the masked share of all pixels.
        generator: the only randomness.
    """
    device = generator.device
    cells = [int((n - 1) * resolution) + 5 for n in shape]  # a phase, and a cell more at either end
    # not from bench.random, which gives every part of a batch rows of its own
    noise = torch.rand((TRIES, *cells), generator=generator, device=device)
    phase = torch.rand((TRIES, 2), generator=generator, device=device)
    lines = zip(shape, cells, phase.unbind(1), strict=True)
    x, y = (bicubic(n, c, resolution, p) for n, c, p in lines)
    with torch.autocast(device.type, enabled=False):  # 16 bits would move the edges
        holes = x @ noise @ y.transpose(1, 2) < density
    share = holes.float().mean((1, 2))
    low, high = area
    fits = (share > low) & (share < high)
    off = (share - (low + high) / 2).abs()
    first = torch.where(fits.any(), fits.to(torch.uint8).argmax(), off.argmin())
    return holes[first]


def bicubic(pixels: int, cells: int, resolution: float, phase: Tensor) -> Tensor:
    """Return the weights of cells in pixels along a line, (N, pixels, cells), by Catmull and Rom's spline.

    Args:
        pixels: of the fine line; pixel i lies at ``1 + phase + i * resolution`` on the coarse one.
        cells: of the coarse line, enough for the last pixel's four.
        resolution: cells per pixel.
        phase: (N,) in [0, 1).
    """
    at = 1 + phase[:, None] + resolution * torch.arange(pixels, device=phase.device)
    off = (at[..., None] - torch.arange(cells, device=phase.device)).abs()
    near = 1 - 2.5 * off**2 + 1.5 * off**3
    far = 2 - 4 * off + 2.5 * off**2 - 0.5 * off**3
    return torch.where(off < 1, near, torch.where(off < 2, far, 0.0))
