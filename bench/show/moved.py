"""Which cells of two tables of records differ, and which of them beyond the noise of patients and runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.metrics.request import LATENCY
from bench.report.names import lower_is_better, zero_is_best
from bench.report.scores import PatientMeans, Scores, aligned, patient_means
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
    one, other = _scored(a, "A"), _scored(b, "B")
    counts = _counts(one, other)
    both = counts[counts["both"] > 0]
    changed = both[both["same"] < both["both"]]
    alone = counts[counts["both"].eq(0)]
    found = list(_moved([Place(*place) for place in changed.index], one, other, len(both)))
    found.sort(key=lambda m: (not m.beyond, -_size(m), m.place))
    of = {side: tuple(Place(*place) for place in alone.index[which]) for side, which in (
        ("a", alone["b"].eq(0)), ("b", alone["a"].eq(0)), ("", alone["a"].gt(0) & alone["b"].gt(0)),
    )}  # fmt: skip
    return Cells(
        len(both) - len(changed), tuple(found), of["a"], of["b"], of[""],
        int((both["a"] + both["b"] > 0).sum()),
    )  # fmt: skip


def _size(moved: Moved) -> float:
    """Return a difference as printed, for the order; what has none comes last."""
    value = abs(moved.difference) * (100 if moved.unit == "1" else 1)
    return value if value == value else -1.0


def _scored(table: pd.DataFrame, side: str) -> pd.DataFrame:
    found = table[table["status"].ne("failed") & table["metric"].ne(LATENCY)]
    twice = found.duplicated(VALUE)
    if twice.any():
        at = found[twice].iloc[0]
        raise BenchError(
            f"{side}: {int(twice.sum())} values are there twice, first {at['metric']} of case {at['case']!r} "
            f"in row {at['row']!r}; run the protocol again"
        )
    return found


def _counts(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return by cell how many values are in ``a`` alone, in ``b`` alone, in ``both``, and the ``same``."""
    kept = [*VALUE, "value", "status"]
    met = a[kept].merge(b[kept], on=VALUE, how="outer", indicator=True)
    bits = [met[f"value_{side}"].to_numpy(float).view(np.int64) for side in "xy"]
    undefined = met["value_x"].isna() & met["value_y"].isna()
    same = (bits[0] == bits[1]) | undefined.to_numpy()
    same &= (met["status_x"] == met["status_y"]).to_numpy()
    both = met["_merge"].eq("both").to_numpy()
    sides = {"a": met["_merge"].eq("left_only"), "b": met["_merge"].eq("right_only")}
    return met[CELL].assign(**sides, both=both, same=same & both).groupby(CELL).sum()


def _moved(places: Sequence[Place], a: pd.DataFrame, b: pd.DataFrame, compared: int) -> Iterator[Moved]:
    """Yield every cell that moved with its verdict, adjusted for all cells that were compared."""
    if not places:
        return
    sections = sorted({p.section for p in places})
    means = [_means(table, sections) for table in (a, b)]
    facts = [_facts(table) for table in (a, b)]
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


def _still() -> Comparison:
    """Return the comparison of a cell that did not move."""
    return Comparison(0.0, 0.0, 0.0, 1.0, UNCLEAR, p_equivalent=0.0, smallest_p=0.0)


def _means(table: pd.DataFrame, sections: Sequence[str]) -> PatientMeans:
    own = table[table["section"].isin(sections)]
    signed = own["metric"].map(zero_is_best).astype(bool)  # best at 0: the size counts
    value = own["value"].where(~signed, own["value"].abs())
    return patient_means(own.assign(section=own["section"].map(sections.index), value=value))


def _facts(table: pd.DataFrame) -> Facts:
    """Return by cell its jobs, whether it was pretrained, its unit, and its mean over all values."""
    found = table.groupby(CELL).agg(
        jobs=("job", frozenset), pretrain=("pretrain", "first"), unit=("unit", "first"),
        mean=("value", "mean"),
    )  # fmt: skip
    return {
        place: (jobs, pretrain != "none", unit, float(mean))
        for place, jobs, pretrain, unit, mean in found.itertuples(name=None)
    }


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
