"""TensorBoard: a folder of event files for each run. ``tensorboard --logdir OUT/trackers/tensorboard``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

from bench.extras.trackers.tracker import Logged, Point, Tracker

if TYPE_CHECKING:
    import pandas as pd

NO_FOLDER = re.compile(r"[^\w.,%()+=@ -]+")  # of a run's name


class Tracked(Tracker):
    """Writes a run's curves and scores as scalars, its settings and tables as text."""

    @property
    def place(self) -> str:
        """Return the command that shows it."""
        return f"tensorboard --logdir {self.folder}"

    def points(self, run: Logged, points: Sequence[Point]) -> None:
        """Add scalars."""
        writer = self.run(run)
        for point in points:
            for name, value in point.values.items():
                writer.add_scalar(name, value, point.step)
        writer.flush()

    def ended(
        self, run: Logged, scores: Mapping[str, float], step: int, *, failed: bool = False
    ) -> None:
        """Add scores at the last step, and the settings."""
        self.points(run, [Point(step, scores)])
        rows = "\n".join(f"| {key} | {value} |" for key, value in run.config.items())
        self.run(run).add_text(
            "config", f"| {'failed' if failed else ''} | |\n|---|---|\n{rows}", 0
        )
        self.runs.pop(run.id).close()

    def table(self, run: Logged, table: pd.DataFrame, text: str, version: int) -> None:
        """Add a table as text, later ones at later steps."""
        self.run(run).add_text("table", text, version)
        self.runs.pop(run.id).close()

    def close(self) -> None:
        """Close what is still in work."""
        for writer in self.runs.values():
            writer.close()

    def begin(self, run: Logged) -> SummaryWriter:
        """Open its folder of events."""
        name = " ".join(NO_FOLDER.sub(" ", run.name).split())
        return SummaryWriter(str(self.folder / run.protocol / f"{name} {run.id[:6]}"))
