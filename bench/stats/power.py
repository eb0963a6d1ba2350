"""What a study can see before it runs: the smallest difference that it would show, and how to size it.

The model is that of ``bench.stats.effects``: a paired difference is ``mean + patient + run + residual``. A
study sees a difference where p is below alpha in four of five such studies (power 80 %), after Holm's first
step over its comparisons. One below the limit of equivalence is then often called equivalent, not better. Mean
squares of such studies are drawn and judged as the verdicts are: by Satterthwaite's degrees of freedom, never
narrower than the runs' means alone, and never from fewer patients than an exact test needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log2
from statistics import median

import numpy as np

from bench.stats.comparison import ALPHA, POWER, Comparison, least
from bench.stats.resampling import smallest_p

DRAWS = 4000  # studies that are drawn, always the same
MOST_RUNS, MOST_PATIENTS = 200, 2000  # beyond, a study is out of reach


@dataclass(frozen=True)
class Noise:
    """Standard deviations of a paired difference, in the scores' unit (1 is 100 points)."""

    patient: float  # of a patient's own difference, over all runs
    run: float  # of a run's, over all patients; a run is a pretraining and its fine-tuning
    residual: float  # of a patient's in one run


def noise_of(comparisons: Sequence[Comparison]) -> Noise | None:
    """Return the median noise of comparisons with several runs; None where there is none."""
    repeated = [c for c in comparisons if not np.isnan(c.sd_run) and c.patients > 1]
    if not repeated:
        return None
    parts = ("sd_patient", "sd_run", "sd_residual")
    return Noise(*(median(getattr(comparison, part) for comparison in repeated) for part in parts))


def detectable(
    noise: Noise, patients: int, runs: int, comparisons: int = 1, alpha: float = ALPHA
) -> float:
    """Return the smallest difference for which four of five such studies have p below alpha; infinite if none is.

    Args:
        noise: of a paired difference, in the unit of the answer.
        patients: that are tested.
        runs: pairs of a pretraining and its fine-tuning.
        comparisons: in the family; a difference passes Holm's first step.
        alpha: of the family.
    """
    from scipy.special import ndtr

    if runs < 2 or patients < fewest_patients(comparisons, alpha):
        return inf
    widths = _widths(noise, patients, runs, alpha / max(comparisons, 1))
    spread = (
        noise.patient**2 / patients + noise.run**2 / runs + noise.residual**2 / (patients * runs)
    ) ** 0.5
    if not spread > 0:
        return 0.0
    low, high = 0.0, float(widths.max()) + 6 * spread
    for _ in range(50):  # the share that sees a difference rises with it
        middle = (low + high) / 2
        seen = float(ndtr((middle - widths) / spread).mean())
        low, high = (middle, high) if seen < POWER else (low, middle)
    return high


def _widths(noise: Noise, patients: int, runs: int, alpha: float) -> np.ndarray:
    """Return half the width of the interval of studies that are drawn, (DRAWS,)."""
    from scipy.special import stdtrit

    rng = np.random.Generator(np.random.Philox(0))
    n, r = patients, runs
    dfs = (n - 1, r - 1, (n - 1) * (r - 1))
    residual = noise.residual**2
    true = (residual + r * noise.patient**2, residual + n * noise.run**2, residual)
    between, of_runs, within = (
        square * rng.chisquare(df, DRAWS) / df / (n * r)
        for square, df in zip(true, dfs, strict=True)
    )
    variance = np.maximum(between + of_runs - within, within)
    squares = between**2 / dfs[0] + of_runs**2 / dfs[1] + within**2 / dfs[2]
    df = np.maximum(variance**2 / np.maximum(squares, 1e-300), min(dfs[:2]))
    quantile = 1 - alpha / 2
    return np.maximum(
        stdtrit(df, quantile) * variance**0.5, stdtrit(r - 1, quantile) * of_runs**0.5
    )


def fewest_patients(comparisons: int = 1, alpha: float = ALPHA) -> int:
    """Return from how many test patients on an exact test can pass Holm's first step at all."""
    n = max(2, int(1 + log2(max(comparisons, 1) / alpha)))
    while comparisons * smallest_p(n) > alpha:
        n += 1
    return n


def needed_runs(
    goal: float, noise: Noise, patients: int, comparisons: int = 1, alpha: float = ALPHA
) -> int | None:
    """Return the least number of runs with which so many patients see ``goal``; None: no 200 would do."""
    return least(
        lambda runs: detectable(noise, patients, runs, comparisons, alpha) <= goal, 2, MOST_RUNS
    )


def needed_patients(
    goal: float, noise: Noise, runs: int, comparisons: int = 1, alpha: float = ALPHA
) -> int | None:
    """Return the least number of test patients with which so many runs see ``goal``; None: 2000 are few."""
    return least(lambda n: detectable(noise, n, runs, comparisons, alpha) <= goal, 2, MOST_PATIENTS)
