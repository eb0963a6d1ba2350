"""Processes that work on jobs in tasks of the cluster, and what may be done to them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attempt:
    """A process that works on a job in a task of the cluster."""

    job: str
    host: str
    pid: int
    task: str  # as scancel takes it
    node: str

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)


def place(pid: int | None) -> tuple[str, str]:
    """Return the task and the node that a process runs in, from its environment; empty for none."""
    variables = environment(pid) if pid is not None else {}
    array, index = variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")
    task = f"{array}_{index}" if array else variables.get("SLURM_JOB_ID", "")
    return task, variables.get("SLURMD_NODENAME", "")


def environment(pid: int) -> dict[str, str]:
    """Return a process's environment; empty where it is gone."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in raw if "=" in entry)


def children(pid: int) -> list[int]:
    """Return the processes that one has started and that still run."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextlib.contextmanager
def held(attempt: Attempt) -> Iterator[None]:
    """Keep a process frozen, whoever wakes it."""
    with slowed(attempt, share=0.0, turn=0.02, wake=False):
        yield


@contextlib.contextmanager
def slowed(attempt: Attempt, share: float = 0.1, turn: float = 1.0, wake: bool = True) -> Iterator[None]:
    """Let a process run for a share of the time only."""
    over = threading.Event()

    def pace() -> None:
        with contextlib.suppress(ProcessLookupError):
            while not over.is_set():
                attempt.signal(signal.SIGSTOP)
                time.sleep(turn * (1 - share))
                if wake:
                    attempt.signal(signal.SIGCONT)
                    time.sleep(turn * share)

    thread = threading.Thread(target=pace, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
