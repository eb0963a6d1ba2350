"""Every cell as a line of ``table.csv``, in the unit of the records (overlap: 0 to 1)."""

from __future__ import annotations

import csv
import io
from itertools import product

from bench.protocol import row_of
from bench.report import spreadsheet
from bench.report.cells import MEAN, Cell, Key
from bench.report.context import ReportContext
from bench.report.footnotes import state
from bench.report.table_cells import minus_published

CSV_COLUMNS = (
    "row",
    "method",
    "network",
    "section",
    "dataset",
    "split",
    "evaluation",
    "fraction",
    "target",
    "metric",
    "unit",
    "mean",
    "sd",
    "n_runs",
    "n_patients",
    "n_cases",
    "values",
    "undefined",
    "penalised",
    "failed",
    "published",
    "difference",
    "state",
)


def tidy(report: ReportContext) -> str:
    """Return ``table.csv``: one line per cell, in the unit of the records (overlap: 0 to 1).

    A name that a spreadsheet would run gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    places = [
        (section, fraction, target)
        for section in range(len(report.protocol.finetune))
        for fraction in report.fractions(section)
        for target in (*report.targets(section), MEAN)
    ]
    for metric, row, at in product(report.metrics, report.rows, places):
        if report.has(row, at[0]):
            writer.writerow(_tidy_line(report, Key(row, *at, metric)))
    for metric, row, at in product(report.metrics, report.protocol.published_only, places):
        if report.printed(Key(row, *at, metric)):
            writer.writerow(_tidy_line(report, Key(row, *at, metric)))
    return out.getvalue()


def _tidy_line(report: ReportContext, key: Key) -> tuple[str, ...]:
    declared, _ = row_of(report.protocol, key.row)
    section = report.protocol.finetune[key.section]
    measured = report.cells.at(key)
    cell = measured or Cell()
    printed = report.printed(key)
    return (
        *map(
            spreadsheet.cell,
            (
                key.row,
                declared.method if declared else "",
                declared.network if declared else "",
                report.protocol.sections[key.section],
                section.dataset,
                section.split,
                section.evaluation,
                str(key.fraction),
                "mean" if key.target == MEAN else key.target,
                key.metric,
                report.unit(key.metric),
            ),
        ),
        spreadsheet.number(cell.mean),
        spreadsheet.number(cell.sd),
        *map(
            str,
            (
                cell.runs,
                cell.patients,
                cell.cases,
                cell.values,
                cell.undefined,
                cell.penalised,
                cell.failed,
            ),
        ),
        spreadsheet.number(printed.number if printed else None),
        spreadsheet.number(minus_published(report, key)),
        "published" if key.row in report.protocol.published_only else state(report, key, measured),
    )
