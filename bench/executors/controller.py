"""Follow jobs on a SLURM cluster: submit arrays, then look at the output folder and the queue.

The output folder is the truth; SLURM is asked, with one call for all tasks, only whether a task is
still there. submitit writes the batch scripts and starts Python on the node; its own watching is
not used, because it takes a requeued task for finished and asks ``sacct`` for every job.

    DIR/slurm/<run>/submitted.json       what this run submitted: written before sbatch is called
    DIR/slurm/<run>/outcome-<job>.json   why a job has no result, from the task that ran it
    DIR/slurm/<run>/cancelled            somebody took the run back

A controller that is killed leaves its tasks in the queue; the next one waits for them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import records
from bench.errors import BenchError
from bench.executors import squeue
from bench.executors.arrays import Array, Unit, arrays, units
from bench.executors.cluster import Profile, Shape, options, python
from bench.executors.submission import CANCELLED, FullError, Task, earlier, submit
from bench.executors.task import outcome_file
from bench.jobs.execute import Outcome
from bench.plan import Plan
from bench.store import Store, read_json, write_atomic

GRACE = 10.0  # seconds after a task left the queue: a network file system shows results late
RETRIES = 3  # times a task that the cluster lost is submitted again
CLUSTER = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL")  # endings that say nothing about the job


@dataclass
class Controller:
    """Follows jobs from the plan to their results; ``step`` is one look."""

    plan: Plan
    store: Store
    jobs: list[str]
    profile: Profile
    on_outcome: Callable[[Outcome], None]
    on_start: Callable[[str], None] = lambda job: None
    grace: float = GRACE
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)  # job -> where it runs or waits
    listed: squeue.Listed = field(default_factory=dict)
    _ids: dict[tuple[str, int], str] = field(default_factory=dict)
    _submitted: list[dict[str, Any]] = field(default_factory=list)
    _claims: dict[str, int] = field(default_factory=dict)  # at submission
    _tries: dict[str, int] = field(default_factory=dict)
    _stops: dict[str, int] = field(default_factory=dict)
    _missing: dict[tuple[str, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = self.store.root.resolve()
        if "%" in str(root):
            raise BenchError(f"{root}: SLURM reads '%' in a path as a pattern; name another --out")
        self.out, self.folder = root, root / "slurm" / uuid.uuid4().hex[:12]

    def attach(self) -> None:
        """Wait for what an earlier run left in the queue instead of submitting it again."""
        known = [task for task in earlier(self.out / "slurm") if set(task.pack) & set(self.jobs)]
        self.listed = squeue.listed({task.name for task in known})
        for task in known:
            if task.key in self.listed:
                self._ids[task.key] = self.listed[task.key].id
                for job in task.pack:
                    # Where the task has failed a job already, it is past it.
                    if job in self.jobs and not outcome_file(task.folder, job).exists():
                        self.tasks[job] = task

    def step(self) -> bool:
        """Look once; return whether anything is left to wait for."""
        if self.tasks:
            self.listed = squeue.listed({task.name for task in self.tasks.values()})
        self._settle()
        if (self.folder / CANCELLED).exists():
            for job in self.open():
                self._end(Outcome(job, "failed", "taken back by 'bench cancel'"))
        self._drop_lost()
        self._drop_hopeless()
        self._submit_ready()
        return bool(self.open())

    def open(self) -> list[str]:
        """Return the jobs that have not ended."""
        return [job for job in self.jobs if job not in self.outcomes]

    def tidy(self) -> None:
        """Remove the folders of runs of which every job is done; logs of failures stay."""
        by_folder: dict[Path, list[Task]] = {}
        for task in earlier(self.out / "slurm"):
            by_folder.setdefault(task.folder, []).append(task)
        done = {
            folder: tasks for folder, tasks in by_folder.items()
            if all(self.store.done(job) for task in tasks for job in task.pack)
        }  # fmt: skip
        for _ in range(5):  # the last task may still be writing its log
            still = {name for name, _ in squeue.listed({t.name for ts in done.values() for t in ts})}
            for folder in [f for f, ts in done.items() if not still & {t.name for t in ts}]:
                shutil.rmtree(folder, ignore_errors=True)
                del done[folder]
            if not done:
                return
            time.sleep(1.0)

    # What has ended

    def _settle(self) -> None:
        with contextlib.suppress(OSError):
            next(self.store.jobs.iterdir(), None)  # makes a network file system forget what was not there
        for job in self.open():
            task = self.tasks.get(job)
            if records.done(self.plan, self.store, job):
                seconds = self.store.manifest(job).get("seconds", 0.0)
                self._end(Outcome(job, "done", seconds=seconds))
            elif task is not None:
                self._hear(job, task)
            self._end_hopeless(job)

    def _hear(self, job: str, task: Task) -> None:
        path = outcome_file(task.folder, job)
        told = read_json(path)
        if told is None:
            return
        if told["state"] == "failed":
            self._end(Outcome(**told))
        elif told["state"] == "stopped":
            self._stopped(job, task, path, told["reason"])
        elif all(self.store.done(need) for need in self.plan.jobs[job].needs):
            # Refused, and what it lacked has come since: it is submitted again.
            path.unlink(missing_ok=True)
            del self.tasks[job]

    def _stopped(self, job: str, task: Task, told: Path, why: str) -> None:
        """Submit again what saved itself and could not go back into the queue by itself."""
        if task.key in self.listed:
            return
        self._stops[job] = self._stops.get(job, 0) + 1
        if self._stops[job] > self.profile.requeues:
            self._fail(job, task, f"time limit: saved itself {self.profile.requeues} times ({why})")
            return
        told.unlink(missing_ok=True)
        self._tries[job] = 0
        del self.tasks[job]

    def _end_hopeless(self, job: str) -> None:
        for need in self.plan.jobs[job].needs:
            bad = self.outcomes.get(need)
            if job not in self.outcomes and bad is not None and bad.state != "done":
                kind = self.plan.jobs[need].kind
                self._end(Outcome(job, "failed", f"needs {kind} {need}, which failed: {bad.reason}"))

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.job] = outcome
        self.tasks.pop(outcome.job, None)
        self.on_outcome(outcome)

    # What got lost

    def _drop_lost(self) -> None:
        now, gone = time.monotonic(), []
        for task in _distinct(self.tasks):
            if task.key in self.listed:
                self._missing.pop(task.key, None)
            elif now - self._missing.setdefault(task.key, now) >= self.grace:
                gone.append(task)
        ended = squeue.states(self._ids[t.key] for t in gone if t.name in self._names())
        for task in gone:
            self._lose(task, ended.get(self._ids[task.key], ""))

    def _names(self) -> set[str]:
        return {entry["name"] for entry in self._submitted}

    def _lose(self, task: Task, state: str) -> None:
        """Settle what a task left undone when it left the queue."""
        left = [j for j in task.pack if self.tasks.get(j) == task]
        # A copy that outlived its node may still publish: as long as it lives, it is waited for.
        if any(self.store.owner(job) for job in left):
            return
        for job in left:
            del self.tasks[job]
        if task.name not in self._names():
            return  # an earlier run's: they are submitted again
        # One that was killed after publishing, before scoring, has its scores still to come.
        again = state in CLUSTER or all(self.store.done(job) for job in left)
        if again and all(self._tries[job] < RETRIES for job in left):
            return
        # Which job ended the task is known by its claim: the ones after it never had their turn
        # and are submitted again. Where none was begun, the task itself cannot run.
        begun = [j for j in left if len(self.store.claims(j)) > self._claims[j]]
        for job in begun or left:
            self._fail(job, task, f"{squeue.said(state)} (task {self._ids[task.key]})")

    def _drop_hopeless(self) -> None:
        bad = [(t, self.listed[t.key]) for t in _distinct(self.tasks) if t.key in self.listed]
        bad = [(task, line) for task, line in bad if line.hopeless]
        squeue.cancel(line.id for _, line in bad)
        for task, line in bad:
            for job in task.pack:
                if self.tasks.get(job) == task:
                    why = f"SLURM will not start it: {line.reason}; correct the cluster's section"
                    self._fail(job, task, f"{why} in bench.toml (task {line.id})")

    def _fail(self, job: str, task: Task, reason: str) -> None:
        log = task.folder / f"{self._ids[task.key]}_0_log.err"
        attempts = len(self.store.claims(job))
        entry = {"reason": reason, "kind": "cluster", "log": str(log), "attempts": attempts}
        # Nobody can claim a job for a task that is gone; the next attempt removes the file.
        with contextlib.suppress(FileNotFoundError):
            write_atomic(self.store.work / job / "failed.json", json.dumps(entry))
        self._end(Outcome(job, "failed", reason))

    # What may start

    def _submit_ready(self) -> None:
        ready = self._ready()
        for stage, found in units(self.plan.jobs, ready).items():
            for array in arrays(stage, found, self._shape, self._after, self.profile):
                try:
                    self._submit(array)
                except FullError:
                    self._submitted.pop()
                    if not self.tasks:
                        raise
                    return  # the rest is tried again at the next look

    def _ready(self) -> list[str]:
        """Return jobs to submit now: each need is done, in the queue, or submitted with them."""
        ready: list[str] = []
        for job in self.open():
            if job in self.tasks or self.store.owner(job) is not None:
                continue  # another command works on it: its result is waited for
            needs = self.plan.jobs[job].needs
            if all(n in ready or n in self.tasks or self.store.done(n) for n in needs):
                ready.append(job)
        return ready

    def _shape(self, unit: Unit) -> Shape:
        threads = max(self.plan.threads.get(job, 1) for job in unit)
        kind = self.plan.jobs[unit[0]].kind
        if kind == "pretrain":  # cells are many: one process each uses a cluster best
            return Shape(threads, True, self.profile.nodes, self.profile.processes)
        return Shape(threads, gpu=kind != "prepare")

    def _after(self, unit: Unit) -> tuple[str, ...]:
        needs = {need for job in unit for need in self.plan.jobs[job].needs} - set(unit)
        waits = {self._ids[self.tasks[n].key] for n in needs if n in self.tasks}
        return tuple(sorted(waits))

    def _submit(self, array: Array) -> None:
        # The name goes to disk before sbatch: killed between the two, the tasks are found again.
        name = f"bench-{uuid.uuid4().hex[:16]}"
        self._submitted.append({"name": name, "array": None, "packs": [list(p) for p in array.packs]})
        self._remember()
        for job in (job for pack in array.packs for job in pack):
            self.on_start(job)
        seen = [self.out, *(Path(root).resolve() for root in self.plan.roots.values())]
        ids = submit(self.folder, options(self.profile, array.shape, name, array.after), [
            (str(self.out), pack, str(self.folder), self.profile.requeues) for pack in array.packs
        ], python(self.profile, seen))  # fmt: skip
        self._submitted[-1]["array"] = ids[0].split("_")[0]
        self._remember()
        for index, (pack, task_id) in enumerate(zip(array.packs, ids, strict=True)):
            task = Task(name, index, self.folder, pack)
            self._ids[task.key] = task_id
            for job in pack:
                self.tasks[job] = task
                self._claims[job] = len(self.store.claims(job))
                self._tries[job] = self._tries.get(job, 0) + 1

    def _remember(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / "submitted.json", json.dumps({"arrays": self._submitted}))


def _distinct(tasks: dict[str, Task]) -> list[Task]:
    return list({task.key: task for task in tasks.values()}.values())
