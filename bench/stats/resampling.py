"""What resampling says beside the model: a crossed bootstrap, and the exact sign-flip of these weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from bench.stats.effects import layout

EXACT = 13  # patients up to which all flips of signs are tried
FLIPS = 9999  # else so many at random


def smallest_p(patients: int) -> float:
    """Return the smallest two-sided p that flipping the signs of so many differences can give."""
    return min(1.0, 2.0 ** (1 - patients))


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """Return the p of "these weights do not differ": signs of the patients' mean differences flipped.

    Exact up to 13 patients, by 9,999 random flips beyond. It takes the luck of a run for the method's, so
    it says nothing of methods.

    Args:
        differences: (patients, runs), NaN where missing.
        seed: of the random flips.
    """
    present = ~np.isnan(differences).all(axis=1)
    means = np.nanmean(differences[present], axis=1)
    if len(means) < 2 or not np.any(means):
        return 1.0
    exact = len(means) <= EXACT
    signs = _every_flip(len(means)) if exact else _flips(len(means), seed)
    reached = np.abs(signs @ means) >= np.abs(means.sum()) * (1 - 1e-12)
    return float(reached.mean() if exact else (reached.sum() + 1) / (FLIPS + 1))


def _every_flip(size: int) -> np.ndarray:
    """Return all signs of so many values, (2 ** size, size)."""
    return 1.0 - 2.0 * (np.arange(2**size)[:, None] >> np.arange(size) & 1)


@lru_cache(maxsize=16)
def _flips(size: int, seed: int) -> np.ndarray:
    """Return random signs of so many values, (FLIPS, size)."""
    rng = np.random.Generator(np.random.Philox(seed))
    return rng.choice([-1.0, 1.0], (FLIPS, size))


def bootstrap(
    differences: np.ndarray,
    clusters: Sequence[int] | None = None,
    alpha: float = 0.05,
    draws: int = 2000,
    seed: int = 0,
    *,
    seeds: Sequence[int] | None = None,
) -> tuple[float, float]:
    """Return a percentile interval of the mean: patients and runs drawn anew, each by itself.

    The crossed (pigeonhole) bootstrap of Owen (2007); pretrainings and the fine-tuning seeds that they
    share are drawn by themselves. A check of the model's interval; too narrow with few runs.

    Args:
        differences: (patients, runs), NaN where missing.
        clusters: as in ``paired``.
        alpha: one minus the confidence.
        draws: how many.
        seed: of the draws.
        seeds: as in ``paired``.
    """
    how = layout(differences.shape[1], clusters, seeds)
    rows, p, f = (_drawn(seed, i, draws, n) for i, n in enumerate((len(differences), *how.shape)))
    table = np.einsum("bp,bf,pfr->br", p, f, how.table, optimize=True)
    present = ~np.isnan(differences)
    values_or_zero = np.where(present, differences, 0.0)
    above = ((rows @ values_or_zero) * table).sum(axis=1)
    below = ((rows @ present.astype(float)) * table).sum(axis=1)
    means = above[np.abs(below) > 0] / below[np.abs(below) > 0]
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2]) if len(means) else (np.nan, np.nan)
    return float(low), float(high)


@lru_cache(maxsize=64)
def _drawn(seed: int, what: int, draws: int, size: int) -> np.ndarray:
    """Return how often each of so many things is drawn, (draws, size); ``what`` tells patients from runs."""
    rng = np.random.Generator(np.random.Philox(key=[seed, what]))
    return rng.multinomial(size, np.full(size, 1 / size), draws).astype(float)
