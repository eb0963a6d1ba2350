"""Which values stand behind a mean, and whose means are of the same: the place that decides who is compared.

Gains, marks, differences to what a paper printed, and the notes under tables and figures ask here.
``bench.report.scores`` keeps, by the same rule, what two or more rows have in common, for verdicts and ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from bench.protocol import View, base_of
from bench.report import selected
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.differences import run_means
from bench.report.scores import mean_of, shared

APART = "this number is of other patients, runs or targets than the other rows, so it is neither bold nor underlined"


def usual(report: ReportContext, keys: Iterable[Key]) -> int:
    """Return what most of some cells are the mean of; 0 where none has a number.

    Of as many, that of more patients and values, then the first.
    """
    cells = [
        cell for key in keys if (cell := report.cells.at(key)) is not None and cell.mean is not None
    ]
    often = Counter(cell.over for cell in cells)
    best = max(
        cells, key=lambda c: (often[c.over], c.patients, c.values - c.undefined), default=None
    )
    return 0 if best is None else best.over


def rivals(report: ReportContext, key: Key) -> list[Key]:
    """Return the cells at the same place of rows that are fine-tuned as this row is, controls left out."""
    base_row = base_of(report.protocol, key.row)
    alike = report.ways.get((base_row, key.section))
    if alike is None:
        return []
    return [
        key._replace(row=row)
        for row in report.rows
        if report.alike.get((row, key.section)) == alike
    ]


def stands(report: ReportContext, key: Key) -> bool:
    """Tell whether a cell is whole: no run of it failed, and its mean is of what its rivals' means are of."""
    cell = report.cells.at(key)
    if cell is None or cell.mean is None or cell.failed:
        return False
    among = rivals(report, key)
    return not among or cell.over == usual(report, among)


def same(report: ReportContext, key: Key, other: Key) -> bool:
    """Tell whether two cells are means of the same patients, runs and targets."""
    first, second = report.cells.at(key), report.cells.at(other)
    return first is not None and second is not None and first.over == second.over != 0


def apart(report: ReportContext, keys: Sequence[Key]) -> tuple[str, ...]:
    """Return a sentence that names the cells, among some, that are of other patients, runs or targets."""
    by_row: dict[str, dict[str, None]] = {}
    for key in keys:
        cell, among = report.cells.at(key), rivals(report, key)
        if (
            cell is not None
            and cell.mean is not None
            and among
            and cell.over != usual(report, among)
        ):
            share = f"{report.labels[key.section]}, {key.fraction} %"
            location = share if key.target == MEAN else f"{share}, {key.target}"
            by_row.setdefault(report.named(key.row), {})[location] = None
    named = "; ".join(f"{row} ({'; '.join(places)})" for row, places in by_row.items())
    return (f"{OTHERS} {named}.",) if by_row else ()


def means_of(report: ReportContext, keys: Sequence[Key]) -> np.ndarray:
    """Return the means of cells, (cells,), over the patients, runs and targets that all of them have.

    As in the table: over patients, then targets, then runs. NaN where there is nothing in common. Of values
    over all test cases at once the cells' own means, where these are of the same folds and runs.
    """
    cells = [report.cells.at(key) for key in keys]
    scores = [report.cells.scores(key) for key in keys]
    if not cells or any(cell is None or cell.mean is None for cell in cells):
        return np.full(len(keys), np.nan)
    means = np.array([cell.mean for cell in cells if cell is not None], float)
    if len({cell.over for cell in cells if cell is not None}) == 1:
        return means
    with_scores = [scored for scored in scores if scored is not None]
    if len(with_scores) < len(keys):
        return np.full(len(keys), np.nan)
    return np.array([mean_of(run_means(scored.values), 0) for scored in shared(with_scores)])


def apart_in(report: ReportContext, view: View) -> tuple[str, ...]:
    """Return the same of all that a view shows."""
    rows = selected.rows(report.protocol, view, report.rows)
    return apart(
        report, [key._replace(row=row) for row in rows for key in selected.places(report, view)]
    )


OTHERS = (
    "These rows have scores of other patients, runs or targets than the rows beside them, so they are not "
    "comparable:"
)
