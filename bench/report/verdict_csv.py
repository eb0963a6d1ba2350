"""Every comparison as a line of ``verdicts.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from bench.report import spreadsheet
from bench.report.context import ReportContext
from bench.report.verdicts import RowComparison, VerdictGroup

CSV_COLUMNS = (
    "row",
    "baseline",
    "section",
    "fraction",
    "metric",
    "unit",
    "control",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "verdict",
    "why",
    "patients",
    "pretrainings",
    "seeds",
    "sd_patient",
    "sd_run",
    "sd_residual",
    "df",
    "detectable",
    "bootstrap_low",
    "bootstrap_high",
    "p_sign_flip",
    "published_difference",
    "p_equivalent",
    "p_equivalent_holm",
)


def verdicts_csv(report: ReportContext, groups: Sequence[VerdictGroup]) -> str:
    """Return ``verdicts.csv``: one line per comparison, in the metric's unit; more is better."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for group in groups:
        for comparison in (*group.rows, *group.controls):
            writer.writerow(map(_cell, _line(report, comparison)))
    return out.getvalue()


def _line(report: ReportContext, comparison: RowComparison) -> tuple[object, ...]:
    c = comparison.judged.comparison
    return (
        comparison.key.row,
        comparison.baseline,
        report.protocol.sections[comparison.key.section],
        comparison.key.fraction,
        comparison.key.metric,
        report.unit(comparison.key.metric),
        int(comparison.control),
        c.difference,
        c.low,
        c.high,
        c.p,
        comparison.judged.p,
        comparison.judged.verdict,
        comparison.judged.why,
        c.patients,
        c.pretrainings,
        c.seeds,
        c.sd_patient,
        c.sd_run,
        c.sd_residual,
        c.df,
        c.detectable,
        *comparison.check,
        comparison.flips,
        comparison.published,
        c.p_equivalent,
        comparison.judged.p_equivalent,
    )


def _cell(value: object) -> str:
    return (
        spreadsheet.number(value)
        if value is None or isinstance(value, float)
        else spreadsheet.cell(str(value))
    )
