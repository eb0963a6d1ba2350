"""What a person sees while jobs run: bars on a terminal, plain lines in a file, failures alone if quiet."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.claims import is_suspended
from bench.data.contents import Bar, no_bar
from bench.errors import BenchError, middle, printable
from bench.jobs.context import WARNING
from bench.plan.cost import forecast
from bench.runtime import stale
from bench.show.labels import labels
from bench.show.state import AtWork, Monitor
from bench.show.words import counted, duration
from bench.store import Store

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.table import Table

    from bench.plan import Plan
    from bench.runtime.execute import Outcome

Manner = Literal["bars", "lines", "quiet"]
REFRESH = 1.0  # seconds between looks at what is in work
SHARE = 10.0  # a look begins at most each so many times as long as it takes
LONG = 30.0  # seconds of a long reading after which a file gets a line
TELL = 180.0  # seconds after which a file gets another line on a job in work
# jobs of a run whose ends all have a line on a terminal; of more, failures and pretrainings
FEW = 40
NAMED = 4  # jobs that get a line at once in a file
BAR, LEAST = 30, 8  # columns of a bar: at most, at least
# of a terminal's first sixteen, which people choose so that they can be read
FAILED, WARNED, WORKING, DONE, TO_DO = "red", "yellow", "cyan", "green", "bright_black"
STYLES = {"failed": FAILED, "waiting": WARNED, "warning": WARNED, "running": WORKING}
INDENT = 2  # columns before a job's bar
BELOW = 5  # lines of a terminal that are left to what is printed above


def manner(*, quiet: bool = False, lines: bool = False) -> Manner:
    """Return how a run shows itself: as the flags say, else bars where they can move."""
    if quiet:
        return "quiet"
    in_ci = os.environ.get("CI", "") not in ("", "false")
    still = os.environ.get("TERM") in ("dumb", "unknown") or in_ci
    return "bars" if sys.stderr.isatty() and not lines and not still else "lines"


def console(how: Manner) -> Console:
    """Return what writes to stderr; lines alone have no colour."""
    from rich.console import Console

    if how == "bars":
        return Console(stderr=True, highlight=False)
    return Console(stderr=True, highlight=False, no_color=True, force_terminal=False)


@dataclass(frozen=True)
class Shown:
    """A job in work as a person calls it, and what its steps are called (empty where they are cases)."""

    title: str
    at: AtWork
    unit: str = ""

    @property
    def figures(self) -> list[str]:
        """Return how far it is, most important first."""
        at = self.at
        if not at.steps:
            return ["begins"]
        left = "" if at.left is None or not self.unit else f"{duration(at.left)} left"
        loss = "" if at.loss is None else f"loss {at.loss:.4f}"
        return [f"{at.step}/{at.steps}", loss, left, self._speed()]

    def _speed(self) -> str:
        speed, unit = self.at.speed, self.unit
        if not speed or not unit:
            return ""
        return f"{speed:.3g} {unit}s/s" if speed >= 1 else f"{1 / speed:.3g} s/{unit}"

    @property
    def line(self) -> str:
        """Return the same as a line of a file has it."""
        words = f"{self.unit} {', '.join(filter(None, self.figures))}".strip()
        return words if self.at.steps else "is running, but its first step is not done yet"


@dataclass(frozen=True)
class Page:
    """What a terminal shows at one moment: two lines for a job in work, as many as fit, one for the run."""

    shown: Sequence[Shown]
    jobs: int  # of the run
    ended: int
    figures: Sequence[str] = ()  # of the run, most important first
    note: str = ""  # below all

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text  # a row's name may look like markup

        room = max(1, (console.height - BELOW) // 2)
        for job in self.shown[:room]:
            yield Text(_cut(job.title, console.width), style="bold", no_wrap=True)
            yield _bar(" " * (INDENT - 1), (job.at.step, job.at.steps), job.figures, console.width)
        if len(self.shown) > room:
            yield Text(f"and {len(self.shown) - room} more in work")
        figures = [f"{self.ended}/{self.jobs} jobs", *self.figures]
        yield _bar("all", (self.ended, self.jobs), figures, console.width)
        if self.note:
            yield Text(printable(self.note))


def _bar(head: str, done: tuple[int, int], figures: Iterable[str], width: int) -> Table:
    """Return a bar and its figures: on a narrow terminal fewer of them, and a shorter bar."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    parts = [part for part in figures if part]
    room = width - len(head) - 2  # a column between each two
    while len(parts) > 1 and len("  ".join(parts)) + LEAST > room:
        parts.pop()
    text = "  ".join(parts)
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    width = max(LEAST, min(BAR, room - len(text)))
    bar = ProgressBar(
        max(done[1], 1),
        done[0],
        width=width,
        style=TO_DO,
        complete_style=WORKING,
        finished_style=DONE,
    )
    table.add_row(Text(head), bar, Text(text, no_wrap=True, overflow="ellipsis"))
    return table


def _cut(text: str, room: int) -> str:
    """Return a title that takes at most ``room`` columns; of a longer one the middle is cut out."""
    from rich.cells import cell_len

    return middle(printable(text), max(room, LEAST), cell_len)


class Watch:
    """Shows the jobs of a run as they begin, go on and end; use as a context manager."""

    def __init__(
        self, plan: Plan, store: Store, jobs: list[str], how: Manner | None = None
    ) -> None:
        self._plan, self._store, self._jobs = plan, store, jobs
        self._how: Manner = how or manner()
        self._console = console(self._how)
        self._called = labels(plan)
        self._ended: dict[str, str] = {}
        self._waited: dict[str, str] = {}  # for what another command does -> who
        self._warned = set[str]()  # what was said of jobs that go on
        self._lines: dict[str, float] = {}  # when a file last got a line on a job in work
        self._began = time.monotonic()
        self._expected = {j: s or 0.0 for j, s in forecast(plan, store, jobs).items()}
        self._monitor, self._working = Monitor(store), list[AtWork]()
        self._note = ""  # below the bars
        self._live: Live | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Watch:
        kinds = counted(self._plan.jobs[job].kind for job in self._jobs)
        head = f"{len(self._jobs)} of {len(self._plan.jobs)} jobs to do"
        self._print(f"{head}: {kinds}" if kinds else head)
        if self._jobs and self._how != "quiet":
            if self._how == "bars":
                from rich.live import Live

                self._live = Live(
                    get_renderable=self._page, console=self._console, refresh_per_second=2
                )
                self._live.start()
            self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        if self._live is not None:
            self._working, self._note = [], ""
            self._live.stop()

    def outcome(self, outcome: Outcome) -> None:
        """Show that an attempt ended."""
        job = outcome.job
        if outcome.state == "busy":
            self._waiting(job)
            return
        self._ended[job] = outcome.state
        if outcome.state == "done" and self._plan.jobs[job].kind == "pretrain":
            self._warn(job, self._warning_of(job))
        number, done = f"[{len(self._ended)}/{len(self._jobs)}]", outcome.state == "done"
        took = f" in {outcome.seconds:.1f} s" if outcome.seconds else ""
        result = f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state + took
        if self._how != "bars":
            self._print(f"{number} {self._title(job)} {result}{self._aside()}", always=not done)
        elif not done:
            self._print(f"{number} {self._title(job)} {result}", style=FAILED, always=True)
        elif len(self._jobs) <= FEW or self._plan.jobs[job].kind == "pretrain":
            room = self._console.width - len(f"{number}  {result}")
            self._print(f"{number} {_cut(self._title(job), room)} {result}")

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._print(f"bench: {text}", always=True)

    def last(self, text: str) -> bool:
        """Show a line below the bars, from a signal's handler too; False where there are no bars."""
        self._note = f"bench: {text}"
        return self._live is not None

    def _print(self, line: str, *, style: str | None = None, always: bool = False) -> None:
        if always or self._how != "quiet":
            self._console.print(printable(line), style=style, markup=False, soft_wrap=True)

    def _waiting(self, job: str) -> None:
        who = self._store.holder(job)
        # a second line once it is suspended, or somebody else's
        if who and self._waited.get(job) != who:
            self._waited[job] = who
            self._print(
                f"{self._title(job)}: waiting for the result of {who}", always="SUSPENDED" in who
            )

    def _warning_of(self, job: str) -> str:
        """Return what a finished job's manifest warns of; it may have ended between two looks."""
        with suppress(BenchError, OSError):
            return str(self._store.manifest(job).get(WARNING, ""))
        return ""

    def _warn(self, job: str, warning: str) -> None:
        """Show once what is wrong with a job that goes on."""
        if warning and warning not in self._warned:
            self._warned.add(warning)
            text = f"warning: {self._title(job)}: {warning}"
            self._print(text, style=WARNED, always=True)

    def _title(self, job: str) -> str:
        return f"{self._plan.jobs[job].kind} {self._called.get(job) or job}"

    def _left(self) -> str:
        """Return the time left in words: the forecast, scaled by how it has held so far."""
        total = sum(self._expected.values())
        share = {at.job: at.share for at in self._working} | dict.fromkeys(self._ended, 1.0)
        done = sum(seconds * share.get(job, 0.0) for job, seconds in self._expected.items())
        if done < 0.05 * total or done >= total:  # too early to scale by, or over
            return ""
        passed = time.monotonic() - self._began
        return f"about {duration(passed / done * (total - done))} left"

    def _aside(self) -> str:
        left = self._left()
        return f"  ({left})" if left else ""

    def _follow(self) -> None:
        pause = REFRESH
        while not self._over.wait(pause):
            began = time.monotonic()
            with suppress(OSError, BenchError):  # folders that others write, read for the eye alone
                self._working = self._monitor.at_work(job for job in self._jobs if self._open(job))
                for at in self._working:
                    self._warn(at.job, at.warning)
                    if is_suspended(at.owner):
                        self._waiting(at.job)
            if self._live is None:
                self._report(time.monotonic())
            pause = max(REFRESH, SHARE * (time.monotonic() - began))

    def _open(self, job: str) -> bool:
        """Tell whether a job can be in work: it has not ended, and all that it needs has."""
        return job not in self._ended and not any(
            need in self._expected and need not in self._ended
            for need in self._plan.jobs[job].needs
        )

    def _page(self) -> Page:
        failed = list(self._ended.values()).count("failed")
        figures = (f"{failed} failed" if failed else "", self._left())
        shown = [self._shown(at) for at in self._working]
        return Page(shown, len(self._jobs), len(self._ended), figures, self._note)

    def _shown(self, at: AtWork) -> Shown:
        unit = "step" if self._plan.jobs[at.job].kind in ("pretrain", "finetune") else ""
        return Shown(self._title(at.job), at, unit)

    def _report(self, now: float) -> None:
        """Print to a file which jobs begin, and now and then how far they are."""
        due = []
        for at in self._working:
            if at.job not in self._lines:
                resumed = at.step and not stale.differ(self._store, self._plan.jobs[at.job])
                how = f"is at {at.step}/{at.steps}" if resumed else "begins"
                self._print(f"{self._title(at.job)} {how}")
            elif now - self._lines[at.job] >= TELL:
                due.append(self._shown(at))
            else:
                continue
            self._lines[at.job] = now
        for job in due[:NAMED]:
            self._print(f"{job.title} {job.line}")
        if len(due) > NAMED:
            self._print(f"and {len(due) - NAMED} more in work{self._aside()}")


def tell(text: str) -> None:
    """Print lines to stdout; on a terminal what failed, waits or is in work has its colour."""
    if not sys.stdout.isatty():
        sys.stdout.write(f"{text}\n")
        return
    from rich.console import Console

    out = Console(highlight=False)
    for line in text.split("\n"):
        style = STYLES.get(line.partition(":")[0])
        out.print(line, style=style, markup=False, soft_wrap=True)


def bars(how: Manner) -> Bar:
    """Return what shows a long reading: a bar on a terminal, nothing in a file."""
    return bar if how == "bars" else no_bar


def _lines(text: str) -> Callable[[int, int], None]:
    printed = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal printed
        if time.monotonic() - printed >= LONG:
            printed = time.monotonic()
            sys.stderr.write(f"{text}: {done} of {total}\n")

    return advance


@contextmanager
def bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Yield ``advance(done, total)`` of a progress bar on a terminal; a file gets a line now and then."""
    if manner() != "bars":
        yield _lines(text)
        return
    from rich.progress import Progress

    with Progress(console=console("bars"), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
