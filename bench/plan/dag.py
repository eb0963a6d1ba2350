"""The plan itself: jobs, the cells that stand on them, and what the records say of each cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bench.errors import BenchError
from bench.job import Job, Spec
from bench.jobs.kind import PlanContext, Sides
from bench.jobs.scoring import Scoring
from bench.nets.public_weights import Stated
from bench.plan.initialisation import WeightFiles
from bench.ranges import Triple

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Cell:
    """One number of the table: the jobs behind it and what the records say of it."""

    row: str
    evaluate: str
    finetune: str
    pretrain: str | None
    columns: dict[str, Any]  # the record columns that do not vary within the cell
    # False: --only or --records leave it out of this run (its rows are shown if there)
    wanted: bool = True
    guard: str | None = None  # its protocol's, of its pretraining
    latency: str | None = None  # the job that times its network, where the protocol asks
    embed: str | None = None  # the job behind its row's panel in the picture of embeddings
    # the job that predicts for the challenge's server, where the protocol asks
    submission: str | None = None
    curve: bool = False  # does its row show the learning curve of the fine-tuning?
    epoch: float | None = None  # steps of one over its labelled cases, where known
    patients: tuple[int, ...] = ()  # that train, validate, are tested, where known

    @property
    def ends(self) -> list[str]:
        """Return the jobs that nothing else needs, the guard first: it counts also where all else is done."""
        jobs = (self.guard, self.evaluate, self.latency, self.embed, self.submission)
        return [job for job in jobs if job is not None]


def row_fault(protocol: str, row: str, problem: object) -> BenchError:
    """Return the error that says which row of which protocol a problem is of."""
    return BenchError(f"protocol {protocol!r}, row {row!r}: {problem}")


@dataclass
class Plan:
    """Jobs in an order in which every need comes before what needs it."""

    jobs: dict[str, Job] = field(default_factory=dict)
    # pretraining -> scans that it reads and how many of them have no label, where the data is here
    scans: dict[str, tuple[int, int]] = field(default_factory=dict)
    cells: dict[str, list[Cell]] = field(default_factory=dict)  # by protocol name
    roots: dict[str, str] = field(default_factory=dict)  # data set -> folder, for `prepare`
    scoring: dict[str, list[Scoring]] = field(default_factory=dict)  # evaluate id -> scorings
    scoring_of: dict[str, dict[str, Scoring]] = field(default_factory=dict)  # protocol, section
    threads: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # job -> cases; 0 if not known
    sides: dict[str, Sides] = field(default_factory=dict)  # guard -> what it compares
    # sizes of the volumes that pretrainings read, as in a ``PlanContext``
    volumes: dict[str, tuple[Triple, ...]] = field(default_factory=dict)
    # preparation -> size of its median scan, where headers state it
    medians: dict[str, Triple] = field(default_factory=dict)
    # job -> what it waits for, unneeded
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # protocol: panel's title -> embed job
    beside: dict[str, dict[str, str]] = field(default_factory=dict)
    # protocol: what of its picture is left out
    absent: dict[str, list[str]] = field(default_factory=dict)
    # job: what rows say of the file of weights that it starts from
    stated: dict[str, list[Stated]] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()  # what --set changed, as typed
    files: WeightFiles = field(default_factory=WeightFiles)  # weights that rows start from
    # pretraining of a mixture that is not here: steps by the number of cases that its paper prints
    paper_steps: dict[str, int] = field(default_factory=dict)
    provisional: bool = False

    def wanted(
        self, done: Callable[[str], bool] = lambda job: False, protocol: str = ""
    ) -> list[str]:
        """Return the jobs that the wanted cells stand on, of one ``protocol`` or all, needs first.

        Without what is ``done``: what only a done job needs is left out with it.
        """
        ids: dict[str, None] = {}

        def want(job: str) -> None:
            if job not in ids and not done(job):
                for need in self.before(job):
                    want(need)
                ids[job] = None

        for name in [protocol] if protocol else self.cells:
            cells = [cell for cell in self.cells[name] if cell.wanted]
            for job in (job for cell in cells for job in cell.ends):
                want(job)
            for job in self.beside.get(name, {}).values() if cells else ():
                want(job)
        return list(ids)

    def before(self, job: str) -> tuple[str, ...]:
        """Return the jobs that must be done before a job starts: what it reads, and its guards."""
        return (*self.jobs[job].needs, *self.after.get(job, ()))

    def hopeless(self, job: str, failed: Callable[[str], bool]) -> str | None:
        """Return what keeps a job from ever starting: a need that failed, or its guards if all did.

        Where one guard of several let it pass, the cells of the others are refused, not the job.
        """
        guards = self.after.get(job, ())
        gone = [need for need in self.jobs[job].needs if failed(need)]
        return next(iter(gone or (guards if guards and all(map(failed, guards)) else ())), None)

    def wait(self, job: str, other: str) -> None:
        """Let a job start only after another is done, of which its result does not depend."""
        if other not in self.before(job):
            self.after[job] = (*self.after.get(job, ()), other)

    def spec(self, job: str, kind: type[S]) -> S:
        """Return what a job of a kind that the caller knows is to do."""
        return self.jobs[job].spec_as(kind)

    def context(self, processes: int = 1) -> PlanContext:
        """Return what a job's cost and refusals look at."""
        per_job = (self.jobs, self.sizes, self.sides, self.threads, self.roots)
        return PlanContext(*per_job, processes, self.volumes)

    def add(self, job: Job) -> str:
        """Add a job unless an equal one is there; return its id."""
        self.jobs.setdefault(job.id, job)
        return job.id
