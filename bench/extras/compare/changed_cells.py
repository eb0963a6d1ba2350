"""Which cells of two tables of records differ, and which of them beyond the noise of patients and runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.metrics.request import LATENCY
from bench.report.means import RUN
from bench.report.names import is_ranked, lower_is_better, zero_is_best
from bench.stats import Comparison, compared, judged
from bench.stats.comparison import BETTER, ROPE, UNCLEAR, WEIGHTS, WORSE

if TYPE_CHECKING:
    import pandas as pd

CELL = ["row", "section", "fraction", "target", "metric"]
VALUE = [*CELL, "fold", "pretrain_seed", "seed", "case"]  # what has one value on each side
FACTS = ["patient", "value", "status", "job", "pretrain", "unit"]  # of a value
POOLED = "over all test cases at once: no patients to pair"
NOWHERE = "defined on one side only"


class CellKey(NamedTuple):
    """What names a cell in the records."""

    row: str
    section: str
    fraction: int
    target: str
    metric: str


@dataclass(frozen=True)
class ChangedCell:
    """One cell with a value that is another now; means and differences in the unit of the records.

    ``difference``, ``low`` and ``high`` are B less A as measured; the verdict knows which way is better.
    """

    cell: CellKey
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

    @property
    def size(self) -> float:
        """Return the difference as printed, without its sign; -1 where there is none."""
        value = abs(self.difference) * (100 if self.unit == "1" else 1)
        return value if value == value else -1.0


@dataclass(frozen=True)
class Cells:
    """Every cell of both sides."""

    equal: int  # to the bit
    changed: tuple[ChangedCell, ...]  # beyond noise first, then by size
    only_a: tuple[CellKey, ...]
    only_b: tuple[CellKey, ...]
    apart: tuple[CellKey, ...]  # on both sides, with no run of a patient in common
    lacking: int  # compared cells, of which some value is on one side only


def cells(a: pd.DataFrame, b: pd.DataFrame) -> Cells:
    """Compare the records of two runs, value by value, then patient by patient and run by run.

    Args:
        a: columns of ``bench.record.COLUMNS``; failed rows and latencies do not count.
        b: what is compared with it.

    Raises:
        BenchError: a case was scored twice.
    """
    both = _side("A", a).merge(
        _side("B", b), on=VALUE, how="outer", suffixes=("_a", "_b"), indicator="side"
    )
    va, vb = (both[name].to_numpy(float) for name in ("value_a", "value_b"))
    same = (va.view(np.int64) == vb.view(np.int64)) | (np.isnan(va) & np.isnan(vb))
    shared = both["side"].eq("both")
    lines = both[CELL].assign(
        a=both["side"].eq("left_only"),
        b=both["side"].eq("right_only"),
        shared=shared,
        changed=shared & ~(same & both["status_a"].eq(both["status_b"]).to_numpy()),
    )
    has = lines.groupby(CELL).any()
    changed = lines.groupby(CELL)["changed"].transform("any")
    judged_cells = _judged(both[changed], int(has["shared"].sum()))

    def only(which: pd.Series) -> tuple[CellKey, ...]:
        return tuple(CellKey(*cell) for cell in has.index[which & ~has["shared"]])

    return Cells(
        int((has["shared"] & ~has["changed"]).sum()),
        tuple(sorted(judged_cells, key=lambda m: (not m.beyond, -m.size, m.cell))),
        only(has["a"] & ~has["b"]),
        only(has["b"] & ~has["a"]),
        only(has["a"] & has["b"]),
        int((has["shared"] & (has["a"] | has["b"])).sum()),
    )


def _side(side: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return the values of one side, a line each."""
    table = table.loc[table["status"].ne("failed") & table["metric"].ne(LATENCY), [*VALUE, *FACTS]]
    twice = table[table.duplicated(VALUE)]
    if len(twice):
        at = twice.iloc[0]
        raise BenchError(
            f"{side}: {len(twice)} values are there twice, first {at['metric']} of case {at['case']!r} in "
            f"row {at['row']!r}; run the protocol again"
        )
    return table.astype({name: "str" for name in table if table[name].dtype == "category"})


def _judged(lines: pd.DataFrame, n: int) -> Iterator[ChangedCell]:
    """Yield every cell of some values with its verdict, adjusted for all ``n`` cells that were compared."""
    pairs = list(_paired(lines))
    family = [comparison for _, comparison in pairs if comparison is not None]
    # of one seed a cell is judged as the others are, and the verdict is of these weights alone
    judged_alike = [
        replace(c, verdict=UNCLEAR, why="") if c.verdict == WEIGHTS else c for c in family
    ]
    # they count in Holm
    unchanged = Comparison(0.0, 0.0, 0.0, 1.0, UNCLEAR, p_equivalent=0.0, smallest_p=0.0)
    words = iter(judged([*judged_alike, *[unchanged] * (n - len(family))]))
    for cell, comparison in pairs:
        if comparison is None:
            yield cell
            continue
        word = next(words)
        verdict, why = word.verdict, word.why
        if comparison.verdict == WEIGHTS:
            verdict, why = WEIGHTS, comparison.why
        elif not (is_ranked(cell.cell.metric) or zero_is_best(cell.cell.metric)):
            # of counts neither is the better one
            verdict = {BETTER: "more", WORSE: "fewer"}.get(verdict, verdict)
        yield replace(
            cell, p=word.p, verdict=verdict, why=why, beyond=word.verdict in (BETTER, WORSE)
        )


def _paired(lines: pd.DataFrame) -> Iterator[tuple[ChangedCell, Comparison | None]]:
    """Yield every cell of some values, and its paired comparison; None where nothing is paired."""
    # a value over all test cases at once counts where both have it
    alone = lines["case"].eq("") & (lines["value_a"].isna() | lines["value_b"].isna())
    lines = lines.assign(**{name: lines[name].mask(alone) for name in ("value_a", "value_b")})
    values = {"a": ("value_a", "mean"), "b": ("value_b", "mean")}
    facts = lines.groupby(CELL).agg(
        **values, unit=("unit_a", "first"), pretrain=("pretrain_a", "last")
    )
    jobs = [
        lines[[*CELL, f"job_{s}"]].drop_duplicates().groupby(CELL)[f"job_{s}"].agg(_names)
        for s in "ab"
    ]
    means = dict(iter(_patient_means(lines[lines["case"].ne("")]).groupby(CELL)))
    for key, a, b, unit, pretrain in facts.itertuples(name=None):
        base = ChangedCell(
            CellKey(*key), unit, a, b, b - a, same_jobs=jobs[0][key] == jobs[1][key], why=POOLED
        )
        yield _compared(base, means.get(key), pretrained=pretrain != "none")


def _names(names: pd.Series) -> frozenset[str]:
    return frozenset(names.dropna())


def _patient_means(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the means over each patient's cases in each run that both sides have.

    A mean is NaN where the two have other cases of the patient. Of metrics with a sign the size counts.
    """
    signed = cases["metric"].isin(
        [metric for metric in cases["metric"].unique() if zero_is_best(metric)]
    )
    a, b = (cases[f"value_{side}"].where(~signed, cases[f"value_{side}"].abs()) for side in "ab")
    lines = cases[[*CELL, *RUN]].assign(
        patient=cases["patient_a"].fillna(cases["patient_b"]),
        a=a,
        b=b,
        alike=a.notna() == b.notna(),
        in_a=cases["side"].ne("right_only"),
        in_b=cases["side"].ne("left_only"),
    )
    met = lines.groupby([*CELL, *RUN])[["in_a", "in_b"]].transform("any").all(axis=1)
    groups = lines[met].groupby([*CELL, "patient", *RUN])
    means = groups[["a", "b"]].mean().where(groups["alike"].all())
    return means.reset_index()


def _compared(
    base: ChangedCell, means: pd.DataFrame | None, *, pretrained: bool
) -> tuple[ChangedCell, Comparison | None]:
    """Return a cell with its paired difference; ``means``: by patient and run, None without patients."""
    if means is None:
        return base, None
    a, b = means["a"].to_numpy(), means["b"].to_numpy()
    if np.isnan(a).all():
        return replace(base, difference=float("nan"), why=NOWHERE), None
    run_of = list(zip(*(means[name].tolist() for name in RUN), strict=True))
    runs = sorted({*run_of})
    patient = np.unique(means["patient"].to_numpy(str), return_inverse=True)[1]
    differences = np.full((patient.max() + 1, len(runs)), np.nan)
    differences[patient, [runs.index(run) for run in run_of]] = b - a
    metric, unit = base.cell.metric, base.unit
    sign = -1.0 if lower_is_better(metric, unit) or zero_is_best(metric) else 1.0
    comparison = compared(
        sign * differences,
        [before for before, _ in runs] if pretrained else None,
        ROPE if unit == "1" else None,
        seeds=[seed for _, seed in runs],
        flips=False,  # of one run: flipped signs end at 1 in 5,000, too much for a table of 300 cells
    )
    low, high = sorted((sign * comparison.low, sign * comparison.high))
    cell = replace(
        base,
        a=float(np.nanmean(a)),
        b=float(np.nanmean(b)),
        difference=sign * comparison.difference,
        low=low,
        high=high,
        patients=comparison.patients,
        runs=len(runs),
        why="",
    )
    # of one patient in one run nothing is known
    single = comparison.patients == 1 and len(runs) == 1
    return cell, replace(comparison, p=1.0) if single else comparison
