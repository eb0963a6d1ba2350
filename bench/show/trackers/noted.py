"""What a tracker was told already, so that nothing comes twice: ``OUT/trackers/<name>.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from bench import typed
from bench.errors import BenchError
from bench.store import write_atomic
from bench.typed import plain


@dataclass
class Told:
    """Of one job, or of one table."""

    number: int = 1  # of its making: a job that is done again is another run; of a table its version
    live: int = 0  # the last step that was told while it was in work
    ended: str = ""  # which result was told, by its digest; empty while there is none

    def begin(self) -> None:
        """Note that it is made again."""
        self.number, self.live, self.ended = self.number + 1, 0, ""


@dataclass
class Noted:
    """Of all of them, by id."""

    told: dict[str, Told] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Noted:
        """Return what was left; nothing where there is no file, or none that is whole."""
        try:
            return typed.read(cls, file.read_bytes())
        except (OSError, ValueError, BenchError):
            return cls()

    def of(self, key: str) -> Told:
        """Return what was told of one."""
        return self.told.setdefault(key, Told())

    def save(self, file: Path) -> None:
        """Leave it for the next command."""
        write_atomic(file, json.dumps(plain(self)), flush=False)
