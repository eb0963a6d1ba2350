"""Describe scans, and boxes of scans, by low cosines, so that products of matrices compare them.

A box of one scan and another scan as a whole are vectors, their product is a correlation, and a flip
only changes the sign of odd cosines: one product per parity answers all boxes, orders of axes and flips.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import permutations, product

import numpy as np

from bench.leaks.fingerprint import read, sampling

POINTS = 12  # places per axis that the cosines are fitted to


@dataclass(frozen=True)
class Basis:
    """Which cosines of which boxes, of 2 or 3 axes. Two scans that are compared share it."""

    axes: int
    waves: int  # cosines per axis, even
    # where a box may begin and end along an axis, as shares of it
    ends: tuple[tuple[float, float], ...]
    power: float  # weight of a cosine: ``length ** power * exp(-(length / width) ** 2)``,
    width: float  # against the spectrum of scans; the mean has none

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each interval of an axis begins."""
        return np.array(self.ends)[:, 0]

    @cached_property
    def extents(self) -> np.ndarray:
        """How long each interval of an axis is."""
        return np.array(self.ends)[:, 1] - self.starts

    def box(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a box's starts and extents, (axis,) each, as shares of the axes."""
        places = list(np.unravel_index(number, (len(self.ends),) * self.axes))
        return self.starts[places], self.extents[places]

    @cached_property
    def corners(self) -> np.ndarray:
        """Both ends of every box along every axis, (2 axes, box)."""
        places = np.indices((len(self.ends),) * self.axes).reshape(self.axes, -1)
        corners = np.concatenate([self.starts[places], (self.starts + self.extents)[places]])
        return corners.astype(np.float32)

    def copies(self, thumbnail: np.ndarray) -> np.ndarray:
        """Return the cosines of a whole thumbnail, in every order of its axes, (parity, order, cosine)."""
        d = self.axes
        matrix = _waves(self.waves) @ sampling(len(thumbnail), POINTS)
        cosines = read(thumbnail, [matrix] * d) * self._weights
        cosines /= max(float(np.linalg.norm(cosines)), 1e-9)
        orders = (cosines.transpose(order)[None] for order in permutations(range(d)))
        return np.stack([_parities(order)[:, 0] for order in orders], axis=1)

    def boxes(self, thumbnail: np.ndarray) -> np.ndarray:
        """Return the cosines of every box of a thumbnail, (parity, cosine, box), unit length each."""
        size, rest, half = len(thumbnail), self.axes - 1, self.waves // 2
        matrix, weights = _intervals(self, size), _parities(self._weights[None]).reshape(-1, 1)
        lines = read(thumbnail, [np.eye(size, dtype=np.float32), *[matrix] * rest])
        # From an odd, a cosine and an interval per axis to odds, cosines, the size and intervals: the product
        # is then made in order, and only these lines, a quarter of it, are moved.
        odd, cosine, interval = ([1 + 3 * axis + part for axis in range(rest)] for part in range(3))
        lines = lines.reshape(size, *(2, half, len(self.ends)) * rest)
        lines = lines.transpose(*odd, *cosine, 0, *interval)
        lines = lines.reshape(1, *[2] * rest, 1, *[half] * rest, size, -1)
        cosines = matrix.reshape(2, *[1] * rest, half, *[1] * rest, -1, size) @ lines
        cosines = cosines.reshape(len(weights), -1)
        cosines *= weights  # in place, as what follows: one more array of this size costs more than its numbers
        cosines *= 1 / np.maximum(np.sqrt(np.einsum("kn,kn->n", cosines, cosines)), 1e-9)
        return cosines.reshape(2**self.axes, -1, len(self.ends) ** self.axes)

    @cached_property
    def _weights(self) -> np.ndarray:
        waves = np.meshgrid(*[np.arange(self.waves)] * self.axes, indexing="ij")
        length = np.sqrt(sum(k * k for k in waves))
        return (length**self.power * np.exp(-((length / self.width) ** 2))).astype(np.float32)


@cache
def signs(d: int) -> np.ndarray:
    """Return (flip, parity): the sign that a flip gives to cosines that are odd along given axes."""
    return np.array(
        [[(-1) ** (flip & parity).bit_count() for parity in range(2**d)] for flip in range(2**d)],
        np.float32,
    )


@lru_cache(maxsize=16)
def _intervals(basis: Basis, side: int) -> np.ndarray:
    """Return what reads the cosines of every interval of an axis, (odd * cosine * interval, side)."""
    matrix = _waves(basis.waves) @ sampling(side, POINTS, basis.starts, basis.extents)
    matrix = matrix.reshape(len(basis.ends), basis.waves // 2, 2, side)
    return matrix.transpose(2, 1, 0, 3).reshape(-1, side)


@cache
def _waves(number: int) -> np.ndarray:
    places = (np.arange(POINTS) + 0.5) / POINTS
    waves = np.cos(np.pi * np.outer(np.arange(number), places)) * np.sqrt(2 / POINTS)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


def _parities(waves: np.ndarray) -> np.ndarray:
    """Sort cosines (n, wave, ...) by where they are odd: (parity, n, cosine)."""
    halves = product((0, 1), repeat=waves.ndim - 1)
    parts = ((slice(None), *(slice(h, None, 2) for h in half)) for half in halves)
    return np.stack([waves[part].reshape(len(waves), -1) for part in parts])
