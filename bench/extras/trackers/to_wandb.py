"""W&B: a run for each job, grouped by protocol. Offline unless ``WANDB_MODE`` says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wandb

from bench.extras.trackers.tracker import Logged, Point, Tracker

if TYPE_CHECKING:
    import pandas as pd

PATIENCE = 20.0  # seconds that a server gets to answer


class Tracked(Tracker):
    """Writes runs beside each other; each counts its own steps."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # Without this it would ask for a key on the terminal, and wait.
        self._mode: Any = os.environ.get("WANDB_MODE") or "offline"

    @property
    def place(self) -> str:
        """Return how it gets to the server."""
        folder = self.folder / "wandb"
        if self._mode == "offline":
            return f"wandb sync {folder}/offline-run-*"
        return f"{self._mode}, {folder}"

    def points(self, run: Logged, points: Sequence[Point]) -> None:
        """Add to the history, by the steps of the job."""
        for point in points:
            self.run(run).log({"step": point.step, **point.values})

    def ended(
        self, run: Logged, scores: Mapping[str, float], step: int, *, failed: bool = False
    ) -> None:
        """Put the scores into the summary."""
        self.run(run).summary.update(dict(scores))
        self.runs.pop(run.id).finish(exit_code=int(failed))

    def table(self, run: Logged, table: pd.DataFrame, text: str, version: int) -> None:
        """Add a table."""
        self.run(run).log({"table": wandb.Table(dataframe=table.astype(str))})
        self.runs.pop(run.id).finish()

    def close(self) -> None:
        """Let go of what is still in work; it goes on under its id."""
        for run in self.runs.values():
            run.finish()

    def begin(self, run: Logged) -> Any:
        """Begin a run, or resume one of this id."""
        settings = wandb.Settings(
            silent=True, console="off", init_timeout=PATIENCE, x_disable_stats=True
        )
        opened = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "bench",
            id=run.id,
            name=run.name,
            resume="allow",
            group=run.protocol,
            job_type=run.kind,
            config=dict(run.config),
            dir=str(self.folder),
            mode=self._mode,
            reinit="create_new",
            settings=settings,
        )
        opened.define_metric("*", step_metric="step")
        return opened
