"""Several comparisons together: p adjusted for their number, and verdicts by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.comparison import UNCLEAR, WEIGHTS, Comparison, word

FEW = (
    "too few patients: with {n} patients p cannot be below {p:.2g}, so with {m} comparisons no adjusted p can "
    "be below {alpha:g}"
)


@dataclass(frozen=True)
class Judged:
    """One comparison of a family: p after Holm, and the verdict by it."""

    comparison: Comparison
    p: float
    verdict: str
    why: str = ""
    p_equivalent: float = float("nan")  # after Holm, too
    family: int = 0  # comparisons that p is adjusted over; 0 where it is not


def judged(family: Sequence[Comparison], waiting: int = 0) -> list[Judged]:
    """Return every comparison's verdict, adjusted by Holm (1979) over those that have a p of a method.

    Differences and equivalences are a family each. What no exact test of so many patients could show at
    the family's first step is called not separable, whatever the model says.

    Args:
        family: comparisons that are read together.
        waiting: further comparisons of the family that have no scores yet. They count with a p of 1: whatever
            their p will be, no p of these comparisons becomes larger than the one returned.
    """
    of_methods = [i for i, comparison in enumerate(family) if comparison.verdict != WEIGHTS]
    size = len(of_methods) + waiting
    others = [1.0] * waiting
    p = holm([family[i].p for i in of_methods] + others)
    equal = holm([family[i].p_equivalent for i in of_methods] + others)
    adjusted = dict(zip(of_methods, zip(p, equal, strict=False), strict=False))
    return [_judged(comparison, adjusted.get(i), size) for i, comparison in enumerate(family)]


def _judged(comparison: Comparison, adjusted: tuple[float, float] | None, size: int) -> Judged:
    if adjusted is None or comparison.why:
        family = 0 if adjusted is None else size
        return Judged(comparison, float("nan"), comparison.verdict, comparison.why, family=family)
    verdict, why = word(comparison.difference, *adjusted, comparison.alpha), ""
    if min(1.0, size * comparison.smallest_p) > comparison.alpha:
        verdict = UNCLEAR
        why = FEW.format(
            n=comparison.patients, p=comparison.smallest_p, m=size, alpha=comparison.alpha
        )
    p, equal = adjusted
    return Judged(comparison, p, verdict, why, equal, size)


def holm(p: Sequence[float]) -> list[float]:
    """Return p adjusted by Holm (1979); NaN stays, and counts for nothing."""
    values = np.array(p, float)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN is sorted last
    steps = np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(steps * values[order]), 1.0)
    return values.tolist()
