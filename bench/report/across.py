"""Rows over several data sets: mean ranks and Nemenyi's critical difference."""

from __future__ import annotations

import numpy as np

from bench.report.cells import MEAN, Key
from bench.report.common import means_of
from bench.report.context import ReportContext
from bench.report.names import lower_is_better
from bench.report.numbers import p_value
from bench.report.tabular import Table, grid
from bench.report.verdicts import judging
from bench.stats.critical import CriticalDifference, critical_difference

HEAD = ("Row", "Mean rank", "± half the critical difference")
NOTE = (
    "Mean rank over the data sets; rank 1 is the best. Each data set counts once, with its own metric and its "
    "largest label fraction, on the patients, seeds and targets that all rows have. If Friedman's p is "
    "below 0.05, rows with separate intervals differ (Nemenyi; Demšar 2006)."
)


def across(report: ReportContext) -> list[Table]:
    """Return the rows that are fine-tuned alike on each of several data sets; nothing where there are few."""
    sections = _one_each(report)
    if len(sections) < 2:
        return []
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in report.rows:
        if all((row, section) in report.alike and report.has(row, section) for section in sections):
            groups.setdefault(tuple(report.alike[row, s] for s in sections), []).append(row)
    return [table for rows in groups.values() if (table := _of_rows(report, rows, sections))]


def _one_each(report: ReportContext) -> list[int]:
    """Return the first section of every data set on which something is trained."""
    first: dict[str, int] = {}
    for section, tuned in enumerate(report.protocol.finetune):
        if tuned.external is None and judging(report, section) and report.fractions(section):
            first.setdefault(tuned.dataset, section)
    return list(first.values())


def _of_rows(report: ReportContext, rows: list[str], sections: list[int]) -> Table | None:
    table = np.array([_scores(report, rows, section) for section in sections]).T
    rows = [
        row for row, complete in zip(rows, np.isfinite(table).all(axis=1), strict=True) if complete
    ]
    table = table[np.isfinite(table).all(axis=1)]
    if len(rows) < 3:
        return None
    friedman = critical_difference(table)
    half = friedman.difference / 2
    lines = [
        (report.named(rows[i]), f"{rank:.2f}", f"{rank - half:.2f} to {rank + half:.2f}")
        for i in np.argsort(friedman.rank, kind="stable")
        for rank in [friedman.rank[i]]
    ]
    title = (
        f"{len(rows)} rows over {len(sections)} data sets: {_significance(friedman, len(sections))}"
    )
    return grid(HEAD, lines, title, NOTE)


def _significance(friedman: CriticalDifference, datasets: int) -> str:
    differ = "ranks differ" if friedman.p <= 0.05 else "no difference between ranks is shown"
    text = f"Friedman p {p_value(friedman.p)}: {differ}; critical difference {friedman.difference:.2f}."
    if datasets < friedman.needed:
        rows = len(friedman.rank)
        text += f" With {rows} rows, a conclusion needs at least {friedman.needed} data sets."
    return text


def _scores(report: ReportContext, rows: list[str], section: int) -> np.ndarray:
    """Return the rows' means, more being better, over what those that have a mean have in common."""
    metric = judging(report, section)
    keys = [Key(row, section, max(report.fractions(section)), MEAN, metric) for row in rows]
    scored = np.array(
        [(cell := report.cells.at(key)) is not None and cell.mean is not None for key in keys]
    )
    means = np.full(len(rows), np.nan)
    means[scored] = means_of(
        report, [key for key, has_mean in zip(keys, scored, strict=True) if has_mean]
    )
    return -means if lower_is_better(metric, report.unit(metric)) else means
