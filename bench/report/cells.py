"""From rows to cells: means over a patient's cases, over patients, over runs, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.metrics.request import LATENCY, looped
from bench.protocol import Protocol
from bench.report.grouping import Coded, coded, distinct
from bench.report.levels import OWN, RUN, Levels
from bench.report.scores import PLACE, PatientMeans, Scores, patient_means
from bench.report.summary import summary

if TYPE_CHECKING:
    import pandas as pd

MEAN = "*"  # the target that stands for the mean over all targets

SECTION = ["section", "dataset"]
HOW = (
    "A cell is the mean over a patient's test cases, then over the patients of all folds together, then "
    "over runs; a value that is over all test cases at once is averaged over folds instead. The mean over "
    "targets is taken within each run, undefined targets left out."
)
LOOPED = (
    " Of Dice as validation loops take it the mean is over the targets that a case's reference has, then "
    "over cases, and masks are compared on the prepared grid."
)
SPREAD = " ± is the standard deviation over runs (n-1)."
RUNS = " A run is one fine-tuning seed."
CROSSED = " A run is one fine-tuning seed of one pretraining seed."


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
    targets: int = 1  # least number of targets behind a run's mean
    failed: int = 0  # runs, each fold by itself
    jobs: tuple[str, ...] = ()  # that failed
    over: int = 0  # equal where two means are of the same patients, cases, fine-tuning seeds and targets


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
    trained: dict[int, dict[int, dict[int, int]]] = field(default_factory=dict)  # section, fraction, fold: n
    initials: dict[str, dict[int, tuple[str, ...]]] = field(default_factory=dict)  # row, section: `init`s
    crossed: bool = False  # has a row several pretraining seeds?
    means: PatientMeans | None = field(default=None, repr=False, compare=False)

    def at(self, key: Key) -> Cell | None:
        """Return the cell, one without a mean where it failed, or None where nothing ran."""
        cell, runs = self.cells.get(key), set[Run]()
        for other, found in self.failed.items():  # few: one entry per failed cell
            same = other[:3] == key[:3] and other.metric in ("", key.metric)
            if same and (key.target == MEAN or other.target in ("", key.target)):
                runs |= found
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
        return HOW + validated + spread + (CROSSED if self.crossed else RUNS)

    def alike(self, section: int) -> list[tuple[tuple[int, ...], str]]:
        """Return label fractions of a section that mean the same patients, and how many, in words.

        Fractions are prefixes of one ranking, so equal in number is equal in patients, fold by fold.
        """
        known = self.trained.get(section, {})
        found: list[tuple[tuple[int, ...], str]] = []
        for fraction, folds in sorted(known.items()):
            same = [f for f, other in sorted(known.items()) if _agree(other, folds)]
            if len(same) > 1 and fraction == same[0]:
                low, high = min(folds.values()), max(folds.values())
                found.append((tuple(same), f"{low}" if low == high else f"{low} to {high}"))
        return found


def aggregate(protocol: Protocol, records: pd.DataFrame) -> Cells:
    """Turn rows into cells; the order of the rows does not matter.

    Raises:
        BenchError: rows of several scales, of another scale than the protocol's, or of a fine-tuning
            section that the protocol does not have.
    """
    _one_scale(protocol, records)
    columns = {name: coded(records[name]) for name in (*PLACE, *RUN, *OWN, "status")}
    columns["section"] = _sections(protocol, records, columns["section"])
    scored = ~columns["metric"].among(LATENCY)  # which is of a network, not of a target: under the costs
    failed = columns["status"].among("failed")
    good = scored & ~failed
    if not good.all():
        columns = {name: column.of(good) for name, column in columns.items()}
    values = records["value"].to_numpy()
    levels = Levels(columns, values if good.all() else values[good], PLACE)
    first = records.iloc[np.flatnonzero(good)[levels.place_lines]]
    return Cells(
        cells=_cells(levels),
        units=dict(zip(first["metric"], first["unit"], strict=True)),
        failed=_failed(protocol, records[failed & scored]),
        targets=_targets(levels),
        trained=_trained(protocol, distinct(records, [*SECTION, "fraction", "fold", "n_train"], scored)),
        initials=_initials(protocol, distinct(records, [*SECTION, "row", "init"], scored)),
        crossed=bool(distinct(records, ["row", RUN[0]], scored)["row"].duplicated().any()),
        means=patient_means(levels),
    )


def _failed(protocol: Protocol, bad: pd.DataFrame) -> dict[Key, set[Run]]:
    failed: dict[Key, set[Run]] = {}
    for section, r in zip(sections_of(protocol, bad), bad.itertuples(), strict=True):
        key = Key(r.row, int(section), int(r.fraction), r.target, r.metric)
        run = Run(int(r.pretrain_seed), int(r.seed), int(r.fold), r.job)
        failed.setdefault(key, set()).add(run)
    return failed


def _targets(levels: Levels) -> dict[int, tuple[str, ...]]:
    found: dict[int, set[str]] = {}
    for section, target in zip(levels.at_places("section"), levels.at_places("target"), strict=True):
        found.setdefault(section, set()).add(target)
    return {section: tuple(sorted(found[section])) for section in sorted(found)}


def _initials(protocol: Protocol, table: pd.DataFrame) -> dict[str, dict[int, tuple[str, ...]]]:
    """Return what the fine-tunings of every row and section started from."""
    found: dict[str, dict[int, tuple[str, ...]]] = {}
    sections = sections_of(protocol, table)
    for row, section, init in sorted(zip(table["row"], map(int, sections), table["init"], strict=True)):
        known = found.setdefault(row, {})
        known[section] = (*known.get(section, ()), init)
    return found


def _trained(protocol: Protocol, table: pd.DataFrame) -> dict[int, dict[int, dict[int, int]]]:
    """Return the labelled patients that train, by section, fraction and fold; where known."""
    found: dict[int, dict[int, dict[int, int]]] = {}
    sizes = table[["fraction", "fold", "n_train"]].itertuples(index=False, name=None)
    for section, (fraction, fold, n) in zip(sections_of(protocol, table), sizes, strict=True):
        if n:
            found.setdefault(int(section), {}).setdefault(int(fraction), {})[int(fold)] = int(n)
    return found


def _agree(one: dict[int, int], other: dict[int, int]) -> bool:
    """Whether two fractions have as many patients in every fold that both ran, and ran one together."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[fold] == other[fold] for fold in shared)


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
            f"{protocol.scale!r}; report the scale that ran"
        )


def sections_of(protocol: Protocol, records: pd.DataFrame) -> np.ndarray:
    """Return each row's fine-tuning section, counted from 0.

    Raises:
        BenchError: one that the protocol does not have.
    """
    found = _sections(protocol, records, coded(records["section"]))
    return np.array(found.names, dtype=int)[found.codes] if len(found) else np.zeros(0, dtype=int)


def _sections(protocol: Protocol, records: pd.DataFrame, named: Coded) -> Coded:
    """Return the column of sections with their numbers as names."""
    known = protocol.sections
    for name, dataset in distinct(records, SECTION).itertuples(index=False, name=None):
        if name not in known or protocol.finetune[known.index(name)].dataset != dataset:
            raise BenchError(
                f"records of {protocol.name!r} hold the section {name!r} on data set {dataset!r}, which the "
                "protocol does not have; run it again so that its records are written anew"
            )
    return Coded(named.codes, [known.index(name) if name in known else -1 for name in named.names])


def _cells(levels: Levels) -> dict[Key, Cell]:
    """Return the cell of every place, and of all targets of a place together."""
    cells, places = dict[Key, Cell](), zip(*map(levels.at_places, PLACE), strict=True)
    over = _over(levels)
    for (mean, sd, *counts), together in summary(levels):
        if not together:
            row, section, fraction, metric, target = next(places)
        key = Key(row, section, fraction, MEAN if together else target, metric)
        cells[key] = replace(Cell(_number(mean), _number(sd), *counts), over=over.get(key, 0))
    return cells


def _over(levels: Levels) -> dict[Key, int]:
    """Return what names the values behind each cell."""
    place = levels.spread(len(levels.run_means), levels.place_starts)
    places = [*zip(*map(levels.at_places, PLACE), strict=True)]
    crossed, seeds = (levels.at_runs(name) for name in RUN)
    found: dict[Key, dict[tuple[Any, Any], int]] = {}
    for at, p, s, mark in zip(
        place.tolist(), crossed.codes.tolist(), seeds.codes.tolist(), levels.run_marks.tolist(), strict=True
    ):
        if not mark:
            continue  # a run of which nothing is defined
        row, section, fraction, metric, target = places[at]
        run = (crossed.names[p], seeds.names[s])
        for of in (target, MEAN):
            runs = found.setdefault(Key(row, section, fraction, of, metric), {})
            runs[run] = (runs.get(run, 0) + mark) % 2**64
    return {key: _named(runs) for key, runs in found.items()}


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


def of_runs(good: pd.DataFrame, place: list[str]) -> pd.Series:
    """Return the value of every place in every run: over a patient's cases, then over all folds' patients.

    Args:
        good: rows that are no holes.
        place: the columns that say where a value stands.
    """
    import pandas as pd

    names = [*place, *RUN]
    columns = {name: coded(good[name]) for name in (*names, *OWN)}
    levels = Levels(columns, good["value"].to_numpy(), place)
    runs = [levels.at_runs(name) for name in names]
    index = pd.MultiIndex(levels=[r.names for r in runs], codes=[r.codes for r in runs], names=names)
    return pd.Series(levels.run_means, index, name="value")


def _number(value: float) -> float | None:
    return None if value != value else float(value)
