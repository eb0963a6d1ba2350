"""Guess where in one scan another one lies: which box, with which axes turned and flipped how.

The first guess compares low cosines (``cosines``). Where many boxes look alike, a sweep along every
axis compares what is fine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import permutations

import numpy as np

from bench.leaks.cosines import Basis, signs
from bench.leaks.fingerprint import read, sampling

CUBE = {2: 96, 3: 24}  # side of the thumbnails
SMALLEST = 0.6  # share of an axis that a copy keeps, at least
TURNS = 6  # turns kept for a pair
SECOND = 2  # so many of them get a second box, as far off as one can be that is
NEARLY = 0.03  # so little worse
COARSE, MIDDLE, FINE = {2: 48, 3: 12}, {2: 64, 3: 20}, {2: 96, 3: 32}  # places per axis of a box
SLICES, WIDE = 14, 48  # among fewer slices, finer places must tell two patients apart
DETAIL = 2.0  # places; the sweep and the last fits see only what is finer
SWEEP = 10  # the ends of the intervals lie on a grid of 1/10 of an axis
BLOCK = 2  # scans compared at a time; their scores fit into the cache


def every_end(steps: int) -> tuple[tuple[float, float], ...]:
    """Return all intervals of the least length or more whose ends lie on a grid of so many steps."""
    least = round(SMALLEST * steps)
    ends = ((a, b) for a in range(steps - least + 1) for b in range(a + least, steps + 1))
    return tuple((a / steps, b / steps) for a, b in ends)


BASIS = {d: Basis(d, 6, every_end(steps), power=0.5, width=6) for d, steps in ((2, 20), (3, 10))}


@dataclass(frozen=True, eq=False)
class View:
    """One channel of 2 or 3 axes, and what its comparisons ask for."""

    volume: np.ndarray  # as in the fingerprint

    @cached_property
    def thumbnail(self) -> np.ndarray:
        """A square or a cube, float32."""
        sides = self.volume.shape
        return read(self.volume.astype(np.float32), [sampling(n, CUBE[len(sides)]) for n in sides])

    @cached_property
    def turned(self) -> np.ndarray:
        """Its cosines in every order of the axes, (parity, order, cosine)."""
        return BASIS[self.volume.ndim].copies(self.thumbnail)


@dataclass(frozen=True, eq=False)
class Guesses:
    """For one scan's boxes and every other scan (n, TURNS + SECOND)."""

    score: np.ndarray  # float32, the correlation
    turn: np.ndarray  # uint8, order of axes * flips + flip
    box: np.ndarray  # int16


@dataclass(frozen=True, eq=False)
class Pose:
    """A copy, turned already, as a box of the whole scan's volume."""

    scan: np.ndarray
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
        sizes = list(zip(self.scan.shape, self.copy.shape, self.extent, strict=True))
        shown = [max(2, min(m, round(float(e) * n))) for n, m, e in sizes]
        few = places is FINE and self.scan.ndim == 3 and min(shown) < SLICES
        most = WIDE if few else places[self.scan.ndim]
        return [min(most, n) for n in shown]

    def matrices(self, counts: list[int]) -> list[np.ndarray]:
        """Return what reads the box from the whole."""
        if len({*self.scan.shape}) == len({*counts}) == 1:  # thumbnails, read in one go
            return list(sampling(len(self.scan), counts[0], self.start, self.extent, self.blur))
        axes = zip(self.scan.shape, counts, self.start, self.extent, strict=True)
        return [sampling(n, c, a, e, self.blur) for n, c, a, e in axes]

    def inverted(self) -> Pose:
        """Return the same pose with the copy as the whole, for a box that is larger than its volume."""
        start, extent = -self.start / self.extent, 1 / self.extent
        turned = replace(self, scan=self.copy, copy=self.scan, levels=self.levels[::-1])
        return replace(turned, start=start, extent=extent)

    def shown(self, counts: list[int]) -> np.ndarray:
        """Return the box of the whole."""
        return read(self.scan, self.matrices(counts))

    def target(self, counts: list[int]) -> np.ndarray:
        """Return the copy, at the same places."""
        axes = zip(self.copy.shape, counts, strict=True)
        return read(self.copy, [_whole_axis(size, count) for size, count in axes])


def view(channel: np.ndarray) -> View:
    """Prepare one channel (X, Y, Z) of a fingerprint."""
    return View(np.ascontiguousarray(channel[..., 0] if channel.shape[2] == 1 else channel))


def turned(volume: np.ndarray, turn: int) -> np.ndarray:
    """Return the volume with its axes ordered and flipped."""
    d = volume.ndim
    order, flip = divmod(turn, 2**d)
    signs = tuple(slice(None, None, -1 if flip >> (d - 1 - axis) & 1 else 1) for axis in range(d))
    return volume.transpose(list(permutations(range(d)))[order])[signs]


def guess(scan: View, others: np.ndarray) -> Guesses:
    """Guess which box of a scan each other (``View.turned``: parity, scan, order, cosine) is."""
    bank, corners = _bank(scan), BASIS[scan.volume.ndim].corners
    flips = signs(scan.volume.ndim)
    parts = []
    parity, _, orders, cosines = others.shape
    # Written anew for every block: to ask the system for so much memory takes longer than the products.
    room = np.empty((2, parity * BLOCK * orders * bank.shape[2]), np.float32)
    for first in range(0, others.shape[1], BLOCK):
        block = others[:, first : first + BLOCK]
        scans = block.shape[1]
        size = bank[:, 0].size * scans * orders
        each, score = (part[:size].reshape(parity, -1) for part in room)
        products = each.reshape(parity, scans * orders, -1)
        np.matmul(block.reshape(parity, -1, cosines), bank, out=products)
        score = np.matmul(flips, each, out=score).reshape(parity, scans, orders, -1)
        best = score.max(-1).transpose(1, 2, 0).reshape(scans, -1)
        turn = np.argsort(-best, axis=1)[:, :TURNS]
        row = np.arange(scans)[:, None]
        top = score[turn % parity, row, turn // parity]
        number = top.argmax(-1)
        second = _second(top[:, :SECOND], number[:, :SECOND], corners)
        value = best[row, turn]
        value = np.concatenate([value, value[:, :SECOND] - NEARLY], axis=1)
        turn = np.concatenate([turn, turn[:, :SECOND]], axis=1)
        number = np.concatenate([number, second], axis=1)
        parts.append((value, turn.astype(np.uint8), number.astype(np.int16)))
    return Guesses(*(np.concatenate(p) for p in zip(*parts, strict=True)))


@lru_cache(maxsize=2)  # many scans are compared with one, one after the other
def _bank(scan: View) -> np.ndarray:
    return BASIS[scan.volume.ndim].boxes(scan.thumbnail)


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
        intervals = [np.append(current, every) for current, every in zip(now, _ends(), strict=True)]
        fits = _tried(pose, axis, intervals, high, target)
        best = int(fits.argmax())
        start, extent = pose.start.copy(), pose.extent.copy()
        start[axis], extent[axis] = (every[best] for every in intervals)
        pose = replace(pose, start=start, extent=extent, fit=float(fits[best]))
    return pose


def _tried(
    pose: Pose, axis: int, intervals: list[np.ndarray], high: list[np.ndarray], target: np.ndarray
) -> np.ndarray:
    """Return how the fine structures correlate for every interval, starts and extents, of an axis.

    What is fine in an interval is a product of a matrix for the interval and one for the other axes. So
    its length and its product with the target, whose mean is 0, come without it.
    """
    counts, size = target.shape, pose.scan.shape[axis]
    as_is = np.eye(size, dtype=np.float32)
    every = sampling(size, counts[axis], intervals[0], intervals[1], pose.blur)
    matrices = pose.matrices(list(counts))
    matrices[axis] = as_is
    lines = read(pose.scan, matrices)
    smooth = read(lines, [as_is if other == axis else matrix for other, matrix in enumerate(high)])
    along = np.concatenate([every, -high[axis] @ every], axis=-1).astype(np.float64)
    parts = [np.moveaxis(part, axis, 0).reshape(size, -1) for part in (lines, smooth)]
    across = np.concatenate(parts).astype(np.float64)
    targets = np.moveaxis(target, axis, 0).reshape(counts[axis], -1)
    product = (along * (targets @ across.T)).sum((1, 2))
    total = along.sum(1) @ across.sum(1)
    square = ((along @ (across @ across.T)) * along).sum((1, 2)) - total**2 / target.size
    return product / np.maximum(np.sqrt(np.maximum(square, 0)), 1e-9)


@lru_cache(maxsize=256)
def gauss(count: int, spread: float) -> np.ndarray:
    """Return the matrix (count, count) that smooths a line of ``count`` places; not to be written to."""
    points = np.arange(count)
    weights = np.exp(-0.5 * ((points[:, None] - points) / spread) ** 2)
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
    a, b = (image.ravel() - image.mean() for image in (a, b))
    return float(a @ b) / (max(float(a @ a) ** 0.5, 1e-9) * max(float(b @ b) ** 0.5, 1e-9))


def _second(scores: np.ndarray, best: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return, for scores (..., box), the box farthest from the best one among those nearly as good."""
    near = scores >= scores.max(-1, keepdims=True) - NEARLY
    far = sum(np.abs(side - side[best][..., None]) for side in corners)
    return np.where(near, far, -1).argmax(-1)


@lru_cache(maxsize=256)
def _whole_axis(size: int, count: int) -> np.ndarray:
    """Return what reads a whole axis; shared, so not to be written to."""
    return sampling(size, count)


@cache
def _ends() -> tuple[np.ndarray, np.ndarray]:
    """Return starts and extents of the intervals to sweep; thick slices may stick out by one step."""
    least = round(SMALLEST * SWEEP) - 1
    ends = [(a, b) for a in range(-1, SWEEP + 1) for b in range(a + least, SWEEP + 2)]
    starts, stops = np.array(ends).T / SWEEP
    return starts, stops - starts
