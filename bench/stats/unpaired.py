"""How far a mean changes from one group of patients to another under the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.effects import Effects, Part, effects, filled, layout


@dataclass(frozen=True)
class Change:
    """How the mean changes from the first group to the second, in the scores' unit."""

    means: tuple[float, float]  # of each group
    mean: float  # the second less the first
    low: float  # of its interval; NaN where a group has one patient
    high: float
    patients: tuple[int, int]
    runs: int


def change(
    first: np.ndarray,
    second: np.ndarray,
    clusters: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    alpha: float = 0.05,
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
    ways = [(v, df) for v, df in ((parts.variance, parts.df), *of_runs) if v > 0 and df > 0]
    from scipy.special import stdtrit

    half = max((float(stdtrit(df, 1 - alpha / 2)) * v**0.5 for v, df in ways), default=0.0)
    half = half if min(patients) > 1 else np.nan
    return Change((first_mean, second_mean), mean, mean - half, mean + half, patients, len(means))
