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
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import records
from bench.claims import mutex
from bench.errors import BenchError
from bench.executors.slurm import sbatch, squeue
from bench.executors.slurm.arrays import Array, Unit, arrays, units
from bench.executors.slurm.profile import Profile, Shape
from bench.executors.slurm.sbatch import CANCELLED, FullError, LaterError, Task, options, python
from bench.executors.slurm.squeue import ENDED, LOST
from bench.executors.slurm.task import outcome_file
from bench.jobs.context import RunOptions
from bench.plan import Plan
from bench.plugins import Planned
from bench.runtime.execute import Outcome, lacking
from bench.runtime.sources import touched
from bench.store import Store, read_json, write_atomic

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
        """Wait for what other runs, dead or alive, have in the queue instead of submitting it again."""
        wanted, submitted = self.waiting.keys() - self.tasks.keys(), self.arrays()
        others = [task for task in sbatch.earlier(self.out / "slurm") if task.name not in submitted]
        others = [t for t in others if wanted & set(t.pack) and not (t.folder / CANCELLED).exists()]
        listed = squeue.listed({task.name for task in others})
        self.listed |= listed
        for task in others:
            if task.key in listed:
                task.id = listed[task.key].id
                # Where the task has failed a job already, it is past it.
                self.tasks |= dict.fromkeys(wanted & set(task.pack) - self.heard([task]), task)

    def step(self) -> bool:
        """Look once, with one call of ``squeue``; return whether anything is left to wait for."""
        self.listed = squeue.listed({task.name for task in self.sent()})
        settle(self)
        if self.is_cancelled():
            take_back(self)
        drop_lost(self)
        drop_stuck(self)
        submit_ready(self)
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


# What may start: what another command has in the queue is waited for, the rest is submitted as arrays.


def submit_ready(run: Controller) -> None:
    """Submit the jobs that may start, or wait in the queue for what they need."""
    if not _ready(run):
        return
    # two commands must not submit the same
    with mutex(run.store.within(run.store.root / "slurm" / "turn")):
        run.attach()
        try:
            for array in _arrays(run):
                if run.is_cancelled():
                    return
                _submit(run, array)
        except FullError:
            if not run.tasks and run.profile.max_array_size == 1:
                raise
            # An array that is larger than what a person may queue never fits.
            half = max(1, run.profile.max_array_size // 2)
            run.profile = replace(run.profile, max_array_size=half)
        except LaterError:
            return  # it may be in the queue all the same: its name is looked for at the next look


def _arrays(run: Controller) -> Iterator[Array]:
    """Yield what to submit; each is made when its turn comes, as it may wait for those before it."""
    shape, after = partial(_shape, run), partial(_after, run)
    ready = dict.fromkeys(_ready(run))
    for stage, level in units(run.plan.jobs, run.plan.before, [*ready]):
        # a process that ran a plugin takes no job without it
        groups: dict[frozenset[Planned], list[Unit]] = {}
        for unit in level:
            if _waits_for_kept_back(run, unit, ready):
                continue
            outside = frozenset(plugin for job in unit for plugin in touched(run.plan.jobs, job))
            groups.setdefault(outside, []).append(unit)
        for group in groups.values():
            for array in arrays(stage, group, shape, after, run.profile):
                if (fitting := _within_cap(run, array)).packs:
                    yield fitting


def _needs(run: Controller, unit: Unit) -> set[str]:
    """Return the jobs outside a unit that make what it needs."""
    return {need for job in unit for need in run.plan.before(job)} - set(unit)


def _waits_for_kept_back(run: Controller, unit: Unit, ready: Collection[str]) -> bool:
    """Does a unit need a job that could be submitted by now and was not, because of the cap on GPUs?"""
    return any(need in ready and need not in run.tasks for need in _needs(run, unit))


def _within_cap(run: Controller, array: Array) -> Array:
    """Return as much of an array as the cap on GPUs leaves room for: all that is in the queue may run at once."""
    most, each = run.profile.max_gpus, run.profile.gpus_of(array.shape)
    if most is None or not each:
        return array
    packs = [[job for job in task.pack if job in run.plan.jobs] for task in run.sent()]
    taken = sum(run.profile.gpus_of(_shape(run, tuple(pack))) for pack in packs)
    return replace(array, packs=array.packs[: max(0, most - taken) // each])


def _ready(run: Controller) -> list[str]:
    """Return jobs to submit now: each need is done, in the queue, or submitted with them."""
    ready: dict[str, None] = {}
    for job in run.waiting:
        if job in run.tasks or run.store.owner(job) is not None:
            continue  # another command works on it: its result is waited for
        needs, guards = run.plan.jobs[job].needs, run.plan.after.get(job, ())
        ahead = [n for n in (*needs, *guards) if n not in ready and n not in run.tasks]
        if all(run.store.done(n) or (n in guards and run.has_failed(n)) for n in ahead):
            ready[job] = None
    return list(ready)


def _shape(run: Controller, unit: Unit) -> Shape:
    threads = max(run.plan.threads.get(job, 1) for job in unit)
    spec = run.plan.jobs[unit[0]].spec
    if spec.joined:  # cells are many: one process each uses a cluster best
        return Shape(threads, True, run.profile.nodes, run.profile.processes)
    return Shape(threads, gpu=spec.gpu)


def _after(run: Controller, unit: Unit) -> tuple[str, ...]:
    """Return the SLURM ids of the tasks that make what a unit needs."""
    tasks = (run.tasks[need] for need in _needs(run, unit) if need in run.tasks)
    return tuple(sorted({task.id for task in tasks}))


def _submit(run: Controller, array: Array) -> None:
    # The name goes to disk before sbatch: killed between the two, the tasks are found again.
    name = f"bench-{uuid.uuid4().hex[:16]}"
    run.submitted.append({"name": name, "array": None, "packs": [list(p) for p in array.packs]})
    sbatch.remember(run.folder, run.submitted)
    packs = [{job: run.on_start(job) for job in pack} for pack in array.packs]
    folders = [run.out, *(Path(root).resolve() for root in run.plan.roots.values())]
    calls = [(str(run.out), pack, str(run.folder), run.profile.requeues) for pack in packs]
    try:
        parameters = options(run.profile, array.shape, name, array.after)
        ids = sbatch.submit(run.folder, parameters, calls, python(run.profile, folders))
    except FullError:
        run.submitted.pop()
        sbatch.remember(run.folder, run.submitted)
        raise
    run.submitted[-1]["array"] = ids[0].split("_")[0]
    sbatch.remember(run.folder, run.submitted)
    for index, (pack, task_id) in enumerate(zip(array.packs, ids, strict=True)):
        claims = {job: len(run.store.claims(job)) for job in pack}
        task = Task(name, index, run.folder, pack, task_id, claims)
        run.tasks |= dict.fromkeys(pack, task)
        run.tries.update(pack)


# What has ended: by its result, by what its task left, or because its task is gone.
RETRIES = 3  # times that what the cluster lost is submitted again
UNHEARD = "User defined signal"  # warned while Python started: nobody listened yet


def settle(run: Controller) -> None:
    """End the jobs that have a result, that their task gave up, or whose needs have failed."""
    # One listing serves all jobs; it also makes a network file system forget what was not there.
    published = {folder.name for folder in run.store.jobs.iterdir()}
    heard = run.heard(run.sent())
    for job in list(run.waiting):
        task = run.tasks.get(job)
        if job in published and records.done(run.plan, run.store, job):
            run.end(Outcome(job, "done", seconds=run.store.manifest(job).get("seconds", 0.0)))
        elif task is not None and job in heard:
            _hear(run, job, task)
        if job not in run.outcomes and (reason := _hopeless(run, job)):
            run.end(Outcome(job, "failed", reason))


def _hear(run: Controller, job: str, task: Task) -> None:
    """Act on the outcome that a task left of a job: it ends, or is submitted again."""
    path = outcome_file(task.folder, job)
    outcome = read_json(path)
    if outcome is None or (outcome["state"] == "stopped" and task.key in run.listed):
        return
    if outcome["state"] == "failed":
        run.end(Outcome(**outcome))
        return
    if outcome["state"] == "stopped":  # saved itself, and could not go back into the queue
        run.stops[job] += 1
        if run.stops[job] > run.profile.requeues:
            why = f"stopped and saved its state {run.profile.requeues} times ({outcome['reason']})"
            run.fail(job, task, f"time limit: {why}")
            return
        run.tries[job] = 0
    elif lacking(run.store, run.plan.jobs[job].needs, run.plan.after.get(job, ())):
        return  # refused, until what it lacks has come
    path.unlink(missing_ok=True)
    del run.tasks[job]


def _hopeless(run: Controller, job: str) -> str:
    """Return why an open job cannot be done any more; empty where it can."""
    need = run.plan.hopeless(job, run.has_failed)
    if need is not None:
        return f"needs {run.plan.jobs[need].kind} {need}, which failed: {run.outcomes[need].reason}"
    gone = _gone(run, job)
    return f"needs {gone}, whose result is not there any more; run again" if gone else ""


def _gone(run: Controller, job: str) -> str:
    """Return a need that is done no more, and that nobody makes anew: it was set aside, or taken back."""
    guards = run.plan.after.get(job, ())
    is_guarded = any(run.store.done(guard) or guard in run.waiting for guard in guards)
    needs = (*run.plan.jobs[job].needs, *(() if is_guarded else guards[:1]))
    absent = (need for need in needs if need not in run.waiting and not run.store.done(need))
    return next((need for need in absent if run.store.owner(need) is None), "")


def take_back(run: Controller) -> None:
    """Take the tasks out of the queue, and end every job."""
    squeue.cancel(run.listed[task.key].id for task in run.sent() if task.key in run.listed)
    for job in list(run.waiting):
        run.end(Outcome(job, "failed", "taken back by 'bench cancel'"))


def drop_lost(run: Controller) -> None:
    """Settle what tasks left undone that are not in the queue any more."""
    now, lost = time.monotonic(), dict[Task, list[str]]()
    heard = run.heard(run.sent())
    for job, task in run.tasks.items():
        if task.key in run.listed:
            task.missing = None
            continue
        task.missing = now if task.missing is None else task.missing
        # of what it refused, the need decides
        if now - task.missing >= run.grace and job not in heard:
            lost.setdefault(task, []).append(job)
    states = squeue.states({task.id: task.name for task in lost})
    for task, jobs in lost.items():
        _lose(run, task, jobs, states.get(task.id, ""))


def _lose(run: Controller, task: Task, jobs: list[str], state: str) -> None:
    """Settle what a task left undone; ``state`` is its last one, empty where SLURM does not tell it."""
    owners = [owner for job in jobs if (owner := run.store.owner(job)) is not None]
    if any(state not in ENDED or owner.get("task") != task.id for owner in owners):
        return  # an orphan may still publish; of what SLURM has ended only the heartbeat looks alive
    is_alive = bool(state) and state not in (*ENDED, *LOST)
    if is_alive and time.monotonic() - (task.missing or 0.0) <= 10 * run.grace:
        return  # accounting lags behind
    for job in jobs:
        del run.tasks[job]
    words, done = task.last_words(), [job for job in jobs if run.store.done(job)]
    # What was killed after publishing, before scoring, has its scores still to come.
    is_to_repeat = state in LOST or is_alive or UNHEARD in words or len(done) == len(jobs)
    may_repeat = all(run.tries[job] < RETRIES for job in jobs)
    if task.name not in run.arrays() or (is_to_repeat and may_repeat):
        return  # submitted (once more) at this look
    # Which job ended the task is known by its claim: the ones after it never had their turn
    # and are submitted again. Where none was begun, the task itself cannot run.
    claims = {job: len(run.store.claims(job)) - task.claims.get(job, 0) for job in jobs}
    begun = [job for job in jobs if job in done or claims[job] > 0]
    why = f"{squeue.explain(state, words)} (task {task.id})"
    for job in jobs if state == "CANCELLED" else begun or jobs:
        run.fail(job, task, why)


def drop_stuck(run: Controller) -> None:
    """Cancel the tasks that will pend until a person acts, and fail their jobs."""
    listed = ((task, run.listed[task.key]) for task in run.sent() if task.key in run.listed)
    stuck = [(task, line.reason) for task, line in listed if line.hopeless]
    squeue.cancel(task.id for task, _ in stuck)
    for task, reason in stuck:
        advice = "check the cluster's section in bench.toml, or ask the site"
        for job in [job for job in task.pack if run.tasks.get(job) is task]:
            run.fail(job, task, f"SLURM will not start it: {reason}; {advice} (task {task.id})")
