"""How far a mean changes from one group of patients to another under the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from bench.stats.effects import Effects, Part, effects, filled, layout
from bench.stats.holm import holm

LEAST = 2  # patients of a group whose mean has a variance


@dataclass(frozen=True)
class Change:
    """How the mean changes from the first group to the second, in the scores' unit."""

    means: tuple[float, float]  # of each group
    mean: float  # the second less the first
    low: float  # of its interval; NaN where a group has one patient
    high: float
    patients: tuple[int, int]
    runs: int
    p: float = float("nan")  # of no change; NaN where a group has one patient

    @property
    def smallest_p(self) -> float:
        """The smallest p that dealing so many patients anew into two such groups can give."""
        first, second = self.patients
        return (1 + (first == second)) / comb(first + second, first)


@dataclass(frozen=True)
class Gap:
    """How far two groups of patients are apart, of several that were compared."""

    groups: tuple[int, int]  # indices
    change: Change  # the first group less the second
    p: float  # after Holm over all pairs
    low: float  # of the interval that holds for all pairs at once
    high: float
    alpha: float  # over the number of pairs

    @property
    def too_few(self) -> bool:
        """Whether no exact test of so many patients could tell the two apart."""
        return self.change.smallest_p > self.alpha


def change(
    first: np.ndarray,
    second: np.ndarray,
    clusters: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    alpha: float = 0.05,
    *,
    smaller: bool = False,
) -> Change:
    """Compare two groups of patients that the same runs predict.

    The groups are independent samples of patients, the runs are shared. The variance is the sum of that of
    each group's mean over patients and of that of the runs' own changes, with Satterthwaite's degrees of
    freedom; the interval is never narrower than the one of the runs' changes alone. Of one run it is about
    these weights.

    Args:
        first: (patients, runs), NaN where missing; every patient and every run has a value.
        second: (other patients, the same runs), likewise.
        clusters: the pretraining seed of each run, as for ``paired``.
        seeds: the fine-tuning seed of each run, as for ``paired``.
        alpha: one minus the confidence.
        smaller: take no more degrees of freedom than the smaller group has (Hsu 1938). Satterthwaite's are too
            many beside a group of two or three patients.

    Raises:
        ValueError: arrays of other runs, or nothing in one of them.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape} and {second.shape} are not patients x the same runs")
    if not first.size or not second.size:
        raise ValueError("a group has no patient or no run")
    tables = [filled(np.asarray(group, float))[0] for group in (first, second)]
    means = tables[1].mean(axis=0) - tables[0].mean(axis=0)  # of each run
    of_runs = effects(means[None], layout(len(means), clusters, seeds)).of_runs
    of_patients = tuple(
        Part(float(table.mean(axis=1).var(ddof=1)) / len(table), len(table) - 1)
        for table in tables
        if len(table) > 1
    )
    first_mean, second_mean = (float(table.mean()) for table in tables)
    mean, patients = second_mean - first_mean, (len(tables[0]), len(tables[1]))
    parts = Effects(mean, min(patients), (*of_patients, *of_runs), of_runs, len(means), 0, 0, 0)
    most = min(patients) - 1 if smaller else np.inf
    half, p = _noise(parts, alpha, most) if min(patients) >= LEAST else (np.nan, np.nan)
    both = first_mean, second_mean
    return Change(both, mean, mean - half, mean + half, patients, len(means), p)


def _noise(parts: Effects, alpha: float, most: float) -> tuple[float, float]:
    """Return half the width of a mean's interval, and p of a mean of 0: the larger of all ways to reckon them."""
    from scipy.special import stdtr, stdtrit

    every = ((parts.variance, min(parts.df, most)), *parts.of_runs)
    ways = [(v, df) for v, df in every if v > 0 and df > 0]
    if not ways:
        return 0.0, float(parts.mean == 0)
    half = max(float(stdtrit(df, 1 - alpha / 2)) * v**0.5 for v, df in ways)
    return half, max(2 * float(stdtr(df, -abs(parts.mean) / v**0.5)) for v, df in ways)


def gaps(
    groups: Sequence[np.ndarray],
    clusters: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    alpha: float = 0.05,
) -> list[Gap]:
    """Compare every two of several groups of patients, the larger mean first; the widest gap leads.

    Each pair as ``change`` does with ``smaller``.

    The widest gap is that of the largest mean and the smallest. It is picked by its size, so its interval is
    ``low`` to ``high``, which hold for all pairs at once (Bonferroni).

    Args:
        groups: of each (patients, the same runs), as for ``change``; two patients or more.
        clusters: the pretraining seed of each run.
        seeds: the fine-tuning seed of each run.
        alpha: one minus the confidence.

    Raises:
        ValueError: as ``change``.
    """
    means = [filled(np.asarray(group, float))[0].mean() for group in groups]
    order = sorted(range(len(groups)), key=lambda i: -means[i])
    every = gaps_of([*combinations(order, 2)], groups, clusters, seeds, alpha)
    return sorted(every, key=lambda gap: -gap.change.mean)


def gaps_of(
    pairs: Sequence[tuple[int, int]],
    groups: Sequence[np.ndarray],
    clusters: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    alpha: float = 0.05,
) -> list[Gap]:
    """Compare some pairs of groups, the first less the second each; p is adjusted by Holm over them.

    Of paired differences from a baseline (patients, runs) a gap is that of the method less the baseline's.
    ``pairs`` are indices of groups; the rest is as for ``gaps``.
    """
    changes, wide = (
        [change(groups[b], groups[a], clusters, seeds, level, smaller=True) for a, b in pairs]
        for level in (alpha, alpha / max(len(pairs), 1))
    )
    adjusted = holm([compared.p for compared in changes])
    return [
        Gap(pair, compared, p, of_all.low, of_all.high, alpha / len(pairs))
        for pair, compared, p, of_all in zip(pairs, changes, adjusted, wide, strict=True)
    ]
