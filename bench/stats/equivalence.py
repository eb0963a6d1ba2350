"""The region of equivalence: how far scratch is from itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, nan

import numpy as np

from bench.stats.comparison import ROPE

# Eight seeds fall into two halves in 35 ways, of which the widest is 3 %: so 95 % of the ways can be told.
# Six seeds fall in 10 ways, of which the widest is 10 %.
ENOUGH = 8
MOST = 2000  # ways to part the seeds that are looked at
SHARE = 0.95


@dataclass(frozen=True)
class Region:
    """Differences within ``rope`` on either side of 0 are equivalent."""

    rope: float  # in the unit of the scores
    seeds: int  # of scratch
    itself: float = nan  # how far scratch is from itself; NaN where it has too few seeds


def region(runs: Sequence[float]) -> Region:
    """Return the region of equivalence by scratch's own runs.

    It is as wide as scratch against scratch, and never wider than ``ROPE``: luck makes no difference small.

    Args:
        runs: the mean over patients of each seed of scratch, 0 to 1.
    """
    if len(runs) < ENOUGH:
        return Region(ROPE, len(runs))
    itself = halves(runs)
    return Region(min(ROPE, itself), len(runs), itself)


def halves(runs: Sequence[float]) -> float:
    """Return the distance that 95 % of the ways to part ``runs`` into two halves do not exceed.

    Of an odd number of runs one half has one more. Of many runs 2,000 ways are drawn.
    """
    values = np.asarray(runs, float)
    size = len(values) // 2
    total = values.sum()
    sums = np.array([values[list(chosen)].sum() for chosen in _ways(len(values), size)])
    distances = np.abs(sums / size - (total - sums) / (len(values) - size))
    return float(np.quantile(distances, SHARE, method="inverted_cdf"))


def _ways(count: int, size: int) -> Iterator[Sequence[int]]:
    if comb(count, size) <= MOST:
        yield from combinations(range(count), size)
        return
    rng = np.random.Generator(np.random.Philox(0))
    for _ in range(MOST):
        yield rng.permutation(count)[:size].tolist()
