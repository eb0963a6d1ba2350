"""What a protocol asks for and nobody has run yet: left out of tables, and named once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.protocol import from_scratch
from bench.report.context import ReportContext

LISTED = 12  # names; of more a number


def known_at(report: ReportContext, row: str, section: int, fraction: int) -> bool:
    """Tell whether a table shows a row at a label fraction: something ran of the row, and of the fraction."""
    return row not in report.not_run and (section, fraction) not in report.shares_not_run


def sentence(report: ReportContext) -> str:
    """Return how many rows were run, and ``names``; "" where all were, at all shares of the labels."""
    rows = report.not_run
    if len(rows) == len(report.rows):
        return f"None of {len(rows)} rows was run yet." if rows else ""
    count = len(report.rows) - len(rows)
    controls = " (controls included)" if any(map(report.is_control, report.rows)) else ""
    of = f"{count} of {len(report.rows)} rows{controls} {'was' if count == 1 else 'were'} run."
    left_out = names(report)
    return " ".join([of, left_out]) if left_out else ""


def names(report: ReportContext) -> str:
    """Return which rows and label fractions were not run, in sentences; "" for none."""
    rows, shares = report.not_run, report.shares_not_run
    parts = list[str]()
    if rows and len(rows) < len(report.rows):
        parts += _of_rows(report)
    if shares:
        several = len(report.labels) > 1
        at = [f"{report.labels[s]}, {f} %" if several else f"{f} %" for s, f in shares]
        parts.append(f"Not run with these shares of the labels: {listed(at)}.")
    return " ".join(parts)


def _of_rows(report: ReportContext) -> Iterator[str]:
    """Yield how many methods have run and which have not, then which other rows."""
    methods = [row for row in report.rows if _is_method(report, row)]
    missing = [report.named(row) for row in report.not_run if row in methods]
    others = [report.named(row) for row in report.not_run if row not in methods]
    if missing:
        yield f"{_progress(report, methods, len(missing))}; not yet: {listed(missing)}."
    if others:
        yield f"Not run: {listed(others)}."


def _progress(report: ReportContext, methods: Sequence[str], missing: int) -> str:
    kinds = {report.protocol.rows[row].method for row in methods}
    noun = "methods" if len(kinds) == len(methods) else "pretrained rows"
    done = len(methods) - missing
    return f"{done} of {len(methods)} {noun} {'has' if done == 1 else 'have'} run"


def _is_method(report: ReportContext, row: str) -> bool:
    """Tell whether a row is one that the study compares with scratch."""
    declared = report.protocol.rows.get(row)
    return declared is not None and not from_scratch(declared) and not report.is_control(row)


def listed(names: Sequence[str]) -> str:
    """Return names in a line, of many the first ones and how many more there are."""
    if len(names) <= LISTED:
        return "; ".join(names)
    return f"{'; '.join(names[: LISTED - 1])} and {len(names) - LISTED + 1} more"
