"""How sure a ranking of methods is: bootstrap rank intervals, agreement of rankings, critical difference.

A rank is 1 for the best; equals share the mean of their ranks (Demsar 2006, JMLR 7:1-30, section 3.2.2).
The aggregation is "mean, then rank", and what is reported of its bootstrap are the ideas of challengeR
(Wiesenfarth et al. 2021, doi 10.1038/s41598-021-82017-6); there only the patients are resampled, here
the training runs as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.random import numpy_rng

Numbers = NDArray[np.float64]
DIGITS = 9  # means that agree to so many decimals are a tie
MANY = 20_000  # patients up to which all draws are held at once
HELD = 4_000_000  # numbers that are held at once of more patients
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Ranks:
    """How methods rank by their mean, and how sure that is. Arrays of shape (methods,).

    A method without any score has NaN everywhere and takes no place from the others.

    Attributes:
        mean: over the observed cells, in the unit of the scores.
        rank: of the mean, from 1 (best).
        low: 2.5th percentile of the rank over bootstrap draws, a rank that was drawn.
        high: 97.5th percentile, likewise.
        best: share of the draws in which the method is the best, equals sharing it; adds up to 1.
    """

    mean: Numbers
    rank: Numbers
    low: Numbers
    high: Numbers
    best: Numbers


def ranks(
    scores: ArrayLike,
    higher: bool = True,
    draws: int = 1000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Ranks:
    """Rank methods by their mean score, with what a crossed bootstrap says of the ranks.

    In each draw the patients are resampled for all methods together and, independently of them, the
    runs (pigeonhole bootstrap, Owen 2007, Annals of Applied Statistics 1:386-411); a draw's mean is the
    mean of the observed cells weighted by how often their patient and their run were drawn. Methods that
    have the same runs are given the same ones, so that what their seeds share cancels. Of n patients or
    runs n - 1 are drawn: n of n would show (n - 1)/n of their variance (Rao & Wu 1988, JASA 83:231-241),
    half of it where there are two runs. A method's only run is in every draw: then its interval is of
    these weights, not of the method.

    Args:
        scores: (methods, patients, runs), NaN where missing or padded. A missing cell is left out, not
            filled in: a method that lacks hard patients gains by it.
        higher: whether a higher score is better.
        draws: of the bootstrap.
        seed: of the draws.
        clusters: (runs,), the pretraining seed of each run. Where a method's runs are of several, these
            are drawn with all their runs; where they are of one, the runs are.

    Raises:
        ValueError: the scores have another shape or are infinite, or clusters has another length.
    """
    cells, labels = _checked(scores, clusters)
    seen = ~np.isnan(cells)
    with_scores = seen.any(axis=(0, 2))  # patients whom any method has
    cells, seen = cells[:, with_scores], seen[:, with_scores]
    filled, present = np.where(seen, cells, 0.0), seen.astype(float)
    runs = _runs(seen, labels, draws, seed)
    drawn = np.concatenate(
        [
            _ratio(_weighted(patients, filled, runs[at]), _weighted(patients, present, runs[at]))
            for at, patients in _patients(int(with_scores.sum()), draws, seed)
        ]
    )
    mean = _ratio(filled.sum(axis=(1, 2)), seen.sum(axis=(1, 2)))
    return _summary(mean, ranked(mean, higher), ranked(drawn, higher))


def ranked(means: ArrayLike, higher: bool = True) -> Numbers:
    """Return the ranks along the last axis from 1 (best): equals share the mean rank, NaN stays NaN."""
    from scipy.stats import rankdata

    given = np.round(np.asarray(means, dtype=float), DIGITS)
    return rankdata(-given if higher else given, axis=-1, nan_policy="omit")


def kendall(first: ArrayLike, second: ArrayLike) -> float:
    """Return Kendall's tau-b between two rankings of the same methods.

    Tau-b counts pairs of methods that two rankings put in one order less those in opposite orders, from
    1 (the same ranking) to -1 (the reverse), corrected for ties (Kendall 1945, Biometrika 33:239-251).
    NaN where fewer than two methods are left or all of them are tied. scipy's takes five times as long,
    which a bootstrap notices.

    Args:
        first: (methods,), ranks or means; a method that is NaN in one of the two is left out.
        second: the same under another metric or convention, the same way round.

    Raises:
        ValueError: the rankings have different lengths.
    """
    a, b = (np.round(np.asarray(each, dtype=float), DIGITS) for each in (first, second))
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"rankings must be of the same methods, not {[a.shape, b.shape]}")
    both = ~np.isnan(a) & ~np.isnan(b)
    orders = [np.sign(np.subtract.outer(r[both], r[both])) for r in (a, b)]
    untied = np.prod([np.count_nonzero(order) for order in orders], dtype=float)
    return float(np.vdot(*orders) / np.sqrt(untied)) if untied else float("nan")


def _checked(scores: ArrayLike, clusters: ArrayLike | None) -> tuple[Numbers, NDArray[Any]]:
    cells = np.asarray(scores, dtype=float)
    if cells.ndim != 3 or np.isinf(cells).any():
        what = "an infinite value" if cells.ndim == 3 else f"shape {cells.shape}"
        raise ValueError(
            f"scores must be (methods, patients, runs), finite or NaN: they have {what}"
        )
    labels = np.arange(cells.shape[2]) if clusters is None else np.asarray(clusters)
    if labels.shape != cells.shape[2:]:
        raise ValueError(
            f"clusters must name one for each of {cells.shape[2]} runs, not {labels.shape}"
        )
    return cells, labels


def times_drawn(n: int, draws: int, seed: int, what: str) -> Numbers:
    """Return how often each of n units is drawn, (draws, n): the same for equal arguments."""
    rng = numpy_rng(seed, f"bootstrap of {what}")
    if n:
        return rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), draws).astype(float)
    return np.zeros((draws, 0))


def _patients(n: int, draws: int, seed: int) -> Iterator[tuple[slice, Numbers]]:
    """Yield how often each patient is drawn, (draws, n), and of which draws: all, or a few of many patients."""
    if n <= MANY:
        yield slice(0, draws), _cached(n, draws, seed)
        return
    rng = numpy_rng(seed, "bootstrap of many patients")
    size = max(HELD // n, 1)
    for first in range(0, draws, size):
        last = min(first + size, draws)
        times = [np.bincount(rng.integers(n, size=n - 1), minlength=n) for _ in range(first, last)]
        yield slice(first, last), np.array(times, float)


@lru_cache(maxsize=2)  # places of one table have the same patients
def _cached(n: int, draws: int, seed: int) -> Numbers:
    times = times_drawn(n, draws, seed, "patients")
    times.setflags(write=False)
    return times


def _runs(seen: NDArray[np.bool_], labels: NDArray[Any], draws: int, seed: int) -> Numbers:
    """Return how often each method's runs are drawn, (draws, methods, runs); 0 where it lacks the run."""
    present = seen.any(axis=1)
    times = np.zeros((draws, *present.shape))
    patterns, which = np.unique(present, axis=0, return_inverse=True)
    for number, present_runs in enumerate(patterns):  # methods of one pattern share their draws
        names, unit = np.unique(labels[present_runs], return_inverse=True)
        if len(names) == 1:
            names = unit = np.arange(present_runs.sum())
        drawn = times_drawn(len(names), draws, seed, "runs")[:, unit]
        times[np.ix_(range(draws), which.ravel() == number, present_runs)] = drawn[:, None, :]
    return times


def _weighted(patients: Numbers, cells: Numbers, runs: Numbers) -> Numbers:
    """Return the weighted sum of each method's cells in each draw, (draws, methods)."""
    return np.einsum("dmr,dmr->dm", np.tensordot(patients, cells, axes=(1, 1)), runs)


def _ratio(total: NDArray[Any], size: NDArray[Any]) -> Numbers:
    return np.divide(total, size, out=np.full(total.shape, np.nan), where=size > 0)


def _summary(mean: Numbers, rank: Numbers, drawn: Numbers) -> Ranks:
    """Return what the draws say: (draws, methods), NaN where a draw has no cell of the method."""
    ordered = np.sort(drawn, axis=0)  # NaN come last
    count = (~np.isnan(drawn)).sum(axis=0)
    ranks_of_ends = [np.maximum(np.ceil([share * count]).astype(int) - 1, 0) for share in INTERVAL]
    low, high = (np.take_along_axis(ordered, rank, axis=0)[0] for rank in ranks_of_ends)
    first = drawn == np.fmin.reduce(drawn, axis=1, keepdims=True, initial=np.inf)
    best = (first / np.maximum(first.sum(axis=1, keepdims=True), 1)).mean(axis=0)
    return Ranks(mean, rank, low, high, np.where(np.isnan(rank), np.nan, best))
