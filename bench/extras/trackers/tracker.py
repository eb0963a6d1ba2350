"""What a tracker can do, and which there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}  # by tracker
Config = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Logged:
    """A run as a tracker has it: one job, or the table of a protocol."""

    id: str  # the same whenever a run of bench goes on
    name: str  # as the screen has it
    kind: str  # of job, or "table"
    protocol: str
    config: Config = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """Numbers after so many steps of a job."""

    step: int
    values: Mapping[str, float]


class Tracker(ABC):
    """Takes what is logged; whoever calls makes its folder and sees to it that nothing comes twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[str, Any] = {}  # in work, by ``Logged.id``: what the package has of each

    def run(self, run: Logged) -> Any:
        """Return what the package has of a run, which begins or goes on here."""
        if run.id not in self.runs:
            self.runs[run.id] = self.begin(run)
        return self.runs[run.id]

    @abstractmethod
    def begin(self, run: Logged) -> Any:
        """Begin a run, or go on with one of this id."""

    @property
    def place(self) -> str:
        """Return how a person looks at it, in one line."""
        return str(self.folder)

    @abstractmethod
    def points(self, run: Logged, points: Sequence[Point]) -> None:
        """Add to the curves of a run."""

    @abstractmethod
    def ended(
        self, run: Logged, scores: Mapping[str, float], step: int, *, failed: bool = False
    ) -> None:
        """Add final numbers, after so many steps; nothing is added to the run afterwards."""

    @abstractmethod
    def table(self, run: Logged, table: pd.DataFrame, text: str, version: int) -> None:
        """Add a table, as a frame and as Markdown; ``version`` counts its states from 1 on."""

    def close(self) -> None:  # noqa: B027 - most hold nothing back
        """Write what is held back."""


def check(names: Sequence[str]) -> None:
    """Make sure that the package of each tracker is installed; imports none.

    Raises:
        BenchError: one is not; says how to get it.
    """
    for name in names:
        if find_spec(PACKAGES[name]) is None:
            raise BenchError(
                f"--log {name}: the package {PACKAGES[name]} is not installed; "
                f"pip install 'medssl-bench[{name}]', or leave --log {name} out"
            )


def opener(name: str) -> Callable[[Path], Tracker]:
    """Return what opens a tracker in a folder; its package is imported now, which takes seconds."""
    tracker: Callable[[Path], Tracker] = import_module(f"bench.extras.trackers.to_{name}").Tracked
    return tracker
