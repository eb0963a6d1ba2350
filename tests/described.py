"""Do single jobs of a plan without a run around them: described first, then executed, in any process."""

from bench import run
from bench.runtime import execute as doing

_OPTIONS = {}  # (output folder, job) -> what the plan that described it last brings to it


def describe(plan, store, jobs):
    """Describe jobs as ``bench run`` does, and remember what it would bring to each."""
    run.describe(plan, store, jobs)
    _OPTIONS.update({(str(store.root), job): run.options(plan, job) for job in jobs})


def inline(store, queue, count, on_outcome, on_start):
    """Stand in for ``bench.executors.local.run``: jobs run in this process, no worker has to import torch."""
    while queue.open():
        job = queue.take()
        outcome = doing.execute(str(store.root), job, on_start(job))
        queue.finish(outcome)
        on_outcome(outcome)


def execute(out, job, stopping=lambda: False):
    """Do a job that ``describe`` has described; return how it ended."""
    return doing.execute(out, job, _OPTIONS[out, job], stopping)
