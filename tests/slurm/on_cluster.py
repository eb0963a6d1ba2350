"""Faults of nodes and of SLURM's own daemons."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time

from attempt import Attempt
from registry import fault
from smoke import BENCH
from trial import Trial, TrialError


@fault("`scontrol update state=down` of the node that works")
def node_down(trial: Trial) -> str:
    trial.start()
    attempt = trial.hit()
    trial.cluster.call("scontrol", "update", f"nodename={attempt.node}", "state=down", "reason=test")
    told = trial.settle()
    return f"{told}; {trial.manifest(attempt.job)['attempts']} attempts, {trial.restarts(attempt)}"


@fault("SIGKILL to slurmd and everything on its node")
def node_lost(trial: Trial) -> str:
    trial.start()
    attempt = trial.hit()
    trial.cluster.daemons.kill(f"slurmd.{attempt.node}")
    for pid in trial.on_node(attempt.node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    told = trial.settle()
    return f"{told}; {trial.manifest(attempt.job)['attempts']} attempts, {trial.restarts(attempt)}"


@fault("SIGKILL to slurmd alone: its task goes on, and is queued again beside itself")
def slurmd_killed(trial: Trial) -> str:
    trial.start()
    attempt = trial.hit()
    trial.cluster.daemons.kill(f"slurmd.{attempt.node}")
    told = trial.settle()
    made = trial.manifest(attempt.job)
    return f"{told}; published by attempt {made['attempts']} on {made['provenance']['host']}"


@fault(
    "SIGKILL to slurmd alone, its task frozen until its successor has begun; it goes on, then slurmd returns"
)
def orphan_returns(trial: Trial) -> str:
    trial.start()
    attempt = trial.hit()
    attempt.signal(signal.SIGSTOP)
    trial.cluster.daemons.kill(f"slurmd.{attempt.node}")
    began = time.monotonic()
    successor = trial.successor(attempt, 240)
    waited = time.monotonic() - began
    trial.let_finish(attempt)
    trial.cluster.start_node(attempt.node)
    os.kill(successor, signal.SIGCONT)
    told = trial.settle()
    made = trial.manifest(attempt.job)
    if made["attempts"] < 2 or made["provenance"]["host"] == attempt.host:
        raise TrialError(f"published by attempt {made['attempts']} on {made['provenance']['host']}")
    return f"{told}; the successor began after {waited:.0f} s and published, the orphan did not"


@fault("slurmctld is stopped for 40 s while tasks run, then started")
def slurmctld_stopped(trial: Trial) -> str:
    trial.start()
    trial.hit()
    trial.cluster.daemons.end("slurmctld")
    time.sleep(40)
    trial.cluster.start_controller()
    return trial.settle()


@fault("the cluster's state is wiped and its job ids begin at 1 again, after SIGKILL to `bench run`")
def cluster_wiped(trial: Trial) -> str:
    run = trial.start()
    attempt = trial.hit()
    run.kill()
    run.wait()
    trial.cluster.stop()
    trial.cluster.start()
    stranger = ""
    while stranger != attempt.task.split("_")[0]:  # somebody else's job gets the id of ours
        stranger = trial.cluster.call("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 300")
        if stranger != attempt.task.split("_")[0]:
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
    trial.start()
    attempt = trial.hit()
    other = next(node for node in trial.cluster.asked.names if node != attempt.node)
    asked = [sys.executable, *BENCH[1:], "status", "--out", str(trial.out), "--json"]
    told = json.loads(trial.cluster.call("srun", "-w", other, "--mem=800", *asked, timeout=60))
    _sees(attempt, told["running"] + [{"job": done["job"], "host": attempt.host} for done in told["done"]])
    return f"it names the job, its host and its step; {trial.settle()}"


def _sees(attempt: Attempt, jobs: list[dict[str, object]]) -> None:
    if {"job": attempt.job, "host": attempt.host} not in [{k: j[k] for k in ("job", "host")} for j in jobs]:
        raise TrialError(f"{attempt} is not among {jobs}")
