"""One paired comparison: by how much a method differs from its baseline, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from bench.stats.effects import Effects, effects, layout
from bench.stats.resampling import sign_flip, smallest_p

BETTER, WORSE, EQUIVALENT = "better", "worse", "equivalent"
UNCLEAR, WEIGHTS = "not separable", "these weights only"
VERDICTS = (BETTER, WORSE, EQUIVALENT, UNCLEAR, WEIGHTS)
POWER = 0.8  # of the difference that is called detectable
ALPHA, ROPE = 0.05, 0.01

ONE_RUN = "one run each: another run may give a different result"
ONE_PRETRAINING = "one pretraining: another pretraining seed may give a different result"
ONE_SEED = "one fine-tuning seed: with another seed the baseline may score differently"
FEW = "too few patients: with {n} patients p cannot be below {p:.2g}"


@dataclass(frozen=True)
class Comparison:
    """A paired difference, in the values' unit; better is more.

    ``low`` and ``high`` hold the mean over patients and runs with confidence 1 - alpha. ``p`` is of no
    difference, ``p_equivalent`` of one beyond the region of equivalence (both twice one-sided; NaN where
    there is none). Of one seed all of them are of these weights alone.
    """

    difference: float
    low: float
    high: float
    p: float
    verdict: str
    why: str = ""  # where the verdict is of no number
    p_equivalent: float = float("nan")
    patients: int = 0
    pretrainings: int = 1
    seeds: int = 1  # runs of each pretraining
    runs: int = 1  # of all pretrainings; fewer than their product where some are missing
    units: int = 1  # pretrainings; runs where there is one pretraining or none
    sd_patient: float = float("nan")  # of one patient's difference, over all runs
    sd_run: float = float("nan")  # of one unit's, over all patients
    sd_residual: float = float("nan")
    df: float = float("nan")
    # what four of five such studies would have seen, asked alone; NaN where nothing can be shown
    detectable: float = float("nan")
    smallest_p: float = float("nan")  # that an exact test of so many patients can give
    alpha: float = ALPHA
    rope: float = ROPE

    @property
    def of_weights(self) -> str:
        """The verdict that these weights would have, were they the method."""
        if self.smallest_p > self.alpha:
            return UNCLEAR
        said = word(self.difference, self.p, self.p_equivalent, self.alpha)
        # p of one run is by sign flips, the interval is not: only what both show is claimed
        return UNCLEAR if said in (BETTER, WORSE) and self.low <= 0 <= self.high else said

    def width(self, patients: int | None = None, units: int | None = None) -> float:
        """Return the half-width to expect of so many patients and units, were the components as found here.

        Units are pretrainings, or runs where there is one pretraining or none. NaN of a single run.
        """
        from scipy.special import stdtrit

        n, r = patients or self.patients, units or self.units
        parts = (self.sd_patient**2 / n, self.sd_run**2 / r, self.sd_residual**2 / (n * r))
        dfs = (n - 1, r - 1, (n - 1) * (r - 1))
        below = sum(part**2 / max(df, 1) for part, df in zip(parts, dfs, strict=True))
        if not below > 0:
            return 0.0 if below == 0 else float("nan")
        q, variance = 1 - self.alpha / 2, sum(parts)
        of_runs = (parts[1] + parts[2]) ** 0.5 * stdtrit(max(r - 1, 1), q)
        return float(max(stdtrit(variance**2 / below, q) * variance**0.5, of_runs))

    def needed(self, what: str, most: int = 1000) -> int | None:
        """Return the least number of ``patients`` or ``units`` that would tell such a difference from none.

        Or, where it is within the region of equivalence, show that. None where ``most`` would not do.
        """
        goal = max(abs(self.difference), self.rope - abs(self.difference))
        return least(lambda n: self.width(**{what: n}) <= goal, getattr(self, what), most)


def least(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the least number that is enough, where every larger one is, too; None where ``high`` is not."""
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def paired(
    scores: np.ndarray,
    baseline: np.ndarray,
    clusters: Sequence[int] | None = None,
    rope: float | None = ROPE,
    alpha: float = ALPHA,
    *,
    seeds: Sequence[int] | None = None,
) -> Comparison:
    """Compare a method with a baseline on the same patients, in runs that belong together.

    What is estimated is the mean over patients of the paired difference; patients and runs are random.
    Intervals are by two-way random effects with Satterthwaite's degrees of freedom, and never narrower
    than those of the runs' means alone: with two or three runs a small mean square is luck
    (docs/simulations.md has the tables). One seed has no verdict; its p is of the exact sign-flip test.

    Args:
        scores: (patients, runs), NaN where missing; more is better (turn the sign of distances).
        baseline: the same of the baseline, column by column of the same fine-tuning seed.
        clusters: the pretraining seed of each run; fine-tunings of one pretraining belong together.
        rope: differences up to it are of no practical interest; None: none is.
        alpha: one minus the confidence.
        seeds: the fine-tuning seed of each run, where pretrainings share them, and so the baseline's runs.

    Raises:
        ValueError: arrays of other shapes, or nothing in common.
    """
    ours, theirs = np.asarray(scores, float), np.asarray(baseline, float)
    if ours.ndim != 2 or ours.shape != theirs.shape:
        raise ValueError(
            f"scores {ours.shape} and baseline {theirs.shape} are not patients x runs alike"
        )
    return compared(ours - theirs, clusters, rope, alpha, seeds=seeds)


def compared(
    differences: np.ndarray,
    clusters: Sequence[int] | None = None,
    rope: float | None = ROPE,
    alpha: float = ALPHA,
    *,
    seeds: Sequence[int] | None = None,
    flips: bool = True,
) -> Comparison:
    """Return ``paired`` of differences, (patients, runs).

    ``flips``: of one run, p by flipping signs (3 ms); else by the interval's own t.

    Raises:
        ValueError: no number, or lists of another length than the runs.
    """
    for name, given in (("clusters", clusters), ("seeds", seeds)):
        if given is not None and len(given) != differences.shape[1]:
            raise ValueError(f"{name} has {len(given)} entries for {differences.shape[1]} runs")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, not between 0 and 1")
    present = ~np.isnan(differences)
    runs, patients = present.any(axis=0), present.any(axis=1)
    table = differences[patients][:, runs]
    if not table.size:
        raise ValueError("scores and baseline share no patient of one run")
    clusters, seeds = _those(clusters, runs), _those(seeds, runs)
    how = layout(table.shape[1], clusters, seeds)
    parts, (p, f) = effects(table, how), how.shape
    f = f if f > 1 or clusters is None else table.shape[1] // p
    why = alone(table.shape[1], p if clusters is not None else 0, seeds)
    comparison = _judged(
        parts, rope, alpha, sign_flip(table) if flips and table.shape[1] == 1 else None
    )
    lowest_p = smallest_p(table.shape[0])
    if why:
        verdict = WEIGHTS
    elif lowest_p > alpha:
        verdict, why = UNCLEAR, FEW.format(n=table.shape[0], p=lowest_p)
    else:
        verdict = word(comparison.difference, comparison.p, comparison.p_equivalent, alpha)
    return Comparison(
        **vars(comparison)
        | {
            "verdict": verdict,
            "why": why,
            "detectable": comparison.detectable if not why else float("nan"),
            "runs": table.shape[1],
            "pretrainings": p if clusters is not None else table.shape[1],
            "seeds": f if clusters is not None else 1,
            "smallest_p": lowest_p,
        }
    )


def word(difference: float, p: float, p_equivalent: float, alpha: float) -> str:
    """Return the verdict; what is both unlike nought and too small to matter is equivalent."""
    if p_equivalent < alpha:
        return EQUIVALENT
    if p < alpha:
        return BETTER if difference > 0 else WORSE
    return UNCLEAR


def _those(values: Sequence[int] | None, present: np.ndarray) -> list[int] | None:
    return None if values is None else list(compress(values, present))


def alone(runs: int, pretrainings: int, seeds: Sequence[int] | None) -> str:
    """Say which luck is not known: of all, of the pretraining (0: there is none), of the fine-tuning."""
    if runs == 1:
        return ONE_RUN
    if pretrainings == 1:
        return ONE_PRETRAINING
    return ONE_SEED if seeds is not None and len({*seeds}) == 1 else ""


def _judged(parts: Effects, rope: float | None, alpha: float, p: float | None) -> Comparison:
    from scipy.special import stdtr, stdtrit

    every = [(parts.variance, parts.df), *parts.of_runs]
    ways = [(v, df) for v, df in every if v > 0 and df > 0]

    def beyond(distance: float) -> float:
        """Return twice the chance to lie so far above, the largest of all of the ways to reckon it."""
        tails = [2 * stdtr(df, -distance / v**0.5) for v, df in ways]
        return float(min(1.0, max(tails))) if tails else (1.0 if distance <= 0 else 0.0)

    def within(q: float) -> float:
        return max((float(stdtrit(df, q)) * v**0.5 for v, df in ways), default=0.0)

    width = within(1 - alpha / 2) if parts.patients > 1 else np.nan
    return Comparison(
        difference=parts.mean,
        low=parts.mean - width,
        high=parts.mean + width,
        p=beyond(abs(parts.mean)) if p is None else p,
        verdict="",
        p_equivalent=float("nan") if rope is None else beyond(rope - abs(parts.mean)),
        patients=parts.patients,
        units=parts.units,
        sd_patient=parts.patient,
        sd_run=parts.run if parts.of_runs else float("nan"),
        sd_residual=parts.residual if parts.of_runs else float("nan"),
        df=parts.df,
        detectable=width + within(POWER),
        alpha=alpha,
        rope=0.0 if rope is None else rope,
    )
