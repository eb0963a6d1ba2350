"""The pages of a run, drawn again while it goes on: by the run itself, or for a browser that looks at them.

They are drawn in a process of low priority, the first that the system kills where memory is short: no
job waits for one or is endangered by it. What goes wrong is told once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from bench import no_torch, protocol
from bench.errors import BenchError, printable
from bench.report.progress import EVERY
from bench.show import state
from bench.show.state import Run, RunState
from bench.store import Store
from bench.workers import Died, Worker, attend

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from bench.plan import Plan
    from bench.runtime.execute import Outcome

LIMIT = 900.0  # seconds of one drawing
ENDING = 2.0  # seconds that a drawing which is called off gets to clean up
LAST = 10.0  # seconds of the one that says that a run was stopped
TICK = 0.5  # seconds between looks whether a run's pages are due
SOON = 10.0  # seconds after which a run shows itself without a number
SHARE = 10.0  # a run's drawing begins at most each so many times as long as it takes


@dataclass(frozen=True)
class Source:
    """A protocol by its file, read where it is drawn: handed over, its parameters would bring torch along."""

    file: Path
    scale: str | None = None
    content: str = ""  # digest of the file as it was; empty where it may have been edited since
    overrides: tuple[str, ...] = ()  # what --set says

    def read(self) -> protocol.Protocol:
        """Return the protocol.

        Raises:
            BenchError: its file was edited, or cannot be read any more.
        """
        overrides = [protocol.Override(text) for text in self.overrides]
        read = protocol.read(self.file, self.scale, overrides, drawn=True)
        if self.content and read.origin is not None and read.origin.content != self.content:
            raise BenchError(f"{self.file}: was edited during its run")
        return read


@dataclass(frozen=True)
class RunPages:
    """The pages of protocols as their run stands, for the command that follows it."""

    sources: tuple[Source, ...]
    run: Run
    every: float = EVERY  # seconds until the next drawing, as the pages say

    def draw(self, store: Store) -> tuple[str, ...]:
        """Draw them; return the protocols of which nothing is left to do."""
        from bench.show.reports import write_report

        run, over = RunState(self.run, store), []
        for source in self.sources:
            read = source.read()
            progress = run.of(read.name)
            if progress is None:
                over.append(read.name)
            else:
                progress = replace(progress, every=self.every)
            write_report(read, self.run.plan, store, progress)
        return tuple(over)


@dataclass(frozen=True)
class ServedPage:
    """The page of a protocol for a browser: as its run stands, else from its rows.

    One that brings plugins is drawn from the rows that its run has left: looking runs no code from outside.
    """

    source: Source

    def draw(self, store: Store) -> tuple[str, ...]:
        """Draw it; return its name where nothing of it is left to do."""
        from bench.show.reports import rewrite_report

        read = self.source.read()
        run = state.latest(store, read.name)
        if run is None or read.plugins:
            rewrite_report(self.source.file, self.source.scale, store, None)
            return (read.name,) if run is None else ()
        scales = [cell.columns["scale"] for cell in run.plan.cells[read.name]]
        ran = replace(self.source, scale=scales[0] if scales else self.source.scale)
        return RunPages((ran,), run).draw(store)


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

    def draw(self, pages: RunPages | ServedPage, limit: float = LIMIT) -> Drawn:
        """Draw, in at most ``limit`` seconds."""
        self._stopped = False
        drawn = self._draw(pages, limit)
        if drawn.lacks_torch and not self._torch:
            self._torch = True
            return self._draw(pages, limit)
        return drawn

    def stop(self) -> None:
        """Call off the drawing that is under way, if any."""
        self._stopped = True
        if self._child is not None:
            self._child.terminate()

    def _draw(self, pages: RunPages | ServedPage, limit: float) -> Drawn:
        try:
            worker = Worker.start(_serve, str(self._store.root), pages, self._torch, daemon=True)
        except (
            Exception
        ) as error:  # no memory for a process, or a plugin that cannot be handed over
            return Drawn(_reason(error))
        self._child = worker.process
        try:
            if self._stopped or not worker.pipe.poll(limit):
                worker.process.terminate()
                return Drawn("" if self._stopped else f"it took longer than {limit:.0f} s")
            drawn: Drawn = worker.receive()
            return drawn
        except Died as died:
            return Drawn(f"its process died ({died})")
        finally:
            self._child = None
            worker.end(time.monotonic() + ENDING)


def _serve(
    pipe: Connection, parent: int, root: str, pages: RunPages | ServedPage, torch: bool
) -> None:
    attend(parent, _answer, lambda: None)
    with suppress(OSError):
        os.nice(5)  # a quarter of a core that a worker uses; at 10 large pages took over 15 minutes
    with suppress(OSError):  # Linux alone
        Path("/proc/self/oom_score_adj").write_text("1000")
    bare = not torch and no_torch.install()
    try:
        pipe.send(Drawn(over=pages.draw(Store(Path(root)))))
    except (
        Exception
    ) as error:  # a report's bug must not stop a run; its last report raises it again
        pipe.send(Drawn(_reason(error), (), bare and no_torch.used()))


def _reason(error: Exception) -> str:
    return printable(str(error) or type(error).__name__)


def _answer(stop: int) -> None:
    """A terminal's Ctrl-C is for the run; told to end, leave no unfinished file."""
    signal.signal(stop, signal.SIG_IGN if stop == signal.SIGINT else _leave)


def _leave(*_: object) -> None:
    raise SystemExit(1)


class Pace:
    """When a run's pages are due: with the first number, then at most once in ``every`` seconds."""

    def __init__(self, cells: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.cells, self.every, self._clock = cells, EVERY, clock
        self._first, self._next, self._drawn = clock() + SOON, 0.0, -1

    def due(self) -> bool:
        """Tell whether it is time."""
        now = self._clock()
        if self._drawn < 0:
            return self.cells > 0 or now >= self._first
        return now >= self._next or (self._drawn == 0 and self.cells > 0)

    def begin(self) -> float:
        """Note that a drawing begins; return when."""
        self._drawn = self.cells
        return self._clock()

    def end(self, began: float) -> None:
        """Note that one ended; drawing takes a tenth of the time at most."""
        self.every = max(self.every, SHARE * (self._clock() - began))
        self._next = began + self.every


class Live:
    """Keeps the pages of a run up to date; use as a context manager around it. ``workers`` None: a cluster decides."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        plan: Plan,
        store: Store,
        jobs: Sequence[str],
        workers: int | None,
        tell: Callable[[str], None],
    ) -> None:
        self._sources, self._plan, self._store = dict(sources), plan, store
        self._jobs, self._workers, self._tell = tuple(jobs), workers, tell
        self._numbers = {c.evaluate for cells in plan.cells.values() for c in cells if c.wanted}
        self._pace, self._drawer = Pace(), Drawer(store)
        self._over, self._announced, self._note = threading.Event(), False, ExitStack()
        self._run: Run | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Live:
        self._pace = Pace(len(set(self._store.present(self._numbers)) - set(self._jobs)))
        if self._jobs:
            try:
                note = state.announced(self._store, self._plan, self._jobs, self._workers)
                self._run = self._note.enter_context(note)
                self._thread.start()
            except (OSError, BenchError) as error:
                self._say(str(error))
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
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
        drawn = self._drawer.draw(
            RunPages(tuple(self._sources.values()), self._run, self._pace.every), limit
        )
        self._pace.end(began)
        self._sources = {n: source for n, source in self._sources.items() if n not in drawn.over}
        if drawn.reason and not self._over.is_set():
            self._say(drawn.reason)

    def _say(self, reason: str) -> None:
        if not self._announced:
            self._announced = True
            self._tell(f"the page is not drawn while the run goes on: {reason}")


@dataclass
class _Served:
    page: ServedPage
    next: float = 0.0  # by the clock; not drawn earlier
    stamp: int = 0  # of the file, as it was last seen
    over: str | None = None  # the run that was drawn to its end; empty where there was none


class Redrawing:
    """Draws pages again as a browser asks: once, then at most once a minute while their run goes on.

    Args:
        store: the output folder.
        pages: of the protocols, by their names.
        tell: takes a line for the person who serves: why a page could not be drawn.
        clock: seconds; it only goes on.
        wall: seconds since 1970, as files are dated.
    """

    def __init__(
        self,
        store: Store,
        pages: Mapping[str, ServedPage],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._tell, self._clock, self._wall = store, tell, clock, wall
        self._pages = {name: _Served(page) for name, page in pages.items()}
        self._drawer, self._turn, self._reasons = Drawer(store), threading.Lock(), set[str]()

    def refresh(self, name: str) -> None:
        """Draw a protocol's page where that is due; wait for it where there is no page yet."""
        served = self._pages.get(name)
        if served is None:
            return
        exists = self._file(name).exists()
        if not self._turn.acquire(blocking=not exists):
            return  # a page is being drawn
        thread = threading.Thread(target=self._draw, args=(name, served), daemon=True)
        thread.start()
        if not exists:
            thread.join()

    def close(self) -> None:
        """Call off what is being drawn."""
        self._drawer.stop()

    def _draw(self, name: str, served: _Served) -> None:
        try:
            run = state.run_name(self._store, name)
            if served.over != run and self._due(name, served, run):
                drawn = self._drawer.draw(served.page)
                served.next = self._clock() + EVERY
                served.over = run if name in drawn.over else None
                self._say(name, drawn.reason)
        except (OSError, BenchError) as error:
            self._say(name, str(error))
        finally:
            self._turn.release()

    def _due(self, name: str, served: _Served, run: str) -> bool:
        """Tell whether it is time; what the run itself has just drawn is left alone for a while."""
        try:
            file = self._file(name).stat()
        except OSError:
            return self._clock() >= served.next
        if file.st_mtime_ns != served.stamp:
            age = min(max(self._wall() - file.st_mtime, 0.0), EVERY)
            first = not served.stamp and not run  # nobody else draws it: let it be of today
            served.stamp, served.next = (
                file.st_mtime_ns,
                0.0 if first else self._clock() + EVERY - age,
            )
        return self._clock() >= served.next

    def _file(self, name: str) -> Path:
        return self._store.root / "reports" / name / "index.html"

    def _say(self, name: str, reason: str) -> None:
        if reason and reason not in self._reasons:
            self._reasons.add(reason)
            self._tell(f"the page of {name} is not drawn: {reason}")
