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
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import records
from bench.claims import mutex
from bench.errors import BenchError
from bench.executors.slurm import squeue, submission
from bench.executors.slurm.arrays import Array, Unit, arrays, units
from bench.executors.slurm.profile import Profile, Shape, options, python
from bench.executors.slurm.squeue import ENDED, LOST
from bench.executors.slurm.submission import CANCELLED, FullError, LaterError, Task
from bench.executors.slurm.task import outcome_file
from bench.jobs.context import RunOptions
from bench.plan import Plan
from bench.plugins import Planned
from bench.runtime.execute import Outcome, lacking
from bench.runtime.sources import touched
from bench.store import Store, read_json, write_atomic

GRACE = 10.0  # seconds after a task left the queue: a network file system shows results late
RETRIES = 3  # times that what the cluster lost is submitted again
UNHEARD = "User defined signal"  # warned while Python started: nobody listened yet


@dataclass
class Controller:
    """Follows jobs from the plan to their results; ``step`` is one look."""

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
    _submitted: list[dict[str, Any]] = field(default_factory=list)
    _tries: Counter[str] = field(default_factory=Counter)
    _stops: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        root = self.store.root.resolve()
        if "%" in str(root):
            raise BenchError(f"{root}: SLURM reads '%' in a path as a pattern; name another --out")
        self.out, self.folder = root, root / "slurm" / uuid.uuid4().hex[:12]

    def attach(self) -> None:
        """Wait for what other runs, dead or alive, have in the queue instead of submitting it again."""
        wanted, own = set(self.open()) - self.tasks.keys(), self._own()
        others = [task for task in submission.earlier(self.out / "slurm") if task.name not in own]
        known = [t for t in others if wanted & set(t.pack) and not (t.folder / CANCELLED).exists()]
        listed = squeue.listed({task.name for task in known})
        self.listed |= listed
        for task in known:
            if task.key in listed:
                task.id = listed[task.key].id
                # Where the task has failed a job already, it is past it.
                left = wanted & set(task.pack) - self._heard([task.folder])
                self.tasks |= dict.fromkeys(left, task)

    def step(self) -> bool:
        """Look once; return whether anything is left to wait for."""
        self.listed = squeue.listed({task.name for task in self._sent()})
        self._settle()
        if self._taken_back():
            squeue.cancel(self.listed[t.key].id for t in self._sent() if t.key in self.listed)
            for job in self.open():
                self._end(Outcome(job, "failed", "taken back by 'bench cancel'"))
        self._drop_lost()
        self._drop_hopeless()
        self._submit_ready()
        return bool(self.open())

    def open(self) -> list[str]:
        """Return the jobs that have not ended."""
        return [job for job in self.jobs if job not in self.outcomes]

    def _own(self) -> set[str]:
        """Return the names of the arrays that this command knows to be submitted."""
        return {entry["name"] for entry in self._submitted if entry["array"] is not None}

    def _sent(self) -> list[Task]:
        return list({task.key: task for task in self.tasks.values()}.values())

    def _taken_back(self) -> bool:
        folders = {self.folder, *(task.folder for task in self._sent())}
        return any((folder / CANCELLED).exists() for folder in folders)

    # What has ended

    def _settle(self) -> None:
        # One listing serves all jobs; it also makes a network file system forget what was not there.
        there = {folder.name for folder in self.store.jobs.iterdir()}
        heard = self._heard({task.folder for task in self._sent()})
        for job in self.open():
            task = self.tasks.get(job)
            if job in there and records.done(self.plan, self.store, job):
                self._end(Outcome(job, "done", seconds=self.store.manifest(job).get("seconds", 0.0)))
            elif task is not None and job in heard:
                self._hear(job, task)
            self._end_hopeless(job)

    @staticmethod
    def _heard(folders: Iterable[Path]) -> set[str]:
        """Return the jobs of which a task in one of these runs has told something."""
        told = [path.stem for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return {stem.removeprefix("outcome-") for stem in told if stem.startswith("outcome-")}

    def _hear(self, job: str, task: Task) -> None:
        path = outcome_file(task.folder, job)
        told = read_json(path)
        if told is None or (told["state"] == "stopped" and task.key in self.listed):
            return
        if told["state"] == "failed":
            self._end(Outcome(**told))
            return
        if told["state"] == "stopped":  # saved itself, and could not go back into the queue by itself
            self._stops[job] += 1
            if self._stops[job] > self.profile.requeues:
                why = f"saved itself {self.profile.requeues} times ({told['reason']})"
                self._fail(job, task, f"time limit: {why}")
                return
            self._tries[job] = 0
        elif lacking(self.store, self.plan.jobs[job].needs, self.plan.after.get(job, ())):
            return  # refused, until what it lacks has come
        path.unlink(missing_ok=True)  # it is submitted again
        del self.tasks[job]

    def _end_hopeless(self, job: str) -> None:
        need = self.plan.hopeless(job, self._failed)
        if need is not None and job not in self.outcomes:
            kind, why = self.plan.jobs[need].kind, self.outcomes[need].reason
            self._end(Outcome(job, "failed", f"needs {kind} {need}, which failed: {why}"))
        elif job not in self.outcomes and (gone := self._gone(job)):
            self._end(Outcome(job, "failed", f"needs {gone}, which is not done any more; run again"))

    def _gone(self, job: str) -> str:
        """Return a need that is done no more, and that nobody makes anew: it was set aside, or taken back."""
        open_ = set(self.open())
        guards = self.plan.after.get(job, ())
        passed = any(self.store.done(guard) or guard in open_ for guard in guards)
        needs = (*self.plan.jobs[job].needs, *(() if passed else guards[:1]))
        left = (need for need in needs if need not in open_ and not self.store.done(need))
        return next((need for need in left if self.store.owner(need) is None), "")

    def _failed(self, job: str) -> bool:
        return job in self.outcomes and self.outcomes[job].state != "done"

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.job] = outcome
        self.tasks.pop(outcome.job, None)
        self.on_outcome(outcome)

    # What got lost

    def _drop_lost(self) -> None:
        now, gone = time.monotonic(), dict[Task, list[str]]()
        heard = self._heard({task.folder for task in self._sent()})
        for job, task in self.tasks.items():
            if task.key in self.listed:
                task.missing = None
                continue
            task.missing = now if task.missing is None else task.missing
            if now - task.missing >= self.grace and job not in heard:  # of what it refused, the need decides
                gone.setdefault(task, []).append(job)
        ended = squeue.states({task.id: task.name for task in gone})
        for task, left in gone.items():
            self._lose(task, left, ended.get(task.id, ""))

    def _lose(self, task: Task, left: list[str], state: str) -> None:
        """Settle what a task left undone when it left the queue.

        ``state`` is its last one as SLURM tells it, empty where it does not.
        """
        owners = [owner for job in left if (owner := self.store.owner(job)) is not None]
        if any(state not in ENDED or owner.get("task") != task.id for owner in owners):
            return  # an orphan may still publish; of what SLURM has ended only the heartbeat looks alive
        alive = bool(state) and state not in (*ENDED, *LOST)
        if alive and time.monotonic() - (task.missing or 0.0) <= 10 * self.grace:
            return  # accounting lags behind
        for job in left:
            del self.tasks[job]
        # What was killed after publishing, before scoring, has its scores still to come.
        again = state in LOST or alive or UNHEARD in task.last_words() or all(map(self.store.done, left))
        if task.name not in self._own() or (again and all(self._tries[job] < RETRIES for job in left)):
            return  # submitted (once more) at this look
        # Which job ended the task is known by its claim: the ones after it never had their turn
        # and are submitted again. Where none was begun, the task itself cannot run.
        begun = [j for j in left if self.store.done(j) or len(self.store.claims(j)) > task.claims.get(j, 0)]
        why = f"{squeue.said(state, task.last_words())} (task {task.id})"
        for job in left if state == "CANCELLED" else begun or left:
            self._fail(job, task, why)

    def _drop_hopeless(self) -> None:
        bad = [t for t in self._sent() if t.key in self.listed and self.listed[t.key].hopeless]
        squeue.cancel(task.id for task in bad)
        for task in bad:
            why = f"SLURM will not start it: {self.listed[task.key].reason}; look at the cluster's section"
            for job in [j for j in task.pack if self.tasks.get(j) is task]:
                self._fail(job, task, f"{why} in bench.toml, or ask the site (task {task.id})")

    def _fail(self, job: str, task: Task, reason: str) -> None:
        attempts = len(self.store.claims(job))
        entry = {"reason": reason, "kind": "cluster", "log": str(task.log), "attempts": attempts}
        # Nobody can claim a job for a task that is gone; the next attempt removes the file.
        with contextlib.suppress(FileNotFoundError):
            write_atomic(self.store.work / job / "failed.json", json.dumps(entry))
        self._end(Outcome(job, "failed", reason))

    # What may start

    def _submit_ready(self) -> None:
        if not self._ready():
            return
        turns = self.store.within(self.store.root / "slurm" / "turn")
        with mutex(turns):  # else two commands submit the same
            self.attach()
            try:
                for stage, found in units(self.plan.jobs, self.plan.before, self._ready()):
                    for alike in self._by_plugins(found):
                        for array in arrays(stage, alike, self._shape, self._after, self.profile):
                            if self._taken_back():
                                return
                            self._submit(array)
            except FullError:
                if not self.tasks and self.profile.max_array_size == 1:
                    raise
                # An array that is larger than what a person may queue never fits.
                self.profile = replace(self.profile, max_array_size=max(1, self.profile.max_array_size // 2))
            except LaterError:
                return  # it may be in the queue all the same: its name is looked for at the next look

    def _by_plugins(self, found: Iterable[Unit]) -> Iterable[list[Unit]]:
        """Return units in groups by the plugins that they run: a process that ran one takes no other job."""
        groups: dict[frozenset[Planned], list[Unit]] = {}
        for unit in found:
            outside = frozenset(p for job in unit for p in touched(self.plan.jobs, job))
            groups.setdefault(outside, []).append(unit)
        return groups.values()

    def _ready(self) -> list[str]:
        """Return jobs to submit now: each need is done, in the queue, or submitted with them."""
        ready: dict[str, None] = {}
        for job in self.open():
            if job in self.tasks or self.store.owner(job) is not None:
                continue  # another command works on it: its result is waited for
            needs, guards = self.plan.jobs[job].needs, self.plan.after.get(job, ())
            ahead = [n for n in (*needs, *guards) if n not in ready and n not in self.tasks]
            if all(self.store.done(n) or (n in guards and self._failed(n)) for n in ahead):
                ready[job] = None
        return list(ready)

    def _shape(self, unit: Unit) -> Shape:
        threads = max(self.plan.threads.get(job, 1) for job in unit)
        kind = self.plan.jobs[unit[0]].spec
        if kind.joined:  # cells are many: one process each uses a cluster best
            return Shape(threads, True, self.profile.nodes, self.profile.processes)
        return Shape(threads, gpu=kind.gpu)

    def _after(self, unit: Unit) -> tuple[str, ...]:
        needs = {need for job in unit for need in self.plan.before(job)} - set(unit)
        return tuple(sorted({self.tasks[n].id for n in needs if n in self.tasks}))

    def _submit(self, array: Array) -> None:
        # The name goes to disk before sbatch: killed between the two, the tasks are found again.
        name = f"bench-{uuid.uuid4().hex[:16]}"
        self._submitted.append({"name": name, "array": None, "packs": [list(p) for p in array.packs]})
        submission.remember(self.folder, self._submitted)
        packs = [{job: self.on_start(job) for job in pack} for pack in array.packs]
        seen = [self.out, *(Path(root).resolve() for root in self.plan.roots.values())]
        calls = [(str(self.out), pack, str(self.folder), self.profile.requeues) for pack in packs]
        try:
            asked = options(self.profile, array.shape, name, array.after)
            ids = submission.submit(self.folder, asked, calls, python(self.profile, seen))
        except FullError:
            self._submitted.pop()
            submission.remember(self.folder, self._submitted)
            raise
        self._submitted[-1]["array"] = ids[0].split("_")[0]
        submission.remember(self.folder, self._submitted)
        for index, (pack, task_id) in enumerate(zip(array.packs, ids, strict=True)):
            claims = {job: len(self.store.claims(job)) for job in pack}
            task = Task(name, index, self.folder, pack, task_id, claims)
            self.tasks |= dict.fromkeys(pack, task)
            self._tries.update(pack)
