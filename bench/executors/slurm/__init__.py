"""Run jobs on a SLURM cluster, take back what is queued, remove what finished runs have left."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from bench.atomic import append
from bench.errors import BenchError
from bench.executors.slurm import squeue
from bench.executors.slurm.controller import Controller
from bench.executors.slurm.profile import Profile
from bench.executors.slurm.sbatch import CANCELLED, earlier
from bench.jobs.context import RunOptions
from bench.plan import Plan
from bench.runtime.execute import Outcome
from bench.store import Store

BETWEEN = 1.0  # seconds between looks at tasks that end: they get KillWait, and write their logs


def run(
    plan: Plan,
    store: Store,
    jobs: list[str],
    profile: Profile,
    on_outcome: Callable[[Outcome], None],
    on_start: Callable[[str], RunOptions] = lambda job: RunOptions(),
) -> dict[str, Outcome]:
    """Run ``jobs`` on the cluster; failures stay with their jobs.

    Args:
        plan: where the jobs come from.
        store: the output folder; it must be visible to the nodes under the same path.
        jobs: ids to do, needs first.
        profile: what to ask the cluster for.
        on_outcome: called once for each job that ended.
        on_start: called before a job is submitted; returns what this command brings to it.

    Raises:
        BenchError: SLURM is not here, does not answer, or refuses a submission.
    """
    squeue.require()
    most = squeue.array_limit(squeue.config()) or profile.max_array_size
    profile = replace(profile, max_array_size=min(profile.max_array_size, most))
    controller = Controller(plan, store, jobs, profile, on_outcome, on_start)
    began = time.monotonic()
    while controller.step():
        time.sleep(pause(time.monotonic() - began))
    with suppress(BenchError):  # SLURM may be down by now: the report is drawn all the same
        tidy(store)
    return controller.outcomes


def pause(elapsed: float) -> float:
    """Return the seconds between two looks: 2 at first, 30 after ten minutes."""
    return min(30.0, 2.0 + elapsed / 20)


def cancel(store: Store) -> int:
    """Cancel every task that any command has submitted for this folder; return how many there were.

    Commands that still follow the folder's runs end, too; what is done stays, and so do checkpoints.

    Raises:
        BenchError: SLURM is not here or does not answer, or tasks stay in the queue.
    """
    squeue.require()
    runs, seen, empty, why = store.root.resolve() / "slurm", set[tuple[str, int]](), 0, ""
    for _ in range(10):
        for file in runs.glob("*/submitted.json"):
            append(store.within(file.parent) / CANCELLED, "")
        listed = squeue.listed({task.name for task in earlier(runs)})
        left = {key: line for key, line in listed.items() if line.state != "COMPLETING"}
        empty = 0 if left else empty + 1
        # what was just being submitted comes with a second look
        if empty == 2 or (empty and not seen):
            return len(seen)
        seen |= left.keys()
        why = squeue.cancel({line.id.partition("_")[0] for line in left.values()})  # whole arrays
        time.sleep(BETWEEN)
    reason = why or "no reason given"
    raise BenchError(
        f"{len(left)} tasks are still in SLURM's queue ({reason}); wait a minute, then run the same command again"
    )


def tidy(store: Store) -> None:
    """Remove the folders of runs of which every job is done; logs of failures stay.

    Raises:
        BenchError: SLURM does not answer.
    """
    tasks = earlier(store.root.resolve() / "slurm")
    unfinished = {task.folder for task in tasks if not all(map(store.done, task.pack))}
    tasks = [task for task in tasks if task.folder not in unfinished]
    for _ in range(5):
        still = {name for name, _ in squeue.listed({task.name for task in tasks}, tries=1)}
        in_queue = {task.folder for task in tasks if task.name in still}
        for folder in {task.folder for task in tasks} - in_queue:
            shutil.rmtree(folder, ignore_errors=True)
        tasks = [task for task in tasks if task.folder in in_queue]
        if not tasks:
            return
        time.sleep(BETWEEN)
