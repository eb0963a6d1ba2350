"""Faults of tasks and of the commands that control them."""

from __future__ import annotations

import os
import signal
import time

from attempt import held, slowed
from config import user
from registry import fault
from trial import Trial, TrialError

from bench.store import HEARTBEAT


@fault("SIGKILL to the Python of a task, in the middle of a job")
def worker_killed(trial: Trial) -> str:
    trial.start()
    trial.hit().signal(signal.SIGKILL)
    return trial.settle()


@fault("scancel of one task that runs")
def task_cancelled(trial: Trial) -> str:
    trial.start()
    trial.cluster.call("scancel", trial.hit().task)
    return trial.settle()


@fault("scancel of all tasks of the user")
def all_cancelled(trial: Trial) -> str:
    trial.start()
    trial.hit()
    trial.cluster.call("scancel", "--user", user())
    return trial.settle()


@fault("SIGKILL to `bench run`, then the same command again", quick=True)
def controller_killed(trial: Trial) -> str:
    run = trial.start()
    attempt = trial.hit()
    run.kill()
    run.wait()
    told = f"exit {trial.again()}"
    attempts = trial.manifest(attempt.job)["attempts"]
    if trial.submissions() != 1 or attempts != 1:
        raise TrialError(f"submitted {trial.submissions()} times, {attempts} attempts")
    return f"{told}; nothing was submitted or begun twice"


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


@fault("an urgent job takes all nodes from a preemptable partition (REQUEUE, 10 s of grace)", quick=True)
def preempted(trial: Trial) -> str:
    trial.profile(partition="preempt")
    trial.start()
    attempt = trial.hit()
    urgent = ("srun", "-p", "urgent", "-N2", "--exclusive", "sleep", "1")
    trial.cluster.call(*urgent, timeout=90)
    told = trial.settle()
    return f"{told}; {trial.manifest(attempt.job)['attempts']} attempts, {trial.restarts(attempt)}"


@fault("two minutes of time limit for a task that needs more, warned 60 s before")
def time_limit(trial: Trial) -> str:
    trial.profile(minutes=2, signal=60)
    trial.start()
    attempt = trial.hit()
    with slowed(attempt):
        trial.until(lambda: trial.claims(attempt.job) != 1, "a second attempt", 150)
    told = trial.settle()
    return f"{told}; {trial.manifest(attempt.job)['attempts']} attempts, {trial.restarts(attempt)}"


@fault("a task that cannot save itself (kept in SIGSTOP) runs into the limit")
def time_limit_unheard(trial: Trial) -> str:
    trial.profile(minutes=2, signal=45)
    trial.start()
    attempt = trial.hit()
    with held(attempt):  # SLURM itself sends SIGCONT before it ends a task
        return trial.settle()


@fault("mem_gb = 0.3, enforced by SLURM's poll; then 2")
def out_of_memory(trial: Trial) -> str:
    trial.profile(mem_gb=0.3)
    trial.start()
    code = trial.end()
    why = trial.failures()
    trial.profile()
    return f"exit {code}: {why}; again with mem_gb = 2: exit {trial.again()}"


@fault("`ulimit -v` in the setup lines; then without")
def out_of_address_space(trial: Trial) -> str:
    trial.profile(setup=["ulimit -v 1000000"])
    trial.start()
    code = trial.end()
    why = trial.failures()
    trial.profile()
    return f"exit {code}: {why}; again without: exit {trial.again()}"


@fault(
    "SIGSTOP of a task until another host's run has taken its job over; SIGCONT, before the other publishes"
)
def frozen_task(trial: Trial) -> str:
    slurm = trial.start()
    attempt = trial.hit()
    attempt.signal(signal.SIGSTOP)
    began = time.monotonic()
    local = trial.start("--executor", "local", "--workers", "1")
    successor = trial.successor(attempt, 150)
    waited = time.monotonic() - began
    trial.let_finish(attempt)
    os.kill(successor, signal.SIGCONT)
    codes = [trial.end(local), trial.end(slurm)]
    made = trial.manifest(attempt.job)
    if made["attempts"] != 2 or made["provenance"]["host"] == attempt.host:
        raise TrialError(f"published by attempt {made['attempts']} on {made['provenance']['host']}")
    return (
        f"taken over after {waited:.0f} s; the frozen one published nothing; exits {codes[0]} and {codes[1]}"
    )


@fault(
    "the nodes' clock, and their stamps on files, jump 5 h ahead, and 5 h back after a SIGKILL (libfaketime)"
)
def clock_jumps(trial: Trial) -> str:
    library, clock = trial.faketime(), trial.folder / "clock"
    clock.write_text("+0\n")
    variables = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": 1,
                 "NO_FAKE_STAT": 1, "FAKETIME_DONT_FAKE_MONOTONIC": 1}  # fmt: skip
    trial.profile(setup=["export " + " ".join(f"{k}={v}" for k, v in variables.items())])
    trial.start()
    attempt = trial.hit()
    clock.write_text("+5h\n")
    with slowed(attempt):
        time.sleep(HEARTBEAT + 2)  # it leaves a heartbeat of the future
        attempt.signal(signal.SIGKILL)
    clock.write_text("-5h\n")
    return trial.settle()
