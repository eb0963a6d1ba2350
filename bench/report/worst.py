"""The cases on which all rows do worst: where to look first."""

from __future__ import annotations

import numpy as np

from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.names import lower_is_better, metric_title
from bench.report.numbers import number
from bench.report.scores import mean_of
from bench.report.sections import PAGE, Section
from bench.report.tabular import Table, grid
from bench.report.verdicts import judging

HEAD = ("Patient", "Mean of all rows", "Best row", "Worst row")
MOST = 5


def sections(report: ReportContext) -> list[Section]:
    """Return the patients with the lowest mean over all rows, a table for each section with two rows or more."""
    every = (_of_section(report, section) for section in range(len(report.protocol.finetune)))
    tables = tuple(table for table in every if table is not None)
    title = "Worst cases, by patient"
    return (
        [Section(title, tables, "worst", "Worst cases", folded=True, forms=PAGE)] if tables else []
    )


def _of_section(report: ReportContext, section: int) -> Table | None:
    import pandas as pd  # late: tables without a worst case need it not

    metric, fractions = judging(report, section), report.fractions(section)
    if not metric or not fractions:
        return None
    unit = report.unit(metric)
    scores = {f: _by_row(report, Key("", section, f, MEAN, metric)) for f in fractions}
    fraction = max(fractions, key=lambda f: (len(scores[f]), f))
    frame = pd.DataFrame(scores[fraction]).dropna(how="all").dropna(axis=1, how="all").sort_index()
    if not len(frame) or frame.shape[1] < 2:  # of one row the best is the worst
        return None
    patients, rows, table = list(frame.index), list(frame), frame.to_numpy().T
    sign = -1 if lower_is_better(metric, unit) else 1
    order = np.argsort(sign * np.nanmean(table, axis=0), kind="stable")[:MOST]

    def named(i: int, at: int) -> str:
        return f"{report.named(rows[i])} {number(float(table[i, at]), unit)}"

    lines = []
    for at in order:
        scores = table[:, at]
        ends = (named(int(arg(sign * scores)), at) for arg in (np.nanargmax, np.nanargmin))
        lines.append((patients[at], number(float(np.nanmean(scores)), unit) + _of(scores), *ends))
    title = f"{report.labels[section]}, {fraction} % of the labels, {metric_title(metric)}"
    caption = f"The worst of {len(patients)} test patients by the mean of all rows. Scores are means over runs."
    return grid(HEAD, lines, title, caption, words=(2, 3))


def _of(scores: np.ndarray) -> str:
    """Say how many rows a patient's mean is over, where some have no score of him."""
    n = int(np.isfinite(scores).sum())
    return "" if n == len(scores) else f" ({n} of {len(scores)} rows)"


def _by_row(report: ReportContext, key: Key) -> dict[str, dict[str, float]]:
    """Return each row's score of each patient, over its runs; controls left out."""
    rows = [row for row in report.rows if not report.is_control(row)]
    scores = {row: report.cells.scores(key._replace(row=row)) for row in rows}
    return {
        row: dict(zip(values.patients, mean_of(mean_of(values.values, 2), 1).tolist(), strict=True))
        for row, values in scores.items()
        if values is not None
    }
