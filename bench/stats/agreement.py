"""Do two ways of scoring rank the same methods alike? Kendall's tau-b with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.ranks import Numbers, kendall, times_drawn

LEAST = 5  # methods of which a tau can tell anything
DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Rankings:
    """The mean scores of some methods in two ways, higher is better in both.

    Attributes:
        methods: their names; a name stands for the same method in all rankings of one group.
        first: (methods,), NaN where there is no score.
        second: the same in another way.
        group: rankings of one group draw their methods together.
    """

    methods: tuple[str, ...]
    first: Numbers
    second: Numbers
    group: str = ""


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b and its 95 % interval; all NaN where nothing can be told."""

    tau: float
    low: float
    high: float


def agreement(
    rankings: Sequence[Rankings], draws: int = DRAWS, seed: int = 0
) -> tuple[list[Agreement], Agreement]:
    """Return tau-b of each pair of rankings, and its mean over those with at least ``LEAST`` methods.

    Each draw of the bootstrap takes methods anew, n - 1 of n, and keeps their means. The noise of the runs
    is in these means; runs that were drawn anew would add it a second time. Of nested units the outer ones
    are drawn, without the inner ones (Davison and Hinkley 1997, Bootstrap Methods, section 3.8). The
    interval is of percentiles, widened to hold tau itself.
    """
    unions: dict[str, list[str]] = {}
    for each in rankings:
        unions.setdefault(each.group, []).extend(each.methods)
    names = {group: sorted(set(methods)) for group, methods in unions.items()}
    taus, drawn = np.full(len(rankings), np.nan), np.full((len(rankings), draws), np.nan)
    for number, each in enumerate(rankings):
        if len(each.methods) < LEAST:
            continue
        taus[number] = kendall(each.first, each.second)
        union = names[each.group]
        times = times_drawn(len(union), draws, seed, f"methods {each.group}").astype(int)
        times = times[:, [union.index(method) for method in each.methods]]
        for draw, counts in enumerate(times):
            repeated = np.repeat(np.arange(len(counts)), counts)
            drawn[number, draw] = kendall(each.first[repeated], each.second[repeated])
    by_ranking = [_interval(*both) for both in zip(taus, drawn, strict=True)]
    valid = ~np.isnan(taus)
    if not valid.any():
        return by_ranking, Agreement(np.nan, np.nan, np.nan)
    complete = drawn[valid][:, ~np.isnan(drawn[valid]).all(axis=0)]
    return by_ranking, _interval(taus[valid].mean(), np.nanmean(complete, axis=0))


def _interval(tau: float, drawn: Numbers) -> Agreement:
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(tau) or not len(drawn):
        return Agreement(np.nan, np.nan, np.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Agreement(float(tau), float(min(low, tau)), float(max(high, tau)))
