"""Follow jobs on a SLURM cluster: look at the queue, settle what has ended, submit what may start.

The output folder is the truth; SLURM is asked, with one call for all tasks, only whether a task is
still there. submitit writes the batch scripts and starts Python on the node; its own watching is
not used, because it takes a requeued task for finished and asks ``sacct`` for every job.

A controller that is killed leaves its tasks in the queue; the next one waits for them.
"""

from __future__ import annotations

from bench.executors.slurm import settle, submit
from bench.executors.slurm.look import Look


class Controller(Look):
    """Follows jobs from the plan to their results; ``step`` is one look and what follows from it."""

    def attach(self) -> None:
        """Wait for what other runs have in the queue, as ``submit.attach`` does."""
        submit.attach(self)

    def step(self) -> bool:
        """Look once; return whether anything is left to wait for."""
        self.look()
        settle.settle(self)
        if self.is_cancelled():
            settle.take_back(self)
        settle.drop_lost(self)
        settle.drop_stuck(self)
        submit.submit_ready(self)
        return bool(self.open())
