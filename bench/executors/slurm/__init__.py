"""Run jobs on a SLURM cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from bench.errors import BenchError
from bench.executors.slurm import squeue
from bench.executors.slurm.controller import Controller
from bench.executors.slurm.profile import Profile
from bench.executors.slurm.tidy import tidy
from bench.jobs.context import RunOptions
from bench.plan import Plan
from bench.runtime.execute import Outcome
from bench.store import Store


def run(
    plan: Plan, store: Store, jobs: list[str], profile: Profile,
    on_outcome: Callable[[Outcome], None], on_start: Callable[[str], RunOptions] = lambda job: RunOptions(),
) -> dict[str, Outcome]:  # fmt: skip
    """Run ``jobs`` on the cluster; failures stay with their jobs.

    Args:
        plan: where the jobs come from.
        store: the output folder; it must be visible to the nodes under the same path.
        jobs: ids to do, needs first.
        profile: what to ask the cluster for.
        on_outcome: called once for each job that ended.
        on_start: called before a job is submitted; returns what this command brings to it.

    Raises:
        BenchError: SLURM is not here, does not answer, or refuses a submission.
    """
    squeue.require()
    controller = Controller(plan, store, jobs, profile, on_outcome, on_start)
    began = time.monotonic()
    while controller.step():
        time.sleep(pause(time.monotonic() - began))
    with suppress(BenchError):  # SLURM may be down by now: the report is drawn all the same
        tidy(store)
    return controller.outcomes


def pause(elapsed: float) -> float:
    """Return the seconds between two looks: 2 at first, 30 after ten minutes."""
    return min(30.0, 2.0 + elapsed / 20)
