"""The tables of a report as plain data: columns, lines, entries and marks.

Nothing here knows a file format; numbers are already in print: shares in percent, others as they
are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.protocol import Protocol, row_of
from bench.report.cells import MEAN, Cell, Key
from bench.report.footnotes import TIMES, Footnotes, in_words, remark, state, usual_n
from bench.report.names import (
    lower_is_better,
    metric_title,
    row_titles,
    section_labels,
    unit_of,
    zero_is_best,
)
from bench.report.scene import Scene

DASH, MINUS = "\N{EM DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Column:
    """One column of results; ``group`` is a heading over several of them."""

    label: str
    section: int
    fraction: int
    target: str
    group: str = ""


@dataclass(frozen=True)
class Entry:
    """One printed cell. ``mean`` also holds the words of a hole: ``failed``, an em dash."""

    mean: str
    sd: str = ""
    mark: str = ""  # best | second
    note: str = ""  # letter of a footnote
    published: str = ""
    difference: str = ""
    counts: str = ""  # in words, for a tooltip
    sort: float | None = None  # None where there is no number
    hole: str = ""  # failed | absent | undefined


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    row: str
    title: str
    network: str
    n: str
    entries: tuple[Entry, ...]

    @property
    def published(self) -> bool:
        """Did the paper print anything for this row?"""
        return any(e.published for e in self.entries)


@dataclass(frozen=True)
class Table:
    """One metric on one set of columns."""

    metric: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    groups: tuple[tuple[str, tuple[Line, ...]], ...]  # heading ("" for none), its rows
    networks: bool  # does it need a column for the network?
    published: bool

    @property
    def lines(self) -> list[Line]:
        """Every row, in the order of print."""
        return [line for _, lines in self.groups for line in lines]


def tables(scene: Scene) -> tuple[list[Table], Footnotes]:
    """Return the tables in the order of print, and the footnotes they share."""
    notes = Footnotes()
    made = []
    for metric in scene.metrics:
        for heading, columns in _layouts(scene):
            judged = [c for c in columns if scene.judges(metric, c.section)]
            if judged:  # Dice says nothing of classes
                made.append(_table(scene, metric, heading, judged, notes))
    return made, notes


def _layouts(scene: Scene) -> list[tuple[str, list[Column]]]:
    """Return (heading, columns) of every table that one metric needs."""
    protocol = scene.protocol
    labels = section_labels(protocol.finetune, scene.info)
    places = [(s, f) for s in range(len(labels)) for f in scene.fractions(s)]
    several = len({f for _, f in places}) > 1
    kind = protocol.layout.columns
    if kind == "targets":
        return [(f"{labels[s]}, {_percent(f)}", _by_target(scene, s, f)) for s, f in places]
    if kind == "fractions":
        group = [labels[s] if len(labels) > 1 else "" for s, _ in places]
        columns = [Column(f"{f} %", s, f, MEAN, g) for (s, f), g in zip(places, group, strict=True)]
        by = "by share of training patients with labels"
        return [(by if len(labels) > 1 else f"{labels[0]}, {by}", columns)]
    places.sort(key=lambda place: place[1])
    columns = [Column(labels[s], s, f, MEAN, _percent(f) if several else "") for s, f in places]
    return [("" if several else _percent(places[0][1]), columns)]


def _by_target(scene: Scene, section: int, fraction: int) -> list[Column]:
    targets = scene.targets(section)
    columns = [Column(t, section, fraction, t) for t in targets]
    if len(targets) != 1:
        columns.append(Column(scene.protocol.layout.mean, section, fraction, MEAN))
    return columns


def _percent(fraction: int) -> str:
    return f"{fraction} % of labels"


def _table(scene: Scene, metric: str, heading: str, columns: list[Column], notes: Footnotes) -> Table:
    unit = scene.cells.units.get(metric, unit_of(metric))
    titles = row_titles(scene.protocol, scene.rows, scene.extras)
    made = []
    for row in scene.rows:
        keys = [Key(row, c.section, c.fraction, c.target, metric) for c in columns]
        cells = [scene.cells.at(k) for k in keys]
        n = usual_n(cells)
        entries = tuple(
            _entry(scene, key, cell, unit, notes.mark(remark(scene, key, cell, n)))
            for key, cell in zip(keys, cells, strict=True)
        )
        known, _ = row_of(scene.protocol, row)
        made.append(Line(row, titles[row], known.network if known else "", n, entries))
    made = _marked(made, metric, unit)
    return Table(
        metric=metric,
        title=", ".join(p for p in (metric_title(metric), heading) if p),
        caption=_caption(metric, unit),
        columns=tuple(columns),
        groups=_grouped(scene.protocol, made),
        networks=len({line.network for line in made}) > 1,
        published=any(line.published for line in made),
    )


def _caption(metric: str, unit: str) -> str:
    what = f"{metric_title(metric)} in {'percent' if unit == '1' else unit}"
    if zero_is_best(metric):
        return f"{what}, mean ± standard deviation over seeds; 0 is best; as signs cancel, nothing is ranked."
    better = "lower" if lower_is_better(metric, unit) else "higher"
    return (
        f"{what}, mean ± standard deviation over seeds; {better} is better. Best of each column "
        f"bold, second underlined, equal in print means equal in mark. "
        f"n = seeds {TIMES} test cases."
    )


def _entry(scene: Scene, key: Key, cell: Cell | None, unit: str, note: str) -> Entry:
    printed = scene.printed(key)
    beside = number(printed.number, unit) + printed.dagger if printed else ""
    if cell is None or cell.mean is None:
        hole = state(scene, key, cell)
        text = DASH if hole == "absent" else hole
        return Entry(text, note=note, published=beside, hole=hole, counts=in_words(cell))
    mean = number(cell.mean, unit)
    gap = ""
    if printed:  # of the printed numbers, so that a reader's subtraction agrees
        gap = signed(float(mean) - float(number(printed.number, unit)))
    return Entry(
        mean=mean,
        sd="" if cell.sd is None else number(cell.sd, unit),
        note=note,
        published=beside,
        difference=gap,
        counts=in_words(cell),
        sort=cell.mean,
    )


def number(value: float, unit: str) -> str:
    """Return two decimals, shares of one in percent."""
    text = f"{100 * value if unit == '1' else value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", MINUS)


def signed(value: float) -> str:
    """Return two decimals with their sign; nothing is never negative."""
    text = f"{value:+.2f}"
    return "+0.00" if text == "-0.00" else text.replace("-", MINUS)


def _marked(lines: list[Line], metric: str, unit: str) -> list[Line]:
    """Mark the best and the second printed value of each column, ties alike."""
    if not lines:
        return lines
    columns = list(zip(*(line.entries for line in lines), strict=True))
    done = [_marked_column(column, metric, unit) for column in columns]
    return [replace(line, entries=tuple(column[i] for column in done)) for i, line in enumerate(lines)]


def _marked_column(column: tuple[Entry, ...], metric: str, unit: str) -> list[Entry]:
    def merit(entry: Entry) -> float:
        return float(entry.mean.replace(MINUS, "-"))

    values = [merit(e) for e in column if e.sort is not None]
    if len(values) < 2 or zero_is_best(metric):  # a lone value is not the best; signed errors cancel
        return list(column)
    ranked = sorted(set(values), reverse=not lower_is_better(metric, unit))
    marks = dict(zip(ranked, ("best", "second"), strict=False))
    return [replace(e, mark=marks.get(merit(e), "")) if e.sort is not None else e for e in column]


def _grouped(protocol: Protocol, lines: list[Line]) -> tuple[tuple[str, tuple[Line, ...]], ...]:
    own = {
        line: line.row.removesuffix(row_of(protocol, line.row)[1]) for line in lines
    }  # variants stay beside it
    named = {row for rows in protocol.layout.groups.values() for row in rows}
    groups = [("", tuple(line for line in lines if own[line] not in named))]
    for heading, rows in protocol.layout.groups.items():
        groups.append((heading, tuple(line for line in lines if own[line] in rows)))
    return tuple((heading, found) for heading, found in groups if found)
