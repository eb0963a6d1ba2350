"""The tables of a report as plain data: columns, lines, entries and marks.

Nothing here knows a file format; numbers are already in print: shares in percent, others as they
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from bench.protocol import Protocol, row_of
from bench.report.cells import MEAN, Cell, Key
from bench.report.footnotes import TIMES, Footnotes, in_words, remark, state, usual_n
from bench.report.names import lower_is_better, metric_title, zero_is_best
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
    """One printed cell. ``mean`` also holds the words of a hole: ``failed``, ``not scored``, an em dash."""

    mean: str
    sd: str = ""
    mark: str = ""  # best | second
    note: str = ""  # letter of a footnote
    published: str = ""
    difference: str = ""
    counts: str = ""  # in words, for a tooltip
    sort: float | None = None  # None where there is no number
    hole: str = ""  # failed | not scored | absent | undefined


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

    @property
    def heads(self) -> list[tuple[str, int]]:
        """The headings over the columns and how many each spans; none where no column has one."""
        spans = [(group, len(list(columns))) for group, columns in groupby(self.columns, lambda c: c.group)]
        return spans if any(group for group, _ in spans) else []


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
    labels = scene.labels
    places = [(s, f) for s in range(len(labels)) for f in scene.fractions(s)]
    several = len({f for _, f in places}) > 1
    kind = scene.protocol.layout.columns
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
    unit, made = scene.unit(metric), []
    for row in scene.rows:
        keys = [Key(row, c.section, c.fraction, c.target, metric) for c in columns]
        cells = [scene.cells.at(k) for k in keys]
        n = usual_n(cells)
        entries = tuple(
            _entry(scene, key, cell, unit, notes.mark(remark(scene, key, cell, n)))
            for key, cell in zip(keys, cells, strict=True)
        )
        known, _ = row_of(scene.protocol, row)
        made.append(Line(row, scene.titles[row], known.network if known else "", n, entries))
    made = _marked(scene, made, columns, metric, unit)
    return Table(
        metric=metric,
        title=", ".join(p for p in (metric_title(metric), heading) if p),
        caption=" ".join([_caption(scene, made, metric, unit), *same_patients(scene, columns)]),
        columns=tuple(columns),
        groups=_grouped(scene.protocol, made),
        networks=len({line.network for line in made}) > 1,
        published=any(line.published for line in made),
    )


def _caption(scene: Scene, lines: list[Line], metric: str, unit: str) -> str:
    entries = [e for line in lines for e in line.entries]
    spread = " ± standard deviation over runs" if any(e.sd for e in entries) else ""
    what = f"{metric_title(metric)} in {'percent' if unit == '1' else unit}, mean{spread}"
    if zero_is_best(metric):
        return f"{what}; 0 is best; as signs cancel, nothing is ranked. {counted(lines)}"
    said = [f"{what}; {'lower' if lower_is_better(metric, unit) else 'higher'} is better."]
    if any(e.mark for e in entries):
        aside = " and (last)" if any(line.row.endswith("(last)") for line in lines) else ""
        besides = f", {'controls' if scene.protocol.controls else 'rows'}{aside} left out"
        said.append(
            "Best of its network in each column bold, second underlined, among rows that are fine-tuned alike"
            f"{besides if aside or scene.protocol.controls else ''}; equal in print means equal in mark."
        )
    return " ".join([*said, counted(lines)])


def counted(lines: Sequence[Line]) -> str:
    """Return what the column n counts."""
    cases = ", in brackets test cases" if any("(" in line.n for line in lines) else ""
    return f"n = runs {TIMES} test patients{cases}."


def same_patients(scene: Scene, columns: Sequence[Column]) -> list[str]:
    """Return a sentence for each pair of label fractions in print that mean the same patients."""
    said = []
    for section in dict.fromkeys(c.section for c in columns):
        for fractions, n in scene.cells.alike(section):
            if any(c.fraction in fractions for c in columns if c.section == section):
                which = " and ".join(f"{f} %" for f in fractions)
                patients = "patient" if n == "1" else "patients"
                said.append(f"{scene.labels[section]}: {which} are the same {n} {patients}.")
    return said


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


def _marked(scene: Scene, lines: list[Line], columns: Sequence[Column], metric: str, unit: str) -> list[Line]:
    """Mark the best and the second printed value of each column among comparable rows, ties alike."""
    if zero_is_best(metric):  # signed errors cancel
        return lines
    marks: dict[tuple[str, int], str] = {}  # row, column
    for i, column in enumerate(columns):
        groups: dict[str, list[Line]] = {}
        for line in lines:
            alike = scene.alike.get((line.row, column.section))
            if alike is not None and line.entries[i].sort is not None:
                groups.setdefault(alike, []).append(line)
        for group in (g for g in groups.values() if len(g) > 1):  # a lone value is not the best
            merits = {line.row: float(line.entries[i].mean.replace(MINUS, "-")) for line in group}
            ranked = sorted(set(merits.values()), reverse=not lower_is_better(metric, unit))
            names = dict(zip(ranked, ("best", "second"), strict=False))
            marks |= {(row, i): names.get(merit, "") for row, merit in merits.items()}
    marked = [[replace(e, mark=marks.get((x.row, i), "")) for i, e in enumerate(x.entries)] for x in lines]
    return [replace(line, entries=tuple(found)) for line, found in zip(lines, marked, strict=True)]


def _grouped(protocol: Protocol, lines: list[Line]) -> tuple[tuple[str, tuple[Line, ...]], ...]:
    headed = protocol.layout.groups.items()
    named = {row for _, rows in headed for row in rows}
    # variants stay beside their row
    own = [(line.row.removesuffix(row_of(protocol, line.row)[1]), line) for line in lines]
    groups = [("", tuple(line for row, line in own if row not in named))]
    groups += [(heading, tuple(line for row, line in own if row in rows)) for heading, rows in headed]
    return tuple((heading, found) for heading, found in groups if found)
