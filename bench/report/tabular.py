"""The tables of a report as plain data: headings, lines, entries and marks.

Nothing here knows a file format; numbers are already in print: shares in percent, others as they
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

from bench.report.cells import Key


@dataclass(frozen=True)
class Column:
    """One column of entries under its headings, outermost first, its own last."""

    labels: tuple[str, ...]
    kind: Literal["score", "fact", "check"] = "score"
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
class Entry:
    """One printed cell. ``mean`` also holds the words of a hole: ``failed``, ``not scored``, an em dash."""

    mean: str = ""
    sd: str = ""
    gain: str = ""  # on the row that the table names
    mark: str = ""  # best | second
    note: str = ""  # letter of a footnote
    published: str = ""
    erratum: str = ""  # letter of a footnote on the published number
    difference: str = ""
    counts: str = ""  # in words, for a tooltip
    sort: float | None = None  # None where there is no number
    hole: str = ""  # failed | not scored | absent | undefined
    quoted: bool = False  # the paper's own number, where ours would stand
    key: Key | None = None  # of the cell, where it has a number

    @property
    def beside(self) -> str:
        """The published number and, in brackets, ours minus it."""
        return f"{self.published} ({self.difference})" if self.difference else self.published


@dataclass(frozen=True)
class Line:
    """One line of a table: its labels, "" where the line above has the same, and its entries."""

    labels: tuple[str, ...]
    entries: tuple[Entry, ...]
    n: str = ""
    row: str = ""  # whose it is; none where the rows stand in the columns
    kind: Literal["", "quoted", "n"] = ""  # a row that nobody here runs; the counts below the columns
    note: str = ""  # letter of a footnote at its label

    @property
    def published(self) -> bool:
        """Did the paper print anything for this line?"""
        return any(e.published for e in self.entries)


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
    beside: str = "published"  # what stands on a line below
    same: tuple[str, ...] = ()  # which label fractions are the same patients

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
