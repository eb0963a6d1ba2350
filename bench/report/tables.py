"""The tables of a report, made from the layout's views; without views, from its ``columns``."""

from __future__ import annotations

from collections.abc import Sequence

from bench.protocol import Layout, View, row_of
from bench.report import headings, mixture_table, row_columns
from bench.report.captions import caption, same_patients, title
from bench.report.entries import Entries, entry, marked, quoted
from bench.report.errata import Errata
from bench.report.footnotes import Footnotes, usual_n
from bench.report.numbers import MINUS
from bench.report.pivot import Pivot, Place, pivots
from bench.report.scene import Scene
from bench.report.tabular import COUNTS, Entry, Line, Table

BY = {
    "targets": View(),
    "fractions": View(columns=("section", "fraction")),
    "datasets": View(columns=("fraction", "section")),
}
TABLES = ("table", "mixture")
LINES, COLUMNS = 0, 1


def tables(scene: Scene) -> tuple[list[Table], Footnotes]:
    """Return the tables in the order of print, and the footnotes they share."""
    notes, errata = Footnotes(), Errata(scene.protocol, scene.extras.errata)
    made: list[Table] = []
    for view in views(scene.protocol.layout):
        if view.draw == "mixture":
            made.append(mixture_table.made(scene, view))
        else:
            made += [_table(scene, pivot, notes, errata) for pivot in pivots(scene, view)]
    return made, notes


def views(layout: Layout) -> list[View]:
    """Return the views that are tables; where there is none, the one that ``columns`` stands for."""
    return [view for view in layout.views if view.draw in TABLES] or [BY[layout.columns]]


def _table(scene: Scene, pivot: Pivot, notes: Footnotes, errata: Errata) -> Table:
    below = not {"row", "section", "fraction"} & {*pivot.view.lines}  # counts that all lines share
    usual = _usual(scene, pivot, COLUMNS if below else LINES)
    why = {
        row: _why(scene, row, notes) for row in pivot.rows if row in scene.protocol.published_only
    }
    entries = _entries(scene, pivot, usual, COLUMNS if below else LINES, notes, errata)
    networks = "row" in pivot.view.lines and (
        "network" in pivot.view.facts or headings.several_networks(scene, pivot)
    )
    stubs = headings.stubs(scene, pivot)
    lines = _lines(scene, pivot, entries, {} if below else usual, why, networks)
    groups = headings.blocks(scene, lines, nested=len(stubs) > 1)
    scores = headings.columns(scene, pivot, why)
    columns = [*row_columns.columns(pivot.view), *scores]
    if below:
        groups.append(("", (_counts(usual, pivot, len(stubs)),)))
    shown = [e for line in lines for e in line.entries]
    return Table(
        title=title(scene, pivot),
        caption=caption(scene, pivot, shown, [*usual.values()]),
        stubs=(*stubs, *(["Network"] if networks else [])),
        columns=tuple(columns),
        groups=tuple(groups),
        leaf=len(stubs) - 1,
        metrics=tuple(pivot.values("metric")),
        counted=not below,
        sortable=pivot.view.lines == ("row",),
        below=_below(shown),
        same=tuple(same_patients(scene, pivot)),
    )


def _why(scene: Scene, row: str, notes: Footnotes) -> str:
    """Return the letter of the footnote on a row that nobody here runs."""
    why = scene.protocol.published_only[row].why
    return notes.mark(f"{scene.titles[row]}: not run here{f'; {why}' if why else ''}")


def _usual(scene: Scene, pivot: Pivot, side: int) -> dict[Place, str]:
    """Return the n that most cells of each line, or column, have."""
    cells: dict[Place, list] = {place: [] for place in (pivot.lines, pivot.columns)[side]}
    for at, point in pivot.points.items():
        cells[at[side]].append(scene.cells.at(point.key))
    return {place: usual_n(some) for place, some in cells.items()}


def _entries(
    scene: Scene, pivot: Pivot, usual: dict[Place, str], side: int, notes: Footnotes, errata: Errata
) -> Entries:
    made: Entries = {}
    for at in ((line, column) for line in pivot.lines for column in pivot.columns):
        point = pivot.points.get(at)
        if point is not None and point.row in scene.protocol.published_only:
            made[at] = quoted(scene, point, notes, errata)
        elif point is not None:
            made[at] = entry(scene, pivot, point, usual[at[side]], notes, errata)
    return marked(scene, made, pivot.points, notes)


def _lines(
    scene: Scene,
    pivot: Pivot,
    entries: Entries,
    n: dict[Place, str],
    why: dict[str, str],
    networks: bool,
) -> list[Line]:
    """Return the lines of the scores, what is about their rows before them."""
    labels, made = headings.labels(scene, pivot, LINES), []
    for place in pivot.lines:
        rows = headings.rows_at(pivot, place, LINES) if "row" in pivot.view.lines else [""]
        known, _ = row_of(scene.protocol, rows[0])
        network = [known.network if known else ""] if networks else []
        about = row_columns.entries(scene, pivot.view, rows) if rows != [""] else []
        scores = [entries.get((place, column), Entry()) for column in pivot.columns]
        words, found = (*labels[place], *network), (*about, *scores)
        letter = why.get(rows[0], "")
        made.append(
            Line(words, found, n.get(place, ""), rows[0], "quoted" if letter else "", letter)
        )
    return made


def _counts(n: dict[Place, str], pivot: Pivot, labels: int) -> Line:
    """Return the line of counts below a table of which all lines are of the same cases."""
    return Line(
        (COUNTS,) + ("",) * (labels - 1), tuple(Entry(n[c]) for c in pivot.columns), kind="n"
    )


def _below(entries: Sequence[Entry]) -> str:
    """Return what stands on the line below a line: the paper's numbers, or these and their gains."""
    gains = any(", " in e.published for e in entries)
    return f"published{', its gain' if gains else ''} (ours {MINUS} published)"
