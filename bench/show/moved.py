"""Which cells of two tables of records differ, and which of them beyond the noise of patients and runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.metrics.request import LATENCY
from bench.report.names import lower_is_better, zero_is_best
from bench.stats import Comparison, compared, judged
from bench.stats.comparison import BETTER, ROPE, UNCLEAR, WEIGHTS, WORSE

if TYPE_CHECKING:
    import pandas as pd

CELL = ["row", "section", "fraction", "target", "metric"]
VALUE = [*CELL, "fold", "pretrain_seed", "seed", "case"]  # what has one value on each side
FACTS = ["patient", "value", "status", "job", "pretrain", "unit"]  # of a value
RUN = ["pretrain_seed", "seed"]
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
class Moved:
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
    moved: tuple[Moved, ...]  # beyond noise first, then by size
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
    both = _side("A", a).merge(_side("B", b), on=VALUE, how="outer", suffixes=("_a", "_b"), indicator="side")
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
    some = has[has["shared"] & has["changed"]]
    moved = _moved(both, [CellKey(*cell) for cell in some.index], int(has["shared"].sum()))

    def only(which: pd.Series) -> tuple[CellKey, ...]:
        return tuple(CellKey(*cell) for cell in has.index[which & ~has["shared"]])

    return Cells(
        int((has["shared"] & ~has["changed"]).sum()),
        tuple(sorted(moved, key=lambda m: (not m.beyond, -m.size, m.cell))),
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


def _moved(both: pd.DataFrame, moved: Sequence[CellKey], n: int) -> Iterator[Moved]:
    """Yield every cell that moved with its verdict, adjusted for all ``n`` cells that were compared."""
    groups = both.groupby(CELL)
    pairs = [_paired(cell, groups.get_group(cell)) for cell in moved]
    family = [comparison for _, comparison in pairs if comparison is not None]
    # of one seed a cell is judged as the others are, and the verdict is of these weights alone
    judged_alike = [replace(c, verdict=UNCLEAR, why="") if c.verdict == WEIGHTS else c for c in family]
    unchanged = Comparison(
        0.0, 0.0, 0.0, 1.0, UNCLEAR, p_equivalent=0.0, smallest_p=0.0
    )  # they count in Holm
    words = iter(judged([*judged_alike, *[unchanged] * (n - len(family))]))
    for cell, comparison in pairs:
        if comparison is None:
            yield cell
            continue
        word = next(words)
        verdict, why = word.verdict, word.why
        if comparison.verdict == WEIGHTS:
            verdict, why = WEIGHTS, comparison.why
        yield replace(cell, p=word.p, verdict=verdict, why=why, beyond=word.verdict in (BETTER, WORSE))


def _paired(cell: CellKey, lines: pd.DataFrame) -> tuple[Moved, Comparison | None]:
    """Return a cell that moved, and its comparison by patients and runs; None where nothing can be paired."""
    # a value over all test cases at once counts where both have it
    alone = lines["case"].eq("") & (lines["value_a"].isna() | lines["value_b"].isna())
    lines = lines.assign(**{name: lines[name].mask(alone) for name in ("value_a", "value_b")})
    (a, b), unit = (lines[f"value_{side}"].mean() for side in "ab"), lines["unit_a"].dropna().iloc[0]
    same_jobs = {*lines["job_a"].dropna()} == {*lines["job_b"].dropna()}
    base = Moved(cell, unit, float(a), float(b), float(b - a), same_jobs=same_jobs, why=POOLED)
    cases = lines[lines["case"].ne("")]
    runs_of = [
        {*cases.loc[cases[f"job_{side}"].notna(), RUN].itertuples(index=False, name=None)} for side in "ab"
    ]
    if not all(runs_of):
        return base, None
    shared, signed = runs_of[0] & runs_of[1], zero_is_best(cell.metric)
    cases = cases[[run in shared for run in cases[RUN].itertuples(index=False, name=None)]]
    means = _patient_means(cases, signed=signed)
    if not means["a"].notna().any():
        return replace(base, difference=float("nan"), why=NOWHERE), None
    one, other = (means[name].unstack(RUN).sort_index(axis=1) for name in "ab")
    runs = list(one.columns)
    sign = -1.0 if lower_is_better(cell.metric, unit) or signed else 1.0
    comparison = compared(
        sign * (other.to_numpy(float) - one.to_numpy(float)),
        [before for before, _ in runs] if lines["pretrain_a"].dropna().iloc[-1] != "none" else None,
        ROPE if unit == "1" else None,
        seeds=[seed for _, seed in runs],
        flips=False,  # of one run: flipped signs end at 1 in 5,000, too much for a table of 300 cells
    )
    low, high = sorted((sign * comparison.low, sign * comparison.high))
    moved = replace(
        base,
        a=float(means["a"].mean()),
        b=float(means["b"].mean()),
        difference=sign * comparison.difference,
        low=low,
        high=high,
        patients=comparison.patients,
        runs=len(runs),
        why="",
    )
    single = comparison.patients == 1 and len(runs) == 1  # of one patient in one run nothing is known
    return moved, replace(comparison, p=1.0) if single else comparison


def _patient_means(cases: pd.DataFrame, *, signed: bool) -> pd.DataFrame:
    """Return the means over each patient's cases in each run; NaN where A and B have other cases.

    Args:
        cases: values of one cell, a line each.
        signed: does their size count?
    """
    patient = cases["patient_a"].fillna(cases["patient_b"])
    lines = cases[RUN].assign(patient=patient, a=cases["value_a"], b=cases["value_b"])
    if signed:
        lines[["a", "b"]] = lines[["a", "b"]].abs()
    lines["alike"] = lines["a"].notna() == lines["b"].notna()
    groups = lines.groupby(["patient", *RUN])
    return groups[["a", "b"]].mean().where(groups["alike"].all())
