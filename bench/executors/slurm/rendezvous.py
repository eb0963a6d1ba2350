"""How the processes of one task find each other and train one model together.

The first process leads: it claims the job, tells the others which, saves and publishes. They meet
at an address that it leaves in the run's folder. They end after it, because ``srun --wait`` would
else cut its last words, and never before it: what it stops for, they are told in the training.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench.runtime.execute import Outcome
from bench.store import read_json, write_atomic

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

Led = Callable[[str], AbstractContextManager[None]]  # job -> what its training happens in
PATIENCE = timedelta(days=7)  # the leader may wait for another attempt at the job, or for its needs
CONNECT = timedelta(seconds=30)
WORDS = 20.0  # seconds for the other processes to say why they ended
LOOK_AGAIN = 0.5


def rank_and_size() -> tuple[int, int]:
    """Return this process's number in its task and how many the task has."""
    rank = int(os.environ.get("SLURM_PROCID", "0"))
    return rank, int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


@contextmanager
def lead(meeting: Path, size: int) -> Iterator[Led]:
    """Yield a context for a training that ``size`` processes do together; it may be entered again."""
    if size == 1:
        yield lambda job: nullcontext()
        return
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    from bench import distributed

    store = TCPStore("localhost", 0, size, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    write_atomic(meeting, json.dumps({"host": _address(), "port": store.port}))
    rounds = count()

    @contextmanager
    def led(job: str) -> Iterator[None]:
        number = next(rounds)
        store.set(f"job-{number}", job)
        with distributed.joined(0, size, PrefixStore(f"round-{number}", store)):
            yield

    try:
        yield led
    finally:
        store.set(f"job-{next(rounds)}", "")
        # for those who come when the store has gone
        write_atomic(meeting, json.dumps({"over": True}))


def attend(meeting: Path, part: Callable[[str], Outcome]) -> None:
    """Do ``part`` of what the leader trains until it ends; leave the reason where that fails."""
    from torch._C._distributed_c10d import PrefixStore

    from bench import distributed

    rank, size = rank_and_size()
    store = _connect(meeting, size)
    if store is None:
        return
    with suppress(RuntimeError):  # the leader has gone, and its store with it
        for number in count():
            job = store.get(f"job-{number}").decode()
            if not job:
                return
            with distributed.joined(rank, size, PrefixStore(f"round-{number}", store)):
                outcome = part(job)
                if outcome.state == "failed":
                    file = meeting.with_name(f"{meeting.stem}-process-{rank}.json")
                    write_atomic(file, json.dumps({"reason": outcome.reason}))


def explained(reason: str, meeting: Path) -> str:
    """Return why a training failed, with the reason of the process that failed first, if one did.

    The leader itself only sees that a connection closed. Where the others say nothing either, SLURM
    has ended them and is about to end this one, or to requeue it: then that is the reason.
    """
    if not _closed(reason):
        return reason
    until = time.monotonic() + WORDS
    while time.monotonic() < until:
        for path in sorted(meeting.parent.glob(f"{meeting.stem}-process-*.json")):
            why = (read_json(path) or {}).get("reason", "")
            if why and not _closed(why):
                return f"process {path.stem.rpartition('-')[2]} of the task failed: {why}"
        time.sleep(LOOK_AGAIN)
    return "another process of the task ended in the middle of training"


def _closed(reason: str) -> bool:
    """Does a reason only say that the connection to another process closed?"""
    return "gloo" in reason or "NCCL" in reason


def _address() -> str:
    """Return by what the other nodes find this one: its name, where it means anything."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:  # srun has run here, on the first node
        return os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "localhost")
    return name


def _connect(meeting: Path, size: int) -> TCPStore | None:
    from torch._C._distributed_c10d import TCPStore

    while True:
        address = read_json(meeting)
        if address is not None and "over" in address:
            return None
        if address is not None:
            with suppress(RuntimeError):  # the leader may be ending right now
                where = address["host"], address["port"]
                store = TCPStore(*where, size, is_master=False, timeout=CONNECT)
                store.set_timeout(PATIENCE)
                return store
        time.sleep(LOOK_AGAIN)
