"""What a terminal shows of a run that goes on: two lines for a job in work, one for the whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import printable
from bench.show.at_work import AtWork
from bench.show.words import duration

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

BAR, LEAST = 30, 8  # columns of a bar: at most, at least
INDENT = 2  # columns before a job's bar
BELOW = 5  # lines of a terminal that are left to what is printed above


@dataclass(frozen=True)
class Shown:
    """A job in work as it is called, and what its steps are called (nothing where they are cases)."""

    title: str
    at: AtWork
    unit: str = ""


@dataclass(frozen=True)
class Whole:
    """How far a run is."""

    jobs: int
    ended: int
    failed: int
    left: str  # time, in words

    @property
    def words(self) -> list[str]:
        """Return it, most important first."""
        return [f"{self.ended}/{self.jobs} jobs", f"{self.failed} failed" if self.failed else "", self.left]


@dataclass(frozen=True)
class Page:
    """What is shown at one moment; as many jobs as the terminal has room for."""

    shown: Sequence[Shown]
    whole: Whole
    note: str = ""  # below all

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text  # a row's name may look like markup

        room = max(1, (console.height - BELOW) // 2)
        for one in self.shown[:room]:
            yield Text(printable(one.title), style="bold", no_wrap=True, overflow="ellipsis")
            yield _line(
                " " * (INDENT - 1), (one.at.step, one.at.steps), figures(one.at, one.unit), console.width
            )
        if len(self.shown) > room:
            yield Text(f"and {len(self.shown) - room} more in work")
        yield _line("all", (self.whole.ended, self.whole.jobs), self.whole.words, console.width)
        if self.note:
            yield Text(printable(self.note))


def figures(at: AtWork, unit: str) -> list[str]:
    """Return what is told of a job in work, most important first: nothing is told before its first step."""
    if not at.steps:
        return ["begins"]
    left = "" if at.left is None or not unit else f"{duration(at.left)} left"
    loss = "" if at.loss is None else f"loss {at.loss:.4f}"
    return [f"{at.step}/{at.steps}", loss, left, _speed(at, unit)]


def words(at: AtWork, unit: str) -> str:
    """Return the same as a line of a file has it."""
    told = ", ".join(filter(None, figures(at, unit)))
    return f"{unit} {told}".strip() if at.steps else "is in work, its first step is not done yet"


def cut(text: str, room: int) -> str:
    """Return a title that takes at most ``room`` columns; a name's end tells more than its middle."""
    from rich.cells import cell_len, set_cell_size

    text = printable(text)
    return text if cell_len(text) <= room else set_cell_size(text, max(room - 1, LEAST)) + "…"


def _speed(at: AtWork, unit: str) -> str:
    if not at.speed or not unit:
        return ""
    return f"{at.speed:.3g} {unit}s/s" if at.speed >= 1 else f"{1 / at.speed:.3g} s/{unit}"


def _line(head: str, done: tuple[int, int], told: Iterable[str], width: int) -> Table:
    """Return a bar with what is told of it: on a narrow terminal less of it, and a shorter bar."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    parts = [part for part in told if part]
    room = width - len(head) - 2  # a column between each two
    while len(parts) > 1 and len("  ".join(parts)) + LEAST > room:
        parts.pop()
    text = "  ".join(parts)
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    bar = ProgressBar(max(done[1], 1), done[0], width=max(LEAST, min(BAR, room - len(text))))
    table.add_row(Text(head), bar, Text(text, no_wrap=True, overflow="ellipsis"))
    return table
