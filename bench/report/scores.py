"""Per patient what a cell is the mean of: the arrays that paired comparisons and rankings need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from bench.report.grouping import combined, sizes
from bench.report.levels import RUN, Levels

PLACE = ("row", "section", "fraction", "metric", "target")  # target last: without it places stand together

Run = tuple[int, int]  # pretraining seed, fine-tuning seed
Group = tuple[str, int, int, str]  # row, section, fraction, metric


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


@dataclass(frozen=True, eq=False)
class PatientMeans:
    """Means over the cases of a patient, in the order of ``PLACE``, run and patient."""

    values: np.ndarray  # float64, (n,)
    cases: np.ndarray  # uint64, names the cases behind each value
    patient: np.ndarray  # of each value its patient, counted in ``patients``
    run: np.ndarray  # and its run, counted in ``runs``
    patients: tuple[str, ...]
    runs: tuple[Run, ...]
    spans: dict[Group, dict[str, tuple[int, int]]]  # target: from where to where its values lie
    targets: dict[tuple[int, str], tuple[str, ...]]  # by section and metric, of whatever row
    made: dict[tuple[Group, str | None], Scores] = field(default_factory=dict)  # scratch is asked for often

    def of(self, group: Group, target: str | None) -> Scores | None:
        """Return the scores of one target, or of all that the section has in this metric.

        None where no case has a score: nothing ran, or a value is over all test cases at once.
        """
        if (group, target) in self.made:
            return self.made[group, target]
        spans = self.spans.get(group, {})
        if target is not None and target not in spans:
            return None
        asked = self.targets.get((group[1], group[3]), ()) if target is None else (target,)
        found = [(*spans[name], i) for i, name in enumerate(asked) if name in spans]
        if not found:
            return None
        low, high = found[0][0], found[-1][1]  # targets of a group lie side by side
        at = np.repeat([i for *_, i in found], [end - start for start, end, _ in found])
        patients, patient = _those(self.patient[low:high], len(self.patients))
        runs, run = _those(self.run[low:high], len(self.runs))
        values = np.full((len(patients), len(runs), len(asked)), np.nan)
        values[patient, run, at] = self.values[low:high]
        cases = np.zeros(values.shape, dtype=np.uint64)
        cases[patient, run, at] = self.cases[low:high]
        values.setflags(write=False)  # others will be given it as well
        names = tuple(self.patients[i] for i in patients), tuple(self.runs[i] for i in runs)
        return self.made.setdefault((group, target), Scores(values, *names, asked, cases))


def _those(codes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of ``n`` codes there are, and of each line where its own stands among them."""
    there = np.zeros(n, dtype=bool)
    there[codes] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[codes]


def patient_means(levels: Levels) -> PatientMeans:
    """Return the mean over cases of every patient, taken out of scores whose place is ``PLACE``."""
    patient = levels.unit.codes[levels.unit_lines]
    named = patient < len(levels.patients)  # else a value is over all test cases of its fold
    bounds = np.append(levels.unit_places, len(patient))
    if not named.all():
        bounds = np.concatenate([[0], np.cumsum(named)])[bounds]
    crossed, seeds = map(levels.at_runs, RUN)
    key, _ = combined([crossed, seeds])
    _, first, run = np.unique(key, return_index=True, return_inverse=True)
    run = np.repeat(run.astype(np.int32), sizes(levels.run_starts, len(patient)))
    spans: dict[Group, dict[str, tuple[int, int]]] = {}
    targets: dict[tuple[int, str], set[str]] = {}
    places = zip(*map(levels.at_places, PLACE), strict=True)
    for (row, section, fraction, metric, target), span in zip(places, pairwise(bounds.tolist()), strict=True):
        if span[0] < span[1]:
            spans.setdefault((row, section, fraction, metric), {})[target] = span
            targets.setdefault((section, metric), set()).add(target)
    means, marks = levels.unit_means, levels.unit_marks
    if not named.all():
        means, marks, patient, run = means[named], marks[named], patient[named], run[named]
    return PatientMeans(
        means, marks, patient, run, tuple(levels.patients),
        tuple((crossed.names[crossed.codes[i]], seeds.names[seeds.codes[i]]) for i in first),
        spans, {place: tuple(sorted(found)) for place, found in targets.items()},
    )  # fmt: skip


def aligned(
    a: Scores, b: Scores
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[Run, ...]]:  # fmt: skip
    """Return two rows' scores of the patients, runs and targets that both have, NaN where either has none.

    A patient's mean over other cases than the other row's counts as none.

    Runs are paired by pretraining and fine-tuning seed. Where one of the two has a single pretraining seed
    (a row from scratch), its run is paired with that of every pretraining seed of the other.

    Returns:
        values of a and of b, (patients, runs, targets) alike; the patients; the runs, by the pretraining
        seeds of the one that has several, else of ``a``.
    """
    patients = tuple(sorted({*a.patients} & {*b.patients}))
    targets = tuple(sorted({*a.targets} & {*b.targets}))
    runs = _paired(a.runs, b.runs)
    one, cases = _taken(a, patients, [first for _, first, _ in runs], targets)
    other, others = _taken(b, patients, [second for *_, second in runs], targets)
    undefined = np.isnan(one) | np.isnan(other) | (cases != others)
    one[undefined] = other[undefined] = np.nan
    return one, other, patients, tuple(named for named, *_ in runs)


def _paired(a: tuple[Run, ...], b: tuple[Run, ...]) -> list[tuple[Run, Run, Run]]:
    """Return pairs of runs in order, each after what it is called."""
    crossed, other_crossed = (len({pretrained for pretrained, _ in runs}) > 1 for runs in (a, b))
    return sorted(
        (second if other_crossed else first, first, second)
        for first in a
        for second in b
        if (first == second if crossed and other_crossed else first[1] == second[1])
    )


def shared(every: Sequence[Scores]) -> list[Scores]:
    """Return several rows' scores of what all of them have, NaN elsewhere.

    That is: of each patient, fine-tuning seed and target for which all runs of every row have a value, over
    the same cases. Patients and targets are those of all rows; runs are each row's own.
    """
    patients = sorted(set.intersection(*({*one.patients} for one in every)))
    targets = sorted(set.intersection(*({*one.targets} for one in every)))
    taken = [_taken(one, patients, one.runs, targets) for one in every]
    seeds = sorted({seed for one in every for _, seed in one.runs})
    whole = np.zeros((len(patients), len(seeds), len(targets)), dtype=bool)
    for at, seed in enumerate(seeds):
        own = [[i for i, run in enumerate(one.runs) if run[1] == seed] for one in every]
        if all(own):
            values, cases = (
                np.concatenate([found[part][:, i] for found, i in zip(taken, own, strict=True)], axis=1)
                for part in (0, 1)
            )
            whole[:, at] = ~np.isnan(values).any(axis=1) & (cases == cases[:, :1]).all(axis=1)
    at_seed = {seed: at for at, seed in enumerate(seeds)}
    return [
        Scores(
            np.where(whole[:, [at_seed[seed] for _, seed in one.runs]], values, np.nan),
            tuple(patients), one.runs, tuple(targets), cases,
        )
        for one, (values, cases) in zip(every, taken, strict=True)
    ]  # fmt: skip


def _taken(
    scores: Scores, patients: Sequence[str], runs: Sequence[Run], targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return values, and what names their cases; without such names 0."""
    at = []
    for some, known in ((patients, scores.patients), (runs, scores.runs), (targets, scores.targets)):
        place = {name: i for i, name in enumerate(known)}
        at.append([place[one] for one in some])
    grid = np.ix_(*at)
    values = scores.values[grid]
    return values, np.zeros(values.shape, np.uint64) if scores.cases is None else scores.cases[grid]
