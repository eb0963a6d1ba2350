"""What to make of a task that left the queue without telling anything."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from bench.executors.slurm.submission import Sent
from bench.store import Store

RETRIES = 3  # times that what the cluster lost is submitted again
CLUSTER = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL")  # endings that say nothing about the job
FINAL = (
    *CLUSTER, "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT",
)  # fmt: skip
UNHEARD = "User defined signal"  # warned while Python started: nobody listened yet


class Verdict(Enum):
    """What becomes of the jobs that a task left undone."""

    WAIT = 1
    AGAIN = 2
    FAILED = 3


def judge(store: Store, sent: Sent, left: Sequence[str], state: str, waited: bool) -> Verdict:
    """Return what becomes of jobs.

    Args:
        store: the output folder.
        sent: the task.
        left: those of its jobs that have neither a result nor an outcome.
        state: the task's last one as SLURM tells it; empty where it does not.
        waited: has a state that is not final been waited for? Accounting may lag behind.
    """
    if any(_alive(store, sent, job, state) for job in left):
        return Verdict.WAIT
    if state and state not in FINAL and not waited:
        return Verdict.WAIT
    # What was killed after publishing, before scoring, has its scores still to come.
    if state in CLUSTER or UNHEARD in sent.last_words() or all(store.done(job) for job in left):
        return Verdict.AGAIN
    return Verdict.FAILED


def _alive(store: Store, sent: Sent, job: str, state: str) -> bool:
    """May somebody still publish a job? A copy that outlived its node may, as long as it lives."""
    owner = store.owner(job)
    ended = state in FINAL and state not in CLUSTER  # by SLURM itself: only its heartbeat looks alive
    return owner is not None and not (ended and owner.get("task") == sent.id)
