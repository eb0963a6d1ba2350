"""Which jobs are in work, how far each is, and how fast it goes: from what they leave in their folders."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench.store import Store

WINDOW = 60.0  # seconds over which a job's speed is taken


@dataclass(frozen=True)
class AtWork:
    """A job in work, as one look found it; its speed in steps per second, None where it is not known yet."""

    job: str
    owner: dict[str, Any]  # as ``Store.owner`` has it
    step: int = 0  # 0 of 0 where it has told nothing
    steps: int = 0
    loss: float | None = None
    speed: float | None = None

    @property
    def left(self) -> float | None:
        """Return the seconds that it still takes at this speed."""
        return (self.steps - self.step) / self.speed if self.speed else None


class Looks:
    """Looks at jobs again and again; what it saw before tells their speed.

    Args:
        store: the output folder.
        clock: seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def at(self, jobs: Iterable[str]) -> list[AtWork]:
        """Return those of some jobs that are in work now."""
        found = []
        for job in jobs:
            owner = self._store.owner(job)
            if owner is None:
                self._seen.pop(job, None)
            else:
                found.append(self._look(job, owner))
        return found

    def _look(self, job: str, owner: dict[str, Any]) -> AtWork:
        told = self._store.progress(job)
        if not told:
            return AtWork(job, owner)
        seen, now = self._seen.setdefault(job, deque()), self._clock()
        if seen and told["step"] < seen[-1][1]:  # it went on from a checkpoint, earlier than it had been
            seen.clear()
        if not seen or told["step"] > seen[-1][1]:
            seen.append((now, told["step"]))
        while len(seen) > 2 and now - seen[0][0] > WINDOW:
            seen.popleft()
        (since, before), (last, after) = seen[0], seen[-1]
        speed = (after - before) / (last - since) if last > since else None
        return AtWork(job, owner, told["step"], told["steps"], told.get("loss"), speed)
