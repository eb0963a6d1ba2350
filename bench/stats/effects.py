"""Random effects of patients and runs: how much of a mean's noise each of them brings.

The model is ``difference = mean + patient + run + residual``, all but the mean random; a run may be a
fine-tuning seed of a pretraining seed, crossed with it or within it. Components are found by the mean squares
of the two-way layout (Henderson 1953, method 1), degrees of freedom by Satterthwaite (1946), missing cells by
least squares (Yates 1933).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Part(NamedTuple):
    """One term of a variance: its value, with its sign, and its degrees of freedom."""

    value: float
    df: int


@dataclass(frozen=True, eq=False)
class Layout:
    """How runs hang together: ``table`` maps (runs,) to (pretrainings, fine-tuning seeds)."""

    table: Array  # (P, F, R)

    @property
    def shape(self) -> tuple[int, int]:
        """How many pretrainings, and fine-tuning seeds that they share."""
        return self.table.shape[0], self.table.shape[1]

    def laid(self, runs: Array) -> Array:
        """Return values of runs, (..., R), as (..., P, F)."""
        return np.einsum("pfr,...r->...pf", self.table, runs)


def layout(runs: int, clusters: Sequence[int] | None, seeds: Sequence[int] | None) -> Layout:
    """Return how runs hang together.

    Args:
        runs: how many there are.
        clusters: the pretraining of each; without, each run stands for itself.
        seeds: the fine-tuning seed of each, where pretrainings share them; without, they lie within.
    """
    if clusters is None:
        return Layout(np.eye(runs)[:, None, :])
    named, p = np.unique(np.asarray(clusters), return_inverse=True)
    if len(named) == 1:
        return Layout(np.eye(runs)[None])
    if seeds is None or len(np.unique(np.asarray(seeds))) == runs:  # none is shared
        return Layout(
            (np.equal.outer(np.arange(len(named)), p) / np.bincount(p)[:, None])[:, None, :]
        )
    numbered, f = np.unique(np.asarray(seeds), return_inverse=True)
    # an additive model of the runs
    marks = np.hstack([np.eye(len(named))[p], np.eye(len(numbered))[f]])
    fitted = np.linalg.pinv(marks)
    pretraining = np.eye(len(named))[:, None, :] + np.zeros((1, len(numbered), 1))
    fine_tuning = np.zeros((len(named), 1, 1)) + np.eye(len(numbered))[None, :, :]
    # what it says of a run that is missing
    table = np.concatenate([pretraining, fine_tuning], axis=2) @ fitted
    present = np.zeros(table.shape)
    present[p, f, np.arange(runs)] = 1
    counted = present.sum(axis=2, keepdims=True)
    return Layout(np.where(counted > 0, present / np.maximum(counted, 1), table))


def filled(values: Array) -> tuple[Array, int]:
    """Fill the missing cells of (patients, runs) by the additive model fitted to the others.

    Returns the whole table and how many degrees of freedom its residuals have.
    """
    present = ~np.isnan(values)
    if present.all():
        return values, (values.shape[0] - 1) * (values.shape[1] - 1)
    values_or_zero, seen = np.where(present, values, 0.0), present.astype(float)
    per_patient, per_run = seen.sum(axis=1), seen.sum(axis=0)
    share = seen / per_patient[:, None]
    left = np.diag(per_run) - seen.T @ share
    right = values_or_zero.sum(axis=0) - share.T @ values_or_zero.sum(axis=1)
    run = np.linalg.lstsq(left, right, rcond=1e-10)[0]
    patient = (values_or_zero.sum(axis=1) - seen @ run) / per_patient
    df = int(present.sum()) - values.shape[0] - values.shape[1] + 1
    return np.where(present, values, patient[:, None] + run[None, :]), df


@dataclass(frozen=True)
class Effects:
    """What a mean over patients and runs is made of; standard deviations in the values' unit."""

    mean: float
    patients: int
    parts: tuple[Part, ...]  # of the mean's variance; the first is of patients
    of_runs: tuple[Part, ...]  # among them those of runs
    units: int  # pretrainings, or runs where there is one pretraining or none is named
    patient: float  # standard deviation of a patient's own difference
    run: float  # of a unit's
    residual: float  # of a patient's in a unit

    @property
    def variance(self) -> float:
        """Of the mean; never below what its residuals alone would give."""
        least = -sum(part.value for part in self.parts if part.value < 0)
        return max(sum(part.value for part in self.parts), least)

    @property
    def df(self) -> float:
        """Degrees of freedom of the variance (Satterthwaite 1946); infinite where nothing varies.

        Never fewer than the scarcest part has: only what is taken off a sum could bring them below.
        """
        below = sum(part.value**2 / part.df for part in self.parts if part.df > 0)
        least = min((part.df for part in self.parts if part.value > 0 and part.df > 0), default=1)
        return max(self.variance**2 / below, least) if below > 0 else np.inf


def effects(values: Array, runs: Layout) -> Effects:
    """Take differences apart.

    Args:
        values: (patients, runs), NaN where missing; every patient and every run has a value.
        runs: how the runs hang together.
    """
    table, left = filled(values)
    laid = runs.laid(table)  # (patients, P, F)
    flat = laid.reshape(len(laid), -1)
    patients, of_runs = flat.mean(axis=1), laid.mean(axis=0)
    mean = float(flat.mean())
    n, units = len(flat), runs.shape[0] if runs.shape[0] > 1 else runs.shape[1]
    shares = tuple(Part(float(value), part) for value, part in _of_runs(of_runs))
    rest = laid - patients[:, None, None] - of_runs[None] + mean
    # what filled cells leave
    observed = left / max((values.shape[0] - 1) * (values.shape[1] - 1), 1)
    df = round(observed * (n - 1) * (flat.shape[1] - 1))
    # what is left is in the patients' part and in the runs'
    shared = sum(float(value.sum()) for value, _ in _of_runs(rest))
    within = max(shared / (observed * (n - 1) * n), 0.0) if df > 0 else 0.0
    between = float(patients.var(ddof=1)) / n if n > 1 else 0.0
    parts = (Part(between, n - 1), *shares, *([Part(-within, df)] if df > 0 and shares else []))
    run = sum(part.value for part in shares)
    return Effects(
        mean=mean,
        patients=n,
        parts=parts,
        of_runs=shares,
        units=units,
        patient=max(between - within, 0.0) ** 0.5 * n**0.5,
        run=max(run - within, 0.0) ** 0.5 * units**0.5,
        residual=(within * n * units) ** 0.5,
    )


def _of_runs(table: Array) -> list[tuple[Array, int]]:
    """Return the variance of the mean of (..., P, F) values that pretrainings and fine-tuning seeds bring.

    In parts with their degrees of freedom: of two crossed random factors ``MS_p + MS_f - MS_pf`` over
    ``P F``, of one its mean square alone.
    """
    p, f = table.shape[-2:]
    rows, columns = table.mean(axis=-1, keepdims=True), table.mean(axis=-2, keepdims=True)
    mean = table.mean(axis=(-2, -1), keepdims=True)
    parts = []
    for factor, size in ((rows, p), (columns, f)):
        if size > 1:
            parts.append((((factor - mean) ** 2).sum(axis=(-2, -1)) / (size - 1) / size, size - 1))
    if p > 1 and f > 1:
        df = (p - 1) * (f - 1)
        parts.append(
            (-((table - rows - columns + mean) ** 2).sum(axis=(-2, -1)) / df / (p * f), df)
        )
    return parts
