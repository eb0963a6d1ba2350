"""What has ended: by its result, by what its task left, or because its task is gone."""

from __future__ import annotations

import time

from bench import records
from bench.executors.slurm import squeue
from bench.executors.slurm.look import Look
from bench.executors.slurm.squeue import ENDED, LOST
from bench.executors.slurm.submission import Task
from bench.executors.slurm.task import outcome_file
from bench.runtime.execute import Outcome, lacking
from bench.store import read_json

RETRIES = 3  # times that what the cluster lost is submitted again
UNHEARD = "User defined signal"  # warned while Python started: nobody listened yet


def settle(look: Look) -> None:
    """End the jobs that have a result, that their task gave up, or whose needs have failed."""
    # One listing serves all jobs; it also makes a network file system forget what was not there.
    published = {folder.name for folder in look.store.jobs.iterdir()}
    heard = look.heard(look.sent())
    for job in look.open():
        task = look.tasks.get(job)
        if job in published and records.done(look.plan, look.store, job):
            look.end(Outcome(job, "done", seconds=look.store.manifest(job).get("seconds", 0.0)))
        elif task is not None and job in heard:
            _hear(look, job, task)
        if job not in look.outcomes and (reason := _hopeless(look, job)):
            look.end(Outcome(job, "failed", reason))


def _hear(look: Look, job: str, task: Task) -> None:
    """Act on the outcome that a task left of a job: it ends, or is submitted again."""
    path = outcome_file(task.folder, job)
    outcome = read_json(path)
    if outcome is None or (outcome["state"] == "stopped" and task.key in look.listed):
        return
    if outcome["state"] == "failed":
        look.end(Outcome(**outcome))
        return
    if (
        outcome["state"] == "stopped"
    ):  # saved itself, and could not go back into the queue by itself
        look.stops[job] += 1
        if look.stops[job] > look.profile.requeues:
            why = f"saved itself {look.profile.requeues} times ({outcome['reason']})"
            look.fail(job, task, f"time limit: {why}")
            return
        look.tries[job] = 0
    elif lacking(look.store, look.plan.jobs[job].needs, look.plan.after.get(job, ())):
        return  # refused, until what it lacks has come
    path.unlink(missing_ok=True)
    del look.tasks[job]


def _hopeless(look: Look, job: str) -> str:
    """Return why an open job cannot be done any more; empty where it can."""
    need = look.plan.hopeless(job, look.has_failed)
    if need is not None:
        return (
            f"needs {look.plan.jobs[need].kind} {need}, which failed: {look.outcomes[need].reason}"
        )
    gone = _gone(look, job)
    return f"needs {gone}, which is not done any more; run again" if gone else ""


def _gone(look: Look, job: str) -> str:
    """Return a need that is done no more, and that nobody makes anew: it was set aside, or taken back."""
    to_come = set(look.open())
    guards = look.plan.after.get(job, ())
    is_guarded = any(look.store.done(guard) or guard in to_come for guard in guards)
    needs = (*look.plan.jobs[job].needs, *(() if is_guarded else guards[:1]))
    absent = (need for need in needs if need not in to_come and not look.store.done(need))
    return next((need for need in absent if look.store.owner(need) is None), "")


def take_back(look: Look) -> None:
    """Take the tasks out of the queue, and end every job."""
    squeue.cancel(look.listed[task.key].id for task in look.sent() if task.key in look.listed)
    for job in look.open():
        look.end(Outcome(job, "failed", "taken back by 'bench cancel'"))


def drop_lost(look: Look) -> None:
    """Settle what tasks left undone that are not in the queue any more."""
    now, lost = time.monotonic(), dict[Task, list[str]]()
    heard = look.heard(look.sent())
    for job, task in look.tasks.items():
        if task.key in look.listed:
            task.missing = None
            continue
        task.missing = now if task.missing is None else task.missing
        if (
            now - task.missing >= look.grace and job not in heard
        ):  # of what it refused, the need decides
            lost.setdefault(task, []).append(job)
    states = squeue.states({task.id: task.name for task in lost})
    for task, jobs in lost.items():
        _lose(look, task, jobs, states.get(task.id, ""))


def _lose(look: Look, task: Task, jobs: list[str], state: str) -> None:
    """Settle the jobs that a task left undone.

    ``state`` is its last one as SLURM tells it, empty where it does not.
    """
    owners = [owner for job in jobs if (owner := look.store.owner(job)) is not None]
    if any(state not in ENDED or owner.get("task") != task.id for owner in owners):
        return  # an orphan may still publish; of what SLURM has ended only the heartbeat looks alive
    is_alive = bool(state) and state not in (*ENDED, *LOST)
    if is_alive and time.monotonic() - (task.missing or 0.0) <= 10 * look.grace:
        return  # accounting lags behind
    for job in jobs:
        del look.tasks[job]
    words, done = task.last_words(), [job for job in jobs if look.store.done(job)]
    # What was killed after publishing, before scoring, has its scores still to come.
    is_to_repeat = state in LOST or is_alive or UNHEARD in words or len(done) == len(jobs)
    may_repeat = all(look.tries[job] < RETRIES for job in jobs)
    if task.name not in look.arrays() or (is_to_repeat and may_repeat):
        return  # submitted (once more) at this look
    # Which job ended the task is known by its claim: the ones after it never had their turn
    # and are submitted again. Where none was begun, the task itself cannot run.
    begun = [
        job for job in jobs if job in done or len(look.store.claims(job)) > task.claims.get(job, 0)
    ]
    why = f"{squeue.said(state, words)} (task {task.id})"
    for job in jobs if state == "CANCELLED" else begun or jobs:
        look.fail(job, task, why)


def drop_stuck(look: Look) -> None:
    """Cancel the tasks that will pend until a person acts, and fail their jobs."""
    stuck = [
        task for task in look.sent() if task.key in look.listed and look.listed[task.key].hopeless
    ]
    squeue.cancel(task.id for task in stuck)
    for task in stuck:
        why = f"SLURM will not start it: {look.listed[task.key].reason}; look at the cluster's section"
        for job in [job for job in task.pack if look.tasks.get(job) is task]:
            look.fail(job, task, f"{why} in bench.toml, or ask the site (task {task.id})")
