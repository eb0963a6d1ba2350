"""How the processes of one task find each other and train one model together.

The first process leads: it claims the job, tells the others which, saves and publishes. They meet
at an address that it leaves in the run's folder, because SLURM's list of node names need not
resolve inside a container. The others end after it: ``srun --wait`` would else cut its last words.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bench.jobs.execute import Outcome
from bench.store import read_json, write_atomic

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

Led = Callable[[str], AbstractContextManager[None]]  # job -> what its training happens in
PATIENCE = timedelta(days=7)  # the leader may wait for another attempt at the job, or for its needs
CONNECT = timedelta(seconds=30)
LOOK_AGAIN = 0.5


def place() -> tuple[int, int]:
    """Return this process's number in its task and how many the task has."""
    rank = int(os.environ.get("SLURM_PROCID", "0"))
    return rank, int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def alone(job: str) -> AbstractContextManager[None]:
    """Train in this process only."""
    return nullcontext()


@contextmanager
def lead(meeting: Path, size: int) -> Iterator[Led]:
    """Yield a context for the one training that ``size`` processes do together."""
    from torch._C._distributed_c10d import TCPStore

    from bench import world

    store = TCPStore("localhost", 0, size, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    write_atomic(meeting, json.dumps({"host": socket.gethostname(), "port": store.port}))

    @contextmanager
    def led(job: str) -> Iterator[None]:
        store.set("job", job)
        with world.joined(0, size, store):
            yield

    try:
        yield led
    finally:
        if not store.check(["job"]):
            store.set("job", "")
        store.set("over", "1")
        write_atomic(meeting, json.dumps({"over": True}))  # for those who come when the store has gone


def attend(meeting: Path, stopping: Callable[[], bool], part: Callable[[str], Outcome]) -> None:
    """Do ``part`` of the job that the leader trains, if it trains; leave the reason where it fails."""
    from bench import world

    rank, size = place()
    store = _found(meeting, size, stopping)
    if store is None:
        return
    job = store.get("job").decode()
    if job:
        with world.joined(rank, size, store):
            outcome = part(job)
            if outcome.state == "failed":
                write_atomic(_said(meeting, rank), json.dumps({"reason": outcome.reason}))
    with suppress(RuntimeError):  # the leader has gone, and its store with it
        store.wait(["over"])


def blamed(outcome: Outcome, meeting: Path) -> Outcome:
    """Return the leader's outcome with the reason of the process that failed first, if one did.

    The leader itself only sees that a connection closed.
    """
    if outcome.state != "failed":
        return outcome
    reason = outcome.reason
    if any(word in reason for word in ("gloo", "NCCL")):
        reason = "another process of the task ended in the middle of training"
    for path in sorted(meeting.parent.glob(f"{meeting.stem}-process-*.json")):
        told = read_json(path)
        if told is not None:
            reason += f"; process {path.stem.rpartition('-')[2]}: {told['reason']}"
            break
    return replace(outcome, reason=reason)


def _found(meeting: Path, size: int, stopping: Callable[[], bool]) -> TCPStore | None:
    from torch._C._distributed_c10d import TCPStore

    while not stopping():
        told = read_json(meeting)
        if told is not None and "over" in told:
            return None
        if told is not None:
            with suppress(RuntimeError):  # the leader may be ending right now
                store = TCPStore(told["host"], told["port"], size, is_master=False, timeout=CONNECT)
                store.set_timeout(PATIENCE)
                return store
        time.sleep(LOOK_AGAIN)
    return None


def _said(meeting: Path, rank: int) -> Path:
    return meeting.with_name(f"{meeting.stem}-process-{rank}.json")
