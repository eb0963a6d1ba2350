"""How far a run is, from its note and the folders of its jobs: for the page of each of its protocols."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from bench import records
from bench.errors import printable
from bench.jobs import KINDS
from bench.plan.cost import Guess, guesses
from bench.report.progress import Broken, Progress, Stage, Working
from bench.show import run_note
from bench.show.eta import ends
from bench.show.labels import labels
from bench.show.run_note import Run
from bench.show.status import queued
from bench.store import Store

if TYPE_CHECKING:
    from bench.executors.slurm.squeue import Line

TELLING = 0.05  # share of a job's steps from which its own pace says more than others did


class State:
    """The jobs of a run, looked at once: done, working, failed, stuck behind one that did, or waiting.

    Args:
        run: its note and its plan.
        store: the output folder.
        now: seconds since 1970.
        priced: reckon when the rest will be there; that runs the code of methods, which say what they cost.
    """

    def __init__(
        self, run: Run, store: Store, now: Callable[[], float] = time.time, *, priced: bool = True
    ) -> None:  # fmt: skip
        self.run, self._store, self._plan, self.at = run, store, run.plan, now()
        self._began = run_note.since(store, run)
        self.followed = store.owner(run.name)
        self.done = {j for j in store.present(run.note.jobs) if records.done(run.plan, store, j)}
        open_ = [job for job in run.note.jobs if job not in self.done]
        self.failed = {job: why for job in open_ if (why := self._failure(job)) is not None}
        asked = ((job, store.owner(job)) for job in open_ if job not in self.failed)
        self.working: dict[str, dict[str, Any]] = {job: owner for job, owner in asked if owner is not None}
        self.stuck = self._stuck(open_)
        ended = {*self.failed, *self.stuck, *self.working}
        self.waiting = [job for job in open_ if job not in ended]
        listed = queued(store) if self.waiting else {}
        self.queued = {job: listed[job] for job in self.waiting if job in listed}
        self._open = [*self.waiting, *self.working]
        self._unknown = "no job of it is in work now" if priced else "its plugins would be asked, and so run"
        away = run.note.workers is None  # a cluster's nodes are no such processors as this
        self._guess = guesses(run.plan, store, self._open, away=away) if priced and self._places() else {}
        if any(guess.away for guess in self._guess.values()):
            self._guess, self._unknown = {}, "on the cluster no job of some kind has ended yet"
        self._left = {job: self._still(job) for job in self.working}
        self._ends = self._reckon()

    def _failure(self, job: str) -> dict[str, Any] | None:
        """Return why a job failed since the run began; what failed earlier is still to be tried again."""
        try:
            told = (self._store.work / job / "failed.json").stat().st_mtime
        except OSError:
            return None
        return self._store.failure(job) if told >= self._began else None

    def _stuck(self, jobs: list[str]) -> dict[str, str]:
        """Return the jobs that can never start, each with the one that failed."""
        found: dict[str, str] = {}
        for job in jobs:  # needs first
            need = self._plan.hopeless(job, lambda one: one in self.failed or one in found)
            if need is not None and job not in self.failed and job not in self.working:
                found[job] = found.get(need, need)
        return found

    def _still(self, job: str) -> float:
        """Return the seconds that a job in work still takes."""
        owner, told = self.working[job], self._store.progress(job)
        share = _share(told)
        passed = self.at - _since(owner, self.at)
        if share >= TELLING and len(self._store.claims(job)) == 1:  # not one that goes on from a checkpoint
            return passed * (1 - share) / share
        expected = self._seconds(job) or 0.0
        return expected * (1 - share) if told else max(0.0, expected - passed)

    def _seconds(self, job: str) -> float | None:
        return self._guess.get(job, Guess()).seconds

    def _places(self) -> int:
        """Return how many jobs run at one time; 0 where nobody can tell."""
        workers = self.run.note.workers if self.followed else None
        return workers or len(self.working)

    def _reckon(self) -> dict[str, float]:
        if not self._guess:
            return {}
        waiting = {job: self._seconds(job) or 0.0 for job in self.waiting}
        return ends(self._plan, waiting, self._left, self._places())

    def of(self, protocol: str) -> Progress | None:
        """Return what the page of one protocol says; None where nothing of it is left to do."""
        own = self._plan.wanted(protocol=protocol)
        still = set(self._open)
        left = [job for job in own if job in still]
        if not left:
            return None
        called, mine = labels(self._plan, protocol), set(own)

        def name(job: str) -> tuple[str, str]:
            return self._plan.jobs[job].kind, printable(str(called[job])) if job in called else job

        cells = [cell for cell in self._plan.cells[protocol] if cell.wanted]
        scored = set(self._store.present(cell.evaluate for cell in cells))
        lost = {*self.failed, *self.stuck}
        seconds = max(self._ends.get(job, 0.0) for job in left) if self._ends else None
        behind = Counter(job for one, job in self.stuck.items() if one in mine)
        return Progress(
            at=self.at, began=self.run.note.began, state=self._attended(),
            cells=len(cells), there=sum(self._whole(cell.evaluate, scored) for cell in cells),
            failed=sum(cell.evaluate in lost for cell in cells),
            by=_place(self.followed) if self.followed else "",
            working=tuple(self._working(job, *name(job)) for job in left if job in self.working),
            broken=tuple(
                Broken(*name(job), printable(why["reason"]), printable(why["log"]), behind[job])
                for job, why in self.failed.items() if job in mine
            ),
            stages=tuple(self._stages(own)),
            queue=tuple(_said(self.queued[job] for job in left if job in self.queued)),
            seconds=seconds, reckoned=self._reckoned(left) if seconds is not None else self._unknown,
        )  # fmt: skip

    def _attended(self) -> Literal["running", "unattended", "stopped"]:
        if self.followed:
            return "running"
        return "unattended" if self.working or self.queued else "stopped"

    def _whole(self, job: str, present: set[str]) -> bool:
        return job in self.done or (job in present and records.done(self._plan, self._store, job))

    def _working(self, job: str, kind: str, label: str) -> Working:
        owner, told = self.working[job], self._store.progress(job)
        return Working(
            kind, label, _place(owner), _since(owner, None), told.get("step"), told.get("steps"),
            self._left[job] if self._seconds(job) is not None or _share(told) >= TELLING else None,
        )  # fmt: skip

    def _stages(self, own: list[str]) -> Iterable[Stage]:
        asked = set(self.run.note.jobs)
        for kind in KINDS:
            states = Counter(
                self._state(job) if job in asked else "done"
                for job in own if self._plan.jobs[job].kind == kind
            )  # fmt: skip
            if states:
                yield Stage(kind, *(states[state] for state in ("done", "working", "waiting", "failed")))

    def _state(self, job: str) -> str:
        if job in self.done:
            return "done"
        if job in self.failed or job in self.stuck:
            return "failed"
        return "working" if job in self.working else "waiting"

    def _reckoned(self, left: list[str]) -> str:
        """Say by what the time was reckoned."""
        guesses = [self._guess[job] for job in left]
        measured = sum(guess.measured for guess in guesses)
        unknown = sum(guess == Guess() for guess in guesses)
        counts = {
            "by what alike jobs took here": measured,
            "by the plan's estimate, corrected by what ran here": len(left) - measured - unknown,
            "by nothing, so they count as no time": unknown,
        }
        how = "; ".join(f"{count} {words}" for words, count in counts.items() if count)
        places, own = self._places(), self.followed and self.run.note.workers
        where = f"{places} worker{'s' * (places > 1)}" if own else f"the {places} that run now"
        text = f"Of {len(left)} jobs left: {how}. Laid out in the run's order, with {where} at one time"
        if self.working:
            text += "; one in work counts by its own pace once 5 % of its steps are done"
        others = "." if len(left) == len(self._open) else "; the run's other protocols come in between."
        return text + others


def _share(told: dict[str, Any]) -> float:
    """Return how much of its steps a job in work has done."""
    return float(told["step"] / max(told["steps"], 1)) if told else 0.0


def _since(owner: dict[str, Any], default: Any) -> Any:
    since = owner.get("since")
    return float(since) if isinstance(since, int | float) else default


def _place(owner: dict[str, Any]) -> str:
    task = f"SLURM {owner['task']} on " if owner.get("task") else ""
    return printable(f"{task}{owner['host']}, process {owner['pid']}")


def _said(lines: Iterable[Line]) -> Iterable[str]:
    """Yield how many tasks wait in which state, and why."""
    for (state, reason), count in Counter((line.state, line.reason) for line in lines).items():
        why = "" if reason in ("", "None") else f" ({reason})"
        yield printable(f"{count} {state.lower()}{why}")
