"""Guess where in one scan another one lies: which box, with which axes turned and flipped how.

For the first guess, both are described by low cosines. A box of the larger scan and the smaller
scan as a whole are vectors then, their product is a correlation, and a flip only changes the sign
of odd cosines, so that one product of matrices per parity answers all boxes, orders of axes and
flips at once. Where many boxes look alike, a sweep along every axis compares what is fine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import permutations, product

import numpy as np

from bench.leaks.fingerprint import sampling

WAVES = 6  # cosines per axis
POINTS = 12  # places per axis that they are fitted to
CUBE = {2: 96, 3: 24}  # side of the thumbnails
STEPS = {2: 20, 3: 10}  # the boxes' ends lie on a grid of 1/20 or 1/10 of an axis
SMALLEST = 0.6  # share of an axis that a copy keeps, at least
KEPT = 6  # turns kept for a pair
SECOND = 2  # so many of them get a second box, as far off as one can be that is
NEARLY = 0.03  # so little worse
COARSE, MIDDLE, FINE = {2: 48, 3: 12}, {2: 64, 3: 20}, {2: 96, 3: 32}  # places per axis of a box
SLICES, WIDE = 14, 48  # among fewer slices, finer places must tell two patients apart
DETAIL = 2.0  # places; the sweep and the last fits see only what is finer
SWEEP = 10  # the ends of the intervals lie on a grid of 1/10 of an axis
BLOCK = 2  # scans compared at a time; their scores fit into the cache


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


@dataclass(frozen=True, eq=False)
class Pose:
    """A copy, turned already, as a box of the whole scan's volume."""

    whole: np.ndarray
    copy: np.ndarray
    start: np.ndarray  # of the box, per axis, as a share of the axis
    extent: np.ndarray
    fit: float = -1.0  # correlation
    blur: float = 1.0
    levels: tuple[np.ndarray, ...] = ()  # both volumes as the fingerprints have them, uint8
    way: int = 0  # 1: the whole takes the copy's grey scale, 2: the other way round, 0: what fits
    role: tuple[bool, int] = (True, 0)  # is the first scan the whole one, and the copy's turn

    def counts(self, places: dict[int, int]) -> list[int]:
        """Return how many places to compare per axis: no more than either of the two can show."""
        sizes = list(zip(self.whole.shape, self.copy.shape, self.extent, strict=True))
        shown = [max(2, min(m, round(float(e) * n))) for n, m, e in sizes]
        few = places is FINE and self.whole.ndim == 3 and min(shown) < SLICES
        most = WIDE if few else places[self.whole.ndim]
        return [min(most, n) for n in shown]

    def matrices(self, counts: list[int]) -> list[np.ndarray]:
        """Return what reads the box from the whole."""
        if len({*self.whole.shape}) == len({*counts}) == 1:  # thumbnails, read in one go
            return list(sampling(len(self.whole), counts[0], self.start, self.extent, self.blur))
        axes = zip(self.whole.shape, counts, self.start, self.extent, strict=True)
        return [sampling(n, c, a, e, self.blur) for n, c, a, e in axes]

    def inverted(self) -> Pose:
        """Return the same pose with the copy as the whole, for a box that is larger than its volume."""
        start, extent = -self.start / self.extent, 1 / self.extent
        return replace(
            self, whole=self.copy, copy=self.whole, levels=self.levels[::-1], start=start, extent=extent
        )

    def shown(self, counts: list[int]) -> np.ndarray:
        """Return the box of the whole."""
        return read(self.whole, self.matrices(counts))

    def target(self, counts: list[int]) -> np.ndarray:
        """Return the copy, at the same places."""
        return read(self.copy, [_whole_axis(n, c) for n, c in zip(self.copy.shape, counts, strict=True)])


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
    """Return volumes (..., X, Y) or (..., X, Y, Z) with one matrix (..., m, n) applied along each axis."""
    first, *middle, last = matrices
    d = len(matrices)
    lead, sides = volume.shape[:-d], volume.shape[-d:]
    out = first @ volume.reshape(*lead, sides[0], -1)
    out = out.reshape(*out.shape[:-1], *sides[1:])
    for matrix in middle:
        out = matrix[..., None, :, :] @ out
    flat = out.reshape(*lead, -1, sides[-1]) @ last.swapaxes(-1, -2)
    return flat.reshape(*out.shape[:-1], last.shape[-2])


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
    # (odd, half the cosines, interval) along every axis, so that the large array is put in order only once
    matrix = matrix.reshape(len(starts), -1, 2, len(thumbnail)).transpose(2, 1, 0, 3)
    waves = read(thumbnail, [matrix.reshape(-1, len(thumbnail))] * d).reshape(matrix.shape[:3] * d)
    waves = waves.transpose([3 * axis + part for part in range(3) for axis in range(d)])
    waves = np.ascontiguousarray(waves).reshape(2**d, -1, len(starts) ** d)
    waves *= _parities(_weights(d)[None]).transpose(0, 2, 1)
    waves /= np.maximum(np.sqrt(np.einsum("pcb,pcb->b", waves, waves)), 1e-9)
    return waves


def guess(thumbnail: np.ndarray, others: np.ndarray) -> Guesses:
    """Guess which box of a scan each other scan is.

    Args:
        thumbnail: of the scan.
        others: ``View.turned`` of the other scans, (parity, scan, order, cosine).
    """
    bank = boxes(thumbnail)
    signs = _signs(thumbnail.ndim)
    parts = []
    parity, _, orders, cosines = others.shape
    # Written anew for every block: to ask the system for so much memory takes longer than the products.
    room = np.empty((2, parity * BLOCK * orders * bank.shape[2]), np.float32)
    for first in range(0, others.shape[1], BLOCK):
        some = others[:, first : first + BLOCK]
        scans = some.shape[1]
        each, score = (part[: bank[:, 0].size * scans * orders].reshape(parity, -1) for part in room)
        np.matmul(some.reshape(parity, -1, cosines), bank, out=each.reshape(parity, scans * orders, -1))
        score = np.matmul(signs, each, out=score).reshape(parity, scans, orders, -1)
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


def swept(pose: Pose) -> Pose:
    """Try every interval of one axis after the other, by what is fine.

    Along a body, boxes far from the right one show its large structures as well, and no small step
    leads from there to it.
    """
    counts = pose.counts(MIDDLE)
    high = [gauss(n, DETAIL) for n in counts]
    target, _ = unit(grain(pose.target(counts), high))
    for axis in range(len(counts)):
        now = pose.start[axis], pose.extent[axis]
        intervals = [np.append(own, every) for own, every in zip(now, _ends(), strict=True)]
        fits = _tried(pose, axis, intervals, high, target)
        best = int(fits.argmax())
        start, extent = pose.start.copy(), pose.extent.copy()
        start[axis], extent[axis] = (every[best] for every in intervals)
        pose = replace(pose, start=start, extent=extent, fit=float(fits[best]))
    return pose


def _tried(
    pose: Pose, axis: int, intervals: list[np.ndarray], high: list[np.ndarray], target: np.ndarray
) -> np.ndarray:
    """Return how the fine structures correlate for every interval, starts and extents, of an axis."""
    counts = target.shape
    matrices = pose.matrices(list(counts))
    every = sampling(pose.whole.shape[axis], counts[axis], intervals[0], intervals[1], pose.blur)
    matrices[axis] = every.reshape(-1, every.shape[-1])
    shown = read(pose.whole, matrices)
    shown = np.moveaxis(shown.reshape(*counts[:axis], *every.shape[:2], *counts[axis + 1 :]), axis, 0)
    smooth = shown
    for other, matrix in enumerate(high, start=1):
        smooth = np.moveaxis(np.tensordot(matrix, smooth, (1, other)), 0, other)
    fine = (shown - smooth).reshape(len(every), -1)
    fine -= fine.mean(1, keepdims=True)
    return fine @ target.ravel() / np.maximum(np.linalg.norm(fine, axis=1), 1e-9)


@lru_cache(maxsize=256)
def gauss(count: int, spread: float) -> np.ndarray:
    """Return the matrix (count, count) that smooths a line of ``count`` places; not to be written to."""
    place = np.arange(count)
    weights = np.exp(-0.5 * ((place[:, None] - place) / spread) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def grain(image: np.ndarray, smooth: list[np.ndarray] | None) -> np.ndarray:
    """Return what is left of an image without what is ``smooth``, one matrix per axis."""
    return image if smooth is None else image - read(image, smooth)


def unit(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the image without its mean, of length 1, and the length it had."""
    image = image - image.mean()
    norm = max(float(np.linalg.norm(image)), 1e-9)
    return image / norm, norm


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two images."""
    return float(unit(a)[0].ravel() @ unit(b)[0].ravel())


def _second(scores: np.ndarray, best: np.ndarray, d: int) -> np.ndarray:
    """Return, for scores (..., box), the box farthest from the best one among those nearly as good."""
    near = scores >= scores.max(-1, keepdims=True) - NEARLY
    corners = _corners(d)
    far = sum(np.abs(side - side[best][..., None]) for side in corners)
    return np.where(near, far, -1).argmax(-1)


@lru_cache(maxsize=256)
def _whole_axis(size: int, count: int) -> np.ndarray:
    """Return what reads a whole axis; shared, so not to be written to."""
    return sampling(size, count)


@cache
def _intervals(d: int) -> tuple[np.ndarray, np.ndarray]:
    steps = STEPS[d]
    least = round(SMALLEST * steps)
    ends = [(a, b) for a in range(steps - least + 1) for b in range(a + least, steps + 1)]
    starts, stops = np.array(ends).T / steps
    return starts, stops - starts


@cache
def _ends() -> tuple[np.ndarray, np.ndarray]:
    """Return starts and extents of the intervals to sweep; thick slices may stick out by one step."""
    least = round(SMALLEST * SWEEP) - 1
    ends = [(a, b) for a in range(-1, SWEEP + 1) for b in range(a + least, SWEEP + 2)]
    starts, stops = np.array(ends).T / SWEEP
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
