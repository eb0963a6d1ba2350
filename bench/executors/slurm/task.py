"""What runs on a node of the cluster: a pack of jobs, one after another, that can be stopped.

submitit's way of being stopped is not used. Its handler saves and requeues inside the signal, in
the middle of an optimiser step, and takes any job shorter than ten minutes for timed out
(submitit issue 1656). Here a signal sets a flag; the loop saves between two steps, ``execute``
returns, and then the task puts itself back into the queue.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from bench.errors import BenchError
from bench.executors.slurm.rendezvous import Led, attend, explained, lead, rank_and_size
from bench.executors.slurm.squeue import requeue
from bench.jobs.context import RunOptions
from bench.process import STOPS, task_id
from bench.runtime.execute import Outcome, execute, follow, lacking
from bench.store import Store, read_json, write_atomic

LOOK_AGAIN = 5.0  # seconds before a job that another attempt holds is tried again
LOST = 12  # looks at a job that seems neither described nor done: a network file system may lag
TELLING = (1.0, 5.0, 10.0, 20.0)  # seconds between tries to leave an outcome
PATIENCE = 600.0  # seconds that a task waits for the end SLURM has announced


@dataclass
class StopRequest:
    """What signals have asked of this task."""

    stop: bool = False
    again: bool = False

    def listen(self) -> None:
        """Replace submitit's handlers, which are set before this runs.

        Most of what stops a run warns a task: the time is nearly up, or a preemption is announced.
        SIGTERM, which ``scancel`` sends, and a person's SIGINT must not requeue: ``scontrol requeue`` would
        bring a cancelled task back. SIGCONT stays harmless: it also follows a suspension.
        """
        for number in STOPS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop = True
        self.again |= number not in (signal.SIGTERM, signal.SIGINT)


def outcome_file(folder: Path, job: str) -> Path:
    """Return where a task of the run in ``folder`` says why a job has no result."""
    return folder / f"outcome-{job}.json"


def work(out: str, jobs: dict[str, RunOptions], folder: str, requeues: int) -> None:
    """Run a pack of jobs; called by submitit in every process of a task.

    Args:
        out: the output folder.
        jobs: ids, needs first, each with what the command that submits it brings along.
        folder: of the run, where failures are told.
        requeues: how often the task may go back into the queue.
    """
    request = StopRequest()
    request.listen()
    rank, size = rank_and_size()
    meeting = Path(folder) / f"meeting-{task_id()}-{restarts()}.json"
    if rank:
        attend(meeting, lambda job: follow(out, job, jobs[job], lambda: request.stop))
        return
    with lead(meeting, size) as led:
        explain = partial(explained, meeting=meeting) if size > 1 else str
        _Pack(Store(Path(out)), Path(folder), request, led, explain).run(jobs, requeues)


def tell(folder: Path, outcome: Outcome) -> None:
    """Leave an outcome where the controller reads it; a full disk may have room again soon."""
    path, text = outcome_file(folder, outcome.job), json.dumps(asdict(outcome))
    for wait in TELLING:
        try:
            write_atomic(path, text)
            return
        except OSError:
            time.sleep(wait)
    write_atomic(path, text)


@dataclass(frozen=True)
class _Pack:
    """What the first process of a task knows, whichever of its jobs it runs."""

    store: Store
    folder: Path  # where failures are told
    request: StopRequest
    led: Led  # what a training happens in
    explain: Callable[[str], str]  # a failure's reason -> the one that is kept

    def run(self, jobs: dict[str, RunOptions], requeues: int) -> None:
        """Run jobs one after another until the task is to stop."""
        for job, options in jobs.items():
            if self._failed(job):  # before a requeue: what failed is not tried again
                continue
            outcome = self._run_job(job, options)
            if outcome.state in ("failed", "refused"):
                tell(self.folder, outcome)
            if self.request.stop:
                left = [job for job in jobs if not self.store.done(job) and not self._failed(job)]
                if left:
                    self._leave(left, requeues)
                return

    def _failed(self, job: str) -> bool:
        outcome = read_json(outcome_file(self.folder, job))
        return outcome is not None and outcome["state"] == "failed"

    def _run_job(self, job: str, options: RunOptions) -> Outcome:
        """Run one job, or score what another run did; wait while another attempt works on it or its needs.

        A job is ``refused`` where a need has no result: the controller knows why and what follows.
        """
        store, request, lost = self.store, self.request, 0
        while not request.stop:
            # makes a network file system forget what was not there
            next(store.jobs.iterdir(), None)
            try:
                needs = None if store.done(job) else store.spec(job)["job"]["needs"]
            except BenchError as error:  # cleared at this moment, and its result not seen yet?
                lost += 1
                if lost > LOST:
                    return Outcome(job, "failed", str(error))
                self._sleep()
                continue
            absent = [] if needs is None else lacking(store, needs, options.after)
            if not absent:
                together = partial(self.led, job)
                outcome = execute(
                    str(store.root), job, options, lambda: request.stop, together, self.explain
                )
                if outcome.state != "busy":
                    return outcome
            elif any(map(self._failed, absent)) or not any(map(store.owner, absent)):
                return Outcome(job, "refused", f"needs job {absent[0]}, which is not done")
            self._sleep()
        return Outcome(job, "stopped")

    def _sleep(self) -> None:
        until = time.monotonic() + LOOK_AGAIN
        while time.monotonic() < until and not self.request.stop:
            time.sleep(0.2)

    def _leave(self, left: list[str], requeues: int) -> None:
        if not self.request.again:
            # Ending now could pass for success, and SLURM would not requeue a preempted task.
            time.sleep(PATIENCE)
        elif restarts() >= requeues:
            why = f"time limit: it saved its state and went back into the queue {restarts()} times"
            for job in left:
                tell(self.folder, Outcome(job, "failed", f"{why}; raise 'minutes' or 'requeues'"))
        elif why := requeue(task_id()):  # the site forbids it, or a container has no scontrol
            for job in left:
                tell(self.folder, Outcome(job, "stopped", why))


def restarts() -> int:
    """Return how often SLURM has put this task back into the queue."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))
