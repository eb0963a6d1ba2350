"""The words over a table's columns and before its lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from bench.protocol import row_of
from bench.report.cells import MEAN
from bench.report.context import ReportContext
from bench.report.pivot import STUBS, AxisValues, Pivot, group, on_networks, word
from bench.report.tabular import Column, Line

# of rows, as the layout states it: a level before them where no heading line says it
GROUP = "group"


def levels(report: ReportContext, pivot: Pivot, side: int) -> list[str]:
    """Return what the headings of lines (``side`` 0) or columns (1) are of, outermost first."""
    axes = (pivot.view.lines, pivot.view.columns)[side]
    levels: list[str] = [axes[i] for i in pivot.shown(axes)]
    headed = side == 0 and levels[0] == "row"  # by a line over them
    if "row" in levels and not headed and any(group(report, row) for row in pivot.rows):
        levels.insert(levels.index("row"), GROUP)
    return levels


def labels(report: ReportContext, pivot: Pivot, side: int) -> dict[AxisValues, tuple[str, ...]]:
    """Return the headings of every line or column."""
    axes, of = (pivot.view.lines, pivot.view.columns)[side], levels(report, pivot, side)
    labels = {}
    for at in (pivot.lines, pivot.columns)[side]:
        values = dict(zip(axes, at, strict=True))
        first = rows_at(pivot, at, side)[0]
        labels[at] = tuple(
            group(report, first)
            if level == GROUP
            else _row(report, pivot, first, values[level], side)
            if level == "row"
            else word(report, level, values[level], alone=side == 0 or depth == len(of) - 1)
            for depth, level in enumerate(of)
        )
    return labels


def _row(report: ReportContext, pivot: Pivot, row: str, value: str, side: int) -> str:
    """Return a row's title, over a column with its network where the table has several."""
    declared, _ = row_of(report.protocol, row)
    alone = (
        side == 0 or on_networks(pivot.view) or not declared or not several_networks(report, pivot)
    )
    title = word(report, "row", value)
    return title if alone or declared is None else f"{title}, {declared.network}"


def several_networks(report: ReportContext, pivot: Pivot) -> bool:
    """Tell whether the rows of a table are on several networks, and none of its axes says so."""
    run = [row for row in pivot.rows if row not in report.protocol.published_only]
    return not on_networks(pivot.view) and len(networks(report, run)) > 1


def networks(report: ReportContext, rows: Iterable[str]) -> list[str]:
    """Return the networks of rows, each once; "" of rows that nobody here runs."""
    declared = (row_of(report.protocol, row)[0] for row in rows)
    return list(dict.fromkeys(row.network if row else "" for row in declared))


def rows_at(pivot: Pivot, values: AxisValues, side: int) -> list[str]:
    """Return the rows of a line (``side`` 0) or a column (1)."""
    return list(
        dict.fromkeys(point.row for at, point in pivot.points.items() if at[side] == values)
    )


def stubs(report: ReportContext, pivot: Pivot) -> tuple[str, ...]:
    """Return the headings of the columns of labels."""
    return tuple(STUBS.get(level, "") for level in levels(report, pivot, 0))


def columns(report: ReportContext, pivot: Pivot, why: dict[str, str]) -> list[Column]:
    """Return the columns of scores; ``why``: by quoted row, the letter of its footnote."""
    of_rows, columns = "row" in pivot.view.columns, []
    at_target = pivot.view.columns.index("target") if "target" in pivot.view.columns else None
    for values, words in labels(report, pivot, 1).items():
        first = rows_at(pivot, values, 1)[0]
        mean = at_target is not None and values[at_target] == MEAN
        quoted = of_rows and first in why
        columns.append(
            Column(words, mean=mean, note=why.get(first, "") if of_rows else "", quoted=quoted)
        )
    return columns


def blocks(
    report: ReportContext, lines: Sequence[Line], nested: bool
) -> list[tuple[str, tuple[Line, ...]]]:
    """Return lines by the heading of their rows and, where they are ``nested``, by their outermost label.

    A label that the line before has too stands once.
    """
    groups: list[tuple[str, tuple[Line, ...]]] = []
    headed = [(group(report, line.row) if line.row else "", line) for line in lines]
    above = ""
    for (heading, _), run in groupby(headed, lambda x: (x[0], x[1].labels[0] if nested else "")):
        block = [line for _, line in run]
        groups.append(
            (heading if heading != above else "", tuple(_once(block) if nested else block))
        )
        above = heading
    return groups


def _once(lines: list[Line]) -> list[Line]:
    """Blank every label, but the innermost, that the line before has under the same labels."""
    blanked = lines[:1]
    for above, line in pairwise(lines):
        alike = [above.labels[: i + 1] == line.labels[: i + 1] for i in range(len(line.labels) - 1)]
        words = [
            ("" if same else word) for same, word in zip([*alike, False], line.labels, strict=True)
        ]
        blanked.append(replace(line, labels=tuple(words)))
    return blanked
