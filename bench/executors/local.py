"""Run jobs in worker processes of this machine, those that others need first.

A worker has a pipe of its own and shares nothing with the others, so one that is killed, at any
moment, takes one job with it and no lock. Pools whose workers share a queue do worse: the standard
library's breaks whole, pebble's breaks where a worker dies before it has begun a task.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from bisect import insort_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess

from bench import process
from bench.jobs import KINDS
from bench.jobs.context import RunOptions
from bench.plan.dag import Plan
from bench.plugins import Planned
from bench.process import WORKER
from bench.runtime.execute import Outcome, execute
from bench.runtime.memory import fitting_pages
from bench.store import Store

PLACES = {kind: place for place, kind in enumerate(KINDS)}
POLL = 0.5  # seconds between looks at jobs that another command works on, and at the parent
GRACE = 30.0  # seconds that a worker gets to reach the next checkpoint when it is to stop
LOOK_AGAIN = 2.0  # seconds before a job that another command holds is tried again
CLOSING = 5.0  # seconds that a worker without a job gets to end
TRIES = 3  # attempts in a row that end without a result and without a step of progress

_stop = threading.Event()


def run(
    store: Store, queue: Queue, count: int, on_outcome: Callable[[Outcome], None],
    on_start: Callable[[str], RunOptions] = lambda job: RunOptions(),
) -> None:  # fmt: skip
    """Run everything in ``queue``; failures stay with their jobs.

    Args:
        store: the output folder.
        queue: what is to be done.
        count: worker processes at one time.
        on_outcome: called with each attempt that ended.
        on_start: called before a job goes to a worker; returns what this command brings to it.

    Raises:
        KeyboardInterrupt: after the workers have saved their state.
    """
    workers = Workers(store)
    try:
        while queue.open():
            while workers.busy() < count and (job := queue.take()) is not None:
                workers.give(job, on_start(job))
            for outcome in workers.wait(POLL):
                queue.finish(outcome)
                on_outcome(outcome)
    except KeyboardInterrupt:
        workers.stop(on_outcome)
        raise
    finally:
        workers.close()


class Queue:
    """The jobs of a plan that are still to do; a failure stops only what depends on it."""

    def __init__(self, plan: Plan, todo: list[str]) -> None:
        self._plan = plan
        self._waiting = sorted(todo, key=self._turn)  # stable
        self._todo, self._running = set(todo), set[str]()
        self._again: dict[str, float] = {}
        self.outcomes: dict[str, Outcome] = {}

    def open(self) -> bool:
        """Is anything left to start or to wait for?"""
        self._drop_hopeless()
        return bool(self._waiting or self._running)

    def take(self) -> str | None:
        """Return a job whose needs are done, or None where none is ready now."""
        self._drop_hopeless()
        now = time.monotonic()
        for job in self._waiting:
            ready = all(self._settled(need) for need in self._plan.jobs[job].needs) and all(
                self._settled(guard) or guard in self.outcomes for guard in self._plan.after.get(job, ())
            )
            if ready and self._again.get(job, 0.0) <= now:
                self._waiting.remove(job)
                self._running.add(job)
                return job
        return None

    def finish(self, outcome: Outcome) -> None:
        """Note how a job ended; one that is busy elsewhere, or was stopped, waits for its turn again."""
        self._running.discard(outcome.job)
        if outcome.state in ("busy", "stopped"):  # only its own worker was told to stop: the run goes on
            self._again[outcome.job] = time.monotonic() + LOOK_AGAIN
            insort_left(self._waiting, outcome.job, key=self._turn)  # the first of its stage
            return
        self.outcomes[outcome.job] = outcome

    def _turn(self, job: str) -> int:
        """Return a job's turn among those that are ready.

        Scores first, and what is trained from scratch before anything is pretrained: so what does not score
        or misses its anchor shows early. Else a stage at a time, as what is longest then begins first.
        """
        one, tuned = self._plan.jobs[job], PLACES["finetune"]
        if PLACES[one.kind] > tuned:
            return -1
        scratch = all(self._plan.jobs[need].kind != "pretrain" for need in one.needs)
        return PLACES["guard"] if one.kind == "finetune" and scratch else PLACES[one.kind]

    def _settled(self, job: str) -> bool:
        return job not in self._todo or (job in self.outcomes and self.outcomes[job].state == "done")

    def _drop_hopeless(self) -> None:
        need = self._plan.hopeless
        while gone := {job: by for job in self._waiting if (by := need(job, self._failed)) is not None}:
            for job, by in gone.items():  # then look for what needs these
                bad = self.outcomes[by]
                reason = f"needs {self._plan.jobs[by].kind} {by}, which {bad.state}: {bad.reason}"
                self.outcomes[job] = Outcome(job, "failed", reason)
            self._waiting = [job for job in self._waiting if job not in gone]

    def _failed(self, job: str) -> bool:
        return job in self.outcomes and self.outcomes[job].state != "done"


@dataclass(eq=False)
class _Worker:
    number: int
    process: SpawnProcess
    pipe: connection.Connection
    job: str | None = None
    outside: frozenset[Planned] = frozenset()  # plugins that its process has run


@dataclass(eq=False)
class _Tried:
    """Attempts at a job that ended without a result."""

    parts: frozenset[str]  # finished parts that were seen, as ``Store.finished_parts`` names them
    count: int = 0  # of the last attempts, those that finished no further part


class Workers:
    """Processes that do one job at a time; they are started when there is a job for them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._all: list[_Worker] = []
        self._tried: dict[str, _Tried] = {}

    def busy(self) -> int:
        """Return how many jobs are in work."""
        return sum(w.job is not None for w in self._all)

    def give(self, job: str, options: RunOptions) -> None:
        """Hand a job, and what this command brings to it, to a worker that is free, or to a new one."""
        worker = self._free(frozenset(options.plugins)) or self._start()
        worker.job, worker.outside = job, worker.outside.union(options.plugins)
        self._tried.setdefault(job, _Tried(self._store.finished_parts(job)))
        with suppress(OSError):  # it died just now: `wait` finds out, as of any other
            worker.pipe.send((job, options))

    def _free(self, outside: frozenset[Planned]) -> _Worker | None:
        """Return a worker without a job whose process has run no plugins but ``outside``.

        Where there is none, the first that has run others ends: what they did to it would reach this job.
        """
        free = [w for w in self._all if w.job is None and w.process.is_alive()]
        fit = [w for w in free if w.outside <= outside]
        for worker in free[:1] if not fit else ():
            self._all.remove(worker)
            worker.pipe.close()  # it ends at once
            process.end(worker.process, time.monotonic() + CLOSING)
        return max(fit, key=lambda w: len(w.outside), default=None)

    def wait(self, seconds: float) -> list[Outcome]:
        """Return the attempts that ended, after at most ``seconds``; the dead leave the list."""
        ready = connection.wait([w.pipe for w in self._all], seconds)
        ended = [self._ended(w) for w in list(self._all) if w.pipe in ready]
        return [outcome for outcome in ended if outcome is not None]

    def stop(self, on_outcome: Callable[[Outcome], None]) -> None:
        """Ask every worker to save and return; wait for those that have a job."""
        deadline = time.monotonic() + GRACE
        # A terminal sends its signal to the workers too; `kill` sends it to the controller alone.
        self._signal(signal.SIGTERM)
        while self.busy() and time.monotonic() < deadline:
            for outcome in self.wait(POLL):
                on_outcome(outcome)

    def close(self) -> None:
        """End every worker, gently where there is time."""
        for worker in self._all:
            worker.pipe.close()  # an idle worker ends at once
        if self.busy():
            self._signal(signal.SIGTERM)
        deadline = time.monotonic() + CLOSING
        for worker in self._all:
            process.end(worker.process, deadline)

    def _signal(self, number: int) -> None:
        for worker in self._all:
            if worker.process.is_alive() and worker.process.pid is not None:
                os.kill(worker.process.pid, number)

    def _start(self) -> _Worker:
        taken = {worker.number for worker in self._all}
        number = next(n for n in itertools.count() if n not in taken)
        # Ctrl-C during its imports is kept until it can answer
        with fitting_pages():
            out = str(self._store.root.absolute())
            self._all.append(_Worker(number, *process.start(_serve, out, number)))
        return self._all[-1]

    def _ended(self, worker: _Worker) -> Outcome | None:
        job, worker.job = worker.job, None
        try:
            outcome: Outcome = worker.pipe.recv()
            return self._unfinished(outcome, "it stopped") if outcome.state == "stopped" else outcome
        except (EOFError, OSError):
            self._all.remove(worker)
            worker.pipe.close()
            worker.process.join()
        code = worker.process.exitcode or 0
        if job is None:
            return None
        reason = f"the worker process died ({process.died(code)})"
        if code == 0 or self._store.done(job):
            # asked to end before it began, or killed after it was done; unless that happens again and again
            return self._unfinished(Outcome(job, "stopped"), reason)
        return self._failed(job, reason)

    def _unfinished(self, outcome: Outcome, how: str) -> Outcome:
        """Return the outcome of an attempt without a result: ``failed`` after ``TRIES`` without progress."""
        job, tried = outcome.job, self._tried[outcome.job]
        parts = self._store.finished_parts(job)
        tried.count = tried.count + 1 if parts <= tried.parts else 0
        tried.parts |= parts
        if tried.count < TRIES:
            return outcome
        tried.count = 0
        why = f"{how}, {TRIES} times in a row without a step of progress"
        if self._store.done(job):
            return Outcome(job, "failed", f"scoring: {why}; run again with more memory or fewer workers")
        return self._failed(job, why)

    def _failed(self, job: str, reason: str) -> Outcome:
        with suppress(OSError):  # a full disk cannot even take the reason
            self._store.lost(job, reason)
        return Outcome(job, "failed", reason)


def _serve(pipe: connection.Connection, parent: int, out: str, number: int) -> None:
    """Do one job after another until there are no more, or this process is asked to stop."""
    os.environ[WORKER] = str(number)
    process.attend(parent, _answer, _orphaned)
    if not _stop.is_set():
        import bench.runtime.preload  # noqa: F401 - torch and MONAI, once per worker

    while not _stop.is_set():
        try:
            job, options = pipe.recv()
            pipe.send(execute(out, job, options, _stop.is_set))
        except (EOFError, ConnectionError):
            return  # the run is over, or its controller died


def _answer(stop: int) -> None:
    if signal.getsignal(stop) is not signal.SIG_IGN:  # nohup's wish
        signal.signal(stop, lambda *_: _stop.set())


def _orphaned() -> None:
    """Whoever runs the protocol again must not wait for this process for long."""
    _stop.set()
    time.sleep(GRACE)
