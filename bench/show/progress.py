"""What a person sees while jobs run: bars on a terminal, plain lines in a file, failures alone if quiet."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from bench.claims import is_suspended
from bench.data.contents import Bar, no_bar
from bench.errors import BenchError, printable
from bench.plan.cost import forecast
from bench.runtime import stale
from bench.show import screen
from bench.show.at_work import AtWork, Looks
from bench.show.labels import labels
from bench.show.words import counted, duration
from bench.store import Store

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from bench.plan import Plan
    from bench.runtime.execute import Outcome

Manner = Literal["bars", "lines", "quiet"]
REFRESH = 1.0  # seconds between looks at what is in work
SHARE = 10.0  # a look is begun at most each so many times as long as it takes
TELL = 180.0  # seconds after which a file is told again how far a job is
FEW = 40  # jobs of a run whose ends all have a line on a terminal; of more, failures and pretrainings
NAMED = 4  # jobs that are told at once in a file


def manner(*, quiet: bool = False, lines: bool = False) -> Manner:
    """Return how a run shows itself: as asked, else bars where they can move."""
    if quiet:
        return "quiet"
    still = os.environ.get("TERM") in ("dumb", "unknown") or os.environ.get("CI") not in (None, "", "false")
    return "bars" if sys.stderr.isatty() and not lines and not still else "lines"


def console(how: Manner) -> Console:
    """Return what writes to stderr; lines alone have no colour."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, no_color=True if how != "bars" else None,
                   force_terminal=None if how == "bars" else False)  # fmt: skip


class Watch:
    """Follows a list of jobs; use as a context manager."""

    def __init__(self, plan: Plan, store: Store, jobs: list[str], how: Manner | None = None) -> None:
        self._plan, self._store, self._jobs = plan, store, jobs
        self._how: Manner = how or manner()
        self._console = console(self._how)
        self._called = labels(plan)
        self._ended: dict[str, str] = {}
        self._waited: dict[str, str] = {}  # for what another command does -> who
        self._told: dict[str, float] = {}  # when a file was last told of a job in work
        self._began = time.monotonic()
        self._expected = {j: s or 0.0 for j, s in forecast(plan, store, jobs).items()}
        self._looks, self._now = Looks(store), list[AtWork]()
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

                self._live = Live(get_renderable=self._page, console=self._console, refresh_per_second=2)
                self._live.start()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._live is not None:
            self._now, self._note = [], ""
            self._live.stop()

    def outcome(self, outcome: Outcome) -> None:
        """Note that an attempt ended."""
        if outcome.state == "busy":
            self._waiting(outcome.job)
            return
        job = outcome.job
        self._ended[job] = outcome.state
        number, done = f"[{len(self._ended)}/{len(self._jobs)}]", outcome.state == "done"
        took = f" in {outcome.seconds:.1f} s" if outcome.seconds else ""
        said = f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state + took
        if self._how != "bars":
            self._print(f"{number} {self._title(job)} {said}{self._aside()}", always=not done)
        elif not done:
            self._print(f"{number} {self._title(job)} {said}", style="red", always=True)
        elif len(self._jobs) <= FEW or self._plan.jobs[job].kind == "pretrain":
            room = self._console.width - len(f"{number}  {said}")
            self._print(f"{number} {screen.cut(self._title(job), room)} {said}")

    def say(self, text: str) -> None:
        """Print a line beside the bars."""
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
        if who and self._waited.get(job) != who:  # said again once it is suspended, or somebody else's
            self._waited[job] = who
            self._print(f"{self._title(job)}: waiting for the result of {who}", always="SUSPENDED" in who)

    def _title(self, job: str) -> str:
        return f"{self._plan.jobs[job].kind} {self._called.get(job) or job}"

    def _left(self) -> str:
        """Return the time left in words, by the forecast scaled by how it has held so far."""
        whole = sum(self._expected.values())
        share = {one.job: one.step / max(one.steps, 1) for one in self._now}
        done = sum(s if job in self._ended else s * share.get(job, 0.0) for job, s in self._expected.items())
        if done < 0.05 * whole or done >= whole:  # too early to scale by, or over
            return ""
        passed = time.monotonic() - self._began
        return f"about {duration(passed / done * (whole - done))} left"

    def _aside(self) -> str:
        """Return the same for the end of a line."""
        left = self._left()
        return f"  ({left})" if left else ""

    def _follow(self) -> None:
        pause = REFRESH
        while not self._over.wait(pause):
            began = time.monotonic()
            with suppress(OSError, BenchError):  # a look for the eye alone, at folders that others write
                self._now = self._looks.at(job for job in self._jobs if self._open(job))
                for one in self._now:
                    if is_suspended(one.owner):
                        self._waiting(one.job)
            if self._live is None:
                self._tell(time.monotonic())
            pause = max(REFRESH, SHARE * (time.monotonic() - began))

    def _open(self, job: str) -> bool:
        """Can a job be in work: has it not ended, and all that it needs?"""
        return job not in self._ended and not any(
            need in self._expected and need not in self._ended for need in self._plan.jobs[job].needs
        )

    def _page(self) -> screen.Page:
        """Return what a terminal shows now."""
        states = list(self._ended.values())
        whole = screen.Whole(len(self._jobs), len(states), states.count("failed"), self._left())
        shown = [screen.Shown(self._title(one.job), one, self._unit(one.job)) for one in self._now]
        return screen.Page(shown, whole, self._note)

    def _unit(self, job: str) -> str:
        return "step" if self._plan.jobs[job].kind in ("pretrain", "finetune") else ""

    def _goes_on(self, job: str) -> bool:
        return not stale.differ(self._store, self._plan.jobs[job])

    def _tell(self, now: float) -> None:
        """Tell a file which jobs begin, and now and then how far they are."""
        due = []
        for one in self._now:
            if one.job not in self._told:
                on = f"is at {one.step}/{one.steps}" if one.step and self._goes_on(one.job) else "begins"
                self._told[one.job] = now
                self._print(f"{self._title(one.job)} {on}")
            elif now - self._told[one.job] >= TELL:
                self._told[one.job] = now
                due.append(one)
        for one in due[:NAMED]:
            self._print(f"{self._title(one.job)} {screen.words(one, self._unit(one.job))}")
        if len(due) > NAMED:
            self._print(f"and {len(due) - NAMED} more in work{self._aside()}")


def bars(how: Manner) -> Bar:
    """Return what shows a long reading: a bar on a terminal, nothing in a file."""
    return bar if how == "bars" else no_bar


@contextmanager
def bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Yield ``told(done, total)``: a progress bar on a terminal, nothing in a file."""
    if manner() != "bars":
        yield lambda done, total: None
        return
    from rich.progress import Progress

    with Progress(console=console("bars"), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
