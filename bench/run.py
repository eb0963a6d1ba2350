"""``bench run``: plan, run what nobody has run yet, gather the rows, draw the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import records
from bench.data.where import Contents, Roots
from bench.override import Override
from bench.plan import Plan, Planner
from bench.protocol import Protocol, read
from bench.store import Store

if TYPE_CHECKING:
    from bench.executors.queue import Queue
    from bench.jobs.execute import Outcome


@dataclass(frozen=True)
class Request:
    """What a person asked for on the command line."""

    protocols: tuple[Path, ...]
    out: Path
    scale: str | None = None
    data: Path | None = None
    only: dict[str, list[str]] | None = None
    sets: tuple[str, ...] = ()

    def read(self) -> list[Protocol]:
        """Return the protocols at the scale asked for."""
        return [read(path, self.scale) for path in self.protocols]


def make_plan(request: Request, protocols: list[Protocol], *, need_data: bool) -> Plan:
    """Expand protocols against the data on this machine; phantoms are made where a protocol says so."""
    roots = Roots.here(request.data)
    if need_data:
        roots = _with_phantoms(roots, protocols, request.out)
    memory = request.out / "contents.json"
    contents = Contents(memory)
    overrides = [Override(text) for text in request.sets]
    planner = Planner(roots, contents, request.only, overrides, need_data=need_data)
    for protocol in protocols:
        planner.expand(protocol)
    contents.save()
    return planner.finish()


def _with_phantoms(roots: Roots, protocols: list[Protocol], out: Path) -> Roots:
    """Write the phantoms that a protocol asks for where its data is not on this machine."""
    from bench import registry

    named = dict(roots.named)
    for protocol in protocols:
        for name, phantom in protocol.phantoms.items():
            if roots.find(name) is not None:
                continue
            place = out / "phantoms" / f"{name}-{phantom.cases}-{phantom.seed}"
            if not place.exists():
                aside = place.with_name(f".{place.name}")
                aside.mkdir(parents=True, exist_ok=True)
                registry.load("dataset", name).phantom(aside, phantom.cases, phantom.seed)
                aside.rename(place)
            named[name] = place
    return Roots(roots.data, named)


def todo(plan: Plan, store: Store) -> list[str]:
    """Return the jobs to do, needs first: cells that lack scores, and what they stand on."""
    wanted: list[str] = []

    def want(job: str) -> None:
        if job in wanted or records.done(plan, store, job):
            return
        for need in plan.jobs[job].needs:
            want(need)
        wanted.append(job)

    for cells in plan.cells.values():
        for cell in cells:
            if cell.wanted:
                want(cell.evaluate)
    return wanted


def describe(plan: Plan, store: Store, jobs: list[str], loaders: int = 0) -> None:
    """Leave each job's spec where a worker finds it."""
    for job in jobs:
        made = plan.jobs[job]
        run: dict[str, Any] = {
            "roots": plan.roots, "threads": plan.threads.get(job, 1), "loaders": loaders,
            "scoring": plan.scoring.get(job, []),
        }  # fmt: skip
        entry = {"kind": made.kind, "spec": made.spec, "needs": list(made.needs)}
        store.write_spec(job, {"job": entry, "run": run})


def run_local(
    plan: Plan, store: Store, jobs: list[str], workers: int, on_outcome: Callable[[Outcome], None]
) -> Queue:
    """Run jobs in worker processes here."""
    from bench.executors import local
    from bench.executors.queue import Queue

    queue = Queue(store, plan.jobs, jobs)
    local.run(str(store.root), queue, workers, on_outcome)
    return queue
