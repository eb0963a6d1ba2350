"""The tables of a report as plain data: headings, lines, entries and marks.

Nothing here knows a file format; numbers are already in print: shares in percent, others as they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Literal

from bench.report.cells import Key
from bench.report.numbers import MINUS, TIMES

COUNTS = f"Runs {TIMES} patients"  # head of a column that counts what numbers are of


@dataclass(frozen=True)
class Column:
    """One column of entries under its headings, outermost first, its own last."""

    labels: tuple[str, ...]
    kind: Literal["score", "fact", "check", "left"] = "score"  # left: words
    mean: bool = False  # over targets
    note: str = ""  # letter of a footnote at its heading
    quoted: bool = False  # of a row that nobody here runs

    @property
    def label(self) -> str:
        """Its own heading."""
        return self.labels[-1]

    @property
    def over(self) -> tuple[str, ...]:
        """The headings over it."""
        return self.labels[:-1]

    @property
    def heading(self) -> str:
        """All of them in one line."""
        return ", ".join(label for label in self.labels if label)


@dataclass(frozen=True)
class TableCell:
    """One printed cell. ``mean`` also holds the words of a hole: ``failed``, ``not scored``, an em dash."""

    mean: str = ""
    sd: str = ""
    gain: str = ""  # on the row that the table names
    mark: str = ""  # best | second; on a page the class of a verdict
    note: str = ""  # letter of a footnote
    published: str = ""
    erratum: str = ""  # letter of a footnote on the published number
    difference: str = ""
    tip: str = ""  # more words, shown on hover and on focus
    sort: float | None = None  # None where there is no number
    hole: str = ""  # failed | not scored | absent | undefined
    quoted: bool = False  # the paper's own number, where ours would stand
    key: Key | None = None  # of the cell, where it has a number

    @property
    def words(self) -> str:
        """The mean, its spread and, in brackets, its gain."""
        spread, gain = f" ± {self.sd}" if self.sd else "", f" ({self.gain})" if self.gain else ""
        return f"{self.mean}{spread}{gain}"

    @property
    def compared(self) -> str:
        """The published number and, in brackets, ours minus it."""
        return f"{self.published} ({self.difference})" if self.difference else self.published


@dataclass(frozen=True)
class Line:
    """One line of a table: its labels, "" where the line above has the same, and its entries."""

    labels: tuple[str, ...]
    entries: tuple[TableCell, ...]
    n: str = ""
    row: str = ""  # whose it is; none where the rows stand in the columns
    # a row that nobody here runs; the counts below the columns
    kind: Literal["", "quoted", "n"] = ""
    note: str = ""  # letter of a footnote at its label

    @property
    def published(self) -> bool:
        """Did the paper print anything for this line?"""
        return any(e.published for e in self.entries)

    @property
    def words(self) -> tuple[str, ...]:
        """Its labels, then its entries."""
        return (*self.labels, *(e.words for e in self.entries))


@dataclass(frozen=True)
class Table:
    """A table; ``leaf`` counts the label column that names a line by itself."""

    title: str
    caption: str
    stubs: tuple[str, ...]  # headings of the label columns
    columns: tuple[Column, ...]
    groups: tuple[tuple[str, tuple[Line, ...]], ...]  # heading ("" for none), its lines
    leaf: int = 0
    metrics: tuple[str, ...] = ()
    counted: bool = True  # is there a column n?
    sortable: bool = False
    below: str = f"published (ours {MINUS} published)"  # what stands on the line below a line
    same: tuple[str, ...] = ()  # which label fractions are the same patients
    folded: bool = False  # on a page: shut until it is opened

    @property
    def scores(self) -> bool:
        """Is it a table of scores, which may be cut between columns, or one of words?"""
        return not any(column.kind == "left" for column in self.columns)

    @property
    def lines(self) -> list[Line]:
        """Every line, in the order of print."""
        return [line for _, lines in self.groups for line in lines]

    @property
    def heads(self) -> list[list[tuple[str, int]]]:
        """The levels of headings over the columns' own, outermost first: headings and how many each spans."""
        levels = []
        for depth in range(1, max((len(c.labels) for c in self.columns), default=1)):
            runs = groupby(self.columns, lambda c, d=depth: (c.over[:d], c.kind))  # type: ignore[misc]
            spans = [(over[-1] if over else "", len(list(run))) for (over, _), run in runs]
            levels += [spans] if any(label for label, _ in spans) else []
        return levels

    @property
    def starts(self) -> set[int]:
        """The columns before which a thin line helps: a new group, the mean after targets."""
        kinds = [(c.over, c.mean, c.kind) for c in self.columns]
        return {i for i, (a, b) in enumerate(pairwise(kinds), start=1) if a != b}


def lines_of(rows: Iterable[Sequence[str | TableCell]]) -> tuple[Line, ...]:
    """Return lines of words: the first is the label."""
    return tuple(
        Line((str(label),), tuple(TableCell(e) if isinstance(e, str) else e for e in entries))
        for label, *entries in rows
    )


def grid(
    head: Sequence[str],
    rows: Iterable[Sequence[str | TableCell]],
    title: str = "",
    caption: str = "",
    words: Sequence[int] = (),
) -> Table:
    """Return a table of words and numbers that are in print already.

    Args:
        head: of every column; the first one names the lines.
        rows: as long as ``head`` each.
        title: over it.
        caption: below it.
        words: the numbers of the columns, counted from 0, that hold words.
    """
    columns = tuple(
        Column((h,), "left" if i in words else "score") for i, h in enumerate(head) if i
    )
    return Table(title, caption, (head[0],), columns, (("", lines_of(rows)),), counted=False)


def sparse(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    caption: str = "",
    words: Sequence[int] = (),
) -> Table:
    """Return ``grid`` without the columns that are empty on all lines; rows may be shorter than the head."""
    filled = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    used = [i for i in range(len(head)) if any(row[i] for row in filled)]
    lines = [[row[i] for i in used] for row in filled]
    return grid(
        [head[i] for i in used], lines, title, caption, [used.index(i) for i in words if i in used]
    )


def with_lines(table: Table, *groups: tuple[str, Sequence[Line]]) -> Table:
    """Return a table with these groups of lines: of each its heading, "" for none."""
    return replace(
        table, groups=tuple((heading, tuple(lines)) for heading, lines in groups if lines)
    )


@dataclass(frozen=True)
class Form:
    """How a form of text writes what stands in a table."""

    text: Callable[[str], str]  # escapes
    cell: Callable[[TableCell], str]
    letter: Callable[[str], str]  # of a footnote
    italic: Callable[[str], str]
    small: Callable[[str], str]


def head(table: Table, form: Form, columns: Sequence[str]) -> list[str]:
    """Return the cells of a table's head; headings come unescaped."""
    cells = []
    for text, column in zip(map(form.text, columns), table.columns, strict=True):
        cells.append((form.italic(text) if column.quoted else text) + form.letter(column.note))
    return [*map(form.text, table.stubs), *cells, *([form.text(COUNTS)] if table.counted else [])]


def body(table: Table, form: Form) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the heading of each group of lines, escaped, and the cells of its lines."""
    for heading, lines in table.groups:
        rows = []
        for line in lines:
            n = [form.text(line.n)] if table.counted else []
            labels = [*map(form.text, line.labels)]
            if line.kind == "quoted":
                labels[table.leaf] = form.italic(labels[table.leaf])
            labels[table.leaf] += form.letter(line.note)
            rows.append([*labels, *map(form.cell, line.entries), *n])
            if line.published:
                words = form.small(table.below)
                stubs = [words if i == table.leaf else "" for i in range(len(table.stubs))]
                rows.append([*stubs, *(_compared(e, form) for e in line.entries), *[""] * len(n)])
        yield form.text(heading), rows


def _compared(cell: TableCell, form: Form) -> str:
    return form.text(cell.compared) + form.letter(cell.erratum) if cell.published else ""


def padded(rows: Sequence[Sequence[str]], table: Table, least: int = 0) -> list[list[str]]:
    """Return cells as wide as their column, words to the left and numbers to the right."""
    left = [*[True] * len(table.stubs), *(column.kind == "left" for column in table.columns), False]
    widths = [max(least, *map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [str.ljust if words else str.rjust for words in left]
    return [
        [align(c, w) for align, c, w in zip(aligned, row, widths, strict=False)] for row in rows
    ]
