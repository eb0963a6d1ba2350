"""Methods over several data sets: Friedman's test and Nemenyi's critical difference.

Demsar 2006 (JMLR 7:1-30, sections 3.2.2 and 3.2.4); autorank (Herbold 2020, JOSS 5:2173) draws the same
picture. A data set counts once, whatever its patients and runs: this says nothing about one data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.ranks import Numbers, ranked

MOST = 1000  # data sets; beyond, a level is out of reach


@dataclass(frozen=True)
class CriticalDifference:
    """What may be said of methods over data sets.

    Attributes:
        rank: (methods,) mean rank over the data sets, from 1 (best).
        p: of Friedman's test that all methods rank alike (chi-square approximation, corrected for ties).
        difference: mean ranks so far apart or farther differ (Nemenyi).
        needed: data sets from which anything can be said at this level: p of equal ranks in all of them is at
            most alpha and the best and the worst can be a critical difference apart.
    """

    rank: Numbers
    p: float
    difference: float
    needed: int


def critical_difference(
    means: ArrayLike, alpha: float = 0.05, higher: bool = True
) -> CriticalDifference:
    """Compare methods over data sets by their ranks.

    Args:
        means: (methods, data sets), one score each, all present. Data sets may differ in unit.
        alpha: level of the test and of the critical difference.
        higher: whether a higher score is better.

    Raises:
        ValueError: under 3 methods or 2 data sets, a value is missing, or no number of data sets would do.
    """
    from scipy.stats import friedmanchisquare

    given = np.asarray(means, dtype=float)
    _refuse(given)
    each = ranked(given.T, higher)  # (data sets, methods)
    tied = bool((each == each[:, :1]).all())
    p = 1.0 if tied else float(friedmanchisquare(*each.T).pvalue)
    methods, datasets = given.shape
    difference = _difference(methods, datasets, alpha)
    rank = each.mean(axis=0)
    return CriticalDifference(rank, p, difference, _needed(methods, alpha))


def _refuse(given: Numbers) -> None:
    if given.ndim != 2 or given.shape[0] < 3 or given.shape[1] < 2:
        raise ValueError(
            "a critical difference is of at least 3 methods over at least 2 data sets, "
            f"as an array (methods, data sets); this one is of shape {given.shape}"
        )
    if not np.isfinite(given).all():
        method, dataset = np.argwhere(~np.isfinite(given))[0]
        raise ValueError(
            f"method {method} has no value on data set {dataset}; leave one of the two out "
            "(Friedman's test is over complete blocks)"
        )


def _difference(methods: int, datasets: int, alpha: float) -> float:
    """Return Nemenyi's critical difference of mean ranks; its q is the studentised range over sqrt 2."""
    from scipy.stats import studentized_range

    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
    q = studentized_range.ppf(1 - alpha, methods, np.inf) / sqrt(2)
    return float(q * sqrt(methods * (methods + 1) / (6 * datasets)))


def _needed(methods: int, alpha: float) -> int:
    from scipy.stats import chi2

    single = _difference(methods, 1, alpha)  # falls with the root of the number of data sets
    for datasets in range(2, MOST + 1):
        smallest_p = chi2.sf(datasets * (methods - 1), methods - 1)  # where all ranks agree
        if single / sqrt(datasets) <= methods - 1 and smallest_p <= alpha:
            return datasets
    raise ValueError(
        f"at alpha {alpha} not even {MOST} data sets would tell {methods} methods apart"
    )
