"""What has ended: by its result, by what its task left, or because its task is gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import records
from bench.executors.slurm import squeue
from bench.executors.slurm.sbatch import Task
from bench.executors.slurm.squeue import ENDED, LOST
from bench.executors.slurm.task import outcome_file
from bench.runtime.execute import Outcome, lacking
from bench.store import read_json

if TYPE_CHECKING:
    from bench.executors.slurm.controller import Controller

RETRIES = 3  # times that what the cluster lost is submitted again
UNHEARD = "User defined signal"  # warned while Python started: nobody listened yet


def settle(run: Controller) -> None:
    """End the jobs that have a result, that their task gave up, or whose needs have failed."""
    # One listing serves all jobs; it also makes a network file system forget what was not there.
    published = {folder.name for folder in run.store.jobs.iterdir()}
    heard = run.heard(run.sent())
    for job in list(run.waiting):
        task = run.tasks.get(job)
        if job in published and records.done(run.plan, run.store, job):
            run.end(Outcome(job, "done", seconds=run.store.manifest(job).get("seconds", 0.0)))
        elif task is not None and job in heard:
            _hear(run, job, task)
        if job not in run.outcomes and (reason := _hopeless(run, job)):
            run.end(Outcome(job, "failed", reason))


def _hear(run: Controller, job: str, task: Task) -> None:
    """Act on the outcome that a task left of a job: it ends, or is submitted again."""
    path = outcome_file(task.folder, job)
    outcome = read_json(path)
    if outcome is None or (outcome["state"] == "stopped" and task.key in run.listed):
        return
    if outcome["state"] == "failed":
        run.end(Outcome(**outcome))
        return
    if outcome["state"] == "stopped":  # saved itself, and could not go back into the queue
        run.stops[job] += 1
        if run.stops[job] > run.profile.requeues:
            why = f"stopped and saved its state {run.profile.requeues} times ({outcome['reason']})"
            run.fail(job, task, f"time limit: {why}")
            return
        run.tries[job] = 0
    elif lacking(run.store, run.plan.jobs[job].needs, run.plan.after.get(job, ())):
        return  # refused, until what it lacks has come
    path.unlink(missing_ok=True)
    del run.tasks[job]


def _hopeless(run: Controller, job: str) -> str:
    """Return why an open job cannot be done any more; empty where it can."""
    need = run.plan.hopeless(job, run.has_failed)
    if need is not None:
        return f"needs {run.plan.jobs[need].kind} {need}, which failed: {run.outcomes[need].reason}"
    gone = _gone(run, job)
    return f"needs {gone}, whose result is not there any more; run again" if gone else ""


def _gone(run: Controller, job: str) -> str:
    """Return a need that is done no more, and that nobody makes anew: it was set aside, or taken back."""
    guards = run.plan.after.get(job, ())
    is_guarded = any(run.store.done(guard) or guard in run.waiting for guard in guards)
    needs = (*run.plan.jobs[job].needs, *(() if is_guarded else guards[:1]))
    absent = (need for need in needs if need not in run.waiting and not run.store.done(need))
    return next((need for need in absent if run.store.owner(need) is None), "")


def take_back(run: Controller) -> None:
    """Take the tasks out of the queue, and end every job."""
    squeue.cancel(run.listed[task.key].id for task in run.sent() if task.key in run.listed)
    for job in list(run.waiting):
        run.end(Outcome(job, "failed", "taken back by 'bench cancel'"))


def drop_lost(run: Controller) -> None:
    """Settle what tasks left undone that are not in the queue any more."""
    now, lost = time.monotonic(), dict[Task, list[str]]()
    heard = run.heard(run.sent())
    for job, task in run.tasks.items():
        if task.key in run.listed:
            task.missing = None
            continue
        task.missing = now if task.missing is None else task.missing
        if (
            now - task.missing >= run.grace and job not in heard
        ):  # of what it refused, the need decides
            lost.setdefault(task, []).append(job)
    states = squeue.states({task.id: task.name for task in lost})
    for task, jobs in lost.items():
        _lose(run, task, jobs, states.get(task.id, ""))


def _lose(run: Controller, task: Task, jobs: list[str], state: str) -> None:
    """Settle what a task left undone; ``state`` is its last one, empty where SLURM does not tell it."""
    owners = [owner for job in jobs if (owner := run.store.owner(job)) is not None]
    if any(state not in ENDED or owner.get("task") != task.id for owner in owners):
        return  # an orphan may still publish; of what SLURM has ended only the heartbeat looks alive
    is_alive = bool(state) and state not in (*ENDED, *LOST)
    if is_alive and time.monotonic() - (task.missing or 0.0) <= 10 * run.grace:
        return  # accounting lags behind
    for job in jobs:
        del run.tasks[job]
    words, done = task.last_words(), [job for job in jobs if run.store.done(job)]
    # What was killed after publishing, before scoring, has its scores still to come.
    is_to_repeat = state in LOST or is_alive or UNHEARD in words or len(done) == len(jobs)
    may_repeat = all(run.tries[job] < RETRIES for job in jobs)
    if task.name not in run.arrays() or (is_to_repeat and may_repeat):
        return  # submitted (once more) at this look
    # Which job ended the task is known by its claim: the ones after it never had their turn
    # and are submitted again. Where none was begun, the task itself cannot run.
    claims = {job: len(run.store.claims(job)) - task.claims.get(job, 0) for job in jobs}
    begun = [job for job in jobs if job in done or claims[job] > 0]
    why = f"{squeue.explain(state, words)} (task {task.id})"
    for job in jobs if state == "CANCELLED" else begun or jobs:
        run.fail(job, task, why)


def drop_stuck(run: Controller) -> None:
    """Cancel the tasks that will pend until a person acts, and fail their jobs."""
    listed = ((task, run.listed[task.key]) for task in run.sent() if task.key in run.listed)
    stuck = [(task, line.reason) for task, line in listed if line.hopeless]
    squeue.cancel(task.id for task, _ in stuck)
    for task, reason in stuck:
        advice = "check the cluster's section in bench.toml, or ask the site"
        for job in [job for job in task.pack if run.tasks.get(job) is task]:
            run.fail(job, task, f"SLURM will not start it: {reason}; {advice} (task {task.id})")
