"""Score pairs of scans by few cosines of few boxes, so that only the likeliest are fitted.

Cheaper than the first guess of ``poses`` by a factor of ten or thirty, and only good for an order: of 343 or
125 boxes of a volume, in 48 turns, the best one's correlation with the other scan, either being the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.leaks.cosines import Basis, signs
from bench.leaks.poses import View, every_end

# The intervals were set by the ranks of planted copies (the tuning half of tools/leaks.py). The weights are
# steeper than the first guess's, as bodies share their lowest cosines.
_ENDS = tuple((a / 10, b / 10) for a in range(5) for b in range(a + 6, 11))
_PICTURES = Basis(2, 6, _ENDS, power=2, width=5)
_MANY = ((0.02, 0.98), (0, 0.63), (0.12, 0.75), (0.25, 0.88), (0.37, 1), (0, 0.82), (0.18, 1))
_FEW = ((0.03, 0.97), (0.02, 0.66), (0.34, 0.98), (0.13, 0.77), (0.23, 0.87))


@dataclass(frozen=True)
class Level:
    """How closely scans are looked at, by number of axes."""

    screen: dict[int, Basis]
    sweeps: dict[int, tuple[Basis, ...]]  # of ``refine``


def _level(ends: tuple[tuple[float, float], ...], *waves: int) -> Level:
    picture = Basis(2, 6, every_end(20), power=2, width=5)
    sweeps = tuple(Basis(3, each, every_end(10), power=2, width=5) for each in waves)
    screen = {2: _PICTURES, 3: Basis(3, 4, ends, power=2, width=5)}
    return Level(screen, {2: (picture,) * len(waves), 3: sweeps})


DENSE, SPARSE = _level(_MANY, 4, 6), _level(_FEW, 4, 4)
PAIRS = 1_000_000  # of scans; more are screened by fewer boxes, which takes a third of the time
ROOM = 1 << 17  # scores at a time: they fit into the cache


@dataclass(frozen=True, eq=False)
class Sketches:
    """Channels of one number of axes as the screen sees them."""

    basis: Basis
    scans: np.ndarray  # int (channel,), the number of each channel's scan
    channels: np.ndarray  # int (channel,), its number among its scan's
    copies: np.ndarray  # float32 (parity, channel, order of axes, cosine)
    boxes: np.ndarray  # float32 (channel, parity, cosine, box)

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Scan and channel of each."""
        return list(zip(self.scans.tolist(), self.channels.tolist(), strict=True))

    @cached_property
    def number(self) -> dict[tuple[int, int], int]:
        """Where each scan's channel is."""
        return {channel: number for number, channel in enumerate(self.places)}


def level(scans: int, others: int) -> Level:
    """Return how closely so many scans and so many others are looked at."""
    return DENSE if scans * others <= PAIRS else SPARSE


def sketches(channels: Sequence[tuple[int, View]], basis: Basis) -> Sketches:
    """Describe channels, (number of the scan, view) each, at least one, of as many axes as the basis.

    A scan's channels stand together, in their order.
    """
    copies = [basis.copies(view.thumbnail) for _, view in channels]
    boxes = [basis.boxes(view.thumbnail) for _, view in channels]
    scans = np.array([scan for scan, _ in channels])
    numbers = np.arange(len(scans)) - np.searchsorted(scans, scans)
    return Sketches(basis, scans, numbers, np.stack(copies, axis=1), np.stack(boxes))


def scores(first: Sketches, second: Sketches) -> np.ndarray:
    """Return the best correlation of any box of one with the other, float32 (channel, channel)."""
    forth = np.stack([_best(boxes, second.copies) for boxes in first.boxes])
    back = np.stack([_best(boxes, first.copies) for boxes in second.boxes])
    return np.maximum(forth, back.T)


def turns(boxes: np.ndarray, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best correlation, and its box, of every turn of every channel, (channel, turn) each.

    ``boxes`` are of one channel (parity, cosine, box), ``copies`` the others (parity, channel, order, cosine).
    """
    parity, channels, orders, cosines = copies.shape
    each = copies.reshape(parity, -1, cosines) @ boxes
    correlations = signs(parity.bit_length() - 1) @ each.reshape(parity, -1)
    correlations = correlations.reshape(parity, channels, orders, -1)
    box = correlations.argmax(-1)
    fits = np.take_along_axis(correlations, box[..., None], -1)[..., 0]
    fits, box = (each.transpose(1, 2, 0).reshape(channels, -1) for each in (fits, box))
    return fits, box  # of a turn: order * flips + flip


def _best(boxes: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Return the best correlation of boxes (parity, cosine, box) with each channel, in any turn.

    Of a flip of the first axis and none the better is the even part and the odd one's absolute value: half
    of the flips need not be looked at.
    """
    parity, channels, orders, cosines = copies.shape
    flips, number = signs(parity.bit_length() - 2), boxes.shape[2]
    count = max(1, ROOM // (parity * orders * number))
    best = np.empty(channels, np.float32)
    # Written anew for every block: to ask the system for so much memory takes longer than the products.
    room = np.empty((2, parity * count * orders * number), np.float32)
    for start in range(0, channels, count):
        part = copies[:, start : start + count].reshape(parity, -1, cosines)
        size = part.shape[1] * parity * number
        each, score = (r[:size].reshape(2, len(flips), -1) for r in room)
        np.matmul(part, boxes, out=each.reshape(parity, -1, number))
        even, odd = np.matmul(flips, each, out=score)
        even += np.abs(odd, out=odd)
        best[start : start + count] = even.max(0).reshape(-1, orders * number).max(1)
    return best
