"""Processes of this machine: is one still the one that it was, and which GPU is its own?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

WORKER = "BENCH_WORKER"  # environment variable: the number of a worker among those of its command


def gpus() -> int:
    """Return how many NVIDIA GPUs this process may use, without loading torch."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return len([name for name in allowed.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def task_id() -> str:
    """Return this process's task as SLURM names it, ``12`` or in an array ``12_3``; empty outside one."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")


def started(pid: int) -> str:
    """Return when a process started, empty where it is no more.

    So that a reused process number is not mistaken for it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _elsewhere(pid)
    return "" if fields[0] == "Z" else fields[19]


def sight() -> str:
    """Return whose processes this one is sure to see by their numbers; empty where it is not sure.

    Two processes of one host whose answers are equal judge each other by ``started``: one boot of one
    kernel, one PID namespace that ``/proc`` shows, one user (``hidepid`` hides the others' processes).
    """
    if sys.platform != "linux":
        return f"user {os.getuid()}"
    try:
        if str(Path("/proc/self").readlink()) != str(os.getpid()):  # the /proc of another namespace
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} user {os.getuid()}"
    except OSError:
        return ""


def _elsewhere(pid: int) -> str:
    if sys.platform == "linux":
        return ""  # there is no such process
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "unknown"
