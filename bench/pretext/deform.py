"""The four deformations of Zhou et al. (2019), each for a whole batch at once, on its device.

Every function takes a batch (B, C, X, Y, Z) and a generator, and draws its numbers for every row, used or
not, so that the parts of a batch see what the whole would. ``chosen`` (B,) says which rows are deformed;
the others come back as they were. Intensities lie in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.augment.draw import per_sample
from bench.constants import constant
from bench.random import rand, randint
from bench.ranges import Triple

Pair = tuple[int, int]
# factors of the finaliser of MurmurHash3 (A. Appleby, public domain), as signed numbers of 64 bits
MIX = (0xFF51AFD7ED558CCD - (1 << 64), 0xC4CEB9FE1A85EC53 - (1 << 64))
LOW = (1 << 31) - 1  # what a shift to the right by 33 leaves of 64 bits


@dataclass(frozen=True)
class Boxes:
    """How many boxes are painted in or around, and where.

    Args:
        most: boxes of a row.
        follows: probability that there is another one, as long as there was the one before.
        margin: voxels at the border that no box touches, where the axis has room.
    """

    most: int = 5
    follows: float = 0.95
    margin: int = 3


def triple(x: Tensor) -> Triple:
    """Return the voxels along x, y, z of a batch."""
    return x.shape[2], x.shape[3], x.shape[4]


def reach(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's and channel's lowest value and range (1 where constant), (B, C, 1, 1, 1) both."""
    low, high = x.flatten(2).aminmax(dim=2)
    span = torch.where(high > low, high - low, torch.ones_like(low))
    return low[:, :, None, None, None], span[:, :, None, None, None]


def integers(low: Tensor | int, high: Tensor | int, u: Tensor) -> Tensor:
    """Return integers from ``low`` to ``high``, both included, from uniform numbers in [0, 1)."""
    return low + (u * (high - low + 1)).floor()


def flips(rows: int, p: float, rounds: int, axes: Triple, generator: torch.Generator) -> Tensor:
    """Draw which axes are mirrored, (rows, 3) booleans.

    Up to ``rounds`` times, as long as it comes out with probability ``p``, an axis is drawn and mirrored; one
    that is drawn twice is as it was.

    Args:
        rows: how many.
        p: that another one follows.
        rounds: at most.
        axes: what the three equally likely draws mirror: 0, 1, 2 for x, y, z, or -1 for nothing.
        generator: the only randomness.
    """
    goes_on = (rand((rows, rounds), generator) < p).long().cumprod(1)
    drawn = constant(axes, generator.device)[randint(0, 3, (rows, rounds), generator)]
    times = [((drawn == axis) * goes_on).sum(1) for axis in range(3)]
    return torch.stack(times, dim=1) % 2 == 1


def local_shuffle(
    x: Tensor,
    chosen: Tensor,
    windows: int,
    generator: torch.Generator,
    sides: list[Pair] | None = None,
) -> Tensor:
    """Shuffle the voxels inside many small windows of each chosen row.

    A window's side along an axis is uniform between two of ``sides``, from 1 to a tenth of the axis by
    default; its place is uniform. Every window is a permutation of the original; where windows overlap the
    later one counts. All channels move alike.
    """
    drawn = rand((len(x), windows, 6), generator)
    seeds = randint(0, 2**62, (len(x), windows), generator)
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return x
    shape = constant(x.shape[2:], x.device)
    edges = constant(sides or [(1, max(1, n // 10)) for n in triple(x)], x.device)
    u, seed = drawn[rows].flatten(0, 1), seeds[rows].flatten()
    size = integers(edges[:, 0], edges[:, 1], u[:, :3]).long()
    start = integers(0, shape - size, u[:, 3:]).long()
    row = torch.arange(len(rows), device=x.device).repeat_interleave(windows)
    source = shuffled(start, size, row, seed, len(rows), triple(x))
    shuffled_rows = (
        x[rows].transpose(0, 1).flatten(1)[:, source].unflatten(1, (len(rows), *x.shape[2:]))
    )
    return x.index_copy(0, rows, shuffled_rows.transpose(0, 1))


def shuffled(
    start: Tensor, size: Tensor, row: Tensor, seed: Tensor, rows: int, shape: Triple
) -> Tensor:
    """Return from which voxel each voxel is read where windows shuffle their own, the last one counting.

    Windows are written out voxel by voxel, one after the other. Sorting a window's voxels by pseudo-random
    keys permutes them; the last entry of a voxel belongs to the last window that covers it.

    Args:
        start: (W, 3) corners.
        size: (W, 3), at least 1.
        row: (W,) of the batch, to which a window belongs.
        seed: (W,) of a window's permutation.
        rows: in the batch.
        shape: of a row.

    Returns:
        (rows * voxels,) indices into the same.
    """
    window, inside, place = written_out(start, size, row, shape)
    order = ((window << 32) | scattered(seed[window] + inside)).argsort()
    last = last_entry(place, rows * shape[0] * shape[1] * shape[2])
    itself = torch.arange(len(last), device=size.device)
    return torch.where(last < 0, itself, place[order[last.clamp_min(0)]])


def written_out(
    start: Tensor, size: Tensor, row: Tensor, shape: Triple
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the voxels of all windows, one window after the other, each in C order.

    Args:
        start: (W, 3) corners.
        size: (W, 3), at least 1.
        row: (W,) of the batch, to which a window belongs.
        shape: of a row.

    Returns:
        Of each entry its window, its number within, and its voxel among those of all rows.
    """
    _, y, z = shape
    voxels, plane, side = size.prod(1), size[:, 1] * size[:, 2], size[:, 2]
    corner = (row * shape[0] + start[:, 0]) * y * z + start[:, 1] * z + start[:, 2]
    before, count = voxels.cumsum(0) - voxels, int(voxels.sum())
    window = torch.arange(len(size), device=size.device).repeat_interleave(
        voxels, output_size=count
    )
    facts = torch.stack([before, plane, side, corner])[:, window]
    inside = torch.arange(count, device=size.device) - facts[0]
    i, rest = inside // facts[1], inside % facts[1]
    j, k = rest // facts[2], rest % facts[2]
    return window, inside, facts[3] + i * (y * z) + j * z + k


def last_entry(place: Tensor, voxels: int) -> Tensor:
    """Return the last entry that writes each of so many voxels, -1 where none does."""
    entry = torch.arange(len(place), device=place.device)
    return torch.full((voxels,), -1, device=place.device).scatter_reduce_(0, place, entry, "amax")


def scattered(number: Tensor) -> Tensor:
    """Return 32 pseudo-random bits for each integer, always the same for the same one."""
    for factor in MIX:
        number = (number ^ ((number >> 33) & LOW)) * factor
    return (number >> 31) & ((1 << 32) - 1)


def bezier(
    x: Tensor, chosen: Tensor, points: int, generator: torch.Generator, rises: float = 0.5
) -> Tensor:
    """Map the intensities of each chosen row by a monotone cubic curve through (0, 0) and (1, 1).

    Both inner control points are uniform in the unit square. A curve falls, from (0, 1) to (1, 0), unless it
    ``rises``. Values outside [0, 1] are mapped as its ends.

    Args:
        x: intensities in [0, 1].
        chosen: (B,) rows.
        points: at which the curve is calculated; between them it is a line.
        generator: the only randomness.
        rises: with this probability.
    """
    control, up = rand((len(x), 2, 2), generator), rand(len(x), generator) < rises
    return torch.where(per_sample(chosen), mapped(x, control, up, points), x)


def mapped(x: Tensor, control: Tensor, up: Tensor, points: int) -> Tensor:
    """Map each row by the curve with control points (B, 2, 2), point before coordinate; see ``bezier``."""
    t = torch.linspace(0, 1, points, device=x.device, dtype=torch.float64)
    first, second = (3 * w for w in (t * (1 - t) ** 2, t**2 * (1 - t)))
    curve = (
        control[:, 0, :, None].double() * first + control[:, 1, :, None].double() * second + t**3
    )  # (B, 2, points)
    at, value = curve.to(x.dtype).unbind(1)
    at = at.cummax(1).values.contiguous()  # rounding must not undo the order
    value = torch.where(up[:, None], value, value.flip(1))
    flat = x.flatten(1).clamp(0, 1)
    above = torch.searchsorted(at, flat.contiguous()).clamp(1, points - 1)
    low, high = at.gather(1, above - 1), at.gather(1, above)
    share = ((flat - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)).clamp(0, 1)
    return torch.lerp(value.gather(1, above - 1), value.gather(1, above), share).view_as(x)


def paint(
    x: Tensor, inner: Tensor, outer: Tensor, boxes: Boxes, generator: torch.Generator
) -> Tensor:
    """Write uniform noise into boxes of the rows ``inner``, and around boxes of the rows ``outer``.

    A row of ``outer`` has one box at least. A side is uniform from a sixth to a third of the axis
    (``inner``), or from the axis less four sevenths to the axis less three (``outer``). Inside a box all
    channels get the same noise, around one each its own.

    Args:
        x: intensities in [0, 1].
        inner: (B,) rows.
        outer: (B,) rows, none of them in ``inner``.
        boxes: how many, and where.
        generator: the only randomness.
    """
    shape = triple(x)
    small = boxed(len(x), shape, inner_sides(shape), boxes, 0, generator)
    large = boxed(len(x), shape, outer_sides(shape), boxes, 1, generator)
    noise = rand(tuple(x.shape), generator).to(x.dtype)
    x = torch.where(per_sample(inner) & small, noise[:, :1], x)
    return torch.where(per_sample(outer) & ~large, noise, x)


def paint_boxes(x: Tensor, sides: list[Pair], boxes: Boxes, generator: torch.Generator) -> Tensor:
    """Write uniform noise, the same in all channels, into some boxes of every row; see ``boxed``."""
    inside = boxed(len(x), triple(x), sides, boxes, 0, generator)
    return torch.where(inside, rand((len(x), 1, *triple(x)), generator).to(x.dtype), x)


def inner_sides(shape: Triple) -> list[Pair]:
    """Return the least and the greatest side along each axis of a box that is painted, at least 1."""
    return [(max(1, n // 6), max(1, n // 3)) for n in shape]


def outer_sides(shape: Triple) -> list[Pair]:
    """Return the least and the greatest side along each axis of a box that is painted around."""
    return [(n - 4 * n // 7, n - 3 * n // 7) for n in shape]


def boxed(
    rows: int, shape: Triple, sides: list[Pair], boxes: Boxes, sure: int, generator: torch.Generator
) -> Tensor:
    """Return the union of some random boxes in each row, (rows, 1, X, Y, Z) booleans.

    Args:
        rows: how many.
        shape: of a row.
        sides: least and greatest of a box, along each axis.
        boxes: how many, and where.
        sure: so many are there anyway.
        generator: the only randomness.
    """
    there = rand((rows, boxes.most), generator) < boxes.follows
    there[:, :sure] = True
    there = there.long().cumprod(1).bool()
    u = rand((rows, boxes.most, 6), generator)
    edges = constant(sides, generator.device)
    whole = constant(shape, generator.device)
    size = integers(edges[:, 0], edges[:, 1], u[..., :3])
    room = torch.minimum(torch.full_like(size, boxes.margin), ((whole - size) / 2).floor())
    start = integers(room, whole - size - room, u[..., 3:])
    along = []
    for axis, n in enumerate(shape):
        at, a = torch.arange(n, device=generator.device), start[..., axis, None]
        along.append((at >= a) & (at < a + size[..., axis, None]))
    lines = [a.to(torch.float32) for a in (along[0] & there[..., None], along[1], along[2])]
    return torch.einsum("rbx,rby,rbz->rxyz", *lines)[:, None] > 0.5
