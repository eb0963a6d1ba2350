"""What is submitted, how, and what earlier runs have submitted."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.executors.arrays import Unit
from bench.executors.task import work
from bench.store import read_json

CANCELLED = "cancelled"  # file in a run's folder: somebody took the run back


class FullError(BenchError):
    """The site lets nobody queue that many tasks; there is room when others have ended."""


@dataclass(frozen=True)
class Task:
    """A pack of jobs in the queue."""

    name: str  # of its array, unique in the world
    index: int
    folder: Path  # of the run that submitted it
    pack: Unit

    @property
    def key(self) -> tuple[str, int]:
        """Return by what ``squeue`` lists it."""
        return self.name, self.index


def submit(
    folder: Path, parameters: dict[str, Any], calls: list[tuple[Any, ...]], python: str | None,
    function: Callable[..., None] = work,
) -> list[str]:  # fmt: skip
    """Submit one array of calls of ``function`` and return the tasks' ids.

    Raises:
        BenchError: sbatch refused; says why in its own words. ``FullError``: for now.
    """
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, python=python)
    executor.update_parameters(**parameters)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what it then raises
            made = executor.map_array(function, *zip(*calls, strict=True))
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        told = [line for line in str(error).splitlines() if line.strip()] or ["no reason given"]
        why = told[-1].removeprefix("sbatch: ").removeprefix("error: ")
        # The site's limit on queued tasks (AssocMaxSubmitJobLimit, QOSMaxSubmitJobPerUserLimit).
        kind = FullError if "MaxSubmitJob" in str(error) else BenchError
        raise kind(
            f"sbatch: {why} ({len(calls)} tasks); correct [cluster.NAME] in bench.toml and run again, "
            "what is in the queue already is kept"
        ) from None
    return [job.job_id for job in made]


def earlier(folder: Path) -> list[Task]:
    """Return every task that runs under ``folder`` have submitted, or were about to."""
    found = []
    for path in sorted(folder.glob("*/submitted.json")):
        for entry in (read_json(path) or {"arrays": []})["arrays"]:
            packs = enumerate(entry["packs"])
            found += [Task(entry["name"], i, path.parent, tuple(pack)) for i, pack in packs]
    return found
