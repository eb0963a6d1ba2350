"""The CSV files of a report, which people open in spreadsheets: ``table.csv`` and ``verdicts.csv``."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product

from bench.errors import printable
from bench.protocol import row_of
from bench.report.cells import MEAN, Cell, Key
from bench.report.context import ReportContext
from bench.report.footnotes import state
from bench.report.table_cells import minus_published
from bench.report.verdicts import RowComparison, VerdictGroup, uncompared

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s?%?", re.IGNORECASE)
# a formula begins so, in ASCII or in full width; html/script.js keeps the same rule
RUN = re.compile(r"\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]")
OF_CELL = """
row method network section dataset split evaluation fraction target metric unit mean sd n_runs n_patients
n_cases values undefined penalised failed published difference state"""
OF_COMPARISON = """
row baseline section fraction metric unit control difference low high p p_holm verdict why patients
pretrainings seeds sd_patient sd_run sd_residual df detectable bootstrap_low bootstrap_high p_sign_flip
published_difference p_equivalent p_equivalent_holm comparisons"""
CELL_COLUMNS, COMPARISON_COLUMNS = OF_CELL.split(), OF_COMPARISON.split()


@lru_cache(maxsize=1024)  # few names stand in many lines
def cell(text: str) -> str:
    """Return a text in one line, after an apostrophe where a spreadsheet would run it; a number stays one."""
    line = printable(text)  # csv leaves a bare carriage return unquoted
    return f"'{line}" if RUN.match(line) and not NUMBER.fullmatch(line) else line


def _field(value: object) -> str:
    """Return a value as a field: numbers with six decimals, "" for none."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}".replace("-0.000000", "0.000000")
    return cell(str(value))


def csv_text(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Return a CSV file of values: numbers with six decimals, no text that a spreadsheet would run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(_field, line) for line in lines)
    return out.getvalue()


def table_csv(report: ReportContext) -> str:
    """Return ``table.csv``: one line per cell, in the unit of the records (overlap: 0 to 1).

    A name that a spreadsheet would run gets an apostrophe before it.
    """
    places = [
        (section, fraction, target)
        for section in range(len(report.protocol.finetune))
        for fraction in report.fractions(section)
        for target in (*report.targets(section), MEAN)
    ]

    def keys(rows: Iterable[str]) -> list[Key]:
        return [Key(r, *p, m) for m, r, p in product(report.metrics, rows, places)]

    shown = [key for key in keys(report.rows) if report.has(key.row, key.section)]
    shown += [key for key in keys(report.protocol.published_only) if report.printed(key)]
    return csv_text(CELL_COLUMNS, (_of_cell(report, key) for key in shown))


def _of_cell(report: ReportContext, key: Key) -> tuple[object, ...]:
    declared, _ = row_of(report.protocol, key.row)
    tuned, measured = report.protocol.finetune[key.section], report.cells.at(key)
    printed, c = report.printed(key), measured or Cell()
    quoted = key.row in report.protocol.published_only
    return (
        key.row,
        *((declared.method, declared.network) if declared else ("", "")),
        report.protocol.sections[key.section],
        *(tuned.dataset, tuned.split, tuned.evaluation, key.fraction),
        *("mean" if key.target == MEAN else key.target, key.metric, report.unit(key.metric)),
        *(c.mean, c.sd, c.runs, c.patients, c.cases, c.values, c.undefined, c.penalised, c.failed),
        printed.number if printed else None,
        minus_published(report, key),
        "published" if quoted else state(report, key, measured),
    )


def verdicts_csv(report: ReportContext, groups: Sequence[VerdictGroup]) -> str:
    """Return ``verdicts.csv``: one line per comparison, in the metric's unit; more is better.

    At the end stand the rows whose row from scratch has not learned the task, without numbers.
    """
    rows = (row for group in groups for row in (*group.rows, *group.controls))
    return csv_text(
        COMPARISON_COLUMNS,
        (*(_of_comparison(report, row) for row in rows), *_without_comparison(report)),
    )


def _without_comparison(report: ReportContext) -> Iterator[tuple[object, ...]]:
    """Yield a line with the reason alone for each row whose row from scratch has not learned the task."""
    counts = dict.fromkeys(("patients", "pretrainings", "seeds", "comparisons"), 0)
    for key, baseline, why in uncompared(report):
        where = report.protocol.sections[key.section], key.fraction, key.metric
        of = (key.row, baseline, *where, report.unit(key.metric), int(report.is_control(key.row)))
        line = dict(zip(COMPARISON_COLUMNS, of, strict=False)) | counts | {"why": why}
        yield tuple(map(line.get, COMPARISON_COLUMNS))


def _of_comparison(report: ReportContext, row: RowComparison) -> tuple[object, ...]:
    key, judged, c = row.key, row.judged, row.judged.comparison
    return (
        *(key.row, row.baseline, report.protocol.sections[key.section], key.fraction, key.metric),
        *(report.unit(key.metric), int(row.control), c.difference, c.low, c.high, c.p, judged.p),
        *(judged.verdict, judged.why, c.patients, c.pretrainings, c.seeds),
        *(c.sd_patient, c.sd_run, c.sd_residual, c.df, c.detectable, *row.check, row.flips),
        *(row.published, c.p_equivalent, judged.p_equivalent, judged.family),
    )
