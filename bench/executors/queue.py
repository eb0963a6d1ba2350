"""Which job may start next: needs first, a failure stops only what depends on it."""

from __future__ import annotations

import time

from bench.jobs import KINDS
from bench.plan.dag import Plan
from bench.runtime.execute import Outcome
from bench.store import Store

LOOK_AGAIN = 2.0  # seconds before a job that another command holds is tried again


class Queue:
    """The jobs of a plan that are still to do."""

    def __init__(self, store: Store, plan: Plan, todo: list[str]) -> None:
        self._store, self._plan = store, plan
        order = {kind: place for place, kind in enumerate(KINDS)}
        self._waiting = sorted(todo, key=lambda job: order[plan.jobs[job].kind])  # stable
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
            self._waiting.append(outcome.job)
            return
        self.outcomes[outcome.job] = outcome

    def _settled(self, job: str) -> bool:
        return job not in self._todo or (job in self.outcomes and self.outcomes[job].state == "done")

    def _drop_hopeless(self) -> None:
        for job in list(self._waiting):
            need = self._plan.hopeless(job, self._failed)
            if need is not None:
                bad = self.outcomes[need]
                reason = f"needs {self._plan.jobs[need].kind} {need}, which {bad.state}: {bad.reason}"
                self.outcomes[job] = Outcome(job, "failed", reason)
                self._waiting.remove(job)

    def _failed(self, job: str) -> bool:
        return job in self.outcomes and self.outcomes[job].state != "done"
