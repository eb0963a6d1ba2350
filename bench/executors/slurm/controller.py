"""Follow jobs on a SLURM cluster: look at the queue, settle what has ended, submit what may start.

The output folder is the truth; SLURM is asked, with one call for all tasks, only whether a task is
still there. submitit writes the batch scripts and starts Python on the node; its own watching is
not used, because it takes a requeued task for finished and asks ``sacct`` for every job.

A controller that is killed leaves its tasks in the queue; the next one waits for them.

DIR/slurm/<run>/submitted.json       what this run submitted: written before sbatch is called
DIR/slurm/<run>/outcome-<job>.json   why a job has no result, from the task that ran it
DIR/slurm/<run>/cancelled            somebody took the run back
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError
from bench.executors.slurm import settle, squeue, submit
from bench.executors.slurm.profile import Profile
from bench.executors.slurm.sbatch import CANCELLED, Task
from bench.jobs.context import RunOptions
from bench.plan import Plan
from bench.runtime.execute import Outcome
from bench.store import Store, write_atomic

GRACE = 10.0  # seconds after a task left the queue: a network file system shows results late


@dataclass
class Controller:
    """Follows the jobs of a run to their results; ``step`` is one look and what follows from it."""

    plan: Plan
    store: Store
    jobs: list[str]
    profile: Profile
    on_outcome: Callable[[Outcome], None]
    on_start: Callable[[str], RunOptions] = lambda job: RunOptions()
    grace: float = GRACE
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)  # job -> where it runs or waits
    listed: squeue.Listed = field(default_factory=dict)
    # arrays, as ``sbatch.remember`` takes them
    submitted: list[dict[str, Any]] = field(default_factory=list)
    waiting: dict[str, None] = field(init=False)  # the jobs that have not ended, in order
    tries: Counter[str] = field(default_factory=Counter)  # job -> times that it was submitted
    stops: Counter[str] = field(default_factory=Counter)  # job -> times that it saved itself

    def __post_init__(self) -> None:
        self.out = self.store.root.resolve()
        if "%" in str(self.out):
            why = "SLURM reads '%' in a path as a pattern; name another --out"
            raise BenchError(f"{self.out}: {why}")
        self.waiting = {job: None for job in self.jobs if job not in self.outcomes}
        self.folder = self.out / "slurm" / uuid.uuid4().hex[:12]  # of this run

    def attach(self) -> None:
        """Wait for what other runs have in the queue, as ``submit.attach`` does."""
        submit.attach(self)

    def step(self) -> bool:
        """Look once, with one call of ``squeue``; return whether anything is left to wait for."""
        self.listed = squeue.listed({task.name for task in self.sent()})
        settle.settle(self)
        if self.is_cancelled():
            settle.take_back(self)
        settle.drop_lost(self)
        settle.drop_stuck(self)
        submit.submit_ready(self)
        return bool(self.waiting)

    def sent(self) -> list[Task]:
        """Return the tasks that open jobs run or wait in."""
        return list({task.key: task for task in self.tasks.values()}.values())

    def arrays(self) -> set[str]:
        """Return the names of the arrays that this command knows to be submitted."""
        return {array["name"] for array in self.submitted if array["array"] is not None}

    @staticmethod
    def heard(tasks: Iterable[Task]) -> set[str]:
        """Return the jobs of which a task, in the run of one of these, has left an outcome."""
        folders = {task.folder for task in tasks}
        stems = [path.stem for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return {stem.removeprefix("outcome-") for stem in stems if stem.startswith("outcome-")}

    def is_cancelled(self) -> bool:
        """Has somebody taken back this run, or one that it waits for?"""
        folders = {self.folder, *(task.folder for task in self.sent())}
        return any((folder / CANCELLED).exists() for folder in folders)

    def has_failed(self, job: str) -> bool:
        """Has a job of this run ended without a result?"""
        return job in self.outcomes and self.outcomes[job].state != "done"

    def end(self, outcome: Outcome) -> None:
        """Note how a job ended."""
        self.outcomes[outcome.job] = outcome
        self.waiting.pop(outcome.job, None)
        self.tasks.pop(outcome.job, None)
        self.on_outcome(outcome)

    def fail(self, job: str, task: Task, reason: str) -> None:
        """Note that a job failed in a task that could not say so itself."""
        attempts = len(self.store.claims(job))
        failure = {"reason": reason, "kind": "cluster", "log": str(task.log), "attempts": attempts}
        # Nobody can claim a job for a task that is gone; the next attempt removes the file.
        with contextlib.suppress(FileNotFoundError):
            write_atomic(self.store.work / job / "failed.json", json.dumps(failure))
        self.end(Outcome(job, "failed", reason))
