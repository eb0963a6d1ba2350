"""Metrics of regression: a number predicted of each case against the true one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.errors import BenchError
from bench.metrics import Score
from bench.metrics.classes import TARGET
from bench.metrics.request import REGRESSION, of_task


def score_values(
    predicted: np.ndarray, reference: np.ndarray, metrics: Iterable[str] = ("mae",), unit: str = "1"
) -> list[tuple[int | None, Score]]:
    """Score predicted numbers against the true ones.

    ``mae`` is one number per case, its absolute error, so that its mean is the mean absolute error and its
    cases pair; ``r2`` and ``spearman`` are one number over all cases, None (status ``both_empty``) where the
    true values, or for ``spearman`` either side, do not vary.

    Args:
        predicted: (N,).
        reference: (N,) true values.
        metrics: of ``mae``, ``r2``, ``spearman``.
        unit: of the values, and of ``mae``.

    Returns:
        Pairs (number of the case, or None for all, Score), metric by metric.

    Raises:
        BenchError: a metric of another task, shapes that differ, no case, or a number that is not finite.
    """
    predicted, reference = np.asarray(predicted, float), np.asarray(reference, float)
    if predicted.ndim != 1 or predicted.shape != reference.shape or not len(predicted):
        raise BenchError(
            f"values have shapes {predicted.shape} and {reference.shape}; give two arrays of the same shape "
            "(N,), with N 1 or more"
        )
    if not (np.isfinite(predicted).all() and np.isfinite(reference).all()):
        raise BenchError("values are not finite; predict again with finite weights")
    scored: list[tuple[int | None, Score]] = []
    for metric in of_task(tuple(metrics), REGRESSION):
        if metric == "mae":
            errors = np.abs(predicted - reference)
            scored += [
                (case, Score(TARGET, metric, float(v), unit, "ok")) for case, v in enumerate(errors)
            ]
            continue
        value = r2(predicted, reference) if metric == "r2" else spearman(predicted, reference)
        status = "both_empty" if value is None else "ok"
        scored.append((None, Score(TARGET, metric, value, "1", status)))
    return scored


def r2(predicted: np.ndarray, reference: np.ndarray) -> float | None:
    """Return 1 less the squared errors over those of the mean; None where the true values do not vary."""
    about = ((reference - reference.mean()) ** 2).sum()
    return float(1 - ((predicted - reference) ** 2).sum() / about) if about > 0 else None


def spearman(predicted: np.ndarray, reference: np.ndarray) -> float | None:
    """Return the rank correlation, ties at their mean rank; None where either side does not vary."""
    from scipy.stats import spearmanr

    if len(set(predicted)) < 2 or len(set(reference)) < 2:
        return None
    return float(spearmanr(predicted, reference).statistic)
