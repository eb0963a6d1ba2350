"""What may start: what another command has in the queue is waited for, the rest is submitted as arrays."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.claims import mutex
from bench.executors.slurm import sbatch, squeue
from bench.executors.slurm.arrays import Array, Unit, arrays, units
from bench.executors.slurm.profile import Shape
from bench.executors.slurm.sbatch import CANCELLED, FullError, LaterError, Task, options, python
from bench.plugins import Planned
from bench.runtime.sources import touched

if TYPE_CHECKING:
    from bench.executors.slurm.controller import Controller


def attach(run: Controller) -> None:
    """Wait for what other runs, dead or alive, have in the queue instead of submitting it again."""
    wanted, submitted = run.waiting.keys() - run.tasks.keys(), run.arrays()
    others = [task for task in sbatch.earlier(run.out / "slurm") if task.name not in submitted]
    others = [t for t in others if wanted & set(t.pack) and not (t.folder / CANCELLED).exists()]
    listed = squeue.listed({task.name for task in others})
    run.listed |= listed
    for task in others:
        if task.key in listed:
            task.id = listed[task.key].id
            # Where the task has failed a job already, it is past it.
            run.tasks |= dict.fromkeys(wanted & set(task.pack) - run.heard([task]), task)


def submit_ready(run: Controller) -> None:
    """Submit the jobs that may start, or wait in the queue for what they need."""
    if not _ready(run):
        return
    # two commands must not submit the same
    with mutex(run.store.within(run.store.root / "slurm" / "turn")):
        attach(run)
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
