"""MLflow: an experiment for each protocol, in a database of its own or where ``MLFLOW_TRACKING_URI`` says.

mlflow ui --backend-store-uri sqlite:///OUT/trackers/mlflow/mlflow.db
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from bench.extras.trackers.tracker import Logged, Point, Tracker

if TYPE_CHECKING:
    import pandas as pd

JOB = "bench.job"  # the tag by which a run is found again
MANY = 1000, 100  # metrics, parameters of one request, by the service's limits
LONGEST = 500  # characters of a parameter, likewise
UNKNOWN = re.compile(r"[^\w. /:-]")  # characters that no name of a metric may have


class Tracked(Tracker):
    """Writes through a client of its own, which changes nothing of what else a process logs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # of the tables that it makes
        uri = f"sqlite:///{folder.resolve()}/mlflow.db"
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or uri
        self._artifacts = (folder / "artifacts").resolve().as_uri() if self._uri == uri else None
        self._client = MlflowClient(tracking_uri=self._uri)

    @property
    def place(self) -> str:
        """Return the command that shows it, or the server."""
        return (
            self._uri if self._artifacts is None else f"mlflow ui --backend-store-uri {self._uri}"
        )

    def points(self, run: Logged, points: Sequence[Point]) -> None:
        """Add metrics."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(UNKNOWN.sub("_", name), value, now, point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for batch in batched(metrics, MANY[0]):
            self._client.log_batch(self.run(run), metrics=batch)

    def ended(
        self, run: Logged, scores: Mapping[str, float], step: int, *, failed: bool = False
    ) -> None:
        """Add the scores, and close the run."""
        self.points(run, [Point(step, scores)])
        self._client.set_terminated(self.run(run), "FAILED" if failed else "FINISHED")

    def table(self, run: Logged, table: pd.DataFrame, text: str, version: int) -> None:
        """Put a table's files in the place of those before."""
        self._client.log_text(self.run(run), table.to_csv(index=False), "table.csv")
        self._client.log_text(self.run(run), text, "table.md")
        self._client.set_terminated(self.run(run))

    def begin(self, run: Logged) -> str:
        """Return MLflow's own id of a run."""
        client, name = self._client, run.protocol
        existing = client.get_experiment_by_name(name)
        if existing:
            experiment = str(existing.experiment_id)
        else:
            experiment = str(client.create_experiment(name, artifact_location=self._artifacts))
        runs = client.search_runs([experiment], f"tags.`{JOB}` = '{run.id}'", max_results=1)
        if runs:
            return str(runs[0].info.run_id)
        tags = {"mlflow.runName": run.name, JOB: run.id, "bench.kind": run.kind}
        id_ = str(client.create_run(experiment, tags=tags).info.run_id)
        params = [Param(UNKNOWN.sub("_", key), str(v)[:LONGEST]) for key, v in run.config.items()]
        for batch in batched(params, MANY[1]):
            client.log_batch(id_, params=batch)
        return id_


def batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield items in order, at most ``size`` at a time."""
    return (items[first : first + size] for first in range(0, len(items), size))
