"""From rows to cells: means over a patient's cases, over patients, over runs, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.metrics.request import LATENCY, VOLUMES, looped
from bench.protocol import Protocol
from bench.report.scores import RUN, PatientMeans, Scores, patient_means

if TYPE_CHECKING:
    import pandas as pd

MEAN = "*"  # the target that stands for the mean over all targets

PLACE = ["row", "section", "fraction", "target", "metric"]
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
    records = records[records["metric"] != LATENCY]  # of a network, not of a target: under the costs
    _one_scale(protocol, records)
    table = _lean(records).assign(section=sections_of(protocol, records))
    table = table.sort_values(["patient", "case", *RUN, "fold"], kind="stable")  # sums in a fixed order
    bad = table[table["status"] == "failed"]
    good = table[table["status"] != "failed"]
    empty = good["status"].isin(["empty_reference", "empty_prediction"])
    natural = good["metric"].isin(VOLUMES)  # what they are where a mask is empty is no penalty
    good = good.assign(penalised=empty & good["value"].notna() & ~natural)
    cells = _summary(good)
    units = dict(good[["metric", "unit"]].drop_duplicates().itertuples(index=False, name=None))
    failed: dict[Key, set[Run]] = {}
    for r in bad.itertuples():
        key = Key(r.row, int(r.section), int(r.fraction), r.target, r.metric)
        run = Run(int(r.pretrain_seed), int(r.seed), int(r.fold), r.job)
        failed.setdefault(key, set()).add(run)
    pairs = good[["section", "target"]].drop_duplicates().sort_values(["section", "target"])
    targets = {int(section): tuple(of) for section, of in pairs.groupby("section")["target"]}
    crossed = bool((table.groupby("row", observed=True)["pretrain_seed"].nunique() > 1).any())
    return Cells(
        cells, units, failed, targets, _trained(table), _initials(table), crossed, patient_means(good)
    )


def _initials(table: pd.DataFrame) -> dict[str, dict[int, tuple[str, ...]]]:
    """Return what the fine-tunings of every row and section started from."""
    found: dict[str, dict[int, tuple[str, ...]]] = {}
    pairs = table[["row", "section", "init"]].drop_duplicates().sort_values(["row", "section", "init"])
    for row, section, init in pairs.itertuples(index=False, name=None):
        known = found.setdefault(row, {})
        known[int(section)] = (*known.get(int(section), ()), init)
    return found


def _trained(table: pd.DataFrame) -> dict[int, dict[int, dict[int, int]]]:
    """Return the labelled patients that train, by section, fraction and fold; where known."""
    found: dict[int, dict[int, dict[int, int]]] = {}
    sizes = table[["section", "fraction", "fold", "n_train"]].drop_duplicates()
    for section, fraction, fold, n in sizes.itertuples(index=False, name=None):
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


def _lean(records: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that matter, repeated text as categories: grouping is then quick."""
    text = ["row", "case", "patient", "target", "metric", "status", "unit", "job", "init"]
    kept = records[[*text, "fraction", "n_train", "fold", *RUN, "value"]]
    return kept.astype(dict.fromkeys(text, "category"))


def sections_of(protocol: Protocol, records: pd.DataFrame) -> np.ndarray:
    """Return each row's fine-tuning section, counted from 0.

    Raises:
        BenchError: one that the protocol does not have.
    """
    place = records.groupby(["section", "dataset"], sort=False)
    sections, known = np.zeros(len(records), dtype=int), protocol.sections
    for (name, dataset), at in place.indices.items():
        if name not in known or protocol.finetune[known.index(name)].dataset != dataset:
            raise BenchError(
                f"records of {protocol.name!r} hold the section {name!r} on data set {dataset!r}, which the "
                "protocol does not have; run it again so that its records are written anew"
            )
        sections[at] = known.index(name)
    return sections


def _summary(good: pd.DataFrame) -> dict[Key, Cell]:
    if good.empty:
        return {}
    runs = of_runs(good, PLACE)
    cells = _cells(runs, good, PLACE)
    whole = [p for p in PLACE if p != "target"]
    over = runs.groupby([*whole, *RUN], observed=True)
    counts = over.count().groupby(whole, observed=True).min()
    means = _cells(_case_first(good, over.mean(), whole), good, whole)
    n_targets = dict(zip(counts.index, counts, strict=True))
    for where, cell in means.items():
        row, section, fraction, metric = where
        key = Key(row, int(section), int(fraction), MEAN, metric)
        cells[key] = replace(cell, targets=int(n_targets[where]))
    return {Key(k[0], int(k[1]), int(k[2]), k[3], k[4]): c for k, c in cells.items()}


def _case_first(good: pd.DataFrame, means: pd.Series, whole: list[str]) -> pd.Series:
    """Return means over targets; those of validation loops are of each case first, then over cases."""
    own = good[good["metric"].map(looped).astype(bool)]
    if own.empty:
        return means
    place = [*whole, *RUN]
    cases = own.groupby([*place, "case"], observed=True)["value"].mean()
    taken = cases.groupby(place, observed=True).mean()
    return taken.reindex(means.index).fillna(means)


def of_runs(good: pd.DataFrame, place: list[str]) -> pd.Series:
    """Return the value of every place in every run: over a patient's cases, then over all folds' patients.

    Args:
        good: rows that are no holes.
        place: the columns that say where a value stands.
    """
    import pandas as pd

    named = good["case"] != ""  # else a value is over all test cases of its fold
    kinds = [(good[named], "patient"), (good[~named], "fold")]
    parts = [
        rows.groupby([*place, *RUN, unit], observed=True)["value"].mean()
        .groupby([*place, *RUN], observed=True).mean()
        for rows, unit in kinds if len(rows)
    ]  # fmt: skip
    return pd.concat(parts)


def _cells(runs: pd.Series, good: pd.DataFrame, place: list[str]) -> dict[tuple, Cell]:
    import pandas as pd

    over, back = runs.groupby(place, observed=True), good.groupby(place, observed=True)
    means, sizes, defined = over.mean(), back["value"].size(), back["value"].count()
    tested = good[good["case"] != ""].groupby(place, observed=True)[["patient", "case"]].nunique()
    tested = tested.reindex(means.index, fill_value=0)
    table = pd.DataFrame({  # in the order of a Cell's fields
        "mean": means, "sd": over.std(ddof=1), "runs": over.count(),
        "patients": tested["patient"], "cases": tested["case"],
        "values": sizes, "undefined": sizes - defined, "penalised": back["penalised"].sum(),
    })  # fmt: skip
    made = dict[tuple, Cell]()
    for key, mean, sd, *counts in table.itertuples(name=None):
        n, patients, cases, values, undefined, penalised = map(int, counts)
        made[key] = Cell(_number(mean), _number(sd), n, patients, cases, values, undefined, penalised)
    return made


def _number(value: float) -> float | None:
    return None if value != value else float(value)
