"""How far a run is: the note that it leaves of itself, the state of its jobs, and when all will be done.

    DIR/work/.run-<n>/run.json     which protocols and jobs it does, since when, in how many workers
    DIR/work/.run-<n>/plan.json    its plan
    DIR/work/.run-<n>/claim-0001   the command that follows it: alive, or killed

The note goes with the last report of the run; that of a killed run says that the run was not finished.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import claims, records, typed
from bench.errors import BenchError, printable
from bench.jobs import KINDS
from bench.plan import Plan, stored
from bench.plan.cost import Guess, guesses
from bench.report.progress import Broken, Progress, Stage, Working
from bench.show.labels import labels
from bench.show.status import queued
from bench.store import Store, write_atomic
from bench.typed import plain

if TYPE_CHECKING:
    from bench.executors.slurm.squeue import Line

PREFIX = ".run-"
WINDOW = 60.0  # seconds over which a job's speed is taken
OWN_PACE = 0.05  # share of a job's steps from which its own pace predicts better than other jobs do


@dataclass(frozen=True)
class Note:
    """A run, as it began."""

    protocols: tuple[str, ...]  # names
    jobs: tuple[str, ...]  # that it had to do, needs first
    began: float  # seconds since 1970
    workers: int | None = None  # processes here; None where a cluster decides


@dataclass(frozen=True)
class Run:
    """A run that is not over, or was killed."""

    name: str  # of its folder
    note: Note
    plan: Plan


@contextmanager
def announced(store: Store, plan: Plan, jobs: Iterable[str], workers: int | None) -> Iterator[Run]:
    """Leave a run's note; until this context ends, others see that a command follows the run.

    Raises:
        OSError: it cannot be written.
    """
    name = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    claim = store.claim(name)
    if claim is None:
        raise OSError(f"{store.work / name}: somebody has it")
    run = Run(name, Note(tuple(plan.cells), tuple(jobs), time.time(), workers), plan)
    write_atomic(store.work / name / "plan.json", stored.as_text(plan), flush=False)
    _write(store, name, run.note)
    try:
        with claims.beating(claim):
            yield run
    finally:
        with suppress(OSError):
            store.release(claim)


def run_name(store: Store, protocol: str) -> str:
    """Return the folder of the last run of a protocol that has a note; empty where there is none."""
    dated = [
        (note.began, name) for name, note in _notes(store) if note and protocol in note.protocols
    ]
    return max(dated)[1] if dated else ""


def latest(store: Store, protocol: str) -> Run | None:
    """Return the last run of a protocol that has a note.

    Raises:
        BenchError: its plan cannot be read.
    """
    name = run_name(store, protocol)
    note = _read(store.work / name / "run.json") if name else None
    return None if note is None else Run(name, note, stored.read(store.work / name / "plan.json"))


def forget(store: Store, protocols: Iterable[str]) -> None:
    """Remove protocols whose report is complete from the notes of runs that no command follows."""
    over = set(protocols)
    for name, note in _notes(store):
        left = () if note is None else tuple(p for p in note.protocols if p not in over)
        if (note is not None and left == note.protocols) or store.owner(name) is not None:
            continue
        if note is not None and left:
            _write(store, name, replace(note, protocols=left))
        else:
            shutil.rmtree(store.working(name), ignore_errors=True)


def _notes(store: Store) -> list[tuple[str, Note | None]]:
    folders = sorted(store.work.glob(f"{PREFIX}*"))
    return [(f.name, _read(f / "run.json")) for f in folders if f.is_dir() and not f.is_symlink()]


def _read(file: Path) -> Note | None:
    """Return a note; None where it is absent or damaged."""
    try:
        return typed.read(Note, file.read_bytes())
    except (OSError, ValueError, BenchError):
        return None


def _write(store: Store, name: str, note: Note) -> None:
    write_atomic(store.working(name) / "run.json", json.dumps(plain(note)), flush=False)


@dataclass(frozen=True)
class AtWork:
    """A job in work. ``steps`` is 0 before its first report; ``speed``: steps per second, if known."""

    job: str
    owner: dict[str, Any]  # as ``Store.owner`` has it
    step: int = 0
    steps: int = 0
    loss: float | None = None
    speed: float | None = None
    warning: str = ""  # what is wrong with it, though it goes on

    @classmethod
    def read(cls, store: Store, job: str) -> AtWork | None:
        """Return a job as its folder tells; None where nobody works on it."""
        owner, progress = store.owner(job), store.progress(job)
        if owner is None:
            return None
        return cls(
            job,
            owner,
            progress.get("step", 0),
            progress.get("steps", 0),
            progress.get("loss"),
            warning=progress.get("warning") or "",
        )

    @property
    def share(self) -> float:
        """Return how much of its steps is done, 0 to 1."""
        return self.step / max(self.steps, 1)

    @property
    def left(self) -> float | None:
        """Return the seconds that it still takes at this speed."""
        return (self.steps - self.step) / self.speed if self.speed else None

    @property
    def since(self) -> float | None:
        """Return when its attempt began, seconds since 1970."""
        since = self.owner.get("since")
        return float(since) if isinstance(since, int | float) else None


def who(owner: dict[str, Any]) -> str:
    """Return the host and process, or SLURM's task, that has a job."""
    task = f"SLURM {owner['task']} on " if owner.get("task") else ""
    return printable(f"{task}{owner['host']}, process {owner['pid']}")


class Monitor:
    """Reads jobs again and again, by a clock in seconds; earlier readings tell their speed."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._steps: dict[str, deque[tuple[float, int]]] = {}  # of a job: when it was at which step

    def at_work(self, jobs: Iterable[str]) -> list[AtWork]:
        """Return the jobs among ``jobs`` that are in work now."""
        working = []
        for job in jobs:
            at = AtWork.read(self._store, job)
            if at is None:
                self._steps.pop(job, None)
            else:
                working.append(replace(at, speed=self._speed(at)) if at.steps else at)
        return working

    def _speed(self, at: AtWork) -> float | None:
        steps, now = self._steps.setdefault(at.job, deque()), self._clock()
        if steps and at.step < steps[-1][1]:  # it resumed from an earlier checkpoint
            steps.clear()
        if not steps or at.step > steps[-1][1]:
            steps.append((now, at.step))
        while len(steps) > 2 and now - steps[0][0] > WINDOW:
            steps.popleft()
        (start, first), (end, last) = steps[0], steps[-1]
        return (last - first) / (end - start) if end > start else None


class RunState:
    """The jobs of a run, read once: done, in work, failed, stuck behind a failure, or waiting.

    Args:
        run: its note and its plan.
        store: the output folder.
        now: seconds since 1970.
        priced: estimate when the rest will be done; that runs the code of methods, which state their cost.
    """

    def __init__(
        self, run: Run, store: Store, now: Callable[[], float] = time.time, *, priced: bool = True
    ) -> None:
        self._run, self._store, self._plan, self._now = run, store, run.plan, now()
        self._owner = store.owner(run.name)  # the command that follows the run
        self._sort()
        self._guesses, self._basis = (
            self._estimates() if priced else ({}, "the estimate would run the code of its plugins")
        )
        self._left = {job: self._seconds_left(at) for job, at in self._working.items()}
        waiting = {job: self._seconds(job) or 0.0 for job in self._waiting}
        self._ends = ends(self._plan, waiting, self._left, self._places()) if self._guesses else {}

    def _sort(self) -> None:
        """Find the state of every job of the run."""
        store, jobs = self._store, self._run.note.jobs
        self._done = {job for job in store.present(jobs) if records.done(self._plan, store, job)}
        self._failed: dict[str, dict[str, Any]] = {}
        self._working: dict[str, AtWork] = {}
        # jobs that can never start: the failed job that keeps each
        self._stuck: dict[str, str] = {}
        self._waiting: list[str] = []
        began = self._began()
        for job in jobs:  # needs first
            if job in self._done:
                continue
            failure = _failure(store, job, began)
            at = None if failure else AtWork.read(store, job)
            need = self._plan.hopeless(
                job, lambda other: other in self._failed or other in self._stuck
            )
            if failure is not None:
                self._failed[job] = failure
            elif at is not None:
                self._working[job] = at
            elif need is not None:
                self._stuck[job] = self._stuck.get(need, need)
            else:
                self._waiting.append(job)
        listed = queued(store) if self._waiting else {}
        self._queued = {job: listed[job] for job in self._waiting if job in listed}

    def _began(self) -> float:
        """Return when the run began by the clock of the file system, which dates what it leaves."""
        try:
            return (self._store.work / self._run.name / "plan.json").stat().st_mtime
        except OSError:
            return self._run.note.began

    def _estimates(self) -> tuple[dict[str, Guess], str]:
        """Return what each job that is left takes; where that is unknown nothing, and why."""
        if not self._places():
            return {}, "no job of this run is running now"
        away = self._run.note.workers is None  # a cluster's nodes are no such processors as this
        expected = guesses(self._plan, self._store, [*self._waiting, *self._working], away=away)
        if any(guess.away for guess in expected.values()):
            return {}, "of some kind of job, none has ended on the cluster yet"
        return expected, "no job of this run is running now"

    def _seconds(self, job: str) -> float | None:
        return self._guesses.get(job, Guess()).seconds

    def _seconds_left(self, at: AtWork) -> float:
        """Return the seconds that a job in work still takes."""
        passed = self._now - (self._now if at.since is None else at.since)
        # did not resume from a checkpoint
        if at.share >= OWN_PACE and len(self._store.claims(at.job)) == 1:
            return passed * (1 - at.share) / at.share
        expected = self._seconds(at.job) or 0.0
        return expected * (1 - at.share) if at.steps else max(0.0, expected - passed)

    def _places(self) -> int:
        """Return how many jobs run at one time; 0 where that is unknown."""
        return (self._run.note.workers if self._owner else None) or len(self._working)

    def of(self, protocol: str) -> Progress | None:
        """Return the progress of one protocol for its page; None where none of its jobs is left to do."""
        wanted = self._plan.wanted(protocol=protocol)
        unfinished = {*self._waiting, *self._working}
        left = [job for job in wanted if job in unfinished]
        if not left:
            return None
        called = labels(self._plan, protocol)
        name = {
            job: (self._plan.jobs[job].kind, printable(str(called.get(job, job))))
            for job in self._run.note.jobs
        }
        cells = [cell for cell in self._plan.cells[protocol] if cell.wanted]
        scored = {j for j in self._store.present(c.evaluate for c in cells) if self._scored(j)}
        ids = set(wanted)
        behind = Counter(need for job, need in self._stuck.items() if job in ids)
        seconds = max(self._ends.get(job, 0.0) for job in left) if self._ends else None
        return Progress(
            at=self._now,
            began=self._run.note.began,
            state=self._attended(),
            cells=len(cells),
            finished=sum(cell.evaluate in scored for cell in cells),
            failed=sum(
                cell.evaluate in self._failed or cell.evaluate in self._stuck for cell in cells
            ),
            by=who(self._owner) if self._owner else "",
            working=tuple(
                self._shown(self._working[job], *name[job]) for job in left if job in self._working
            ),
            broken=tuple(
                Broken(*name[job], printable(why["reason"]), printable(why["log"]), behind[job])
                for job, why in self._failed.items()
                if job in ids
            ),
            stages=tuple(self._stages(wanted)),
            queue=tuple(_in_words(self._queued[job] for job in left if job in self._queued)),
            seconds=seconds,
            reckoned=self._basis if seconds is None else self._how(left),
        )

    def _scored(self, job: str) -> bool:
        return job in self._done or records.done(self._plan, self._store, job)

    def _attended(self) -> Literal["running", "unattended", "stopped"]:
        if self._owner:
            return "running"
        return "unattended" if self._working or self._queued else "stopped"

    def _shown(self, at: AtWork, kind: str, label: str) -> Working:
        step, steps = (at.step, at.steps) if at.steps else (None, None)
        timed = self._seconds(at.job) is not None or at.share >= OWN_PACE
        return Working(
            kind, label, who(at.owner), at.since, step, steps, self._left[at.job] if timed else None
        )

    def _stages(self, wanted: list[str]) -> Iterable[Stage]:
        waiting = {*self._waiting}
        for kind in KINDS:
            jobs = [job for job in wanted if self._plan.jobs[job].kind == kind]
            working, queue = (
                sum(job in those for job in jobs) for those in (self._working, waiting)
            )
            failed = sum(job in self._failed or job in self._stuck for job in jobs)
            if jobs:  # what the run did not have to do was done before
                yield Stage(kind, len(jobs) - working - queue - failed, working, queue, failed)

    def _how(self, left: list[str]) -> str:
        """Say from what the time was estimated."""
        expected = [self._guesses[job] for job in left]
        measured = sum(guess.measured for guess in expected)
        unknown = sum(guess == Guess() for guess in expected)
        counts = {
            "estimated from similar jobs that ran here": measured,
            "estimated by the plan and corrected by what ran here": len(left) - measured - unknown,
            "without an estimate, so they count as no time": unknown,
        }
        how = "; ".join(f"{count} {words}" for words, count in counts.items() if count)
        places = self._places()
        stated = self._owner and self._run.note.workers
        at_once = f"{places} worker{'s' * (places > 1)}"
        where = at_once if stated else f"{places} at a time, as many as run now"
        text = f"Jobs left: {len(left)} ({how}). They are planned in the order of the run, with {where}"
        if self._working:
            text += "; a running job counts by its own pace once 5 % of its steps are done"
        alone = len(left) == len(self._waiting) + len(self._working)
        return text + ("." if alone else "; jobs of the run's other protocols come in between.")


def _failure(store: Store, job: str, began: float) -> dict[str, Any] | None:
    """Return why a job failed since the run began; an earlier failure is tried again."""
    try:
        failed = (store.work / job / "failed.json").stat().st_mtime
    except OSError:
        return None
    return store.failure(job) if failed >= began else None


def _in_words(lines: Iterable[Line]) -> Iterable[str]:
    """Yield how many of SLURM's tasks wait in which state, and why."""
    for (state, reason), count in Counter((line.state, line.reason) for line in lines).items():
        why = "" if reason in ("", "None") else f" ({reason})"
        yield printable(f"{count} {state.lower()}{why}")


def ends(
    plan: Plan, waiting: Mapping[str, float], working: Mapping[str, float], places: int
) -> dict[str, float]:
    """Return in how many seconds each job will have ended, laid out in the run's order.

    Args:
        plan: what each job needs.
        waiting: seconds of each job that has not begun, needs first.
        working: seconds that each job in work still takes.
        places: jobs at one time; those in work may be more.
    """
    kinds = {kind: number for number, kind in enumerate(KINDS)}
    turn = {job: (kinds[plan.jobs[job].kind], number) for number, job in enumerate(waiting)}
    left = {**waiting, **working}
    needs = {job: [need for need in plan.before(job) if need in left] for job in waiting}
    return laid_out(needs, left, turn, max(places, 1), {}, working)


def laid_out(
    needs: Mapping[str, Iterable[str]],
    lasts: Mapping[str, float],
    turn: Mapping[str, Any],
    places: int,
    widths: Mapping[str, int],
    begun: Iterable[str] = (),
) -> dict[str, float]:
    """Return when each job ends: it begins once what it needs has ended and its places are free.

    Args:
        needs: the jobs that each job waits for.
        lasts: how long each takes, or of one that has begun still takes.
        turn: of those that may begin the least begins first; none overtakes it.
        places: how many there are; jobs that have begun may have more.
        widths: places of each job, 1 where not stated.
        begun: jobs that have begun.
    """
    open_needs = {job: {*before} for job, before in needs.items()}
    dependents: dict[str, list[str]] = {}
    for job, need in ((job, need) for job, before in open_needs.items() for need in before):
        dependents.setdefault(need, []).append(job)
    ready = [(turn[job], job) for job, before in open_needs.items() if not before]
    busy = [(lasts[job], job) for job in begun]
    heapify(ready)
    heapify(busy)
    now, free, ended = 0.0, places - len(busy), dict[str, float]()
    while ready or busy:
        while ready and widths.get(ready[0][1], 1) <= free:
            job = heappop(ready)[1]
            free -= widths.get(job, 1)
            heappush(busy, (now + lasts[job], job))
        now, job = heappop(busy)
        free += widths.get(job, 1)
        ended[job] = now
        for other in dependents.get(job, ()):
            open_needs[other].discard(job)
            if not open_needs[other]:
                heappush(ready, (turn[other], other))
    return ended
