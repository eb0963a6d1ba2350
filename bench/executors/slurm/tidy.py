"""Remove what finished runs have left under ``DIR/slurm``."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from bench.executors.slurm import squeue
from bench.executors.slurm.submission import Task, earlier
from bench.store import Store

LOOKS = 5
BETWEEN = 1.0  # seconds: the last task may still be writing its log


def tidy(store: Store) -> None:
    """Remove the folders of runs of which every job is done; logs of failures stay.

    Raises:
        BenchError: SLURM does not answer.
    """
    done: dict[Path, list[Task]] = {}
    for task in earlier(store.root.resolve() / "slurm"):
        done.setdefault(task.folder, []).append(task)
    done = {f: tasks for f, tasks in done.items() if all(store.done(job) for t in tasks for job in t.pack)}
    for _ in range(LOOKS):
        names = {task.name for tasks in done.values() for task in tasks}
        still = {name for name, _ in squeue.listed(names, tries=1)}
        for folder in [f for f, tasks in done.items() if not still & {t.name for t in tasks}]:
            shutil.rmtree(folder, ignore_errors=True)
            del done[folder]
        if not done:
            return
        time.sleep(BETWEEN)
