"""Follows a run for its trackers, beside it: no job is waited for, slowed or endangered by one."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from bench.claims import Fenced, beating
from bench.errors import BenchError
from bench.show.at_work import Looks
from bench.show.labels import labels
from bench.show.trackers.content import KINDS
from bench.store import Store

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.runtime.execute import Outcome
    from bench.show.trackers.one import One

TICK = 5.0  # seconds between looks at jobs in work
LAST, STOPPED = 300.0, 10.0  # seconds for what is left to tell at the end of a run, or where it was stopped
SOON = 3.0  # of them, that nobody is told of


class Follow:
    """Tells trackers of a run; use as a context manager around it.

    Args:
        plan: the run's.
        store: the output folder.
        names: of the trackers; without any nothing is done.
        tell: takes a warning for the person who watches.
        news: takes a line that is none.
    """

    def __init__(
        self, plan: Plan, store: Store, names: Sequence[str], tell: Callable[[str], None],
        news: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._plan, self._store, self._names, self._tell, self._news = plan, store, names, tell, news
        self._looks = Looks(store)
        self._done = set[str]()
        self._told = deque[tuple[str, str]]()  # what happened, and to what
        self._over, self._stack = threading.Event(), ExitStack()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Follow:
        if self._names:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            limit = LAST if error is None else STOPPED
            self._thread.join(SOON)
            if self._thread.is_alive():
                self._news("--log: telling what is left")
            self._thread.join(limit)
            if self._thread.is_alive():
                self._tell(f"--log: not all was told in {limit:.0f} s; the same command tells the rest")

    def outcome(self, outcome: Outcome) -> None:
        """Note that an attempt ended."""
        self._told.append((outcome.state, outcome.job))

    def drawn(self, protocol: str) -> None:
        """Note that a protocol's report is there."""
        self._told.append(("drawn", protocol))

    def _follow(self) -> None:
        with self._stack:
            each = [one for name in self._names if (one := self._open(name)) is not None]
            wanted = [job for job in self._plan.wanted() if self._plan.jobs[job].kind in KINDS]
            for job in self._store.present(wanted):  # of earlier runs
                self._hear(each, "done", job)
            while each:
                over = self._over.wait(TICK)
                if not over:
                    self._look(each, [job for job in wanted if job not in self._done])
                while self._told:
                    self._hear(each, *self._told.popleft())
                if over:
                    break
            self._each(each, lambda one: one.tracker.close())

    def _open(self, name: str) -> One | None:
        """Open a tracker; None where it cannot be opened, or another command tells it of this folder."""
        from bench.show.trackers.one import One

        key = f".log-{name}"
        try:
            claim = self._store.claim(key)
            if claim is None:
                self._tell(f"--log {name}: another command on this folder does it; this one leaves it alone")
                return None
            self._stack.callback(shutil.rmtree, self._store.work / key, ignore_errors=True)
            self._stack.enter_context(beating(claim))
            one = One(name, self._plan, self._store, labels(self._plan))
        except Exception as error:  # it is no part of bench: whatever is wrong with it, the run goes on
            self._tell(f"--log {name}: {_said(error)}")
            return None
        self._news(f"--log {name}: {one.tracker.place}")
        return one

    def _look(self, each: list[One], jobs: list[str]) -> None:
        found = self._looks.at(jobs)
        self._each(each, lambda one: one.live(found))

    def _hear(self, each: list[One], what: str, key: str) -> None:
        if what == "done":
            self._done.add(key)
            self._each(each, lambda one: one.ended(key))
        elif what == "failed":
            self._each(each, lambda one: one.failed(key))
        elif what == "drawn":
            self._each(each, lambda one: one.table(key))

    def _each(self, each: list[One], do: Callable[[One], None]) -> None:
        """Do something with every tracker; one that fails is left alone from then on."""
        for one in list(each):
            try:
                do(one)
            except Exception as error:
                each.remove(one)
                self._tell(f"--log {one.tracker.folder.name}: {_said(error)}; the run goes on without it")


def _said(error: Exception) -> str:
    known = isinstance(error, (BenchError, OSError, Fenced))
    text = " ".join(str(error).split())
    return text if known else f"{type(error).__name__}: {text}"
