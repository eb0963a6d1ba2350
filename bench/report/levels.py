"""Scores in the order of place, run, patient and case, and the means that are taken on the way up."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b

import numpy as np

from bench.report.grouping import Coded, combined, means, ordered, sizes, starts

RUN = ("pretrain_seed", "seed")  # a run is a fine-tuning seed of a pretraining seed
OWN = ("case", "patient", "fold")  # where a score is of, besides its place and run


class Levels:
    """Rows of records in a fixed order, and where a patient, a run and a place begins.

    A value without a case is over all test cases of its fold at once: the fold then stands for a patient.

    Args:
        columns: of rows that are no holes: those of ``place``, ``RUN`` and ``OWN``.
        values: their scores, NaN where undefined.
        place: the columns that say where a value stands, outermost first.
    """

    def __init__(self, columns: Mapping[str, Coded], values: np.ndarray, place: Sequence[str]) -> None:
        self.columns, self.place, self.patients = columns, tuple(place), columns["patient"].names
        self.unit = _unit(columns)  # codes from len(patients) on are of folds
        run, runs = combined([columns[name] for name in (*place, *RUN)])
        within, most = combined([columns["case"], columns["fold"]])
        keys = [Coded(run, range(runs)), self.unit, Coded(within, range(most))]
        self.order, key = ordered(*combined(keys))
        self.values = values[self.order]
        key //= most
        self.unit_starts = starts(key)  # lines
        self.unit_lines = self.order[self.unit_starts]
        self.unit_means = means(self.values, self.unit_starts)  # over a patient's cases
        self.run_starts = starts(run[self.unit_lines])  # units
        self.run_lines = self.unit_lines[self.run_starts]
        self.run_means = means(self.unit_means, self.run_starts)  # over the patients of all folds
        places, _ = combined([columns[name].of(self.run_lines) for name in place])
        self.place_starts = starts(places)  # runs
        self.place_lines = self.run_lines[self.place_starts]

    @cached_property
    def marks(self) -> np.ndarray:
        """Return a number for each line (uint64) that names its case, fold and target; 0 where undefined.

        The sum over some lines, modulo 2^64, names the values that a mean of them is of. It is the same in
        every table.
        """
        found: np.ndarray = np.zeros(len(self.values), dtype=np.uint64)
        for name in ("case", "fold", "target"):
            column = self.columns[name]
            digests = np.array([*map(_digest, column.names), 0], dtype=np.uint64)
            found = _mixed(found ^ digests[column.codes[self.order]])
        found[np.isnan(self.values)] = 0
        return found

    @property
    def unit_marks(self) -> np.ndarray:
        """Return the sum of the marks behind each patient's mean."""
        return _sums(self.marks, self.unit_starts)

    @property
    def run_marks(self) -> np.ndarray:
        """Return the sum of the marks behind each run's mean."""
        return _sums(self.unit_marks, self.run_starts)

    def at_runs(self, name: str) -> Coded:
        """Return a column's values, one for each place and run."""
        return self.columns[name].of(self.run_lines)

    def at_places(self, name: str) -> list:
        """Return a column's values, one for each place."""
        column = self.columns[name].of(self.place_lines)
        return [column.names[code] for code in column.codes]

    @property
    def unit_places(self) -> np.ndarray:
        """Return the first patient of each place, counted in those of all places and runs."""
        return self.run_starts[self.place_starts]

    @property
    def line_places(self) -> np.ndarray:
        """Return the first line of each place, counted in this order."""
        return self.unit_starts[self.unit_places]

    def spread(self, lines: int, start: np.ndarray) -> np.ndarray:
        """Return the number of its stretch for each of so many lines."""
        return np.repeat(np.arange(len(start), dtype=np.int32), sizes(start, lines))


def _digest(name: Hashable) -> int:
    return int.from_bytes(blake2b(str(name).encode("utf-8", "backslashreplace"), digest_size=8).digest())


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return numbers whose bits hang on all bits of those given (the finaliser of splitmix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _sums(marks: np.ndarray, start: np.ndarray) -> np.ndarray:
    return np.add.reduceat(marks, start) if len(start) else marks[:0]


def _unit(columns: Mapping[str, Coded]) -> Coded:
    """Return each row's patient, or its fold where it is of no case."""
    patient, fold, named = columns["patient"], columns["fold"], ~columns["case"].among("")
    if named.all():
        return patient
    codes = np.where(named, patient.codes, len(patient.names) + fold.codes.astype(np.int32))
    return Coded(codes, range(len(patient.names) + len(fold.names)))
