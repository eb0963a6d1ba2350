"""The pages of a run are drawn again while it goes on.

No job is waited for, slowed or endangered by it (see ``drawer``). It takes a tenth of the time at most,
and what goes wrong is said once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.report.progress import EVERY
from bench.show import run_note
from bench.show.drawer import ENDING, LIMIT, Drawer, Followed, Source
from bench.show.run_note import Run
from bench.store import Store

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.runtime.execute import Outcome

TICK = 0.5  # seconds between looks whether it is time
SOON = 10.0  # seconds after which a run shows itself without a number
SHARE = 10.0  # a drawing is begun at most each so many times as long as it takes
LAST = 10.0  # seconds of the one that says that a run was stopped


class Pace:
    """Says when it is time to draw: with the first number, then at most once in ``every`` seconds."""

    def __init__(self, cells: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.cells, self.every, self._clock = cells, EVERY, clock
        self._first, self._next, self._drawn = clock() + SOON, 0.0, -1

    def due(self) -> bool:
        """Is it time?"""
        now = self._clock()
        if self._drawn < 0:
            return self.cells > 0 or now >= self._first
        return now >= self._next or (self._drawn == 0 and self.cells > 0)

    def begin(self) -> float:
        """Note that a drawing begins; return when."""
        self._drawn = self.cells
        return self._clock()

    def end(self, began: float) -> None:
        """Note that one ended."""
        now = self._clock()
        self.every = max(self.every, SHARE * (now - began))
        self._next = began + self.every


class Live:
    """Keeps the pages of a run up to date; use as a context manager around it.

    Args:
        sources: of the run's protocols, by their names.
        plan: theirs.
        store: the output folder.
        jobs: that are to be done.
        workers: processes here, None where a cluster decides.
        tell: takes a line for the person who watches.
    """

    def __init__(
        self, sources: Mapping[str, Source], plan: Plan, store: Store, jobs: Sequence[str],
        workers: int | None, tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._sources, self._plan, self._store = dict(sources), plan, store
        self._jobs, self._workers, self._tell = tuple(jobs), workers, tell
        self._numbers = {c.evaluate for cells in plan.cells.values() for c in cells if c.wanted}
        self._pace, self._drawer = Pace(), Drawer(store)
        self._over, self._told, self._note = threading.Event(), False, ExitStack()
        self._run: Run | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Live:
        there = self._numbers.intersection(self._store.present(self._numbers)) - set(self._jobs)
        self._pace = Pace(len(there))
        if self._jobs:
            try:
                announced = run_note.announced(self._store, self._plan, self._jobs, self._workers)
                self._run = self._note.enter_context(announced)
                self._thread.start()
            except (OSError, BenchError) as error:
                self._say(str(error))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._drawer.stop()
        if self._thread.is_alive():
            self._thread.join(ENDING + LAST)
        self._note.close()  # from here on nobody follows it
        if error is not None and self._run is not None:
            self._draw(LAST)

    def outcome(self, outcome: Outcome) -> None:
        """Note that an attempt ended."""
        if outcome.state == "done" and outcome.job in self._numbers:
            self._pace.cells += 1

    def _follow(self) -> None:
        while not self._over.wait(TICK):
            if self._pace.due():
                self._draw()

    def _draw(self, limit: float = LIMIT) -> None:
        if self._run is None or not self._sources:
            return
        began = self._pace.begin()
        drawn = self._drawer.draw(Followed(tuple(self._sources.values()), self._run, self._pace.every), limit)
        self._pace.end(began)
        self._sources = {n: source for n, source in self._sources.items() if n not in drawn.over}
        if drawn.reason and not self._over.is_set():
            self._say(drawn.reason)

    def _say(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._tell(f"the page is not drawn while the run goes on: {reason}")
