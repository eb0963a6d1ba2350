"""What a job will cost, before it runs: measured where an alike job ran here, else estimated.

The estimate is arithmetic (steps x samples x voxels x operations per voxel; windows x cases; pairs of scans)
at nominal speeds of a quiet machine: what else runs here now may end before the first job does (``load``).
Where a job of the same kind ran in the same output folder, the others of that kind are corrected by what it
took against its own estimate, and one that is alike (network, batch, data) replaces the estimate. It is a
forecast, not a promise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.job import Job
from bench.jobs.kind import PlanContext
from bench.plan.dag import Plan
from bench.store import Store
from bench.typed import canonical


@dataclass(frozen=True)
class Guess:
    """What a job will take: ``seconds``, None where nothing is known of it.

    ``measured``: is it what an alike job took here, or the plan's estimate? ``away``: it runs elsewhere, and
    none of its kind has run there yet.
    """

    seconds: float | None = None
    measured: bool = False
    away: bool = False


def forecast(plan: Plan, store: Store, jobs: Sequence[str]) -> dict[str, float | None]:
    """Return seconds per job, None where nothing is known of it."""
    return {job: guess.seconds for job, guess in guesses(plan, store, jobs).items()}


def guesses(
    plan: Plan, store: Store, jobs: Sequence[str], *, away: bool = False
) -> dict[str, Guess]:
    """Return what each job will take, and how that is known.

    ``away``: do they run elsewhere? Then the speed of this processor says nothing, until some have run.
    """
    alike, slower = _measured(plan, store)
    context = plan.context()
    guessed: dict[str, Guess] = {}
    for name in jobs:
        job = plan.jobs[name]
        per_unit = alike.get(likeness(job, context)) if alike else None
        units, seconds = job.spec.units(job, context), job.spec.seconds(job, context)
        if per_unit is not None and units:
            guessed[name] = Guess(per_unit * units, measured=True)
        else:
            foreign = away and seconds is not None and job.kind not in slower
            expected = None if seconds is None or foreign else seconds * slower.get(job.kind, 1.0)
            guessed[name] = Guess(expected, away=foreign)
    return guessed


def load() -> tuple[float, int]:
    """Return how many processes want a processor here now (over the last minute), and how many there are."""
    try:
        return os.getloadavg()[0], os.cpu_count() or 1
    except OSError:  # not every system tells
        return 0.0, os.cpu_count() or 1


def likeness(job: Job, context: PlanContext) -> str:
    """Return what two jobs share whose seconds per unit of work are comparable."""
    return canonical([job.kind, *job.spec.likeness(job, context)])


def _measured(plan: Plan, store: Store) -> tuple[dict[str, float], dict[str, float]]:
    """Return what was measured here: seconds per unit by likeness, times the estimate by kind of job."""
    context = plan.context()
    per_unit: dict[str, list[float]] = {}
    slower: dict[str, list[float]] = {}
    for job in map(plan.jobs.__getitem__, store.present(plan.jobs)):
        if not store.done(job.id):
            continue
        seconds, units = store.manifest(job.id).get("seconds"), job.spec.units(job, context)
        if not seconds:
            continue
        if units:
            per_unit.setdefault(likeness(job, context), []).append(seconds / units)
        if estimate := job.spec.seconds(job, context):
            slower.setdefault(job.kind, []).append(seconds / estimate)
    return {k: median(v) for k, v in per_unit.items()}, {k: median(v) for k, v in slower.items()}
