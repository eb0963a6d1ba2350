"""From rows to cells: means over cases, then over seeds, with everything that was left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.metrics.request import LATENCY, VOLUMES
from bench.protocol import Protocol

if TYPE_CHECKING:
    import pandas as pd

MEAN = "*"  # the target that stands for the mean over all targets

HOW = (
    "A cell is the mean over the test cases of one run (one seed and fold), then over the folds of "
    "a seed, then over seeds; ± is the standard deviation over seeds (n-1), left out for one seed. "
    "The mean over targets is taken within each seed, undefined targets left out, and its ± is the "
    "standard deviation of that mean over seeds."
)


class Key(NamedTuple):
    """Where a cell stands. ``section`` counts the protocol's fine-tuning sections from 0."""

    row: str
    section: int
    fraction: int
    target: str
    metric: str


@dataclass(frozen=True)
class Cell:
    """One mean and its history, in the metric's own unit (overlap: 0 to 1)."""

    mean: float | None = None
    sd: float | None = None  # over seeds
    seeds: int = 0  # that have a value
    cases: int = 0  # 0 also where a value is over all test cases at once
    values: int = 0  # case x seed (x target, for the mean), defined or not
    undefined: int = 0
    penalised: int = 0
    targets: int = 1  # least number of targets behind a seed's mean
    failed: int = 0  # runs
    jobs: tuple[str, ...] = ()  # that failed


@dataclass(frozen=True)
class Cells:
    """Every cell that has rows, the units, and the runs that failed."""

    cells: dict[Key, Cell]
    units: dict[str, str]
    failed: dict[Key, set[tuple[int, int, str]]] = field(default_factory=dict)
    targets: dict[int, tuple[str, ...]] = field(default_factory=dict)  # by section, as met

    def at(self, key: Key) -> Cell | None:
        """Return the cell, one without a mean where it failed, or None where nothing ran."""
        runs = self._failed(key)
        cell = self.cells.get(key)
        if not runs:
            return cell
        jobs = tuple(sorted({job for _, _, job in runs if job}))
        n = len({(seed, fold) for seed, fold, _ in runs})
        known = vars(cell) if cell else {}
        return Cell(**{**known, "failed": n, "jobs": jobs})

    def _failed(self, key: Key) -> set[tuple[int, int, str]]:
        found: set[tuple[int, int, str]] = set()
        for other, runs in self.failed.items():  # few: one entry per failed cell
            same = other[:3] == key[:3] and other.metric in ("", key.metric)
            if same and (key.target == MEAN or other.target in ("", key.target)):
                found |= runs
        return found


def aggregate(protocol: Protocol, records: pd.DataFrame) -> Cells:
    """Turn rows into cells; the order of the rows does not matter.

    Raises:
        BenchError: rows of several scales, of another scale than the protocol's, or of a data set
            that the protocol does not name.
    """
    records = records[records["metric"] != LATENCY]  # of a network, not of a target: under the costs
    _one_scale(protocol, records)
    table = _lean(records).assign(section=_sections(protocol, records))
    table = table.sort_values(["case", "seed", "fold"], kind="stable")  # sums in a fixed order
    bad = table[table["status"] == "failed"]
    good = table[table["status"] != "failed"]
    empty = good["status"].isin(["empty_reference", "empty_prediction"])
    natural = good["metric"].isin(VOLUMES)  # what they are where a mask is empty is no penalty
    good = good.assign(penalised=empty & good["value"].notna() & ~natural)
    cells = _summary(good)
    units = dict(good[["metric", "unit"]].drop_duplicates().itertuples(index=False, name=None))
    failed: dict[Key, set[tuple[int, int, str]]] = {}
    for r in bad.itertuples():
        key = Key(r.row, int(r.section), int(r.fraction), r.target, r.metric)
        failed.setdefault(key, set()).add((int(r.seed), int(r.fold), r.job))
    pairs = good[["section", "target"]].drop_duplicates().sort_values(["section", "target"])
    targets: dict[int, tuple[str, ...]] = {}
    for section, target in pairs.itertuples(index=False, name=None):
        targets[int(section)] = (*targets.get(int(section), ()), target)
    return Cells(cells, units, failed, targets)


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
    text = ["row", "case", "target", "metric", "status", "unit", "job"]
    kept = records[[*text, "fraction", "fold", "seed", "value"]]
    return kept.astype(dict.fromkeys(text, "category"))


def _sections(protocol: Protocol, records: pd.DataFrame) -> np.ndarray:
    place = records.groupby(["dataset", "evaluation", "split"], sort=False)
    known = [_section(protocol, *where) for where in place.indices]
    sections = np.zeros(len(records), dtype=int)
    for section, at in zip(known, place.indices.values(), strict=True):
        sections[at] = section
    return sections


def _section(protocol: Protocol, dataset: str, evaluation: str, split: str) -> int:
    named = [i for i, t in enumerate(protocol.finetune) if t.dataset == dataset]
    if not named:
        raise BenchError(
            f"records of {protocol.name!r} hold data set {dataset!r}, which the protocol does not "
            "fine-tune on; run it again so that its records are written anew"
        )
    # a row may be evaluated in its own way: it stands beside the others
    fits = [i for i in named if protocol.finetune[i].evaluation == evaluation] or named
    exact = [i for i in fits if protocol.finetune[i].split == split]
    return (exact or fits)[0]


def _summary(good: pd.DataFrame) -> dict[Key, Cell]:
    if good.empty:
        return {}
    place = ["row", "section", "fraction", "target", "metric"]
    runs = good.groupby([*place, "seed", "fold"], observed=True)["value"].mean()
    seeds = runs.groupby([*place, "seed"], observed=True).mean()
    cells = _cells(seeds, good, place)
    whole = [p for p in place if p != "target"]
    over = seeds.groupby([*whole, "seed"], observed=True)
    counts = over.count().groupby(whole, observed=True).min()
    means = _cells(over.mean(), good, whole)
    n_targets = dict(zip(counts.index, counts, strict=True))
    for where, cell in means.items():
        row, section, fraction, metric = where
        key = Key(row, int(section), int(fraction), MEAN, metric)
        cells[key] = Cell(**{**vars(cell), "targets": int(n_targets[where])})
    return {Key(k[0], int(k[1]), int(k[2]), k[3], k[4]): c for k, c in cells.items()}


def _cells(seeds: pd.Series, good: pd.DataFrame, place: list[str]) -> dict[tuple, Cell]:
    import pandas as pd

    over = seeds.groupby(place, observed=True)
    back = good.groupby(place, observed=True)
    table = pd.DataFrame({
        "mean": over.mean(), "sd": over.std(ddof=1), "seeds": over.count(),
        "cases": back["case"].agg(lambda c: int(c[c != ""].nunique())), "values": back["value"].size(),
        "defined": back["value"].count(), "penalised": back["penalised"].sum(),
    })  # fmt: skip
    return {
        key: Cell(
            mean=_number(mean),
            sd=_number(sd),
            seeds=int(n),
            cases=int(cases),
            values=int(values),
            undefined=int(values - defined),
            penalised=int(penalised),
        )
        for key, mean, sd, n, cases, values, defined, penalised in table.itertuples(name=None)
    }


def _number(value: float) -> float | None:
    return None if value != value else float(value)
