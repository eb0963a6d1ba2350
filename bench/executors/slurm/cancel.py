"""Take back what an output folder has in SLURM's queue."""

from __future__ import annotations

import time

from bench.atomic import append
from bench.errors import BenchError
from bench.executors.slurm import squeue
from bench.executors.slurm.submission import CANCELLED, earlier
from bench.store import Store

LOOKS = 10
BETWEEN = 1.0  # seconds: a task gets KillWait to end, and its command may submit once more


def cancel(store: Store) -> int:
    """Cancel every task that any command has submitted for this folder; return how many there were.

    Commands that still follow the folder's runs end, too; what is done stays, and so do checkpoints.

    Raises:
        BenchError: SLURM is not here or does not answer, or tasks stay in the queue.
    """
    squeue.require()
    runs, found, empty, why = store.root.resolve() / "slurm", set[tuple[str, int]](), 0, ""
    for _ in range(LOOKS):
        for told in runs.glob("*/submitted.json"):
            append(store.within(told.parent) / CANCELLED, "")
        listed = squeue.listed({task.name for task in earlier(runs)})
        left = {key: line for key, line in listed.items() if line.state != "COMPLETING"}
        empty = 0 if left else empty + 1
        if empty == 2 or (empty and not found):  # what was just being submitted comes with a second look
            return len(found)
        found |= left.keys()
        why = squeue.cancel({line.id.partition("_")[0] for line in left.values()})  # whole arrays
        time.sleep(BETWEEN)
    raise BenchError(f"{len(left)} tasks are still in the queue ({why or 'no reason given'}); try again")
