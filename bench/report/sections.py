"""A report as a list of sections; a renderer for each form turns them into text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report.redraw import Figure
from bench.report.tabular import Table

EVERYWHERE = frozenset({"page", "markdown", "tex", "terminal"})
FILES = EVERYWHERE - {"terminal"}
PAGE = frozenset({"page"})


@dataclass(frozen=True)
class Text:
    """A paragraph: plain, a sentence that counts, a warning, or a note that a terminal leaves out."""

    text: str
    kind: Literal["plain", "sentence", "warning", "note"] = "plain"
    command: str = ""  # what to run next; on a page it stands in the section's note

    @property
    def with_command(self) -> str:
        """The text and, in brackets before its last stop, the command."""
        return f"{self.text.removesuffix('.')} ({self.command})." if self.command else self.text


@dataclass(frozen=True)
class Note:
    """One sentence, a link where it names a source, and its letter where it is a footnote."""

    text: str
    url: str = ""
    letter: str = ""


@dataclass(frozen=True)
class Notes:
    """Notes under one heading, "" for none."""

    heading: str
    notes: tuple[Note, ...]


Part = Text | Table | Figure | Notes


@dataclass(frozen=True)
class Section:
    """What stands under one heading."""

    title: str
    parts: Sequence[Part]
    anchor: str = ""  # of the list at the top of a page
    listed: str = ""  # its words there
    folded: bool = False  # on a page: shut until it is opened
    first: bool = False  # on a page: before the tables
    forms: frozenset[str] = EVERYWHERE

    @property
    def commands(self) -> list[str]:
        """The next commands that its texts name."""
        return [part.command for part in self.parts if isinstance(part, Text) and part.command]
