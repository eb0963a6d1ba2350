"""Draws a report again as somebody looks at it: once, then at most once a minute while its run goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.report.progress import EVERY
from bench.show import run_note
from bench.show.drawer import Drawer, Looked
from bench.store import Store


@dataclass
class _Page:
    wish: Looked
    next: float = 0.0  # by the clock; not drawn earlier
    stamp: int = 0  # of the file, as it was last seen
    over: str | None = None  # the run that was drawn to its end; empty where there was none


class Redrawing:
    """Follows the pages of some protocols.

    Args:
        store: the output folder.
        wishes: what draws each protocol, by its name.
        tell: takes a line for the person who serves: why a page could not be drawn.
        clock: seconds; it only goes on.
        wall: seconds since 1970, as files are dated.
    """

    def __init__(
        self, store: Store, wishes: Mapping[str, Looked], tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._tell, self._clock, self._wall = store, tell, clock, wall
        self._pages = {name: _Page(wish) for name, wish in wishes.items()}
        self._drawer, self._turn, self._said = Drawer(store), threading.Lock(), set[str]()

    def asked(self, name: str) -> None:
        """See to it that a protocol's page is drawn, where that is due; wait where there is none yet."""
        page = self._pages.get(name)
        if page is None:
            return
        there = self._file(name).exists()
        if not self._turn.acquire(blocking=not there):
            return  # one is being drawn
        thread = threading.Thread(target=self._draw, args=(name, page), daemon=True)
        thread.start()
        if not there:
            thread.join()

    def close(self) -> None:
        """Call off what is being drawn."""
        self._drawer.stop()

    def _draw(self, name: str, page: _Page) -> None:
        try:
            run = run_note.name(self._store, name)
            if page.over != run and self._due(name, page, run):
                drawn = self._drawer.draw(page.wish)
                page.next = self._clock() + EVERY
                page.over = run if name in drawn.over else None
                self._say(name, drawn.reason)
        except (OSError, BenchError) as error:
            self._say(name, str(error))
        finally:
            self._turn.release()

    def _due(self, name: str, page: _Page, run: str) -> bool:
        """Is its time come? What the run itself has just drawn is left alone for a while."""
        try:
            found = self._file(name).stat()
        except OSError:
            return self._clock() >= page.next
        if found.st_mtime_ns != page.stamp:
            age = min(max(self._wall() - found.st_mtime, 0.0), EVERY)
            first = not page.stamp and not run  # nobody else draws it: let it be of today
            page.stamp, page.next = found.st_mtime_ns, 0.0 if first else self._clock() + EVERY - age
        return self._clock() >= page.next

    def _file(self, name: str) -> Path:
        return self._store.root / "reports" / name / "index.html"

    def _say(self, name: str, reason: str) -> None:
        if reason and reason not in self._said:
            self._said.add(reason)
            self._tell(f"the page of {name} is not drawn: {reason}")
