"""What a person sees while jobs run: live bars on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from bench.errors import printable
from bench.plan.cost import forecast
from bench.show.labels import labels
from bench.store import Store

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from bench.plan import Plan
    from bench.runtime.execute import Outcome

REFRESH = 1.0  # seconds


class Watch:
    """Follows a list of jobs; use as a context manager."""

    def __init__(self, plan: Plan, store: Store, jobs: list[str]) -> None:
        from rich.console import Console

        self._plan, self._store, self._jobs = plan, store, jobs
        self._console: Console = Console(stderr=True, highlight=False)
        self._called = labels(plan)
        self._ended: dict[str, str] = {}
        self._told: set[str] = set()
        self._began = time.monotonic()
        self._expected = {j: s or 0.0 for j, s in forecast(plan, store, jobs).items()}
        self._live: Live | None = None
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        self._console.print(f"{len(self._jobs)} of {len(self._plan.jobs)} jobs to do")
        if self._jobs and sys.stderr.isatty():
            from rich.live import Live

            self._live = Live(self._table(), console=self._console, refresh_per_second=2)
            self._live.start()
            threading.Thread(target=self._refresh, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._live is not None:
            self._live.stop()

    def outcome(self, outcome: Outcome) -> None:
        """Note that an attempt ended."""
        if outcome.state == "busy":
            self._waiting(outcome.job)
            return
        self._ended[outcome.job] = outcome.state
        took = f" in {outcome.seconds:.1f} s" if outcome.seconds else ""
        said = f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state + took
        line = f"[{len(self._ended)}/{len(self._jobs)}] {self._title(outcome.job)} {said}"
        self._console.print(f"{printable(line)}{self._left()}", markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line beside the bars."""
        self._console.print(printable(f"bench: {text}"), markup=False, soft_wrap=True)

    def _waiting(self, job: str) -> None:
        """Say once that another command does a job, so that this one does not seem to hang."""
        owner = self._store.owner(job)
        if owner is not None and job not in self._told:
            self._told.add(job)
            where = f"process {owner['pid']} on {owner['host']}"
            line = f"{self._title(job)}: {where} is at it; waiting for its result"
            self._console.print(printable(line), markup=False, soft_wrap=True)

    def _title(self, job: str) -> str:
        return f"{self._plan.jobs[job].kind} {self._called.get(job) or job}"

    def _left(self) -> str:
        """Return the time left by the forecast, scaled by how it has held so far."""
        whole = sum(self._expected.values())
        done = sum(self._expected[j] if j in self._ended else self._share(j) for j in self._jobs)
        if done < 0.05 * whole or done >= whole:  # too early to scale by, or over
            return ""
        passed = time.monotonic() - self._began
        return f"  (about {duration(passed / done * (whole - done))} left)"

    def _share(self, job: str) -> float:
        """Return the forecast seconds of a job that lie behind it, 0 where it does not run."""
        told = self._store.progress(job)
        return self._expected[job] * told["step"] / max(told["steps"], 1) if told else 0.0

    def _refresh(self) -> None:
        while not self._over.wait(REFRESH):
            if self._live is not None:
                self._live.update(self._table())

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text  # a row's name may look like markup

        table = Table.grid(padding=(0, 2))
        for job in self._jobs:
            told = None if job in self._ended else self._store.progress(job)
            if not told or self._store.owner(job) is None:
                continue
            loss = "" if told["loss"] is None else f"loss {told['loss']:.4f}"
            bar = ProgressBar(told["steps"], told["step"], width=30)
            steps = f"{told['step']}/{told['steps']}"
            table.add_row(Text(self._title(job)), bar, steps, loss)
        table.add_row("all", ProgressBar(len(self._jobs), len(self._ended), width=30),
                      f"{len(self._ended)}/{len(self._jobs)}", self._left())  # fmt: skip
        return table


def duration(seconds: float) -> str:
    """Return seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


@contextmanager
def bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Yield ``told(done, total)``: a progress bar on a terminal, nothing in a file."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
