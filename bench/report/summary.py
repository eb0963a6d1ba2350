"""What stands behind every place, and behind all targets of one together: numbers in a cell's order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from bench.metrics.request import VOLUMES, looped
from bench.report.grouping import Coded, combined, means, ordered, pairs, sizes, starts, trues
from bench.report.levels import RUN, Levels

Line = tuple[Any, ...]  # mean, sd, runs, patients, cases, values, undefined, penalised, least targets


class Counts(NamedTuple):
    """What stands behind each of some places, counted."""

    patients: tuple[np.ndarray, np.ndarray]  # place and patient, each pair once
    cases: tuple[np.ndarray, np.ndarray]
    values: np.ndarray
    undefined: np.ndarray
    penalised: np.ndarray

    def together(self, whole: np.ndarray, wholes: int) -> Counts:
        """Return the counts of what places belong to: ``whole``, of each place."""
        values, undefined, penalised = (np.bincount(whole, n, wholes).astype(int) for n in self[2:])
        patients, cases = (
            pairs(whole[place], wholes, Coded(one, range(int(one.max(initial=0)) + 1)))
            for place, one in (self.patients, self.cases)
        )
        return Counts(patients, cases, values, undefined, penalised)


def summary(levels: Levels) -> Iterator[tuple[Line, bool]]:
    """Yield what stands behind every place, and after a place's last target what behind all of them.

    Args:
        levels: scores whose place ends in the target.
    """
    counts, runs = _counts(levels), len(levels.run_means)
    place = levels.spread(runs, levels.place_starts)  # of each run
    wholes = starts(*(levels.columns[n].of(levels.place_lines).codes for n in levels.place[:-1]))
    whole = levels.spread(len(levels.place_lines), wholes)  # of each place
    over, belongs, targets = _over_targets(levels, whole[place])
    together = _lines(over, belongs, counts.together(whole, len(wholes)), targets)
    alone = np.ones(len(whole), dtype=int)
    last = np.append(whole[1:] != whole[:-1], [True] * min(1, len(whole)))
    for line, ends in zip(_lines(levels.run_means, place, counts, alone), last, strict=True):
        yield line, False
        if ends:
            yield next(together), True


def _counts(levels: Levels) -> Counts:
    places, begin = len(levels.place_lines), levels.line_places
    defined = ~np.isnan(levels.values)
    empty = levels.columns["status"].among("empty_reference", "empty_prediction")[levels.order]
    natural = levels.columns["metric"].of(levels.place_lines).among(*VOLUMES)
    values = sizes(begin, len(defined))
    unit = levels.unit.of(levels.unit_lines)
    case = levels.columns["case"].of(levels.order)
    place, patient = pairs(levels.spread(len(unit), levels.unit_places), places, unit)
    known = patient < len(levels.patients)
    patients = place[known], patient[known]
    place, one = pairs(levels.spread(len(case), begin), places, case)
    known = ~Coded(one, case.names).among("")
    return Counts(
        patients,
        (place[known], one[known]),
        values,
        values - trues(defined, begin),
        np.where(natural, 0, trues(empty & defined, begin)),  # what they are by an empty mask is no penalty
    )


def _over_targets(levels: Levels, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means over targets within each run, what each belongs to, and the least targets behind one.

    Args:
        levels: the scores.
        whole: of each place and run what it belongs to: its place whatever the target.
    """
    import pandas as pd

    # metrics in turn, target by target: the last bit of a sum hangs on the order in which pandas meets groups
    turn = [levels.at_runs(name) for name in ("row", "section", "fraction", "target", "metric")]
    order, _ = ordered(*combined(turn))
    key, _ = combined([Coded(whole, range(len(whole))), *map(levels.at_runs, RUN)])
    _, first, at = np.unique(key, return_index=True, return_inverse=True)
    runs, belongs = pd.Series(levels.run_means[order]).groupby(at[order]), whole[first]
    taken = _case_first(levels, at, len(first))
    over = np.where(np.isnan(taken), runs.mean(), taken)
    return over, belongs, runs.count().groupby(belongs).min().to_numpy()


def _case_first(levels: Levels, at: np.ndarray, n: int) -> np.ndarray:
    """Return the means over targets that validation loops take: of each case first, then over cases.

    Args:
        levels: the scores.
        at: of each place and run where its mean over targets stands.
        n: how many of these there are; NaN where it is of no such metric.
    """
    metric, taken = levels.at_runs("metric"), np.full(n, np.nan)
    own = metric.among(*filter(looped, metric.names))
    if not own.any():
        return taken
    lines = sizes(levels.unit_starts[levels.run_starts], len(levels.values))
    mine = np.repeat(own, lines)
    case = levels.columns["case"].of(levels.order[mine])
    order, key = ordered(*combined([Coded(np.repeat(at, lines)[mine], range(n)), case]))
    cases = starts(key)
    run = key[cases] // len(case.names)
    first = starts(run)
    taken[run[first]] = means(means(levels.values[mine][order], cases), first)
    return taken


def _lines(runs: np.ndarray, place: np.ndarray, counts: Counts, targets: np.ndarray) -> Iterator[Line]:
    """Return the numbers of each place.

    Args:
        runs: means, of each run of each place.
        place: of each of them the place, from 0.
        counts: by place.
        targets: by place, the least behind a run's mean.
    """
    import pandas as pd

    over, n = pd.Series(runs).groupby(place), len(targets)
    different = (np.bincount(found, minlength=n) for found, _ in counts[:2])
    columns = (over.mean(), over.std(ddof=1), over.count(), *different, *counts[2:], targets)
    return zip(*(np.asarray(column).tolist() for column in columns), strict=True)
