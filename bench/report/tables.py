"""The tables of a report, made from the layout's views; without views, from its ``columns``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.protocol import Layout, View, row_of
from bench.report import headings, mixture_table, row_columns
from bench.report.captions import caption, same_patients, title
from bench.report.context import ReportContext
from bench.report.errata import Errata
from bench.report.footnotes import Footnotes, usual_n
from bench.report.numbers import MINUS
from bench.report.pivot import AxisValues, Pivot, pivots
from bench.report.table_cells import TableCells, marked, quoted, table_cell
from bench.report.tabular import COUNTS, Line, Table, TableCell

BY = {
    "targets": View(),
    "fractions": View(columns=("section", "fraction")),
    "datasets": View(columns=("fraction", "section")),
}
TABLES = ("table", "mixture")
LINES, COLUMNS = 0, 1


def tables(report: ReportContext, ran: bool = False) -> tuple[list[Table], Footnotes]:
    """Return the tables in the order of print, and the footnotes they share.

    Args:
        report: has the cells.
        ran: leave out what nobody ran, and tables without a number that say what another says.
    """
    notes, errata = Footnotes(), Errata(report.protocol, report.extras.errata)
    tables: list[Table] = []
    for view in views(report.protocol.layout):
        if view.draw == "mixture":
            tables.append(mixture_table.mixture_of(report, view))
        else:
            built = [_table(report, pivot, notes, errata) for pivot in pivots(report, view, ran)]
            tables += _told_once(built) if ran else built
    return tables, notes


def _told_once(tables: Sequence[Table]) -> list[Table]:
    """Return tables without those of dashes alone, and those of reasons that one before them has."""
    told: list[Any] = []
    left = []
    for table in tables:
        entries = [e for line in table.lines for e in line.entries]
        says = [(line.labels, [(e.mean, e.note) for e in line.entries]) for line in table.lines]
        empty = table.scores and not any(e.sort is not None or e.published for e in entries)
        dashes = all(e.hole == "absent" for e in entries if e.hole or e.mean)
        if not (empty and (says in told or dashes)):
            left.append(table)
        told += [says] if empty else []
    return left


def views(layout: Layout) -> list[View]:
    """Return the views that are tables; where there is none, the one that ``columns`` stands for."""
    return [view for view in layout.views if view.draw in TABLES] or [BY[layout.columns]]


def _table(report: ReportContext, pivot: Pivot, notes: Footnotes, errata: Errata) -> Table:
    below = not {"row", "section", "fraction"} & {*pivot.view.lines}  # counts that all lines share
    usual = _usual(report, pivot, COLUMNS if below else LINES)
    why = {
        row: _why(report, row, notes) for row in pivot.rows if row in report.protocol.published_only
    }
    entries = _entries(report, pivot, usual, COLUMNS if below else LINES, notes, errata)
    networks = "row" in pivot.view.lines and (
        "network" in pivot.view.facts or headings.several_networks(report, pivot)
    )
    stubs = headings.stubs(report, pivot)
    lines = _lines(report, pivot, entries, {} if below else usual, why, networks)
    groups = headings.blocks(report, lines, nested=len(stubs) > 1)
    scores = headings.columns(report, pivot, why)
    columns = [*row_columns.columns(pivot.view), *scores]
    if below:
        groups.append(("", (_counts(usual, pivot, len(stubs)),)))
    shown = [e for line in lines for e in line.entries]
    return Table(
        title=title(report, pivot),
        caption=caption(report, pivot, shown, [*usual.values()]),
        stubs=(*stubs, *(["Network"] if networks else [])),
        columns=tuple(columns),
        groups=tuple(groups),
        leaf=len(stubs) - 1,
        metrics=tuple(pivot.values("metric")),
        counted=not below,
        sortable=pivot.view.lines == ("row",),
        below=_below(shown),
        same=tuple(same_patients(report, pivot)),
    )


def _why(report: ReportContext, row: str, notes: Footnotes) -> str:
    """Return the letter of the footnote on a row that nobody here runs."""
    why = report.protocol.published_only[row].why
    return notes.mark(f"{report.titles[row]}: not run here{f'; {why}' if why else ''}")


def _usual(report: ReportContext, pivot: Pivot, side: int) -> dict[AxisValues, str]:
    """Return the n that most cells of each line, or column, have."""
    cells: dict[AxisValues, list] = {values: [] for values in (pivot.lines, pivot.columns)[side]}
    for at, point in pivot.points.items():
        cells[at[side]].append(report.cells.at(point.key))
    return {values: usual_n(group) for values, group in cells.items()}


def _entries(
    report: ReportContext,
    pivot: Pivot,
    usual: dict[AxisValues, str],
    side: int,
    notes: Footnotes,
    errata: Errata,
) -> TableCells:
    table_cells: TableCells = {}
    for at in ((line, column) for line in pivot.lines for column in pivot.columns):
        point = pivot.points.get(at)
        if point is not None and point.row in report.protocol.published_only:
            table_cells[at] = quoted(report, point, notes, errata)
        elif point is not None:
            table_cells[at] = table_cell(report, pivot, point, usual[at[side]], notes, errata)
    return marked(report, table_cells, pivot.points, notes)


def _lines(
    report: ReportContext,
    pivot: Pivot,
    entries: TableCells,
    n: dict[AxisValues, str],
    why: dict[str, str],
    networks: bool,
) -> list[Line]:
    """Return the lines of the scores, what is about their rows before them."""
    labels, lines = headings.labels(report, pivot, LINES), []
    for values in pivot.lines:
        rows = headings.rows_at(pivot, values, LINES) if "row" in pivot.view.lines else [""]
        declared, _ = row_of(report.protocol, rows[0])
        network = [declared.network if declared else ""] if networks else []
        about = row_columns.entries(report, pivot.view, rows) if rows != [""] else []
        scores = [entries.get((values, column), TableCell()) for column in pivot.columns]
        words, table_cells = (*labels[values], *network), (*about, *scores)
        letter = why.get(rows[0], "")
        lines.append(
            Line(words, table_cells, n.get(values, ""), rows[0], "quoted" if letter else "", letter)
        )
    return lines


def _counts(n: dict[AxisValues, str], pivot: Pivot, labels: int) -> Line:
    """Return the line of counts below a table of which all lines are of the same cases."""
    return Line(
        (COUNTS,) + ("",) * (labels - 1), tuple(TableCell(n[c]) for c in pivot.columns), kind="n"
    )


def _below(entries: Sequence[TableCell]) -> str:
    """Return what stands on the line below a line: the paper's numbers, or these and their gains."""
    gains = any(", " in e.published for e in entries)
    less = f" (ours {MINUS} published)" if any(e.difference for e in entries) else ""
    return f"published{', published gain' if gains else ''}{less}"
