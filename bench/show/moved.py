"""Which cells of two tables of records differ, and which of them beyond the noise of patients and runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.metrics.request import LATENCY
from bench.report.grouping import Coded, coded, combined, distinct
from bench.report.levels import OWN, RUN, Levels
from bench.report.names import lower_is_better, zero_is_best
from bench.report.scores import PLACE, PatientMeans, Scores, aligned, patient_means
from bench.stats import Comparison, judged, paired
from bench.stats.comparison import BETTER, ROPE, UNCLEAR, WEIGHTS, WORSE

if TYPE_CHECKING:
    import pandas as pd

CELL = ["row", "section", "fraction", "target", "metric"]
VALUE = [*CELL, "fold", "pretrain_seed", "seed", "case"]  # what has one value on each side
POOLED = "over all test cases at once: no patients to pair"
NOWHERE = "defined on one side only"
Facts = dict[tuple[Any, ...], tuple[frozenset[str], bool, str, float]]  # of cells: see ``_facts``


class Place(NamedTuple):
    """Where a cell stands, as records name it."""

    row: str
    section: str
    fraction: int
    target: str
    metric: str


@dataclass(frozen=True)
class Moved:
    """One cell with a value that is another now; means and differences in the unit of the records.

    ``difference``, ``low`` and ``high`` are B less A as measured; the verdict knows which way is better.
    """

    place: Place
    unit: str
    a: float  # mean over patients and runs that both have
    b: float
    difference: float
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")  # after Holm over all cells compared
    verdict: str = ""  # empty: nothing can be said
    why: str = ""
    beyond: bool = False  # the noise
    patients: int = 0
    runs: int = 0
    same_jobs: bool = False  # one specification: what differs is machine, versions or source


@dataclass(frozen=True)
class Cells:
    """Every cell of both sides."""

    equal: int  # to the bit
    moved: tuple[Moved, ...]  # beyond noise first, then by size
    only_a: tuple[Place, ...]
    only_b: tuple[Place, ...]
    apart: tuple[Place, ...]  # on both sides, with no run of a patient in common
    lacking: int  # compared cells, of which some value is on one side only


def cells(a: pd.DataFrame, b: pd.DataFrame) -> Cells:
    """Compare the records of two runs, value by value, then patient by patient and run by run.

    Args:
        a: columns of ``bench.record.COLUMNS``; failed rows, and what a network's forward takes, do not count.
        b: what is compared with it.

    Raises:
        BenchError: a case was scored twice.
    """
    one, other = _scored(a), _scored(b)
    met = _met(one, other)
    compared, changed = met.both > 0, met.same < met.both
    own = [table[changed[cell]] for table, cell in ((one, met.cells[0]), (other, met.cells[1]))]
    places = [met.places[i] for i in np.flatnonzero(changed)]
    found = sorted(_moved(places, own, int(compared.sum())), key=lambda m: (not m.beyond, -_size(m), m.place))
    here, there = met.a > 0, met.b > 0

    def some(which: np.ndarray) -> tuple[Place, ...]:
        return tuple(met.places[i] for i in np.flatnonzero(which & ~compared))

    return Cells(
        int((compared & ~changed).sum()), tuple(found), some(here & ~there), some(there & ~here),
        some(here & there), int((compared & (here | there)).sum()),
    )  # fmt: skip


def _size(moved: Moved) -> float:
    """Return a difference as printed, for the order; what has none comes last."""
    value = abs(moved.difference) * (100 if moved.unit == "1" else 1)
    return value if value == value else -1.0


def _scored(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["status"].ne("failed") & table["metric"].ne(LATENCY)]


class _Met(NamedTuple):
    """Every cell of two tables, and how many values of it are where."""

    places: list[Place]
    cells: tuple[np.ndarray, np.ndarray]  # the cell of each line of either table, counted in ``places``
    a: np.ndarray  # in the first alone
    b: np.ndarray
    both: np.ndarray
    same: np.ndarray  # of these: to the bit


def _met(a: pd.DataFrame, b: pd.DataFrame) -> _Met:
    columns = [_joint(a[name], b[name]) for name in VALUE]
    known, first, cell = np.unique(combined(columns[: len(CELL)])[0], return_index=True, return_inverse=True)
    named = [[column.names[code] for code in column.codes[first]] for column in columns[: len(CELL)]]
    places = [Place(*place) for place in zip(*named, strict=True)]
    key, n = combined(columns)[0], len(a)
    for side, keys, table in (("A", key[:n], a), ("B", key[n:], b)):
        _once(side, keys, table)
    _, at_a, at_b = np.intersect1d(key[:n], key[n:], assume_unique=True, return_indices=True)
    values = [t["value"].to_numpy(float)[at] for t, at in ((a, at_a), (b, at_b))]
    state = _joint(a["status"], b["status"]).codes
    same = (values[0].view(np.int64) == values[1].view(np.int64)) | (
        np.isnan(values[0]) & np.isnan(values[1])
    )
    same &= state[:n][at_a] == state[n:][at_b]

    def counted(cells: np.ndarray) -> np.ndarray:
        return np.bincount(cells, minlength=len(known))

    both = counted(cell[:n][at_a])
    alone = (counted(cell[:n]) - both, counted(cell[n:]) - both)
    return _Met(places, (cell[:n], cell[n:]), *alone, both, counted(cell[:n][at_a][same]))


def _joint(a: pd.Series, b: pd.Series) -> Coded:
    """Return two columns below each other as codes of the names of both."""
    one, other = coded(a), coded(b)
    names = sorted({*one.names, *other.names})
    rank = {name: i for i, name in enumerate(names)}
    codes = [np.array([rank[n] for n in c.names], dtype=np.int32)[c.codes] for c in (one, other)]
    return Coded(np.concatenate(codes), names)


def _once(side: str, keys: np.ndarray, table: pd.DataFrame) -> None:
    _, first = np.unique(keys, return_index=True)
    if len(first) < len(keys):
        twice = np.setdiff1d(np.arange(len(keys)), first)
        at = table.iloc[twice[0]]
        raise BenchError(
            f"{side}: {len(twice)} values are there twice, first {at['metric']} of case {at['case']!r} in "
            f"row {at['row']!r}; run the protocol again"
        )


def _moved(places: Sequence[Place], tables: Sequence[pd.DataFrame], compared: int) -> Iterator[Moved]:
    """Yield every cell that moved with its verdict, adjusted for all cells that were compared.

    Args:
        places: the cells.
        tables: their lines on either side.
        compared: how many cells there are in all.
    """
    if not places:
        return
    sections = sorted({p.section for p in places})
    means = [_means(table, sections) for table in tables]
    facts = [_facts(table) for table in _both(tables)]
    made = [_paired(place, sections.index(place.section), means, facts) for place in places]
    family = [comparison for _, comparison in made if comparison is not None]
    # of one seed a cell is judged as the others are, and what is said is said of these weights alone
    open_ = [replace(c, verdict=UNCLEAR, why="") if c.verdict == WEIGHTS else c for c in family]
    still = [_still()] * (compared - len(family))  # they count among the comparisons
    words = iter(judged([*open_, *still]))
    for moved, comparison in made:
        if comparison is None:
            yield moved
            continue
        word = next(words)
        alone = comparison.verdict == WEIGHTS
        yield replace(
            moved, p=word.p, verdict=WEIGHTS if alone else word.verdict,
            why=comparison.why if alone else word.why, beyond=word.verdict in (BETTER, WORSE),
        )  # fmt: skip


def _both(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return two tables without values over all test cases at once that one of the two alone has."""
    pooled = [table["case"].eq("").to_numpy() & table["value"].notna().to_numpy() for table in tables]
    lines = [
        [*table.loc[those, VALUE].itertuples(index=False, name=None)]
        for table, those in zip(tables, pooled, strict=True)
    ]
    shared, made = {*lines[0]} & {*lines[1]}, []
    for table, those, known in zip(tables, pooled, lines, strict=True):
        values = table["value"].to_numpy(float, copy=True)
        values[np.flatnonzero(those)[[line not in shared for line in known]]] = np.nan
        made.append(table.assign(value=values))
    return made


def _still() -> Comparison:
    """Return the comparison of a cell that did not move."""
    return Comparison(0.0, 0.0, 0.0, 1.0, UNCLEAR, p_equivalent=0.0, smallest_p=0.0)


def _means(table: pd.DataFrame, sections: Sequence[str]) -> PatientMeans:
    columns = {name: coded(table[name]) for name in (*PLACE, *RUN, *OWN)}
    section = columns["section"]
    number = {name: i for i, name in enumerate(sections)}  # what did not move has no line here
    columns["section"] = Coded(section.codes, [number.get(name, -1) for name in section.names])
    signed = columns["metric"].among(*filter(zero_is_best, columns["metric"].names))  # its size counts
    value = table["value"].to_numpy()
    return patient_means(Levels(columns, np.where(signed, np.abs(value), value), PLACE))


def _facts(table: pd.DataFrame) -> Facts:
    """Return by cell its jobs, whether it was pretrained, its unit, and its mean over all values."""
    said = distinct(table, [*CELL, "job", "pretrain", "unit"])
    means = table.groupby(CELL, observed=True)["value"].mean().to_dict()
    found: Facts = {}
    for *place, job, pretrain, unit in said.itertuples(index=False, name=None):
        key = tuple(place)
        jobs = found[key][0] if key in found else frozenset()
        found[key] = (jobs | {job}, pretrain != "none", unit, float(means[key]))
    return found


def _paired(
    place: Place, section: int, means: Sequence[PatientMeans], facts: Sequence[Facts]
) -> tuple[Moved, Comparison | None]:
    (jobs, pretrained, unit, mean_a), (jobs_b, _, _, mean_b) = (side[place] for side in facts)
    base = Moved(place, unit, mean_a, mean_b, mean_b - mean_a, same_jobs=jobs == jobs_b, why=POOLED)
    group = (place.row, section, place.fraction, place.metric)
    one, other = (side.of(group, place.target) for side in means)
    if one is None or other is None:
        return base, None
    runs = [run for run in one.runs if run in other.runs]
    values_a, values_b, _, runs_met = aligned(_of(one, runs), _of(other, runs))
    values_a, values_b = values_a[:, :, 0], values_b[:, :, 0]
    if not (~np.isnan(values_a)).any():
        return replace(base, a=mean_a, b=mean_b, difference=float("nan"), why=NOWHERE), None
    sign = -1.0 if lower_is_better(place.metric, unit) or zero_is_best(place.metric) else 1.0
    found = paired(
        sign * values_b, sign * values_a,
        clusters=[pretraining for pretraining, _ in runs_met] if pretrained else None,
        rope=ROPE if unit == "1" else None, seeds=[seed for _, seed in runs_met],
    )  # fmt: skip
    low, high = sorted((sign * found.low, sign * found.high))
    moved = replace(
        base, a=float(np.nanmean(values_a)), b=float(np.nanmean(values_b)),
        difference=sign * found.difference, low=low, high=high, patients=found.patients, runs=len(runs_met),
        why="",
    )  # fmt: skip
    return moved, replace(found, p=_of_t(found)) if len(runs_met) == 1 else found


def _of_t(found: Comparison) -> float:
    """Return the p that one run's interval has.

    Random flips of signs end at 1 in 5,000, which is too much for a table of 300 cells.
    """
    from scipy.stats import t

    if not found.half > 0:  # NaN of a single patient
        return 0.0 if found.half == 0 and found.difference else 1.0
    q = t.ppf(1 - found.alpha / 2, found.df)
    return float(2 * t.sf(abs(found.difference) / found.half * q, found.df))


def _of(scores: Scores, runs: Sequence[tuple[int, int]]) -> Scores:
    """Return the scores of some runs alone: each is paired with itself, of the same pretraining."""
    at = [scores.runs.index(run) for run in runs]
    return replace(scores, values=scores.values[:, at], runs=tuple(runs))
