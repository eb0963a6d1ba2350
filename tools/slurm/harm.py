"""What is done to runs on a cluster, by name: to tasks, to nodes and daemons, to the shared file system."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import pytest
from smoke import BENCH
from trial import Trial, TrialError

from bench.claims import HEARTBEAT, LEASE

Make = Callable[[Trial], str]


@dataclass(frozen=True)
class Fault:
    """Something that happens to a run; ``make`` returns in words how the run ended."""

    how: str
    make: Make
    quick: bool  # a test of every CI run, on the smallest protocol


FAULTS: dict[str, Fault] = {}


def fault(how: str, quick: bool = False) -> Callable[[Make], Make]:

    def register(make: Make) -> Make:
        FAULTS[make.__name__] = Fault(how, make, quick)
        return make

    return register


# Tasks, and the commands that control them


@fault("SIGKILL to the Python of a task, in the middle of a job")
def worker_killed(trial: Trial) -> str:
    trial.begin().signal(signal.SIGKILL)
    return trial.settle()


@fault("scancel of one task that runs")
def task_cancelled(trial: Trial) -> str:
    trial.cluster.call("scancel", trial.begin().task)
    return trial.settle()


@fault("scancel of all tasks of the user")
def all_cancelled(trial: Trial) -> str:
    trial.begin()
    trial.cluster.call("scancel", "--user", getuser())
    return trial.settle()


@fault("SIGKILL to `bench run`, then the same command again", quick=True)
def controller_killed(trial: Trial) -> str:
    attempt = trial.begin()
    trial.kill()
    printed = f"exit {trial.again()}"
    attempts = trial.manifest(attempt.job)["attempts"]
    if trial.submissions() != 1 or attempts != 1:
        raise TrialError(f"submitted {trial.submissions()} times, {attempts} attempts")
    return f"{printed}; nothing was submitted or begun twice"


@fault("two `bench run` on one folder, started at once")
def two_runs(trial: Trial) -> str:
    first, second = trial.start(), trial.start()
    codes = [trial.end(first), trial.end(second)]
    if codes != [0, 0]:
        raise TrialError(f"exits {codes}\n{trial.text(0)}\n{trial.text(1)}")
    jobs = [path.parent.name for path in (trial.out / "jobs").glob("*/manifest.json")]
    attempts = max(trial.manifest(job)["attempts"] for job in jobs)
    if attempts != 1:
        raise TrialError(f"a job was begun {attempts} times")
    return f"exits 0 and 0; each job was begun once, submitted up to {trial.submissions()} times"


@fault(
    "an urgent job takes all nodes from a preemptable partition (REQUEUE, 10 s of grace)",
    quick=True,
)
def preempted(trial: Trial) -> str:
    attempt = trial.begin(partition="preempt")
    trial.cluster.call("srun", "-p", "urgent", "-N2", "--exclusive", "sleep", "1", timeout=90)
    return trial.settle(attempt)


@fault("two minutes of time limit for a task that needs more, warned 60 s before")
def time_limit(trial: Trial) -> str:
    attempt = trial.begin(minutes=2, signal=60)
    with attempt.slowed():
        trial.until(lambda: trial.claims(attempt.job) != 1, "a second attempt", 150)
    return trial.settle(attempt)


@fault("a task that cannot save itself (kept in SIGSTOP) runs into the limit")
def time_limit_unheard(trial: Trial) -> str:
    attempt = trial.begin(minutes=2, signal=45)
    with attempt.slowed(share=0.0, turn=0.02):  # SLURM itself sends SIGCONT before it ends a task
        return trial.settle()


@fault("mem_gb = 0.3, enforced by SLURM's poll; then 2")
def out_of_memory(trial: Trial) -> str:
    return _refused(trial, mem_gb=0.3)


@fault("`ulimit -v` in the setup lines; then without")
def out_of_address_space(trial: Trial) -> str:
    return _refused(trial, setup=["ulimit -v 1000000"])


def _refused(trial: Trial, **settings: object) -> str:
    trial.profile(**settings)
    code, why = trial.again(), trial.failures()
    trial.profile()
    return f"exit {code}: {why}; again without it: exit {trial.again()}"


@fault(
    "SIGSTOP of a task until another host's run has taken its job over; SIGCONT, before the other publishes"
)
def frozen_task(trial: Trial) -> str:
    attempt = trial.begin()
    attempt.signal(signal.SIGSTOP)
    trial.start("--executor", "local", "--workers", "1")
    waited = trial.overtaken(attempt, 150)
    slurm, local = trial.runs
    codes = [trial.end(local), trial.end(slurm)]
    trial.published_by_another(attempt, attempts=2)
    return f"taken over after {waited:.0f} s; the frozen one published nothing; exits {codes}"


@fault(
    "the nodes' clock, and their stamps on files, jump 5 h ahead, and 5 h back after a SIGKILL (libfaketime)"
)
def clock_jumps(trial: Trial) -> str:
    libraries = sorted(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"))
    if not libraries:
        pytest.skip("no libfaketime here: apt-get install libfaketime")
    clock = trial.folder / "clock"
    clock.write_text("+0\n")
    variables = {
        "LD_PRELOAD": libraries[0],
        "FAKETIME_TIMESTAMP_FILE": clock,
        "FAKETIME_NO_CACHE": 1,
        "NO_FAKE_STAT": 1,
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,
    }
    attempt = trial.begin(setup=["export " + " ".join(f"{k}={v}" for k, v in variables.items())])
    clock.write_text("+5h\n")
    with attempt.slowed():
        time.sleep(HEARTBEAT + 2)  # it leaves a heartbeat of the future
        attempt.signal(signal.SIGKILL)
    clock.write_text("-5h\n")
    return trial.settle()


# Nodes, and SLURM's own daemons


@fault("`scontrol update state=down` of the node that works")
def node_down(trial: Trial) -> str:
    attempt = trial.begin()
    trial.cluster.call(
        "scontrol", "update", f"nodename={attempt.node}", "state=down", "reason=test"
    )
    return trial.settle(attempt)


@fault("SIGKILL to slurmd and everything on its node")
def node_lost(trial: Trial) -> str:
    attempt = trial.begin()
    trial.cluster.daemons.kill(f"slurmd.{attempt.node}")
    for pid in trial.on_node(attempt.node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return trial.settle(attempt)


@fault("SIGKILL to slurmd alone: its task goes on, and is queued again beside itself")
def slurmd_killed(trial: Trial) -> str:
    attempt = trial.begin()
    trial.cluster.daemons.kill(f"slurmd.{attempt.node}")
    printed = trial.settle()
    built = trial.manifest(attempt.job)
    return f"{printed}; published by attempt {built['attempts']} on {built['provenance']['host']}"


@fault(
    "SIGKILL to slurmd alone, its task frozen until its successor has begun; it goes on, then slurmd returns"
)
def orphan_returns(trial: Trial) -> str:
    attempt = trial.begin()
    attempt.signal(signal.SIGSTOP)
    trial.cluster.daemons.kill(f"slurmd.{attempt.node}")
    waited = trial.overtaken(attempt, 240, lambda: trial.cluster.start_node(attempt.node))
    printed = trial.settle()
    trial.published_by_another(attempt)
    return f"{printed}; the successor began after {waited:.0f} s and published, the orphan did not"


@fault("slurmctld is stopped for 40 s while tasks run, then started")
def slurmctld_stopped(trial: Trial) -> str:
    trial.begin()
    trial.cluster.daemons.end("slurmctld")
    time.sleep(40)
    trial.cluster.start_controller()
    return trial.settle()


@fault(
    "the cluster's state is wiped and its job ids begin at 1 again, after SIGKILL to `bench run`"
)
def cluster_wiped(trial: Trial) -> str:
    ours = trial.begin().task.split("_")[0]
    trial.kill()
    trial.cluster.stop()
    trial.cluster.start()
    sbatch = ("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 300")
    # somebody else's job gets the id of ours
    while (stranger := trial.cluster.call(*sbatch)) != ours:
        trial.cluster.call("scancel", stranger)
    code = trial.again()
    if f"{stranger} RUNNING" not in trial.cluster.queue():
        raise TrialError("the stranger's job was touched")
    trial.cluster.call("scancel", stranger)
    if code:
        raise TrialError(trial.text())
    return "the same command again: exit 0; a stranger's job of the same id went on"


@fault("`bench status` on another node, by srun, while a task runs", quick=True)
def status_elsewhere(trial: Trial) -> str:
    attempt = trial.begin()
    other = next(node for node in trial.cluster.cluster.names if node != attempt.node)
    requested = [sys.executable, *BENCH[1:], "status", "--out", str(trial.out), "--json"]
    printed = json.loads(
        trial.cluster.call("srun", "-w", other, "--mem=800", *requested, timeout=60)
    )
    seen = [(job["job"], job["host"]) for job in printed["running"]]
    seen += [(job["job"], attempt.host) for job in printed["done"]]  # it ended meanwhile
    if (attempt.job, attempt.host) not in seen:
        raise TrialError(f"{attempt} is not among {seen}")
    return f"it names the job, its host and its step; {trial.settle()}"


# The shared file system


@fault("claims of a host that is no more, an hour old, on every job", quick=True)
def stale_claims(trial: Trial) -> str:
    return _claimed(trial, age=3600)


@fault("the same, but renewed a moment ago")
def fresh_claims(trial: Trial) -> str:
    began = time.monotonic()
    printed = _claimed(trial, age=0)
    waited = time.monotonic() - began
    assert waited > LEASE, f"taken over after {waited:.0f} s already"
    return printed


def _claimed(trial: Trial, age: float) -> str:
    held = {"host": "gone-host", "pid": 1, "start": "1", "since": time.time() - age}
    # ids are those of the contents, the same here
    undisturbed = trial.smoke.path.parent / "local" / "jobs"
    jobs = sorted(folder.name for folder in undisturbed.iterdir())
    for job in jobs:
        folder = trial.out / "work" / job
        folder.mkdir(parents=True)
        (folder / "claim-0001").write_text(json.dumps(held))
        os.utime(folder / "claim-0001", (time.time() - age,) * 2)
    trial.start()
    printed = trial.settle()
    assert {trial.manifest(job)["attempts"] for job in jobs} == {2}, "the claims were not there"
    return f"{printed}; all {len(jobs)} jobs taken over"


@fault(
    "the output folder's file system is full from the middle of a job until the run ends; then it has room"
)
def full_disk(trial: Trial) -> str:
    with _full(trial):
        code = trial.end()
        why = trial.text().strip().splitlines()[-1]
        subprocess.run(["mount", "-o", "remount,size=256m", str(trial.out)], check=True)
        return f"exit {code}: {why}; with room, the same command again: exit {trial.again()}"


@fault("the same, for 15 s")
def full_for_a_while(trial: Trial) -> str:
    with _full(trial) as filler:
        time.sleep(15)
        filler.unlink()
        return trial.settle()


@contextlib.contextmanager
def _full(trial: Trial) -> Iterator[Path]:
    """Begin in a file system of 64 MB and fill it; yield what fills it. What else it holds is kept."""
    folder, remaining = trial.out, trial.out.with_name("kept")
    folder.mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64m", "bench-slurm", str(folder)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        trial.begin()
        with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        yield folder / "filler"
        subprocess.run(["cp", "-a", str(folder), str(remaining)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()
    remaining.rename(folder)
