"""``bench plan``: what a run would do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from bench import no_torch
from bench.commands import flags
from bench.errors import BenchError, printable

if TYPE_CHECKING:
    from bench.executors.slurm.profile import Profile
    from bench.gpu.cards import Card
    from bench.gpu.forecast import Need
    from bench.plan import Plan
    from bench.protocol import Protocol
    from bench.store import Store


def body(arguments: argparse.Namespace) -> int:
    """Plan without the data where they lack, and print it."""
    from bench import run
    from bench.show.screen import bar
    from bench.store import Store

    if arguments.data is not None and not arguments.data.exists():
        note = f"{arguments.data} does not exist yet; planned as if no data were here"
        print(f"bench: {printable(note)}", file=sys.stderr)
        arguments.data = None
    cluster, request = flags.cluster(arguments), flags.request(arguments)
    _card(arguments, cluster)  # a mistake is told before the data are read
    protocols = request.read()
    _before(request.protocols, protocols)
    for line in [] if request.phantoms else run.misnamed(request, protocols):
        print(f"bench: {printable(line)}", file=sys.stderr)
    Store.check_place(request.out)
    processes = cluster.world if cluster else 1
    plan = run.make_plan(request, protocols, need_data=False, processes=processes, bar=bar)
    store = flags.seen(arguments.out)
    if imported := flags.imported(arguments, plan, store):
        from bench.imported_scores import as_lines

        for line in as_lines(imported, store):
            print(f"bench: {printable(line)}", file=sys.stderr)
    if getattr(arguments, "detect", None) is not None:
        return _detect(arguments, protocols, plan, store)
    return tell(arguments, protocols, plan)


def _before(files: Sequence[Path], protocols: Sequence[Protocol]) -> None:
    """Print what the files of protocols state in vain or cannot run, before anything is planned."""
    from bench.protocol import mistakes, unread

    if any(row.init for protocol in protocols for row in protocol.rows.values()):
        no_torch.require()  # a file of weights is loaded; before a line is printed
    others = (mistakes(file, p.scale) for file, p in zip(files, protocols, strict=True))
    for line in chain.from_iterable((*map(unread, protocols), *others)):
        print(f"bench: {printable(line)}", file=sys.stderr)


def _card(arguments: argparse.Namespace, cluster: Profile | None) -> str | None:
    """Return the card that a plan is counted for: what --gpu names, or a profile."""
    name = getattr(arguments, "gpu", None) or (cluster.card if cluster else None)
    if name:
        from bench.gpu.cards import card

        card(name)
    return name


def _detect(
    arguments: argparse.Namespace, protocols: Sequence[Protocol], plan: Plan, store: Store
) -> int:
    """Print what the protocols could see, and what it takes to see the difference that is asked for."""
    from bench.show import detect

    if not 0 < arguments.detect <= 100:
        raise BenchError(
            f"--detect {arguments.detect:g}: give a difference in percentage points, above 0 and at most 100"
        )
    seconds = None
    if name := _card(arguments, flags.cluster(arguments)):
        _, needs = _needs(arguments, plan, name)
        trained = {job for job in needs if plan.jobs[job].kind in ("pretrain", "finetune")}
        hours = {job: need.hours if job in trained else 0.0 for job, need in needs.items()}
        seconds = name, {job: None if h is None else 3600 * h for job, h in hours.items()}
    sights = detect.sights(plan, protocols, store, arguments.detect, seconds)
    if arguments.json:
        value = {"provisional": plan.provisional, "detect": detect.as_json(sights)}
        print(json.dumps(value, indent=1))
    else:
        print(*map(printable, detect.as_lines(sights, protocols, arguments.detect)), sep="\n")
    return 0


def _needs(arguments: argparse.Namespace, plan: Plan, name: str) -> tuple[Card, dict[str, Need]]:
    """Return a card as the profile has it, and what each job takes of it."""
    from bench import run
    from bench.gpu.cards import card
    from bench.gpu.forecast import Forecast
    from bench.gpu.memory import NAME, StepMemory
    from bench.show.screen import bar

    profile = flags.cluster(arguments)
    site = card(name).under((profile.cuda if profile else None) or run.cuda_settings())
    processes = profile.world if profile else 1
    forecast = Forecast(plan, site, StepMemory(arguments.out / NAME), processes, bar)
    return site, forecast.needs(plan.wanted())


def _gpu(
    arguments: argparse.Namespace, protocols: Sequence[Protocol], plan: Plan, name: str
) -> int:
    """Print what jobs take of a card, totals first."""
    from bench import records
    from bench.show import gpu_text
    from bench.show.plan_text import as_json

    profile, store = flags.cluster(arguments), flags.seen(arguments.out)
    site, needs = _needs(arguments, plan, name)
    if getattr(arguments, "json", False):
        content = as_json(plan, store, away=True)
        for job in content["jobs"]:
            job["gpu"] = gpu_text.as_json(needs[job["id"]])
        print(json.dumps(content, indent=1))
        return 0
    done = {job for job in store.present(plan.wanted()) if records.done(plan, store, job)}
    lines = gpu_text.as_lines(plan, protocols, needs, gpu_text.Site(site, profile), done)
    print(*map(printable, lines), sep="\n")
    return 0


def _starts(arguments: argparse.Namespace, plan: Plan, jobs: list[str]) -> list[str]:
    """Load the files that jobs start from, and return what to tell of them; a plan does not end at a refusal.

    Raises:
        BenchError: of a dry run, what its run would refuse.
    """
    from bench import run

    try:
        return run.rehearse_starts(plan, jobs, all_jobs=arguments.command != "plan")
    except BenchError as error:
        if arguments.command != "plan":
            raise
        return [str(error)]


def tell(arguments: argparse.Namespace, protocols: Sequence[Protocol], plan: Plan) -> int:
    """Print a plan, with what it takes of a card if one is named; a dry run also refuses what its run would."""
    from bench import run
    from bench.plan.feasible import refuse_half, told_half
    from bench.runtime import stale
    from bench.show.plan_text import as_json, as_text, limits

    store = flags.seen(arguments.out)
    seen = run.without_changed(plan, store) if arguments.redo else store
    cluster = flags.cluster(arguments)
    work = plan, run.todo(plan, seen), flags.without_gpu(arguments, cluster)
    if arguments.command != "plan":
        refuse_half(*work)
    for line in _starts(arguments, plan, work[1]):
        print(f"bench: {printable(line)}", file=sys.stderr)
    if name := _card(arguments, cluster):
        return _gpu(arguments, protocols, plan, name)
    lacking = told_half(*work)
    for line in lacking:
        print(f"bench: {line}", file=sys.stderr)
    # nothing is forecast for a processor that will not do it
    away = cluster is not None or bool(lacking)
    if getattr(arguments, "json", False):
        print(json.dumps(as_json(plan, seen, away=away), indent=1))
        return 0
    then = "to do again" if arguments.redo else stale.AGAIN
    lines = run.changed(plan, store, then, getattr(arguments, "keep_unfinished", False))
    print(*map(printable, lines), as_text(plan, seen, protocols, away=away), sep="\n")
    if cluster is not None:
        seconds = {job: plan.jobs[job].spec.gpu_seconds() or 0.0 for job in work[1]}
        print(*limits(plan, seconds, cluster), sep="\n")
    return 0
