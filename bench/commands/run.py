"""``bench run``: do what is to do of a plan, and draw its reports."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands import flags
from bench.commands.report import tell
from bench.commands.stopping import stopping
from bench.errors import Damaged, printable

if TYPE_CHECKING:
    from bench.executors.slurm.profile import Profile
    from bench.extras.live.pages import Source
    from bench.extras.trackers.follow import Follow
    from bench.jobs.context import RunOptions
    from bench.plan import Plan
    from bench.protocol import Protocol
    from bench.runtime.execute import Outcome
    from bench.show.screen import Manner
    from bench.store import Store


@dataclass(frozen=True, eq=False)
class Work:
    """What is run: a plan, where its files go, and who runs them."""

    files: Sequence[Path]  # of the protocols, in their order
    protocols: Sequence[Protocol]
    plan: Plan
    store: Store
    cluster: Profile | None = None
    workers: int | None = None
    how: Manner = "lines"  # the run shows itself
    log: Sequence[str] = ()  # trackers that follow it
    keep_unfinished: bool = False  # go on with what other source files left unfinished

    @classmethod
    def of(
        cls,
        arguments: argparse.Namespace,
        files: Sequence[Path],
        protocols: Sequence[Protocol],
        plan: Plan,
        store: Store,
        cluster: Profile | None,
    ) -> Work:
        """Return the work that the flags of a command name."""
        from bench.show.screen import manner

        how = manner(quiet=arguments.quiet, lines=arguments.lines)
        workers = flags.workers(arguments, plan) if cluster is None else None
        log, keep = arguments.log, arguments.keep_unfinished
        return cls(files, protocols, plan, store, cluster, workers, how, log, keep)

    @property
    def sources(self) -> dict[str, Source]:
        """Return what each protocol's page is drawn from."""
        from bench.extras.live.pages import Source

        read = zip(self.files, self.protocols, strict=True)
        return {
            p.name: Source(file, p.scale, p.origin.content, p.overrides)
            for file, p in read
            if p.origin
        }


@stopping(saves=False)
def body(arguments: argparse.Namespace) -> int:
    """Plan, and carry it out."""
    from bench import run
    from bench.extras.trackers.tracker import check
    from bench.imported_scores import as_lines, copies, keep, put
    from bench.plan.feasible import refuse_half
    from bench.protocol import unread
    from bench.show import registration
    from bench.show.reports import refuse_others
    from bench.show.screen import bars, manner
    from bench.store import Store

    if arguments.dry_run:
        from bench.commands import plan as dry

        return dry.body(arguments)
    how = manner(quiet=arguments.quiet, lines=arguments.lines)
    check(arguments.log)
    cluster, request = flags.cluster(arguments), flags.request(arguments)
    protocols = request.read()
    for line in chain.from_iterable(map(unread, protocols)):
        say(line)
    flags.require_executor(arguments)  # before a file is written
    store = Store.open(request.out)
    refuse_others(protocols, store)
    processes = cluster.world if cluster else 1
    plan = run.make_plan(request, protocols, need_data=True, processes=processes, bar=bars(how))
    imported = flags.imported(arguments, plan, store)
    seen = run.without_changed(plan, store) if arguments.redo else store
    refuse_half(plan, run.todo(plan, seen), flags.without_gpu(arguments, cluster))
    put(imported, store)
    copied = frozenset().union(*(view.jobs for view in copies(store)))
    registration.note(protocols, plan, store, arguments.records, copied)
    for line in (*as_lines(imported, store), *keep(plan.cells, store)):
        say(line)
    if arguments.redo:
        run.rehearse(plan, run.todo(plan, seen))  # what it tells comes again below
        for line in run.take_away_changed(plan, store, lambda who: say(f"waiting for {who}")):
            say(line)
    return carry_out(Work.of(arguments, request.protocols, protocols, plan, store, cluster))


def carry_out(work: Work) -> int:
    """Run a plan until all of it is there or failed, followed by the trackers that are asked for."""
    from bench.extras.trackers.follow import Follow

    def news(line: str) -> None:
        if work.how != "quiet":
            say(line)

    with Follow(work.plan, work.store, work.log, say, news) as follow:
        return _carry_out(work, follow)


def say(line: str) -> None:
    """Print a line of bench's own, to stderr."""
    print(f"bench: {printable(line)}", file=sys.stderr)


def _carry_out(work: Work, follow: Follow) -> int:
    """Run a plan; what is found damaged is done anew, each once."""
    from bench import digest, run
    from bench.show.state import forget

    plan, store = work.plan, work.store
    anew: set[str] = set()
    for line in store.lacks():
        say(line)
    while True:
        for line in run.mend(plan, store):
            say(line)
        outcomes = _go(work, follow)
        damaged = {o.aside for o in outcomes.values() if o.aside} - anew
        if not damaged:
            try:
                code = _show(work, outcomes, follow)
                forget(store, plan.cells)
                return code
            except Damaged as error:
                job = error.path.parent.name
                again = job not in anew and digest.differs(error.path)
                if not again or store.set_aside(error.path.parent) is None:
                    raise
                say(f"{error}")
                damaged = {job}
        say(f"damaged jobs moved to {store.damaged} and run again: {', '.join(sorted(damaged))}")
        anew |= damaged


def _go(work: Work, follow: Follow) -> dict[str, Outcome]:
    """Run what is to do of a plan, with pages that follow it, and return how each job ended."""
    from bench import run
    from bench.extras.live.pages import Live
    from bench.show.labels import remember
    from bench.show.screen import Watch

    plan, store, cluster, workers = work.plan, work.store, work.cluster, work.workers
    jobs = run.todo(plan, store)
    for line in run.rehearse(plan, jobs):
        say(line)
    run.describe(plan, store, jobs)
    remember(plan, store)
    outcomes: dict[str, Outcome] = {}
    for line in run.changed(plan, store, keep=work.keep_unfinished):
        say(line)
    watch = Watch(plan, store, jobs, work.how)
    with (
        stopping(saves=cluster is None, shown=watch.last),
        watch,
        Live(work.sources, plan, store, jobs, workers, watch.say) as live,
    ):

        def on_outcome(outcome: Outcome) -> None:
            watch.outcome(outcome)
            live.outcome(outcome)
            follow.outcome(outcome)

        if jobs and cluster is not None:
            from bench.executors import slurm

            cuda = cluster.cuda or run.cuda_settings()

            def start(job: str) -> RunOptions:
                run.describe(plan, store, [job])
                return run.options(plan, job, cluster.cpus or 0, work.keep_unfinished, cuda)

            outcomes = slurm.run(plan, store, jobs, cluster, on_outcome, start)
        elif jobs and workers is not None:
            keep = work.keep_unfinished
            outcomes = run.run_local(plan, store, jobs, workers, on_outcome, keep).outcomes
    return outcomes


def _show(work: Work, outcomes: dict[str, Outcome], follow: Follow) -> int:
    from bench.show.reports import write_reports

    failed = {job: o for job, o in outcomes.items() if o.state == "failed"}
    printed: set[str] = set()
    shown_reports = write_reports(work.protocols, work.plan, work.store)
    for protocol, shown in zip(work.protocols, shown_reports, strict=True):
        follow.drawn(protocol.name)
        printed |= tell(shown, quiet=work.how == "quiet")
    for job, outcome in failed.items():
        if job not in printed and not failed.keys() & set(work.plan.before(job)):
            # it could not leave its reason on the disk
            print(f"failed: job {job}: {outcome.reason}")
    return 1 if failed or printed else 0
