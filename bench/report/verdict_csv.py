"""Every comparison as a line of ``verdicts.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from bench.report import spreadsheet
from bench.report.context import ReportContext
from bench.report.verdicts import Against, VerdictGroup

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


def verdicts_csv(report: ReportContext, places: Sequence[VerdictGroup]) -> str:
    """Return ``verdicts.csv``: one line per comparison, in the metric's unit; more is better."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for place in places:
        for one in (*place.rows, *place.controls):
            writer.writerow(map(_cell, _line(report, one)))
    return out.getvalue()


def _line(report: ReportContext, one: Against) -> tuple[object, ...]:
    c = one.judged.comparison
    return (
        one.key.row,
        one.baseline,
        report.protocol.sections[one.key.section],
        one.key.fraction,
        one.key.metric,
        report.unit(one.key.metric),
        int(one.control),
        c.difference,
        c.low,
        c.high,
        c.p,
        one.judged.p,
        one.judged.verdict,
        one.judged.why,
        c.patients,
        c.pretrainings,
        c.seeds,
        c.sd_patient,
        c.sd_run,
        c.sd_residual,
        c.df,
        c.detectable,
        *one.check,
        one.flips,
        one.published,
        c.p_equivalent,
        one.judged.p_equivalent,
    )


def _cell(value: object) -> str:
    return (
        spreadsheet.number(value)
        if value is None or isinstance(value, float)
        else spreadsheet.cell(str(value))
    )
