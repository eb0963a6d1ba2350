"""Guess where in one scan another one lies: which box, with which axes turned and flipped how.

Both are described by low cosines. A box of the larger scan and the smaller scan as a whole are
vectors then, their product is a correlation, and a flip only changes the sign of odd cosines, so
that one product of matrices per parity answers all boxes, orders of axes and flips at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np

from bench.data.fingerprint import sampling

WAVES = 6  # cosines per axis
POINTS = 12  # places per axis that they are fitted to
CUBE = {2: 96, 3: 24}  # side of the thumbnails
STEPS = {2: 20, 3: 10}  # the boxes' ends lie on a grid of 1/20 or 1/10 of an axis
SMALLEST = 0.6  # share of an axis that a copy keeps, at least
KEPT = 6  # turns kept for a pair
SECOND = 2  # so many of them get a second box, as far off as one can be that is
NEARLY = 0.03  # so little worse
BLOCK = 8  # scans compared at a time; their scores fit into the cache


@dataclass(frozen=True, eq=False)
class View:
    """One channel, prepared: 2 or 3 axes."""

    volume: np.ndarray  # as in the fingerprint
    thumbnail: np.ndarray  # float32, a square or a cube
    turned: np.ndarray  # (parity, order of axes, cosine), of unit length over all but the order


@dataclass(frozen=True, eq=False)
class Guesses:
    """For one scan's boxes and every other scan (n, KEPT + SECOND)."""

    score: np.ndarray  # float32, the correlation
    turn: np.ndarray  # uint8, order of axes * flips + flip
    box: np.ndarray  # int16


def view(channel: np.ndarray) -> View:
    """Prepare one channel (X, Y, Z) of a fingerprint."""
    volume = np.ascontiguousarray(channel[..., 0] if channel.shape[2] == 1 else channel)
    d = volume.ndim
    thumbnail = read(volume.astype(np.float32), [sampling(n, CUBE[d]) for n in volume.shape])
    waves = read(thumbnail, [_waves() @ sampling(CUBE[d], POINTS)] * d) * _weights(d)
    waves /= max(float(np.linalg.norm(waves)), 1e-9)
    turned = [_parities(waves.transpose(order)[None])[:, 0] for order in permutations(range(d))]
    return View(volume, thumbnail, np.stack(turned, axis=1))


def read(volume: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """Return the volume with one matrix (m, n) applied along each of its 2 or 3 axes."""
    first, *middle, last = matrices
    out = (first @ volume.reshape(len(volume), -1)).reshape(len(first), *volume.shape[1:])
    for matrix in middle:
        out = matrix @ out
    return out @ last.T


def turned(volume: np.ndarray, turn: int) -> np.ndarray:
    """Return the volume with its axes ordered and flipped."""
    d = volume.ndim
    order, flip = divmod(turn, 2**d)
    signs = tuple(slice(None, None, -1 if flip >> (d - 1 - axis) & 1 else 1) for axis in range(d))
    return volume.transpose(list(permutations(range(d)))[order])[signs]


def box(number: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a box's starts and extents, (d,) each, as shares of the axes."""
    starts, extents = _intervals(d)
    places = list(np.unravel_index(number, (len(starts),) * d))
    return starts[places], extents[places]


def boxes(thumbnail: np.ndarray) -> np.ndarray:
    """Return the cosines of every box of a thumbnail, (parity, cosine, box), unit length each."""
    d = thumbnail.ndim
    starts, extents = _intervals(d)
    matrix = _waves() @ sampling(len(thumbnail), POINTS, starts, extents)
    waves = read(thumbnail, [matrix.reshape(-1, len(thumbnail))] * d)
    waves = waves.reshape((len(starts), WAVES) * d).transpose(*range(0, 2 * d, 2), *range(1, 2 * d, 2))
    waves = waves.reshape(-1, *(WAVES,) * d) * _weights(d)
    lengths = np.linalg.norm(waves.reshape(len(waves), -1), axis=1)
    waves /= np.maximum(lengths, 1e-9).reshape(-1, *(1,) * d)
    return np.ascontiguousarray(_parities(waves).transpose(0, 2, 1))


def guess(thumbnail: np.ndarray, others: np.ndarray) -> Guesses:
    """Guess which box of a scan each other scan is.

    Args:
        thumbnail: of the scan.
        others: ``View.turned`` of the other scans, (parity, scan, order, cosine).
    """
    bank = boxes(thumbnail)
    signs = _signs(thumbnail.ndim)
    parts = []
    for first in range(0, others.shape[1], BLOCK):
        some = others[:, first : first + BLOCK]
        parity, scans, orders, cosines = some.shape
        each = some.reshape(parity, -1, cosines) @ bank
        score = (signs @ each.reshape(parity, -1)).reshape(parity, scans, orders, -1)
        best = score.max(-1).transpose(1, 2, 0).reshape(scans, -1)
        turn = np.argsort(-best, axis=1)[:, :KEPT]
        row = np.arange(scans)[:, None]
        whole = score[turn % parity, row, turn // parity]
        number = whole.argmax(-1)
        second = _second(whole[:, :SECOND], number[:, :SECOND], thumbnail.ndim)
        value = best[row, turn]
        value = np.concatenate([value, value[:, :SECOND] - NEARLY], axis=1)
        turn = np.concatenate([turn, turn[:, :SECOND]], axis=1)
        number = np.concatenate([number, second], axis=1)
        parts.append((value, turn.astype(np.uint8), number.astype(np.int16)))
    return Guesses(*(np.concatenate(p) for p in zip(*parts, strict=True)))


def _second(scores: np.ndarray, best: np.ndarray, d: int) -> np.ndarray:
    """Return, for scores (..., box), the box farthest from the best one among those nearly as good."""
    near = scores >= scores.max(-1, keepdims=True) - NEARLY
    corners = _corners(d)
    far = sum(np.abs(side - side[best][..., None]) for side in corners)
    return np.where(near, far, -1).argmax(-1)


@cache
def _intervals(d: int) -> tuple[np.ndarray, np.ndarray]:
    steps = STEPS[d]
    least = round(SMALLEST * steps)
    ends = [(a, b) for a in range(steps - least + 1) for b in range(a + least, steps + 1)]
    starts, stops = np.array(ends).T / steps
    return starts, stops - starts


@cache
def _corners(d: int) -> np.ndarray:
    """Return both ends of every box along every axis, (2 d, box)."""
    starts, extents = _intervals(d)
    places = np.indices((len(starts),) * d).reshape(d, -1)
    return np.concatenate([starts[places], (starts + extents)[places]]).astype(np.float32)


@cache
def _waves() -> np.ndarray:
    places = (np.arange(POINTS) + 0.5) / POINTS
    waves = np.cos(np.pi * np.outer(np.arange(WAVES), places)) * np.sqrt(2 / POINTS)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


@cache
def _weights(d: int) -> np.ndarray:
    """Weigh cosines against the spectrum of scans, and drop the mean."""
    length = np.sqrt(sum(k * k for k in np.meshgrid(*[np.arange(WAVES)] * d, indexing="ij")))
    return (np.sqrt(length) * np.exp(-((length / 6) ** 2))).astype(np.float32)


@cache
def _signs(d: int) -> np.ndarray:
    """Return (flip, parity): the sign that a flip gives to cosines that are odd along given axes."""
    return np.array(
        [[(-1) ** (flip & parity).bit_count() for parity in range(2**d)] for flip in range(2**d)], np.float32
    )


def _parities(waves: np.ndarray) -> np.ndarray:
    """Sort cosines (n, WAVES, ...) by where they are odd: (parity, n, cosine)."""
    halves = product((0, 1), repeat=waves.ndim - 1)
    return np.stack([waves[(slice(None), *(slice(h, None, 2) for h in half))].reshape(len(waves), -1)
                     for half in halves])  # fmt: skip
