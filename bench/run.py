"""``bench run``: plan, run what nobody has run yet, gather the rows, draw the report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from bench import digest, plugins, records, registry, stand_ins
from bench.data.contents import Bar, no_bar
from bench.data.roots import Contents, Roots
from bench.document import read_toml
from bench.errors import BenchError, printable, unknown
from bench.jobs import scoring
from bench.jobs.training_kind import TrainingKind
from bench.plan import Plan, Planner
from bench.plan.dag import row_fault
from bench.protocol import Protocol, read_all
from bench.runtime import stale
from bench.runtime.sources import touched
from bench.store import Store
from bench.typed import SURE, canonical, plain

if TYPE_CHECKING:
    from bench.executors.local import Queue
    from bench.jobs.context import Cuda, RunOptions
    from bench.runtime.execute import Outcome


BENCH_TOML = Path("bench.toml")


@dataclass(frozen=True)
class Request:
    """What a person asked for on the command line."""

    protocols: tuple[Path, ...]
    out: Path
    scale: str | None = None
    data: Path | None = None
    only: dict[str, list[str]] | None = None
    sets: tuple[str, ...] = ()
    phantoms: bool = False  # in the place of all data

    def __post_init__(self) -> None:
        if self.phantoms and self.data is not None:
            raise BenchError(
                "--phantoms reads only synthetic cases; leave --data or --phantoms out"
            )

    def read(self) -> list[Protocol]:
        """Return the protocols at the scale asked for; two of one name are refused."""
        return read_all(self.protocols, self.scale, self.sets)


def make_plan(
    request: Request,
    protocols: list[Protocol],
    *,
    need_data: bool,
    processes: int = 1,
    bar: Bar = no_bar,
) -> Plan:
    """Expand protocols against the data on this machine; phantoms are made where that is asked.

    A pretraining that ``processes`` processes cannot share is refused. ``bar`` shows a long first reading.
    """
    if request.phantoms:
        roots = stand_ins.of_all(protocols, request.out, make=need_data)
    else:
        roots = stand_ins.where_lacking(
            Roots.here(request.data), protocols, request.out, make=need_data
        )
    memory = request.out / "contents.json"
    contents = Contents(memory, bar)
    planner = Planner(roots, contents, request.only, need_data=need_data, processes=processes)
    with plugins.contained():
        for protocol in protocols:
            planner.expand(protocol)
        contents.save()
        return planner.finish()


def misnamed(request: Request, protocols: list[Protocol]) -> list[str]:
    """Return a line for each name in bench.toml that is near a data set's and is none, or lies in no layout."""
    roots = Roots.here(request.data)
    read = {name for protocol in protocols for name in stand_ins.read_by(protocol)}
    lacking = {name for name in read if roots.find(name) is None}
    document, lines = read_toml(BENCH_TOML), list[str]()
    if document is None:
        return []
    for name in {*roots.strange()} - read:
        in_layout = (roots.named[name] / "dataset.json").is_file()
        names = lacking if in_layout else lacking | {*registry.names("dataset")}
        if near := get_close_matches(name, names, n=1, cutoff=SURE):
            where = document.where(("data", name))
            lines.append(f"{where}: {unknown('data set', name, near)}")
    return sorted(lines)


def mend(plan: Plan, store: Store) -> list[str]:
    """Set aside what is known to be damaged of a plan's jobs, and say so in a line each.

    That is a folder whose manifest is lost or damaged, scores that are not what was written, and what
    ``bench verify`` found.
    """
    from bench import verify  # it opens frames, a plan does not

    lines = list[str]()
    for job in plan.jobs:
        folder = store.jobs / job
        # Asked in this order: a living attempt may publish between the two.
        if (
            folder.is_dir()
            and digest.lost(folder)
            and store.owner(job) is None
            and digest.lost(folder)
        ):
            lines.append(_set_aside(store, folder, f"{folder}: its manifest is missing or damaged"))
    for finding in verify.noted(store, plan.jobs):
        if finding.path.parent.is_dir() and not finding.path.name.startswith("scores-"):
            lines.append(_set_aside(store, finding.path.parent, f"{finding.path}: {finding.what}"))
    verify.forget(store, plan.jobs)
    for job, scorings in plan.scoring.items():
        for file in (
            file for job_scoring in scorings for file in scoring.damaged(store, job, job_scoring)
        ):
            lines.append(f"{file}: damaged; the predictions are scored again")
    return [printable(line) for line in lines if line]


def _set_aside(store: Store, folder: Path, why: str) -> str:
    target = store.set_aside(folder)
    return "" if target is None else f"{why}; moved to {target}, the job is run again"


def todo(plan: Plan, store: Store) -> list[str]:
    """Return the jobs to do, needs first: cells that lack scores, and what they stand on.

    What was set aside as damaged is among them also where nothing reads it any more.
    """
    complete = {job for job in store.present(plan.jobs) if records.done(plan, store, job)}
    again = store.aside() & plan.jobs.keys()
    for job in plan.jobs.values():  # needs first
        if again.intersection(job.needs):
            again.add(job.id)
    wanted = plan.wanted(lambda job: job in complete and job not in again)
    return [job for job in wanted if job not in complete]


def changed(plan: Plan, store: Store, then: str = stale.AGAIN, keep: bool = False) -> list[str]:
    """Return what to tell of wanted jobs that other source files made.

    Args:
        plan: that wants them.
        store: the output folder.
        then: what to do about those that are done.
        keep: do those that are half done go on with what is there?
    """
    wanted = plan.wanted()
    undone = [plan.jobs[job] for job in wanted if not store.done(job)]
    done = stale.lines(stale.wanted(store, wanted).values(), then)
    return plan.files.gone() + done + stale.unfinished(store, undone, keep)


def without_changed(plan: Plan, store: Store) -> Store:
    """Return the output folder seen as ``--redo changed`` would leave it; nothing is taken away."""
    return stale.Without(store, stale.redo(store, plan.wanted()).again)


def take_away_changed(
    plan: Plan, store: Store, waiting: Callable[[str], None] = lambda who: None
) -> list[str]:
    """Take away what ``--redo changed`` does again; return a line for what stays.

    ``waiting``: told who else does so now.
    """
    left = stale.set_aside(store, plan.wanted(), waiting).left
    return [
        f"{job} is not rerun now, because {reader} is running and reads it"
        for job, reader in left.items()
    ]


def rehearse(plan: Plan, jobs: list[str]) -> list[str]:
    """Build what is to be pretrained, and load each file that a job starts from, before anything runs.

    Returns:
        A line for each file of which something was taken for granted.

    Raises:
        BenchError: a method cannot train its network, or a file is no weights or does not fit; names it.
    """
    _checkpoint_seconds()
    seen, lines = set(), dict[str, None]()
    for job in jobs:
        spec = plan.jobs[job].spec
        parts = [getattr(spec, key, None) for key in ("init", "network", "method", "given")]
        file, stated = plan.files.path(parts[0]), plan.stated.get(job, ())
        parts.append([plain(row) for row in stated])
        if isinstance(spec, TrainingKind) and spec.training.accumulate > 1:
            parts.append(spec.training)
        if (what := canonical(parts)) not in seen:
            seen.add(what)
            with plugins.contained():
                lines[spec.rehearse(file, stated)] = None
    return list(filter(None, lines))


def rehearse_starts(plan: Plan, jobs: list[str], *, all_jobs: bool) -> list[str]:
    """Refuse files that jobs cannot start from, of a plan that was made without need of data.

    Args:
        plan: of protocols.
        jobs: to do.
        all_jobs: as ``rehearse``; else only those that start from a file, as also where data are not here.

    Raises:
        BenchError: what the run would say of a file that is not there; and as ``rehearse``.
    """
    for protocol, cells in plan.cells.items():
        for row, init in sorted({(c.row, c.columns["init"]) for c in cells if c.wanted}):
            try:
                plan.files.require(init)
            except BenchError as error:
                raise row_fault(protocol, row, error) from None
    inits = {job: str(getattr(plan.jobs[job].spec, "init", "")) for job in jobs}
    with_file = [job for job in jobs if inits[job].startswith("file:")]
    return rehearse(plan, jobs if all_jobs and not plan.provisional else with_file)


def describe(plan: Plan, store: Store, jobs: list[str]) -> None:
    """Leave each unfinished job's spec where a worker finds it: the same for whoever asks for the job."""
    for job in (job for job in jobs if not store.done(job)):
        store.write_spec(job, {"job": plan.jobs[job].plain()})


def cuda_settings() -> Cuda:
    """Return ``[cuda]`` of ``bench.toml``, which a cluster profile may state for itself.

    Raises:
        BenchError: an unknown key, or a value of another type.
    """
    from bench.jobs.context import Cuda

    document = read_toml(BENCH_TOML)
    if document is None:
        return Cuda()
    return document.build(Cuda, document.value.get("cuda", {}), ("cuda",))


def options(
    plan: Plan, job: str, processes: int = 0, keep: bool = False, cuda: Cuda | None = None
) -> RunOptions:
    """Return what this run brings to a job.

    Args:
        plan: with the job.
        job: id.
        processes: that share one that goes by cases.
        keep: does it go on with what other source files left unfinished?
        cuda: how its card computes, by default as ``cuda_settings`` says.
    """
    from bench.jobs.context import RunOptions

    loaders = processes if plan.jobs[job].spec.by_cases and processes > 1 else 0
    return RunOptions(
        plan.roots,
        plan.files.paths,
        plan.threads.get(job, 1),
        loaders,
        plan.scoring.get(job, []),
        _checkpoint_seconds(),
        tuple(plan.after.get(job, ())),
        touched(plan.jobs, job),
        keep,
        cuda or cuda_settings(),
    )


def run_local(
    plan: Plan,
    store: Store,
    jobs: list[str],
    workers: int,
    on_outcome: Callable[[Outcome], None],
    keep: bool = False,
) -> Queue:
    """Run jobs in worker processes here; ``keep``: as ``options`` takes it.

    A job is described again as it starts: another command may have done it meanwhile and cleared it.
    """
    from bench.executors import local

    queue, cuda = local.Queue(plan, jobs), cuda_settings()
    kinds = Counter(plan.jobs[job].kind for job in jobs)

    def start(job: str) -> RunOptions:  # few jobs of a kind leave processes to each
        describe(plan, store, [job])
        return options(plan, job, workers // kinds[plan.jobs[job].kind], keep, cuda)

    local.run(store, queue, workers, on_outcome, start)
    return queue


def _checkpoint_seconds() -> float:
    """Return the seconds between two checkpoints: a resource like threads, no part of identity."""
    text = os.environ.get("BENCH_CHECKPOINT", "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise BenchError(
            f"BENCH_CHECKPOINT={text}: set it to the number of seconds between two checkpoints"
        )
    return seconds
