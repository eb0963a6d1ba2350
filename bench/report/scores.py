"""Per patient what a cell is the mean of: the arrays that paired comparisons and rankings need."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.means import CELL, RUN, Means

if TYPE_CHECKING:
    import pandas as pd

Run = tuple[int, int]  # pretraining seed, fine-tuning seed
Group = tuple[str, int | str, int, str]  # row, section or its name, fraction, metric


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one row in one metric, its folds pooled, in the metric's own unit.

    A value is the mean over a patient's cases; of a patient who is tested in several folds, over all of
    them. NaN where nothing ran, every run of it failed, or every case is undefined.
    """

    values: np.ndarray  # float64, (patients, runs, targets)
    patients: tuple[str, ...]  # sorted
    runs: tuple[Run, ...]  # sorted
    targets: tuple[str, ...]  # sorted
    cases: np.ndarray | None = None  # likewise: names the cases that a value is the mean of

    @property
    def lone(self) -> bool:
        """Whether all runs have one pretraining seed: a row from scratch, or with a single pretraining."""
        return len({pretrained for pretrained, _ in self.runs}) == 1


def mean_of(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean along an axis over what is defined, NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN here
        return np.asarray(np.nanmean(values, axis=axis))


class PatientScores:
    """The scores of every row by patient, run and target."""

    def __init__(self, averaged: Means) -> None:
        table = averaged.patients[averaged.patients["named"]].reset_index()
        table["unit"] = table["unit"].astype("category")  # sorted
        self._units = list(table["unit"].cat.categories)
        self._groups = dict(iter(table.groupby([*CELL[:-1]], observed=True)))
        by_metric = table.groupby(["section", "metric"], observed=True)["target"]
        self._targets = {key: tuple(sorted(targets.unique())) for key, targets in by_metric}
        self._cache: dict[tuple[Group, str | None], Scores] = {}  # scratch is asked for often

    def of(self, group: Group, target: str | None) -> Scores | None:
        """Return the scores of one target, or of all that the section has in this metric.

        None where no case has a score: nothing ran, or a value is over all test cases at once.
        """
        if (group, target) in self._cache:
            return self._cache[group, target]
        table = self._groups.get(group)
        if table is not None and target is not None:
            table = table[table["target"] == target]
        if table is None or table.empty:
            return None
        targets = self._targets[group[1], group[3]] if target is None else (target,)
        names, at = self._positions(table, targets)
        shape = [*map(len, names)]
        values, cases = np.full(shape, np.nan), np.zeros(shape, np.uint64)
        values[at], cases[at] = table["value"], table["mark"]
        values.setflags(write=False)  # others will be given it as well
        return self._cache.setdefault((group, target), Scores(values, *names, cases))

    def _positions(
        self, table: pd.DataFrame, targets: tuple[str, ...]
    ) -> tuple[tuple[tuple[str, ...], tuple[Run, ...], tuple[str, ...]], tuple[Any, ...]]:
        """Return the patients, runs and targets of some lines, and which of them each line has."""
        runs = [*zip(*(table[name].tolist() for name in RUN), strict=True)]
        present, of_patient = np.unique(table["unit"].cat.codes, return_inverse=True)
        patients = tuple(self._units[i] for i in present.tolist())
        numbers = _numbered(sorted({*runs})), _numbered(targets)
        of_run = [numbers[0][run] for run in runs]
        of_target = [numbers[1][target] for target in table["target"].tolist()]
        return (patients, tuple(numbers[0]), targets), (of_patient, of_run, of_target)


def _numbered(names: Sequence[Any]) -> dict[Any, int]:
    return {name: i for i, name in enumerate(names)}


def aligned(
    a: Scores, b: Scores
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[Run, ...]]:
    """Return two rows' scores of the patients, runs and targets that both have, NaN where either has none.

    A patient's mean over other cases than the other row's counts as none.

    Runs are paired by pretraining and fine-tuning seed. Where one of the two has a single pretraining seed
    (a row from scratch), its run is paired with that of every pretraining seed of the other.

    Returns:
        values of a and of b, (patients, runs, targets) alike; the patients; the runs, by the pretraining
        seeds of the one that has several, else of ``a``.
    """
    same = a.patients == b.patients
    patients = a.patients if same else tuple(sorted({*a.patients} & {*b.patients}))
    targets = tuple(sorted({*a.targets} & {*b.targets}))
    runs = _paired(a, b)
    first, cases = _subset(a, patients, [first for _, first, _ in runs], targets)
    second, others = _subset(b, patients, [second for *_, second in runs], targets)
    undefined = np.isnan(first) | np.isnan(second) | (cases != others)
    first[undefined] = second[undefined] = np.nan
    return first, second, patients, tuple(named for named, *_ in runs)


def _paired(a: Scores, b: Scores) -> list[tuple[Run, Run, Run]]:
    """Return pairs of runs in order, each after what it is called."""
    crossed, other_crossed = not a.lone, not b.lone
    return sorted(
        (second if other_crossed else first, first, second)
        for first in a.runs
        for second in b.runs
        if (first == second if crossed and other_crossed else first[1] == second[1])
    )


def shared(every: Sequence[Scores]) -> list[Scores]:
    """Return several rows' scores of what all of them have, NaN elsewhere.

    That is: of each patient, fine-tuning seed and target for which all runs of every row have a value, over
    the same cases. Patients and targets are those of all rows; runs are each row's own.
    """
    patients = sorted(set.intersection(*({*scores.patients} for scores in every)))
    targets = sorted(set.intersection(*({*scores.targets} for scores in every)))
    subsets = [_subset(scores, patients, scores.runs, targets) for scores in every]
    seeds = sorted({seed for scores in every for _, seed in scores.runs})
    complete = np.zeros((len(patients), len(seeds), len(targets)), dtype=bool)
    for at, seed in enumerate(seeds):
        of_seed = [[i for i, run in enumerate(scores.runs) if run[1] == seed] for scores in every]
        if all(of_seed):
            values, cases = (
                np.concatenate(
                    [subset[part][:, i] for subset, i in zip(subsets, of_seed, strict=True)], axis=1
                )
                for part in (0, 1)
            )
            complete[:, at] = ~np.isnan(values).any(axis=1) & (cases == cases[:, :1]).all(axis=1)
    at_seed = {seed: at for at, seed in enumerate(seeds)}
    return [
        Scores(
            np.where(complete[:, [at_seed[seed] for _, seed in scores.runs]], values, np.nan),
            tuple(patients),
            scores.runs,
            tuple(targets),
            cases,
        )
        for scores, (values, cases) in zip(every, subsets, strict=True)
    ]


def _subset(
    scores: Scores, patients: Sequence[str], runs: Sequence[Run], targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return values, and what names their cases; without such names 0."""
    at = list[Sequence[int]]()
    wanted = patients, runs, targets
    for names, available in zip(
        wanted, (scores.patients, scores.runs, scores.targets), strict=True
    ):
        if names == available:
            at.append(range(len(available)))
            continue
        index = _numbered(available)
        at.append([index[name] for name in names])
    grid = np.ix_(*at)
    values = scores.values[grid]
    return values, np.zeros(values.shape, np.uint64) if scores.cases is None else scores.cases[grid]
