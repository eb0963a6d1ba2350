"""What may start: what another command has in the queue is waited for, the rest is submitted as arrays."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.claims import mutex
from bench.executors.slurm import squeue, submission
from bench.executors.slurm.arrays import Array, Unit, arrays, units
from bench.executors.slurm.look import Look
from bench.executors.slurm.profile import Shape, options, python
from bench.executors.slurm.submission import CANCELLED, FullError, LaterError, Task
from bench.plugins import Planned
from bench.runtime.sources import touched


def attach(look: Look) -> None:
    """Wait for what other runs, dead or alive, have in the queue instead of submitting it again."""
    wanted, submitted = set(look.open()) - look.tasks.keys(), look.arrays()
    others = [task for task in submission.earlier(look.out / "slurm") if task.name not in submitted]
    others = [t for t in others if wanted & set(t.pack) and not (t.folder / CANCELLED).exists()]
    listed = squeue.listed({task.name for task in others})
    look.listed |= listed
    for task in others:
        if task.key in listed:
            task.id = listed[task.key].id
            # Where the task has failed a job already, it is past it.
            look.tasks |= dict.fromkeys(wanted & set(task.pack) - look.heard([task]), task)


def submit_ready(look: Look) -> None:
    """Submit the jobs that may start, or wait in the queue for what they need."""
    if not _ready(look):
        return
    with mutex(
        look.store.within(look.store.root / "slurm" / "turn")
    ):  # else two commands submit the same
        attach(look)
        try:
            for array in _arrays(look):
                if look.is_cancelled():
                    return
                _submit(look, array)
        except FullError:
            if not look.tasks and look.profile.max_array_size == 1:
                raise
            # An array that is larger than what a person may queue never fits.
            look.profile = replace(
                look.profile, max_array_size=max(1, look.profile.max_array_size // 2)
            )
        except LaterError:
            return  # it may be in the queue all the same: its name is looked for at the next look


def _arrays(look: Look) -> Iterator[Array]:
    """Yield what to submit; each is made when its turn comes, as it may wait for those before it."""
    shape, after = partial(_shape, look), partial(_after, look)
    for stage, level in units(look.plan.jobs, look.plan.before, _ready(look)):
        for group in _by_plugins(look, level):
            yield from arrays(stage, group, shape, after, look.profile)


def _ready(look: Look) -> list[str]:
    """Return jobs to submit now: each need is done, in the queue, or submitted with them."""
    ready: dict[str, None] = {}
    for job in look.open():
        if job in look.tasks or look.store.owner(job) is not None:
            continue  # another command works on it: its result is waited for
        needs, guards = look.plan.jobs[job].needs, look.plan.after.get(job, ())
        ahead = [n for n in (*needs, *guards) if n not in ready and n not in look.tasks]
        if all(look.store.done(n) or (n in guards and look.has_failed(n)) for n in ahead):
            ready[job] = None
    return list(ready)


def _by_plugins(look: Look, level: Iterable[Unit]) -> Iterable[list[Unit]]:
    """Return units in groups by the plugins that they run: a process that ran one takes no other job."""
    groups: dict[frozenset[Planned], list[Unit]] = {}
    for unit in level:
        outside = frozenset(plugin for job in unit for plugin in touched(look.plan.jobs, job))
        groups.setdefault(outside, []).append(unit)
    return groups.values()


def _shape(look: Look, unit: Unit) -> Shape:
    threads = max(look.plan.threads.get(job, 1) for job in unit)
    spec = look.plan.jobs[unit[0]].spec
    if spec.joined:  # cells are many: one process each uses a cluster best
        return Shape(threads, True, look.profile.nodes, look.profile.processes)
    return Shape(threads, gpu=spec.gpu)


def _after(look: Look, unit: Unit) -> tuple[str, ...]:
    """Return the SLURM ids of the tasks that make what a unit needs."""
    needs = {need for job in unit for need in look.plan.before(job)} - set(unit)
    return tuple(sorted({look.tasks[need].id for need in needs if need in look.tasks}))


def _submit(look: Look, array: Array) -> None:
    # The name goes to disk before sbatch: killed between the two, the tasks are found again.
    name = f"bench-{uuid.uuid4().hex[:16]}"
    look.submitted.append({"name": name, "array": None, "packs": [list(p) for p in array.packs]})
    submission.remember(look.folder, look.submitted)
    packs = [{job: look.on_start(job) for job in pack} for pack in array.packs]
    folders = [look.out, *(Path(root).resolve() for root in look.plan.roots.values())]
    calls = [(str(look.out), pack, str(look.folder), look.profile.requeues) for pack in packs]
    try:
        parameters = options(look.profile, array.shape, name, array.after)
        ids = submission.submit(look.folder, parameters, calls, python(look.profile, folders))
    except FullError:
        look.submitted.pop()
        submission.remember(look.folder, look.submitted)
        raise
    look.submitted[-1]["array"] = ids[0].split("_")[0]
    submission.remember(look.folder, look.submitted)
    for index, (pack, task_id) in enumerate(zip(array.packs, ids, strict=True)):
        claims = {job: len(look.store.claims(job)) for job in pack}
        task = Task(name, index, look.folder, pack, task_id, claims)
        look.tasks |= dict.fromkeys(pack, task)
        look.tries.update(pack)
