"""Per patient what a cell is the mean of: the arrays that paired comparisons and rankings need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

RUN = ("pretrain_seed", "seed")  # a run is a fine-tuning seed of a pretraining seed
COLUMNS = ("row", "section", "fraction", "metric", "target", *RUN, "patient")  # outermost first

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


@dataclass(frozen=True, eq=False)
class PatientMeans:
    """The means over the cases of every patient, run and target, in the order of ``COLUMNS``."""

    values: np.ndarray  # float64, (n,)
    patient: np.ndarray  # of each value its patient, counted in ``patients``
    run: np.ndarray  # and its run, counted in ``runs``
    patients: tuple[str, ...]
    runs: tuple[Run, ...]
    spans: dict[Group, dict[str, tuple[int, int]]]  # target: from where to where its values lie
    targets: dict[tuple[int, str], tuple[str, ...]]  # by section and metric, of whatever row

    def of(self, group: Group, target: str | None) -> Scores | None:
        """Return the scores of one target, or of all that the section has in this metric.

        None where no case has a score: nothing ran, or a value is over all test cases at once.
        """
        spans = self.spans.get(group, {})
        if target is not None and target not in spans:
            return None
        asked = self.targets.get((group[1], group[3]), ()) if target is None else (target,)
        found = [(*spans[name], i) for i, name in enumerate(asked) if name in spans]
        if not found:
            return None
        low, high = found[0][0], found[-1][1]  # targets of a group lie side by side
        at = np.repeat([i for *_, i in found], [end - start for start, end, _ in found])
        patients, patient = np.unique(self.patient[low:high], return_inverse=True)
        runs, run = np.unique(self.run[low:high], return_inverse=True)
        values = np.full((len(patients), len(runs), len(asked)), np.nan)
        values[patient, run, at] = self.values[low:high]
        return Scores(
            values, tuple(self.patients[i] for i in patients), tuple(self.runs[i] for i in runs), asked
        )


def patient_means(good: pd.DataFrame) -> PatientMeans:
    """Return the mean over cases of every patient, from rows that are no holes, in a fixed order."""
    import pandas as pd

    rows = good[good["case"] != ""]  # else a value is over all test cases of its fold
    coded = [pd.factorize(rows[name], sort=True) for name in COLUMNS]
    codes = {name: code for name, (code, _) in zip(COLUMNS, coded, strict=True)}
    names = {name: list(known) for name, (_, known) in zip(COLUMNS, coded, strict=True)}
    key = combined([(codes[name], len(names[name])) for name in COLUMNS])
    order = np.argsort(key, kind="stable")
    start = starts(key[order])
    first = order[start]
    values = means(rows["value"].to_numpy()[order], start)
    of = {name: code[first] for name, code in codes.items()}
    pairs = of[RUN[0]].astype(np.int64) * max(1, len(names[RUN[1]])) + of[RUN[1]]
    known_runs, run = np.unique(pairs, return_inverse=True)
    runs = tuple(
        (int(names[RUN[0]][p]), int(names[RUN[1]][s]))
        for p, s in (divmod(int(pair), len(names[RUN[1]])) for pair in known_runs)
    )
    place = combined([(of[name], len(names[name])) for name in COLUMNS[:5]])
    begin = starts(place)
    spans: dict[Group, dict[str, tuple[int, int]]] = {}
    targets: dict[tuple[int, str], set[str]] = {}
    for low, high in pairwise([*begin, len(place)]):
        row, section, fraction, metric, target = (names[name][of[name][low]] for name in COLUMNS[:5])
        spans.setdefault((row, int(section), int(fraction), metric), {})[target] = (int(low), int(high))
        targets.setdefault((int(section), metric), set()).add(target)
    return PatientMeans(
        values, of["patient"], run, tuple(names["patient"]), runs, spans,
        {place: tuple(sorted(found)) for place, found in targets.items()},
    )  # fmt: skip


def combined(columns: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    """Return one integer per line that orders lines as their codes do, outermost column first.

    Args:
        columns: of each its codes, from 0, and how many there may be.
    """
    key, size = np.zeros(len(columns[0][0]), dtype=np.int64), 1
    for codes, n in columns:
        if size * max(1, n) >= 2**62:  # too many to count through: number those that there are
            key = np.unique(key, return_inverse=True)[1]
            size = int(key.max(initial=0)) + 1
        key, size = key * n + codes, size * max(1, n)
    return key


def starts(key: np.ndarray) -> np.ndarray:
    """Return where in a sorted key a new value begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(key)), bool), key[1:] != key[:-1]]))


def means(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the mean of the defined values of every stretch, NaN where it has none."""
    if not len(start):
        return np.zeros(0)
    defined = ~np.isnan(values)
    sums = np.add.reduceat(np.where(defined, values, 0.0), start)
    counts = np.add.reduceat(defined, start, dtype=np.int64)
    return np.divide(sums, counts, out=np.full(len(start), np.nan), where=counts > 0)


def aligned(
    a: Scores, b: Scores
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[Run, ...]]:  # fmt: skip
    """Return two rows' scores of the patients, runs and targets that both have, NaN where either has none.

    Runs are paired by pretraining and fine-tuning seed. Where one of the two has a single pretraining seed
    (a row from scratch), its run is paired with that of every pretraining seed of the other.

    Returns:
        values of a and of b, (patients, runs, targets) alike; the patients; the runs, by the pretraining
        seeds of the one that has several, else of ``a``.
    """
    patients = tuple(sorted({*a.patients} & {*b.patients}))
    targets = tuple(sorted({*a.targets} & {*b.targets}))
    runs = _paired(a.runs, b.runs)
    one = _taken(a, patients, [first for _, first, _ in runs], targets)
    other = _taken(b, patients, [second for *_, second in runs], targets)
    undefined = np.isnan(one) | np.isnan(other)
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


def _taken(
    scores: Scores, patients: Sequence[str], runs: Sequence[Run], targets: Sequence[str]
) -> np.ndarray:  # fmt: skip
    wanted = ((patients, scores.patients), (runs, scores.runs), (targets, scores.targets))
    at = [[{name: i for i, name in enumerate(known)}[one] for one in some] for some, known in wanted]
    return scores.values[np.ix_(*at)]
