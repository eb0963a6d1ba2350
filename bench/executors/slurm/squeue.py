"""The few questions asked of SLURM: one ``squeue`` a look, one ``sacct`` for what got lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from bench.errors import BenchError

TIMEOUT = 30.0  # a controller that is down makes every client wait for minutes
TRIES = 5  # looks in a row without an answer
BETWEEN = 5.0  # seconds, times the number of the try

# Reasons with which a task pends until a person acts; one held by its owner is not among them.
HOPELESS = re.compile(
    "BadConstraints|PartitionTimeLimit|PartitionNodeLimit|DependencyNeverSatisfied|InvalidAccount|InvalidQOS"
    "|(QOS|Assoc)Max.*PerJob(Limit)?|(QOS|Assoc)Max.*PerNode.*|QOSMin.*|AccountNotAllowed|QOSNotAllowed"
    "|ReservationDeleted|JobHeldAdmin|JobHoldMaxRequeue|launch failed requeued held"
    "|job requeued in held state"
)
HELD = ("PENDING", "SPECIAL_EXIT", "REQUEUE_HOLD", "RESV_DEL_HOLD")

# States in which a task is over. A task in any other state is alive, also in one that is new to us.
LOST = ("BOOT_FAIL", "NODE_FAIL", "PREEMPTED")  # say nothing about the job
ENDED = ("CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT")

# Beginnings of variables that change what a client lists, cancels or prints, or its cluster ...
CHANGING = ("SLURM_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_")
# ... and, of those, without which it finds no SLURM
REACHING = ("SLURM_CONF", "SLURM_JWT", "SLURM_SACK_")


@dataclass(frozen=True)
class Line:
    """One task as ``squeue`` lists it."""

    id: str  # as other commands take it: 12 or 12_3
    name: str
    index: int
    state: str
    reason: str

    @property
    def hopeless(self) -> bool:
        """Will it pend until a person acts?"""
        return self.state in HELD and HOPELESS.fullmatch(self.reason) is not None


MEMORY = ("memory limit", "oom-kill", "oom_kill")  # how SLURM's daemons put it in a task's log

Listed = dict[tuple[str, int], Line]
SQUEUE = ("squeue", "--noheader", "--array", "--all", "--states=all")
SACCT = ("sacct", "--noheader", "--parsable2", "--allocations")


def require() -> None:
    """Raise BenchError where this machine cannot submit."""
    missing = [tool for tool in ("sbatch", "squeue", "srun") if shutil.which(tool) is None]
    if missing:
        raise BenchError(
            f"no {missing[0]} on this machine, so SLURM is not available here; run this on the cluster's "
            "login node, or run the jobs here with --executor local"
        )


def listed(names: Iterable[str], tries: int = TRIES) -> Listed:
    """Return the tasks of arrays that are not over by (name, index), with one call.

    Arrays are asked for by job name, which is ours alone: job ids start again at 1 on a cluster
    whose state was lost, and one that is purged makes ``squeue -j`` an error. All states are asked
    for, and partitions that a site hides: what is alive is judged here.

    Raises:
        BenchError: no answer after several tries.
    """
    names = sorted(names)
    if not names:
        return {}
    command, why = [*SQUEUE, "--name", ",".join(names), "--format", "%i|%j|%K|%T|%r"], ""
    for number in range(1, tries + 1):
        output, why = _call(command)
        if output is not None:
            lines = dict(_line(row) for row in output.splitlines() if row.count("|") >= 4)
            return {key: line for key, line in lines.items() if line.state not in (*ENDED, *LOST)}
        if number < tries:
            time.sleep(BETWEEN * number)
    raise BenchError(
        f"squeue: no answer in {tries} tries ({why}); submitted tasks go on, run the same command "
        "again when SLURM answers"
    )


def _line(row: str) -> tuple[tuple[str, int], Line]:
    """Read ``%i|%j|%K|%T|%r``; a task outside an array has index 0."""
    task, name, index, state, reason = row.strip().split("|", 4)
    number = int(index) if index.isdecimal() else 0
    return (name, number), Line(task, name, number, state, reason.strip("()").replace("_", " "))


def states(ended: Mapping[str, str]) -> dict[str, str]:
    """Return how tasks (id -> name of its array) ended: two calls at most, whatever their number.

    SLURM remembers for some minutes (``MinJobAge``); after that accounting does, where there is one.
    """
    if not ended:
        return {}
    names = ",".join(sorted(set(ended.values())))
    output, _ = _call([*SQUEUE, "--name", names, "--format", "%i|%T"])
    states_by_id = _rows(output)
    rest = sorted(ended.keys() - states_by_id.keys())
    if rest and shutil.which("sacct") is not None:
        arrays = ",".join(sorted({task.partition("_")[0] for task in rest}))
        output, _ = _call([*SACCT, "--format", "JobID,State", "--jobs", arrays])
        states_by_id |= _rows(output)
    return {task: states_by_id[task] for task in ended if task in states_by_id}


def _rows(text: str | None) -> dict[str, str]:
    rows = (line.strip().split("|") for line in (text or "").splitlines())
    return {row[0]: row[1].split(" ")[0] for row in rows if len(row) == 2 and row[1]}


def explain(state: str, words: str = "") -> str:
    """Return for a person why a task in ``state`` left no result; ``words`` end its log."""
    if state == "OUT_OF_MEMORY" or any(sign in words.lower() for sign in MEMORY):
        return "out of memory; raise 'mem_gb' of the cluster in bench.toml"
    if state == "TIMEOUT":
        return (
            "the time limit ended it before it could save its state; raise 'minutes' or 'signal' "
            "in bench.toml"
        )
    if state == "CANCELLED":
        return "its task was cancelled"
    last = f"; the last line of its log: {words.splitlines()[-1][:200]}" if words else ""
    return f"its task left the queue without a result ({state or 'SLURM does not say why'}){last}"


def cancel(ids: Iterable[str], *flags: str) -> str:
    """Take tasks out of the queue, as far as SLURM answers; return why not, or nothing."""
    wanted = sorted(ids)
    return _call(["scancel", *flags, *wanted])[1] if wanted else ""


def config() -> dict[str, str]:
    """Return what the site says of its configuration; empty where it does not answer."""
    output, _ = _call(["scontrol", "show", "config"])
    pairs = (line.partition("=") for line in (output or "").splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def partitions(names: str | None) -> list[dict[str, str]]:
    """Return what the site says of partitions: of those with commas between, or of its default one."""
    output, _ = _call(["scontrol", "--all", "--oneliner", "show", "partition"])
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in (output or "").splitlines()]
    if names is None:
        return [partition for partition in found if partition.get("Default") == "YES"]
    return [p for p in found if p.get("PartitionName") in names.split(",")]


def megabytes(text: str | int) -> float | None:
    """Return a memory as SLURM spells it (``4G``, ``4096``); None: all that a node has."""
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", str(text).upper())
    return int(match[1]) * 1024.0 ** ("KMGT".index(match[2] or "M") - 1) or None if match else None


def seconds(text: str | int) -> int | None:
    """Return a time as SLURM spells it (``90``, ``1:30:00``, ``2-12``); None: without a limit."""
    days, dash, clock = str(text).rpartition("-")
    numbers = [int(part) for part in clock.split(":") if part.isdecimal()]
    if not numbers or (days and not days.isdecimal()):
        return None
    before = 0 if dash or len(numbers) == 3 else 1
    hours, minutes, rest = ([0] * before + numbers + [0, 0])[:3]
    return (24 * int(days or 0) + hours) * 3600 + minutes * 60 + rest


def array_limit(site: Mapping[str, str]) -> int | None:
    """Return the tasks that an array may have, from what ``config`` returned; None where it is not stated."""
    stated = re.findall(r"max_array_tasks=(\d+)", site.get("SchedulerParameters", ""))
    stated += re.findall(r"^\d+", site.get("MaxArraySize", ""))  # the indices are below it
    # 0: no arrays, which one task needs not
    return max(1, min(map(int, stated))) if stated else None


def accounting() -> bool:
    """Does ``sacct`` answer?"""
    if shutil.which("sacct") is None:
        return False
    return _call(["sacct", "--noheader", "--jobs", "1"])[0] is not None


def requeue(task: str) -> str:
    """Put a running task back into the queue; return why not, or nothing."""
    return _call(["scontrol", "requeue", task])[1]


def inherited(name: str) -> bool:
    """May a client of SLURM inherit this variable of the shell from which bench was started?"""
    return name.startswith(REACHING) or not name.startswith(CHANGING)


def _call(command: list[str]) -> tuple[str | None, str]:
    environment = {name: value for name, value in os.environ.items() if inherited(name)}
    environment["LC_ALL"] = "C"
    run = partial(subprocess.run, capture_output=True, stdin=subprocess.DEVNULL, env=environment)
    try:
        done = run(command, timeout=TIMEOUT, check=False, encoding="utf-8", errors="replace")
    except subprocess.TimeoutExpired:
        return None, f"{command[0]} did not answer in {TIMEOUT:.0f} s"
    except OSError as error:
        return None, f"{command[0]}: {error.strerror}"
    if done.returncode:
        errors = done.stderr.strip().splitlines()
        return None, errors[-1] if errors else f"{command[0]} ended with {done.returncode}"
    return done.stdout, ""
