"""Sliding windows whose memory does not depend on a volume's depth: scores leave in slabs along z.

Windows and weights are MONAI's (``monai.inferers.sliding_window_inference``), so the scores are
MONAI's but for the order of float sums; beyond a volume lies its lowest value, as in training, not 0.
Windows are taken in order of z; what they add up to lies in a ring of planes on the network's device,
as deep as one batch of windows reaches. Planes that no later window touches leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.utils import _get_scan_interval  # the rule itself: a copy could drift from it
from torch import Tensor
from torch.nn.functional import pad

from bench.data.cache import BLOCK
from bench.data.reader import Volume
from bench.nets.base import triple
from bench.protocol.sections import Windows
from bench.ranges import Triple

PLANES = 16  # of a slab at most: few, and still whole cache lines of the ring, where z is innermost


@torch.no_grad()
def slabs(
    network: Callable[[Tensor], Tensor], volume: Volume, windows: Windows, device: torch.device
) -> Iterator[Tensor]:
    """Yield the scores of a volume in order of z: float32 (K, X, Y, dz) with 1 to ``PLANES`` planes each.

    All slabs lie in the same memory: one holds until the next is asked for; clone it to keep it.
    A volume smaller than the window is padded with its lowest value, as crops are in training (MONAI's
    ``cval`` is 0 by default), and its scores are cropped again.

    Args:
        network: gives (B, K, x, y, z) for windows (B, C, x, y, z).
        volume: read by box, never held whole.
        windows: their size, overlap and blending, and how many go through the network at a time.
        device: of the network; the ring and the slabs lie there too.
    """
    grid = Grid.over(volume.shape, windows.crop, windows.overlap)
    weights = compute_importance_map(grid.crop, mode=windows.blend, device=device)[grid.inside]
    size = windows.batch
    batches = [grid.starts[n : n + size] for n in range(0, len(grid.starts), size)]
    image, ring = _Image(volume, device), _Ring(volume.shape, grid.reach(batches))
    for batch in batches:
        yield from ring.leave(batch[0][2])
        boxes = [image.box(start, grid.size) for start in batch]
        stacked = torch.stack([pad(box, grid.padding, value=volume.lowest) for box in boxes])
        ring.add(batch, network(stacked)[:, :, *grid.inside], weights)
    yield from ring.leave(volume.shape[2])


@dataclass(frozen=True)
class Grid:
    """The windows over one volume: where they start, in order of z, and what is padded to each."""

    crop: Triple  # what the network reads
    size: Triple  # what of it lies in the volume
    starts: list[Triple]

    @classmethod
    def over(cls, shape: Triple, crop: Triple, overlap: float) -> Grid:
        """Lay MONAI's windows over a volume of this shape."""
        size = triple([min(n, side) for n, side in zip(shape, crop, strict=True)])
        steps = _get_scan_interval(shape, size, 3, (overlap,) * 3)
        boxes = dense_patch_slices(shape, size, steps)
        starts = [triple([int(side.start) for side in box]) for box in boxes]
        return cls(crop, size, sorted(starts, key=lambda start: (start[2], start)))

    @property
    def _before(self) -> Triple:
        return triple([(side - n) // 2 for side, n in zip(self.crop, self.size, strict=True)])

    @property
    def inside(self) -> tuple[slice, ...]:
        """Return the part of a window that lies in the volume, as an index (x, y, z)."""
        return tuple(slice(low, low + n) for low, n in zip(self._before, self.size, strict=True))

    @property
    def padding(self) -> list[int]:
        """Return what lacks before and after, as ``torch.nn.functional.pad`` takes it: z first."""
        sides = zip(self._before, self.size, self.crop, strict=True)
        return [n for low, size, side in reversed(list(sides)) for n in (low, side - size - low)]

    def reach(self, batches: Sequence[Sequence[Triple]]) -> int:
        """Return how many planes the windows of one batch span at most."""
        return max(batch[-1][2] - batch[0][2] for batch in batches) + self.size[2]


class _Image:
    """The planes of a volume that the windows are at, on the device; each block is decoded once."""

    def __init__(self, volume: Volume, device: torch.device) -> None:
        self._volume, self._first = volume, 0
        self._planes = torch.empty((volume.channels, *volume.shape[:2], 0), device=device)

    def box(self, start: Triple, size: Triple) -> Tensor:
        """Return (C, *size) from ``start``, whose z never falls from call to call."""
        x, y, z = start
        if z + size[2] > self._first + self._planes.shape[3]:
            self._read(z, z + size[2])
        z -= self._first
        return self._planes[:, x : x + size[0], y : y + size[1], z : z + size[2]]

    def _read(self, first: int, stop: int) -> None:
        old = self._planes[..., first - self._first :]
        begin, (x, y, depth) = first + old.shape[3], self._volume.shape
        stop = min(-(-stop // BLOCK) * BLOCK, depth)
        new = self._volume.crop((0, 0, begin), (x, y, stop - begin))
        self._planes = torch.cat((old, torch.from_numpy(new).to(old.device)), -1)
        self._first = first


class _Ring:
    """Sums of weighted scores, and of the weights: plane z lies at z modulo the depth."""

    def __init__(self, shape: Triple, depth: int) -> None:
        self._shape, self._depth = (*shape[:2], depth), depth
        self._first = 0  # the lowest plane that has not left
        self._sums = self._weights = self._slab = torch.empty(0)

    def add(self, starts: Sequence[Triple], scores: Tensor, weights: Tensor) -> None:
        """Add the scores (B, K, x, y, z) of windows at these corners; all their planes must fit."""
        if not self._sums.numel():  # only now it is known how many classes there are
            self._sums = scores.new_zeros((scores.shape[1], *self._shape), dtype=torch.float32)
            self._weights = weights.new_zeros(self._shape)
            self._slab = self._sums.new_empty(self._sums[..., 0].numel() * min(PLANES, self._depth))
        for (x, y, z), window in zip(starts, scores, strict=True):
            area = (slice(x, x + window.shape[1]), slice(y, y + window.shape[2]))
            for at, planes in self._pieces(z, z + window.shape[3], self._depth):
                part = slice(planes.start - z, planes.stop - z)
                sums = self._sums[(slice(None), *area, at)]
                sums.addcmul_(window[..., part].float(), weights[..., part])
                self._weights[(*area, at)] += weights[..., part]

    def leave(self, stop: int) -> Iterator[Tensor]:
        """Yield the means of all planes below ``stop`` and make room for others."""
        for at, planes in self._pieces(self._first, stop, PLANES):
            sums = self._sums[..., at]
            means = self._slab[: sums.numel()].view(sums.shape)
            yield torch.div(sums, self._weights[..., at], out=means)
            self._sums[..., at] = 0
            self._weights[..., at] = 0
            self._first = planes.stop

    def _pieces(self, first: int, stop: int, most: int) -> Iterator[tuple[slice, slice]]:
        """Yield where planes lie in the ring, piece by piece, and which planes they are."""
        while first < stop:
            at = first % self._depth
            n = min(stop - first, self._depth - at, most)
            yield slice(at, at + n), slice(first, first + n)
            first += n
