"""Draws pages in a process that gives way to everything else.

It has the lowest priority, and is the first that the system kills where memory is short.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench import no_torch, protocol
from bench.errors import BenchError, printable
from bench.report.progress import EVERY
from bench.show import run_note
from bench.show.run_note import Run
from bench.store import Store
from bench.workers import Died, Worker, attend

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

LIMIT = 900.0  # seconds of one drawing
ENDING = 2.0  # seconds that a drawing which is called off gets to clean up


class Wish(Protocol):
    """Some pages to draw; it is handed to another process."""

    def draw(self, store: Store) -> tuple[str, ...]:
        """Draw them; return the protocols of which nothing is left to do."""


@dataclass(frozen=True)
class Source:
    """A protocol by its file, read where it is drawn: handed over, its parameters would bring torch along."""

    file: Path
    scale: str | None = None
    content: str = ""  # digest of what the file said; empty where it may say something else by now

    def read(self) -> protocol.Protocol:
        """Return the protocol.

        Raises:
            BenchError: its file was edited, or cannot be read any more.
        """
        found = protocol.read(self.file, self.scale, drawn=True)
        if self.content and found.origin is not None and found.origin.content != self.content:
            raise BenchError(f"{self.file}: was edited while its run goes on")
        return found


@dataclass(frozen=True)
class Followed:
    """The pages of protocols as their run stands, for the command that follows it."""

    sources: tuple[Source, ...]
    run: Run
    every: float = EVERY  # seconds until the next time, as the pages say

    def draw(self, store: Store) -> tuple[str, ...]:
        """Draw them; return the protocols of which nothing is left to do."""
        from bench.show.reports import write_report
        from bench.show.run_state import State

        state, over = State(self.run, store), []
        for source in self.sources:
            found = source.read()
            progress = state.of(found.name)
            if progress is None:
                over.append(found.name)
            else:
                progress = replace(progress, every=self.every)
            write_report(found, self.run.plan, store, progress)
        return tuple(over)


@dataclass(frozen=True)
class Looked:
    """The page of a protocol for whoever looks at it: as its run stands, else from its rows.

    One that brings plugins is drawn from the rows that its run has left: looking runs no code from outside.
    """

    source: Source

    def draw(self, store: Store) -> tuple[str, ...]:
        """Draw it; return its name where nothing of it is left to do."""
        from bench.show.reports import rewrite_report

        found = self.source.read()
        run = run_note.latest(store, found.name)
        if run is None or found.plugins:
            rewrite_report(self.source.file, self.source.scale, store, None)
            return (found.name,) if run is None else ()
        scales = [cell.columns["scale"] for cell in run.plan.cells[found.name]]
        ran = replace(self.source, scale=scales[0] if scales else self.source.scale)
        return Followed((ran,), run).draw(store)


@dataclass(frozen=True)
class Drawn:
    """How a drawing ended: why it failed, or nothing."""

    reason: str = ""
    over: tuple[str, ...] = ()  # protocols of which nothing is left to do
    lacks_torch: bool = False


class Drawer:
    """Draws in a process of its own; one drawing at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._child: SpawnProcess | None = None
        self._torch = False  # does a plugin need it to be read?
        self._stopped = False

    def draw(self, wish: Wish, limit: float = LIMIT) -> Drawn:
        """Draw, in at most ``limit`` seconds."""
        self._stopped = False
        drawn = self._draw(wish, limit)
        if drawn.lacks_torch and not self._torch:
            self._torch = True
            return self._draw(wish, limit)
        return drawn

    def stop(self) -> None:
        """Call off the drawing that is under way, if any."""
        self._stopped = True
        if self._child is not None:
            self._child.terminate()

    def _draw(self, wish: Wish, limit: float) -> Drawn:
        try:
            worker = Worker.start(_serve, str(self._store.root), wish, self._torch, daemon=True)
        except Exception as error:  # no memory for a process, or a plugin that cannot be handed over
            return Drawn(_said(error))
        self._child = worker.process
        try:
            if self._stopped or not worker.pipe.poll(limit):
                worker.process.terminate()
                return Drawn("" if self._stopped else f"it took longer than {limit:.0f} s")
            found: Drawn = worker.answer()
            return found
        except Died as died:
            return Drawn(f"its process died ({died})")
        finally:
            self._child = None
            worker.end(time.monotonic() + ENDING)


def _serve(pipe: Connection, parent: int, root: str, wish: Wish, torch: bool) -> None:
    attend(parent, _answer, lambda: None)
    _give_way()
    bare = not torch and no_torch.install()
    try:
        pipe.send(Drawn(over=wish.draw(Store(Path(root)))))
    except Exception as error:  # a report's bug must not stop a run; its last report raises it again
        pipe.send(Drawn(_said(error), (), bare and no_torch.used()))


def _said(error: Exception) -> str:
    return printable(str(error) or type(error).__name__)


def _answer(stop: int) -> None:
    """A terminal's Ctrl-C is for the run; asked to end, leave no unfinished file."""
    signal.signal(stop, signal.SIG_IGN if stop == signal.SIGINT else _leave)


def _leave(*_: object) -> None:
    raise SystemExit(1)


def _give_way() -> None:
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError):  # Linux alone
        Path("/proc/self/oom_score_adj").write_text("1000")
