"""Studies that are known to the last component: differences = truth + patient + runs + residual.

In scores of 0 to 1; standard deviations are given in points (of a hundred).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.stats import wilcoxon

from bench import stats
from bench.random import numpy_rng

POINT = 0.01
ALPHA, ROPE = 0.05, 0.01  # the defaults of ``bench.stats.paired``
FLIPS = 1999
FULL = "full"
TENTH = "a tenth of the cells missing"
UNFINISHED = "a third of the patients lack half the runs"
NORMAL, HEAVY = "normal", "skewed patients, heavy-tailed residuals"
RUNS, CLUSTERS, SEEDS = "runs", "clusters", "clusters and seeds"


@dataclass(frozen=True)
class Design:
    """Of one study. ``told``: what ``paired`` is told of how the runs hang together."""

    patients: int = 42
    pretrainings: int = 1
    seeds: int = 3  # fine-tunings of each pretraining
    shared: bool = True  # one fine-tuning seed brings the same luck to every pretraining
    sd_patient: float = 2.0
    sd_residual: float = 2.0
    sd_pretraining: float = 0.0
    sd_seed: float = 1.0
    cells: str = FULL
    shape: str = NORMAL
    told: str = RUNS

    def lists(self) -> dict[str, np.ndarray]:
        """Return the pretraining and the fine-tuning seed of each run, as far as they are told."""
        clusters = np.repeat(np.arange(self.pretrainings), self.seeds)
        seeds = np.tile(np.arange(self.seeds), self.pretrainings)
        given = {"clusters": clusters, "seeds": seeds}
        return {RUNS: {}, CLUSTERS: {"clusters": clusters}, SEEDS: given}[self.told]


def differences(design: Design, studies: int, seed: int = 0) -> np.ndarray:
    """Return studies without any effect, (studies, patients, runs), NaN where a cell is missing."""
    rng = numpy_rng(seed, f"studies of {design}")
    n, p, f = design.patients, design.pretrainings, design.seeds
    patient = rng.standard_normal((studies, n, 1, 1))
    residual = rng.standard_normal((studies, n, p, f))
    if design.shape == HEAVY:
        patient = rng.exponential(size=patient.shape) - 1
        residual = rng.standard_t(3, residual.shape) / np.sqrt(3)
    seeds = rng.standard_normal((studies, 1, 1 if design.shared else p, f))
    values = design.sd_patient * patient + design.sd_residual * residual
    values = (
        values
        + design.sd_pretraining * rng.standard_normal((studies, 1, p, 1))
        + design.sd_seed * seeds
    )
    values = POINT * values.reshape(studies, n, p * f)
    if design.cells == TENTH:
        values[rng.random(values.shape) < 0.1] = np.nan
    if design.cells == UNFINISHED:
        values[:, : n // 3, p * f // 2 :] = np.nan
    return values


@dataclass(frozen=True)
class Outcome:
    """What ``paired`` said of studies without an effect: estimates and half widths, (studies,).

    Adding a constant to a study moves its interval and nothing else (``test_what_changes_nothing``), so
    that these also say what would have been found of any other true difference.
    """

    estimate: np.ndarray
    half: np.ndarray

    @property
    def rejected(self) -> float:
        """Share of the studies that claim a difference: the type-I error."""
        return float((np.abs(self.estimate) > self.half).mean())

    @property
    def falsely_equivalent(self) -> float:
        """Share called equivalent, were the truth on the region's edge."""
        return float((np.abs(self.estimate + ROPE) + self.half < ROPE).mean())

    def power(self, points: float) -> float:
        """Share that would call a method better that is better by so many points."""
        return float((self.estimate + points * POINT > self.half).mean())


def paired(design: Design, studies: int) -> Outcome:
    """Judge studies by ``bench.stats.paired``, whose p and interval must say the same."""
    result = []
    for study in differences(design, studies):
        first = stats.paired(study, np.zeros(study.shape), **design.lists(), rope=ROPE, alpha=ALPHA)
        assert (first.p < ALPHA) == (abs(first.difference) > first.half)
        result.append((first.difference, first.half))
    return Outcome(*np.array(result).T)


def tuned_each(
    recipes: int,
    design: Design,
    studies: int,
    *,
    scratch: bool = True,
    merit: float = 0.5,
    crossed: bool = False,
) -> float:
    """Return how often a difference is claimed where both rows choose among recipes, and neither is better.

    Each run of a row has its own luck with every recipe, and recipes are better or worse for both rows alike
    (SD ``merit`` points). The one that validates best is taken; validation errs by as much as runs differ.
    ``scratch``: does scratch choose, too, or take the first? ``crossed``: is a run's recipe the one with the
    best mean over the other runs?
    """
    rng = numpy_rng(4, f"{recipes} recipes, studies of {design}")
    runs = design.pretrainings * design.seeds
    merits = merit * rng.standard_normal((studies, 1, 1, recipes))  # of a recipe, for both rows
    luck = merits + design.sd_seed * rng.standard_normal((studies, 2, runs, recipes)) / np.sqrt(2)
    seen = luck + design.sd_seed * rng.standard_normal(luck.shape) / np.sqrt(2)
    if crossed:
        seen = seen.sum(axis=2, keepdims=True) - seen
    if not scratch:
        seen[:, 1, :, 0] = np.inf
    rows = np.take_along_axis(luck, seen.argmax(axis=3)[..., None], axis=3)[..., 0]
    still = differences(replace(design, sd_seed=0.0), studies, seed=4)
    values = still + POINT * (rows[:, :1] - rows[:, 1:])
    result = [stats.paired(study, np.zeros(study.shape), rope=None) for study in values]
    return float(np.mean([first.verdict in ("better", "worse") for first in result]))


def bootstrapped(design: Design, studies: int, draws: int = 500) -> float:
    """Return the share of studies whose crossed bootstrap interval leaves the truth out."""
    result = [
        stats.bootstrap(s, draws=draws, **design.lists()) for s in differences(design, studies)
    ]
    low, high = np.array(result).T
    return float(((low > 0) | (high < 0)).mean())


@lru_cache(maxsize=4)
def _flips(patients: int) -> np.ndarray:
    """Return signs, (flips, patients): all of them where there are few patients."""
    if 2**patients <= FLIPS:
        return 1.0 - 2 * ((np.arange(2**patients)[:, None] >> np.arange(patients)) & 1)
    drawn = numpy_rng(0, "flips").choice([-1.0, 1.0], (FLIPS, patients))
    return np.vstack([np.ones(patients), drawn])  # as observed


def sign_flipped(design: Design, studies: int) -> float:
    """Return how often a sign-flip test on patients' means rejects.

    The same flips for all studies; ``bench.stats.sign_flip`` is the same test of one study.
    """
    means = np.nanmean(differences(design, studies), axis=2)
    sums = np.abs(_flips(design.patients) @ means.T)  # (flips, studies)
    p = (sums >= np.abs(means.sum(axis=1)) * (1 - 1e-9)).mean(axis=0)
    return float((p < ALPHA).mean())


def signed_ranks(design: Design, studies: int) -> float:
    """Return how often Wilcoxon's signed-rank test on patients' means rejects."""
    means = np.nanmean(differences(design, studies), axis=2)
    return float((wilcoxon(means, axis=1).pvalue < ALPHA).mean())


def families(size: int, design: Design, studies: int) -> float:
    """Return the share of families without an effect in which any method is called better or worse.

    Methods differ from one scratch: half of each difference's variance is the scratch's and shared.
    """
    mine = differences(design, size * studies, seed=1).reshape(studies, size, design.patients, -1)
    common = differences(design, studies, seed=2)
    wrong = 0
    for methods, scratch in zip(mine, common, strict=True):
        of = [stats.paired(m / np.sqrt(2), scratch / np.sqrt(2), rope=None) for m in methods]
        wrong += any(first.verdict in ("better", "worse") for first in stats.judged(of))
    return wrong / studies


def ranked(design: Design, studies: int, methods: int, step: float) -> tuple[float, float]:
    """Return how often a 95 % rank interval holds the true rank, and its mean width in ranks.

    ``step``: points from one method's true mean to the next one's. A patient is as hard for every method.
    """
    from bench.stats.ranks import ranks

    individual = differences(replace(design, sd_patient=0), methods * studies, seed=3)
    individual = individual.reshape(studies, methods, design.patients, -1)
    patient = (
        POINT
        * design.sd_patient
        * numpy_rng(3, "patients").standard_normal((studies, 1, design.patients, 1))
    )
    truth = np.arange(1, methods + 1)
    level = -POINT * step * truth[:, None, None]
    result = [ranks(study) for study in individual + patient + level]
    held = np.mean([(first.low <= truth) & (truth <= first.high) for first in result])
    return float(held), float(np.mean([first.high - first.low for first in result]))


def through_a_file(runs: int, sd_run: float, methods: int, studies: int) -> float:
    """Return the share of tables without any difference of which ``bench.judge`` claims one.

    Each is a CSV file of 24 patients, read as a person's: columns case, method, seed, dice. Of one run each a
    claim is of these weights.
    """
    import bench

    rng, wrong = np.random.Generator(np.random.Philox(0)), 0
    names = [f"m{i}" for i in range(methods)]
    keys = [(f"c{c}", m, str(r)) for m in names for c in range(24) for r in range(runs)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "scores.csv"
        for _ in range(studies):
            hard = rng.normal(0.7, 0.05, (1, 24, 1))
            patient = rng.normal(0, 2 * POINT, (methods, 24, 1)) / 2**0.5
            run = rng.normal(0, sd_run * POINT, (methods, 1, runs)) / 2**0.5
            rest = rng.normal(0, 2 * POINT, (methods, 24, runs)) / 2**0.5
            scores = (hard + patient + run + rest).ravel()
            lines = [f"{','.join(key)},{v:.6f}" for key, v in zip(keys, scores, strict=True)]
            file.write_text("\n".join(["case,method,seed,dice", *lines]))
            (standing,) = bench.judge(file).standings
            wrong += any(pair.told_apart for pair in standing.pairs)
    return wrong / studies
