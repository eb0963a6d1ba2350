"""Run jobs in worker processes of this machine, those that others need first."""

from __future__ import annotations

import os
import signal
import threading
import time
from bisect import bisect_left, insort_left
from collections import defaultdict
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from bench.jobs import KINDS
from bench.jobs.context import RunOptions
from bench.plan.dag import Plan
from bench.process import WORKER
from bench.runtime.execute import Outcome, execute
from bench.runtime.memory import fitting_pages
from bench.store import Store
from bench.workers import CLOSING, Died, Worker, Workers, attend, received

STAGES = {kind: number for number, kind in enumerate(KINDS)}
POLL = 0.5  # seconds between looks at jobs that another command works on, and at the parent
GRACE = 30.0  # seconds that a worker gets to reach the next checkpoint when it is to stop
LOOK_AGAIN = 2.0  # seconds before a job that another command holds is tried again
TRIES = 3  # attempts in a row that end without a result and without a step of progress

_stop = threading.Event()


def run(
    store: Store,
    queue: Queue,
    count: int,
    on_outcome: Callable[[Outcome], None],
    on_start: Callable[[str], RunOptions] = lambda job: RunOptions(),
) -> None:
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
    attempts = Attempts(store)
    try:
        while queue.open():
            while (
                attempts.workers.busy() < count
                and (job := queue.take(*attempts.workers.in_memory())) is not None
            ):
                attempts.begin(job, on_start(job), queue.keeps(job))
            for outcome in attempts.ended(POLL):
                queue.finish(outcome)
                on_outcome(outcome)
    except KeyboardInterrupt:
        attempts.stop(on_outcome)
        raise
    finally:
        attempts.close()


class Queue:
    """The jobs of a plan that are still to do; a failure stops only what depends on it.

    An outcome is looked at by the jobs that need it alone: studies have ten thousand.
    """

    def __init__(self, plan: Plan, todo: list[str]) -> None:
        self._plan = plan
        self._todo, self._waiting, self._running = set(todo), set(todo), set[str]()
        self._users: dict[str, list[str]] = {}  # by what they need, or which guard they wait for
        # ready jobs with their places in their turn; by turn, and by what a worker keeps of them
        self._ready: defaultdict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
        self._places = {job: place for place, job in enumerate(todo)}
        self._again: dict[str, float] = {}
        self.outcomes: dict[str, Outcome] = {}
        for job in todo:
            for need in dict.fromkeys(plan.before(job)):
                self._users.setdefault(need, []).append(job)
            self._look(job)

    def open(self) -> bool:
        """Is anything left to start or to wait for?"""
        return bool(self._waiting or self._running)

    def take(self, free: Set[str] = frozenset(), busy: Set[str] = frozenset()) -> str | None:
        """Return a job whose needs are done, or None where none is ready now.

        Args:
            free: what workers without a job keep in memory: a job that gains from it comes first in its turn.
            busy: what the others keep: of jobs that would do the same work again the first comes last.
        """
        now, candidates = time.monotonic(), []
        for (turn, name), entries in self._ready.items():
            free_now = (e for e in entries if self._again.get(e[1], 0.0) <= now)
            if (entry := next(free_now, None)) is not None:
                candidates.append((turn, name not in free, name in busy, entry, name))
        if not candidates:
            return None
        turn, _, _, entry, name = min(candidates)
        entries = self._ready[turn, name]
        del entries[bisect_left(entries, entry)]
        if not entries:
            del self._ready[turn, name]
        job = entry[1]
        self._waiting.remove(job)
        self._running.add(job)
        return job

    def keeps(self, job: str) -> str:
        """Return a name for what a worker keeps of a job in memory; "" for nothing."""
        described = self._plan.jobs[job]
        name: str = described.spec.keeps(described, self._plan.jobs)
        return name

    def _look(self, job: str) -> None:
        """Put a waiting job among the ready ones if all that it needs is done and its guards have ended."""
        needs, guards = self._plan.jobs[job].needs, self._plan.after.get(job, ())
        is_guarded = all(self._settled(guard) or guard in self.outcomes for guard in guards)
        if is_guarded and all(map(self._settled, needs)):
            self._put(job, self._places[job])

    def _put(self, job: str, place: int) -> None:
        insort_left(self._ready[self._turn(job), self.keeps(job)], (place, job))

    def finish(self, outcome: Outcome) -> None:
        """Note how a job ended; one that is busy elsewhere, or was stopped, waits for its turn again."""
        self._running.discard(outcome.job)
        # where stopped, only its own worker was told to stop: the run goes on
        if outcome.state in ("busy", "stopped"):
            self._again[outcome.job] = time.monotonic() + LOOK_AGAIN
            self._waiting.add(outcome.job)
            self._put(outcome.job, -len(self._again))  # the first of its stage
            return
        ended = [outcome]
        for outcome in ended:  # grows by what needs what failed
            self.outcomes[outcome.job] = outcome
            for job in self._users.get(outcome.job, ()):
                if job in self._waiting and (failed := self._hopeless(job)) is not None:
                    self._waiting.remove(job)
                    ended.append(failed)
                elif job in self._waiting:
                    self._look(job)

    def _turn(self, job: str) -> int:
        """Return a job's turn among those that are ready.

        Scores first, and training from scratch before any pretraining: so what does not score or misses its anchor
        shows early. Else a stage at a time, as what is longest then begins first.
        """
        kind, needs = self._plan.jobs[job].kind, self._plan.jobs[job].needs
        if STAGES[kind] > STAGES["finetune"]:
            return -1
        scratch = all(self._plan.jobs[need].kind != "pretrain" for need in needs)
        return STAGES["guard"] if kind == "finetune" and scratch else STAGES[kind]

    def _settled(self, job: str) -> bool:
        ended = self.outcomes.get(job)
        return job not in self._todo or (ended is not None and ended.state == "done")

    def _hopeless(self, job: str) -> Outcome | None:
        """Return the failure of a job that can never start, as what it needs has failed; else None."""
        need = self._plan.hopeless(job, self._failed)
        if need is None:
            return None
        bad = self.outcomes[need]
        reason = f"needs {self._plan.jobs[need].kind} {need}, which {bad.state}: {bad.reason}"
        return Outcome(job, "failed", reason)

    def _failed(self, job: str) -> bool:
        return job in self.outcomes and self.outcomes[job].state != "done"


@dataclass(eq=False)
class _Tried:
    """Attempts at a job that ended without a result."""

    parts: frozenset[str]  # finished parts that were seen, as ``Store.finished_parts`` names them
    count: int = 0  # of the last attempts, those that finished no further part


class Attempts:
    """Attempts at jobs, one in each worker process at a time."""

    def __init__(self, store: Store) -> None:
        self._store, self.workers = store, Workers(self._start)
        self._tried: dict[str, _Tried] = {}

    def _start(self, number: int) -> Worker:
        with fitting_pages():
            return Worker.start(_serve, str(self._store.root.absolute()), number)

    def begin(self, job: str, options: RunOptions, keeps: str) -> None:
        """Hand a job, and what this command brings to it, to a worker that has run no other plugins.

        Args:
            job: id.
            options: what the command brings.
            keeps: what the worker will keep in memory of it.
        """
        self._tried.setdefault(job, _Tried(self._store.finished_parts(job)))
        self.workers.give((job, options), frozenset(options.plugins), keeps)

    def ended(self, seconds: float) -> list[Outcome]:
        """Return the attempts that ended, after at most ``seconds``."""
        return [self._outcome(job, reply) for (job, _), reply in self.workers.answers(seconds)]

    def stop(self, on_outcome: Callable[[Outcome], None]) -> None:
        """Ask every worker to save and return; wait for those that have a job."""
        deadline = time.monotonic() + GRACE
        # A terminal sends its signal to the workers too; `kill` sends it to the controller alone.
        self.workers.terminate()
        while self.workers.busy() and time.monotonic() < deadline:
            for outcome in self.ended(POLL):
                on_outcome(outcome)

    def close(self) -> None:
        """End every worker, gently where there is time."""
        if self.workers.busy():
            self.workers.terminate()
        self.workers.close(CLOSING)

    def _outcome(self, job: str, reply: Outcome | Died) -> Outcome:
        if isinstance(reply, Outcome):
            return self._unfinished(reply, "it stopped") if reply.state == "stopped" else reply
        reason = f"the worker process died ({reply})"
        if reply.code == 0 or self._store.done(job):
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
        why = f"{how}, {TRIES} times in a row without progress"
        if self._store.done(job):
            advice = "run again with more memory or fewer workers"
            return Outcome(job, "failed", f"scoring: {why}; {advice}")
        return self._failed(job, why)

    def _failed(self, job: str, reason: str) -> Outcome:
        with suppress(OSError):  # a full disk cannot even take the reason
            self._store.lost(job, reason)
        return Outcome(job, "failed", reason)


def _serve(pipe: Connection, parent: int, out: str, number: int) -> None:
    """Do one job after another until there are no more, or this process is asked to stop."""
    os.environ[WORKER] = str(number)
    attend(parent, _handle_signal, _orphaned)
    if not _stop.is_set():
        import bench.runtime.preload  # noqa: F401 - torch and MONAI, once per worker

    while not _stop.is_set() and (task := received(pipe)) is not None:
        job, options = task
        with suppress(ConnectionError):  # its controller died: there is no next task
            pipe.send(execute(out, job, options, _stop.is_set))


def _handle_signal(stop: int) -> None:
    if signal.getsignal(stop) is not signal.SIG_IGN:  # nohup's wish
        signal.signal(stop, lambda *_: _stop.set())


def _orphaned() -> None:
    """Whoever runs the protocol again must not wait for this process for long."""
    _stop.set()
    time.sleep(GRACE)
