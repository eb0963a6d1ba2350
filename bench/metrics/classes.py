"""Metrics of classification: scores of classes in, numbers out, 0 to 1 (kappa: -1 to 1), never percent.

A case is predicted to be of the class with the highest score, of the lowest such class where several
tie, unless whoever predicted it says which.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.errors import BenchError
from bench.metrics import Score
from bench.metrics.request import of_task

TARGET = "all"


def score_classes(
    scores: np.ndarray,
    reference: np.ndarray,
    metrics: Iterable[str] = ("accuracy",),
    predicted: np.ndarray | None = None,
) -> list[tuple[int | None, Score]]:
    """Score predicted classes against the true ones.

    ``accuracy`` is one number per case, 1 or 0, so that its mean is the accuracy and its cases pair;
    ``auc`` and ``qwk`` are one number over all cases. Where a number is undefined its value is None:
    AUC where a class has no case (status ``empty_reference``), kappa where one class alone is both
    predicted and true (``both_empty``: all other classes are empty on both sides).

    Args:
        scores: (N, K), any numbers of which a larger one means a likelier class.
        reference: (N,) true classes, integers 0 to K - 1.
        metrics: of ``accuracy``, ``auc``, ``qwk``.
        predicted: (N,) classes, where they are not those of the highest scores: of grades in an order the
            median (``bench.jobs.ordinal``).

    Returns:
        Pairs (number of the case, or None for all, Score), metric by metric.

    Raises:
        BenchError: a metric of another task, shapes that do not fit, a class outside 0 to K - 1, or
            scores that are not finite.
    """
    metrics = of_task(tuple(metrics), "classification")
    scores, reference = _checked(scores, reference)
    if predicted is None:
        predicted = scores.argmax(1)
    else:
        _, predicted = _checked(scores, predicted)
    scored: list[tuple[int | None, Score]] = []
    for metric in metrics:
        if metric == "accuracy":
            hits = accuracy(predicted, reference)
            scored += [
                (case, Score(TARGET, metric, float(v), "1", "ok")) for case, v in enumerate(hits)
            ]
            continue
        area = metric == "auc"
        value = auc(scores, reference) if area else qwk(predicted, reference, scores.shape[1])
        undefined = "empty_reference" if area else "both_empty"
        scored.append(
            (None, Score(TARGET, metric, value, "1", undefined if value is None else "ok"))
        )
    return scored


def accuracy(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return 1.0 for every case whose class was found, else 0.0; (N,) float64."""
    return (np.asarray(predicted) == np.asarray(reference)).astype(np.float64)


def auc(scores: np.ndarray, reference: np.ndarray) -> float | None:
    """Return the area under the ROC curve; None where a class has no case.

    Of two classes that of class 1, of more the mean over classes of each against the rest (macro).
    Each is the probability that a case of the class scores higher than one of the rest, ties counted
    half (Mann and Whitney's U; Hanley and McNeil 1982).

    Args:
        scores: (N, K).
        reference: (N,) true classes, 0 to K - 1.
    """
    from scipy.stats import rankdata

    classes = scores.shape[1]
    counts = np.bincount(reference, minlength=classes)
    if not counts.all():
        return None
    areas = []
    for of in range(classes) if classes > 2 else (1,):
        inside = int(counts[of])
        ranks = rankdata(scores[:, of])[reference == of].sum()
        areas.append((ranks - inside * (inside + 1) / 2) / (inside * (len(reference) - inside)))
    return float(np.mean(areas))


def qwk(predicted: np.ndarray, reference: np.ndarray, classes: int) -> float | None:
    """Return quadratic weighted kappa (Cohen 1968); None where all cases are of one class on both sides.

    ``1 - sum(w O) / sum(w E)`` with w the squared distance of two classes, O how often each pair
    occurs, E how often it would if both sides kept their counts and nothing else. 1 is agreement,
    0 what chance gives, below 0 is worse.

    Args:
        predicted: (N,) classes, 0 to ``classes`` - 1, whose distance has a meaning (grades).
        reference: (N,) likewise.
        classes: how many there are; the result does not depend on those that do not occur.
    """
    steps = np.arange(classes)
    distance = (steps[:, None] - steps) ** 2
    observed = np.bincount(predicted * classes + reference, minlength=classes**2).reshape(
        classes, classes
    )
    expected = np.outer(observed.sum(1), observed.sum(0))
    chance = int((distance * expected).sum())
    # In whole numbers, N sum(w O) and N sum(w E): agreement is exactly 1, chance exactly 0.
    return 1 - len(reference) * int((distance * observed).sum()) / chance if chance else None


def _checked(scores: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, reference = np.asarray(scores), np.asarray(reference)
    if scores.ndim != 2 or scores.shape[1] < 2 or reference.shape != scores.shape[:1]:
        raise BenchError(
            f"scores have shape {scores.shape}, classes {reference.shape}; give scores (N, K) with K 2 or "
            "more, and classes (N,)"
        )
    if not len(scores):
        raise BenchError("no case to score; give one or more")
    if not np.isfinite(scores).all():
        raise BenchError("class scores are not finite; predict again with finite weights")
    if (
        reference.dtype.kind not in "iu"
        or reference.min() < 0
        or reference.max() >= scores.shape[1]
    ):
        raise BenchError(f"classes must be whole numbers from 0 to {scores.shape[1] - 1}")
    return scores, reference.astype(np.int64)
