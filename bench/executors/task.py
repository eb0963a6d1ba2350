"""What runs on a node of the cluster: a pack of jobs, one after another, that can be stopped.

submitit's way of being stopped is not used. Its handler saves and requeues inside the signal, in
the middle of an optimiser step, and takes any job shorter than ten minutes for timed out
(submitit issue 1656). Here a signal sets a flag; the loop saves between two steps, ``execute``
returns, and then the task puts itself back into the queue.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from bench.executors.squeue import requeue
from bench.jobs.execute import Outcome, execute
from bench.store import Store, read_json, write_atomic

LOOK_AGAIN = 5.0  # seconds before a job that another attempt holds is tried again
PATIENCE = 600.0  # seconds that a task waits for the end SLURM has announced


@dataclass
class Asked:
    """What signals have asked of this task."""

    stop: bool = False
    again: bool = False

    def warned(self, number: int, frame: FrameType | None = None) -> None:
        """The time is nearly up, or a preemption is announced: save, queue again."""
        self.stop = self.again = True

    def ended(self, number: int, frame: FrameType | None = None) -> None:
        """SLURM is ending the task; whether it comes back is SLURM's to say."""
        self.stop = True

    def listen(self) -> None:
        """Replace submitit's handlers, which are set before this runs.

        SIGTERM must not requeue: it is what ``scancel`` sends, and ``scontrol requeue`` would
        bring a cancelled task back. SIGCONT stays harmless: it also follows a suspension.
        """
        signal.signal(signal.SIGUSR1, self.warned)
        signal.signal(signal.SIGUSR2, self.warned)
        signal.signal(signal.SIGTERM, self.ended)


def outcome_file(folder: Path, job: str) -> Path:
    """Return where a task of the run in ``folder`` says why a job has no result."""
    return folder / f"outcome-{job}.json"


def work(out: str, jobs: tuple[str, ...], folder: str, requeues: int) -> None:
    """Run a pack of jobs; called by submitit on a node.

    Args:
        out: the output folder.
        jobs: ids, needs first.
        folder: of the run, where failures are told.
        requeues: how often the task may go back into the queue.
    """
    asked = Asked()
    asked.listen()
    store = Store(Path(out))
    for job in jobs:
        told = outcome_file(Path(folder), job)
        if _failed(told):  # before a requeue: what failed is not tried again
            continue
        outcome = _one(store, job, asked)
        if outcome.state in ("failed", "refused"):
            tell(told, outcome)
        if asked.stop:
            break
    if asked.stop:
        _leave(store, jobs, Path(folder), asked, requeues)


def tell(path: Path, outcome: Outcome) -> None:
    """Leave an outcome where the controller reads it."""
    write_atomic(path, json.dumps(asdict(outcome)))


def _failed(path: Path) -> bool:
    told = read_json(path)
    return told is not None and told["state"] == "failed"


def _one(store: Store, job: str, asked: Asked) -> Outcome:
    """Run one job; wait while another attempt, here or elsewhere, works on it or on its needs.

    A job is ``refused`` where a need has no result: the controller knows why and what follows.
    """
    while not asked.stop:
        if store.done(job) and not (store.work / job / "job.json").exists():
            return Outcome(job, "done")  # whoever published it has cleared its description
        needs = store.spec(job)["job"]["needs"]
        lacking = [need for need in needs if not store.done(need)]
        if not lacking:
            outcome = execute(str(store.root), job, lambda: asked.stop)
            if outcome.state != "busy":
                return outcome
        elif not any(store.owner(need) for need in lacking):
            return Outcome(job, "refused", f"needs {lacking[0]}, which is not done")
        _sleep(LOOK_AGAIN, asked)
    return Outcome(job, "stopped")


def _sleep(seconds: float, asked: Asked) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not asked.stop:
        time.sleep(0.2)


def _leave(store: Store, jobs: tuple[str, ...], folder: Path, asked: Asked, requeues: int) -> None:
    left = [j for j in jobs if not store.done(j) and not _failed(outcome_file(folder, j))]
    if not left:
        return
    if not asked.again:
        # Ending now could pass for success, and SLURM would not requeue a preempted task.
        time.sleep(PATIENCE)
        return
    count = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if count >= requeues:
        why = f"saved itself and went back into the queue {count} times; raise 'minutes' or 'requeues'"
    else:
        why = requeue(task_id())
    if why:
        for job in left:
            tell(outcome_file(folder, job), Outcome(job, "failed", f"time limit: {why}"))


def task_id() -> str:
    """Return this task's name in SLURM: ``12``, or ``12_3`` in an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]
