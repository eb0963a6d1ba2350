"""From rows to cells: means over a patient's cases, over patients, over runs, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.metrics.request import LATENCY, looped
from bench.protocol import Protocol
from bench.report.means import CELL, RUN, Means, means, summary
from bench.report.scores import PatientScores, Scores

if TYPE_CHECKING:
    import pandas as pd

MEAN = "*"  # the target that stands for the mean over all targets

SECTION = ["section", "dataset"]
HOW = (
    "Each number is averaged over the test cases of a patient, then over patients (of all folds "
    "together), then over runs. A metric that is computed over all test cases at once is averaged over "
    "folds instead. For each run the scores of all targets are averaged; a target without a defined score is left out."
)
LOOPED = (
    " Dice as validation loops compute it is averaged over the targets in a case's reference, then over "
    "cases, on the prepared grid."
)
SPREAD = " ± is the standard deviation over runs (n-1)."
RUNS = " A run is one fine-tuning seed."
CROSSED = " A run is one fine-tuning seed of one pretraining seed."
PROBED = " A run is one draw of labelled patients for one frozen encoder."


class Key(NamedTuple):
    """Where a cell stands. ``section`` counts the protocol's fine-tuning sections from 0, in its order."""

    row: str
    section: int
    fraction: int
    target: str
    metric: str


@dataclass(frozen=True)
class Cell:
    """One mean and its history, in the metric's own unit (overlap: 0 to 1)."""

    mean: float | None = None
    sd: float | None = None  # over runs
    runs: int = 0  # that have a value
    patients: int = 0  # as cases
    cases: int = 0  # 0 also where a value is over all test cases at once
    values: int = 0  # case x run (x target, for the mean), defined or not
    undefined: int = 0
    penalised: int = 0
    absent: int = 0  # values whose reference is empty
    blank: int = 0  # values whose prediction is empty
    targets: int = 1  # least number of targets behind a run's mean
    failed: int = 0  # runs, each fold by itself
    jobs: tuple[str, ...] = ()  # that failed
    # equal where two means are of the same patients, cases, fine-tuning seeds and targets
    over: int = 0


class Run(NamedTuple):
    """One run of a failed cell on one fold, and the job that failed."""

    pretrain_seed: int
    seed: int
    fold: int
    job: str


@dataclass(frozen=True)
class Cells:
    """Every cell that has rows, the units, and the runs that failed."""

    cells: dict[Key, Cell]
    units: dict[str, str]
    failed: dict[Key, set[Run]] = field(default_factory=dict)
    targets: dict[int, tuple[str, ...]] = field(default_factory=dict)  # by section, as met
    # section, fraction, fold: n
    trained: dict[int, dict[int, dict[int, int]]] = field(default_factory=dict)
    # row, section: `init`s
    initials: dict[str, dict[int, tuple[str, ...]]] = field(default_factory=dict)
    crossed: bool = False  # has a row several pretraining seeds?
    probed: bool = False  # is nothing fine-tuned?
    means: PatientScores | None = field(default=None, repr=False, compare=False)

    def at(self, key: Key) -> Cell | None:
        """Return the cell, one without a mean where it failed, or None where nothing ran."""
        cell, runs = self.cells.get(key), set[Run]()
        for other, failed_runs in self.failed.items():  # few: one entry per failed cell
            same = other[:3] == key[:3] and other.metric in ("", key.metric)
            if same and (key.target == MEAN or other.target in ("", key.target)):
                runs |= failed_runs
        if not runs:
            return cell
        jobs = tuple(sorted({run.job for run in runs if run.job}))
        return replace(cell or Cell(), failed=len({run[:3] for run in runs}), jobs=jobs)

    def scores(self, key: Key) -> Scores | None:
        """Return what a cell is the mean of by patient, run and target: ``MEAN`` stands for all targets.

        None where nothing ran, and where values are over all test cases at once.
        """
        group = (key.row, key.section, key.fraction, key.metric)
        target = None if key.target == MEAN else key.target
        return None if self.means is None else self.means.of(group, target)

    @property
    def how(self) -> str:
        """Return how the means came about, in words."""
        spread = SPREAD if any(cell.sd is not None for cell in self.cells.values()) else ""
        validated = LOOPED if any(looped(key.metric) for key in self.cells) else ""
        run = PROBED if self.probed else CROSSED if self.crossed else RUNS
        return HOW + validated + spread + run

    def alike(self, section: int) -> list[tuple[tuple[int, ...], str]]:
        """Return label fractions of a section that mean the same patients, and how many, in words.

        Fractions are prefixes of one ranking, so equal in number is equal in patients, fold by fold.
        """
        sizes = self.trained.get(section, {})
        equal: list[tuple[tuple[int, ...], str]] = []
        for fraction, folds in sorted(sizes.items()):
            same = [f for f, other in sorted(sizes.items()) if _agree(other, folds)]
            if len(same) > 1 and fraction == same[0]:
                low, high = min(folds.values()), max(folds.values())
                equal.append((tuple(same), f"{low}" if low == high else f"{low} to {high}"))
        return equal


def aggregate(protocol: Protocol, records: pd.DataFrame) -> Cells:
    """Turn rows into cells; the order of the rows does not matter.

    Raises:
        BenchError: rows of several scales, of another scale than the protocol's, or of a fine-tuning
            section that the protocol does not have.
    """
    _one_scale(protocol, records)
    records = records.assign(section=sections_of(protocol, records))
    # which is of a network: it stands under the costs
    records = records[records["metric"] != LATENCY]
    failed = records["status"] == "failed"
    good = records[~failed]
    averaged = means(good, CELL)
    units = good[["metric", "unit"]].drop_duplicates()
    targets = good[["section", "target"]].drop_duplicates().groupby("section")["target"]
    return Cells(
        cells=_cells(averaged),
        units=dict(zip(units["metric"], units["unit"], strict=True)),
        failed=_failed(records[failed]),
        targets={int(section): tuple(sorted(names)) for section, names in targets},
        trained=_trained(records[["section", "fraction", "fold", "n_train"]].drop_duplicates()),
        initials=_initials(records[["section", "row", "init"]].drop_duplicates()),
        probed=all(target.evaluation == "probe" for target in protocol.finetune),
        crossed=bool(records[["row", RUN[0]]].drop_duplicates()["row"].duplicated().any()),
        means=PatientScores(averaged),
    )


def _failed(bad: pd.DataFrame) -> dict[Key, set[Run]]:
    failed: dict[Key, set[Run]] = {}
    for r in bad.itertuples():
        key = Key(r.row, int(r.section), int(r.fraction), r.target, r.metric)
        run = Run(int(r.pretrain_seed), int(r.seed), int(r.fold), r.job)
        failed.setdefault(key, set()).add(run)
    return failed


def _initials(table: pd.DataFrame) -> dict[str, dict[int, tuple[str, ...]]]:
    """Return what the fine-tunings of every row and section started from."""
    initials: dict[str, dict[int, tuple[str, ...]]] = {}
    starts = table[["row", "section", "init"]].itertuples(index=False, name=None)
    for row, section, init in sorted(starts):
        of_row = initials.setdefault(row, {})
        of_row[int(section)] = (*of_row.get(section, ()), init)
    return initials


def _trained(table: pd.DataFrame) -> dict[int, dict[int, dict[int, int]]]:
    """Return the labelled patients that train, by section, fraction and fold; where known."""
    trained: dict[int, dict[int, dict[int, int]]] = {}
    for section, fraction, fold, n in table.astype(int).itertuples(index=False, name=None):
        if n:
            trained.setdefault(section, {}).setdefault(fraction, {})[fold] = n
    return trained


def _agree(sizes: dict[int, int], others: dict[int, int]) -> bool:
    """Whether two fractions have as many patients in every fold that both ran, and ran one together."""
    shared = sizes.keys() & others.keys()
    return bool(shared) and all(sizes[fold] == others[fold] for fold in shared)


def _one_scale(protocol: Protocol, records: pd.DataFrame) -> None:
    scales = sorted(records["scale"].unique())
    if len(scales) > 1:
        raise BenchError(
            f"records of {protocol.name!r} mix the scales {', '.join(scales)}, which never share a "
            "table; run each scale into its own --out folder"
        )
    if scales and scales[0] != protocol.scale:
        raise BenchError(
            f"records of {protocol.name!r} are of scale {scales[0]!r}, the protocol was read at "
            f"{protocol.scale!r}; report the scale that ran, or run this scale (no finished job is repeated)"
        )


def sections_of(protocol: Protocol, records: pd.DataFrame) -> np.ndarray:
    """Return each row's fine-tuning section, counted from 0.

    Raises:
        BenchError: one that the protocol does not have.
    """
    names = protocol.sections
    for name, dataset in records[[*SECTION]].drop_duplicates().itertuples(index=False, name=None):
        if name not in names or protocol.finetune[names.index(name)].dataset != dataset:
            raise BenchError(
                f"records of {protocol.name!r} hold the section {name!r} on data set {dataset!r}, which the "
                "protocol does not have; run it again so that its records are written anew"
            )
    return records["section"].astype(object).map(names.index).to_numpy(dtype=int)


def _cells(averaged: Means) -> dict[Key, Cell]:
    """Return every cell, and those of all targets together."""
    over, cells = _over(averaged.runs), dict[Key, Cell]()
    for together in (False, True):
        for at, mean, sd, *counts in summary(averaged, together).itertuples(name=None):
            row, section, fraction, metric, target = (*at, MEAN) if together else at
            key = Key(row, int(section), int(fraction), target, metric)
            cells[key] = replace(Cell(_number(mean), _number(sd), *counts), over=over.get(key, 0))
    return cells


def _over(runs: pd.DataFrame) -> dict[Key, int]:
    """Return what names the values behind each cell."""
    marks: dict[Key, dict[tuple[Any, Any], int]] = {}
    for (row, section, fraction, metric, target, *run), mark in runs["mark"].items():
        if mark:  # else nothing of the run is defined
            for of in (target, MEAN):
                by_run = marks.setdefault(Key(row, section, fraction, of, metric), {})
                by_run[tuple(run)] = (by_run.get(tuple(run), 0) + mark) % 2**64
    return {key: _named(by_run) for key, by_run in marks.items()}


def _named(runs: dict[tuple[Any, Any], int]) -> int:
    """Return what names the values of all runs of a cell, by pretraining and fine-tuning seed.

    Where every fine-tuning seed has as many pretrainings, all of the same values, these count once: then a
    row stands beside one from scratch.
    """
    by_seed: dict[Any, list[int]] = {}
    for (_, seed), mark in runs.items():
        by_seed.setdefault(seed, []).append(mark)
    even = len({len(marks) for marks in by_seed.values()}) == 1
    if even and all(len({*marks}) == 1 for marks in by_seed.values()):
        return hash(tuple(sorted((seed, marks[0]) for seed, marks in by_seed.items())))
    return hash(tuple(sorted(runs.items())))


def _number(value: float) -> float | None:
    return None if value != value else float(value)
