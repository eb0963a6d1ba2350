"""How far an unfinished run is: what a page says at its top until the run is over, and never after."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

EVERY = 60.0  # seconds between two drawings of a page while its run goes on


@dataclass(frozen=True)
class Working:
    """A job in work."""

    kind: str
    label: str  # row, data set, fraction, seed
    location: str  # host and process, or SLURM's task
    since: float | None = None  # seconds since 1970
    step: int | None = None
    steps: int | None = None
    left: float | None = None  # seconds


@dataclass(frozen=True)
class Broken:
    """A job that failed in this run, or before it and has not been tried again."""

    kind: str
    label: str
    reason: str
    log: str
    behind: int = 0  # jobs that cannot start for it


@dataclass(frozen=True)
class Stage:
    """How the jobs of one kind stand."""

    kind: str
    done: int
    working: int
    waiting: int
    failed: int  # those that cannot start among them


@dataclass(frozen=True)
class Progress:
    """A run as it was when the page was drawn.

    ``state``: ``running`` where a command follows it, ``unattended`` where jobs go on without one, else
    ``stopped``. Times are seconds since 1970.
    """

    at: float
    began: float
    state: Literal["running", "unattended", "stopped"]
    cells: int  # numbers of the table that this run was to leave
    finished: int  # of them
    failed: int  # likewise
    by: str = ""  # who follows it
    working: tuple[Working, ...] = ()
    broken: tuple[Broken, ...] = ()
    stages: tuple[Stage, ...] = ()
    queue: tuple[str, ...] = ()  # what SLURM says of those that wait
    seconds: float | None = None  # until all of it is there
    reckoned: str = ""  # how that is known
    every: float = EVERY

    @property
    def left(self) -> int:
        """Return how many jobs have not ended."""
        return sum(stage.working + stage.waiting for stage in self.stages)

    @property
    def end(self) -> float | None:
        """Return when all of it will be there."""
        return None if self.seconds is None else self.at + self.seconds

    @staticmethod
    def clock(moment: float) -> str:
        """Return a moment as a clock of this machine shows it, with what it differs from UTC."""
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(moment))

    @staticmethod
    def machine(moment: float) -> str:
        """Return a moment as ``<time datetime>`` has it."""
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(moment))

    @staticmethod
    def long(seconds: float) -> str:
        """Return a time that is only reckoned: ``40 s``, ``12 min``, ``3 h 10 min``, ``2 days 5 h``."""
        if seconds < 90:
            return f"{seconds:.0f} s"
        minutes = round(seconds / 60)
        if minutes < 60:
            return f"{minutes} min"
        hours, minutes = divmod(minutes, 60)
        if hours < 24:
            return f"{hours} h {minutes:02d} min"
        days, hours = divmod(hours, 24)
        return f"{days} day{'s' if days > 1 else ''} {hours} h"
