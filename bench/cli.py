"""The commands. The only module that prints; heavy imports stay inside the command bodies."""

from __future__ import annotations

import argparse
import errno
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from bench import digest, no_torch, streams
from bench.arguments import parser
from bench.blame import blaming
from bench.completion import ASKS
from bench.errors import BenchError, Damaged, printable

if TYPE_CHECKING:
    from bench.executors.slurm.profile import Profile
    from bench.jobs.context import RunOptions
    from bench.run import Request
    from bench.runtime.execute import Outcome
    from bench.show.drawer import Source
    from bench.show.reports import Shown

AGAIN = 0.5  # seconds after which a second Ctrl-C is one


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 something failed, 2 wrong request."""
    streams.ready()
    if ASKS in os.environ:
        return _complete(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(argv)
    plans = arguments.command == "plan" or (arguments.command == "run" and arguments.dry_run)
    bare = argv is None and plans and no_torch.install()  # of a process of its own alone
    if bare:
        gc.disable()  # it is short, and keeps what it makes
    try:
        return _body(arguments, bare)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1 if isinstance(error, Damaged) else 2
    except KeyboardInterrupt:
        print(f"\nbench: stopped; {_what_goes_on(arguments)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = error.filename or getattr(arguments, "out", "")  # a full disk does not say which file
        what = f"{where}: {error.strerror or error}" if where else error.strerror or error
        print(f"bench: {what}; mend it and run again", file=sys.stderr)
        wrong = isinstance(error, (PermissionError, NotADirectoryError)) or error.errno == errno.ELOOP
        return 2 if wrong else 1


def _body(arguments: argparse.Namespace, bare: bool) -> int:
    """Run a command; without torch, what fails is done again with it: that may be why."""
    try:
        _from_outside(arguments)
        with blaming():
            return BODIES[arguments.command](arguments)
    except BrokenPipeError:
        raise
    except Exception:
        if bare and no_torch.used():
            no_torch.start_anew()
        raise


def _complete(words: Sequence[str]) -> int:
    """Answer a shell that completes a command line."""
    from bench.completion import answer

    if os.environ.get("BENCH_PLUGINS"):
        from bench import plugins

        with suppress(BenchError):
            plugins.use_stated()
    for line in answer(parser(), words):
        print(line)
    return 0


def _from_outside(arguments: argparse.Namespace) -> None:
    """Make known the plugins that a command names, and find the protocols that it names by their names."""
    stated = os.environ.get("BENCH_PLUGINS", "")
    if stated or getattr(arguments, "plugins", None):
        from bench import plugins

        plugins.use_stated()
        plugins.use(getattr(arguments, "plugins", None) or [])
    if hasattr(arguments, "protocols"):
        from bench.protocol.named import find

        arguments.protocols = [find(path) for path in arguments.protocols]


def _what_goes_on(arguments: argparse.Namespace) -> str:
    if getattr(arguments, "executor", "local") == "slurm":
        back = f"'bench cancel --out {arguments.out}' takes them back"
        return f"what is in SLURM's queue goes on: the same command watches it again, {back}"
    return "the same command goes on from here"


def _request(arguments: argparse.Namespace) -> Request:
    from bench.run import Request

    only: dict[str, list[str]] = {}
    for text in arguments.only:
        key, equals, value = text.partition("=")
        if not equals:
            raise BenchError(f"--only {text}: write KEY=VALUE, e.g. method=voco")
        only.setdefault(key, []).append(value)
    return Request(
        tuple(arguments.protocols), arguments.out, arguments.scale, arguments.data, only,
        tuple(arguments.sets), arguments.phantoms,
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    from bench import run
    from bench.plan.feasible import refuse_half
    from bench.show.drawer import Source
    from bench.show.progress import bar
    from bench.show.reports import refuse_others
    from bench.show.run_note import forget
    from bench.store import Store

    if arguments.dry_run:
        arguments.json = False
        return _plan(arguments)
    cluster, request = _cluster(arguments), _request(arguments)
    protocols = request.read()
    store = Store.open(request.out)
    refuse_others(protocols, store)
    processes = cluster.world if cluster else 1
    plan = run.make_plan(request, protocols, need_data=True, processes=processes, bar=bar)
    seen = run.without_changed(plan, store) if arguments.redo else store
    refuse_half(plan, run.todo(plan, seen), _without_gpu(arguments, cluster))
    if arguments.redo:
        run.rehearse(plan, run.todo(plan, seen))
        for line in run.take_away_changed(plan, store):
            print(f"bench: {line}", file=sys.stderr)
    files = zip(request.protocols, protocols, strict=True)
    sources = {p.name: Source(file, p.scale, p.origin.content) for file, p in files if p.origin}
    anew: set[str] = set()  # jobs that were set aside as damaged: done again, each once
    while True:
        for line in run.mend(plan, store):
            print(f"bench: {line}", file=sys.stderr)
        outcomes = _go(arguments, sources, plan, store, cluster)
        found = {o.aside for o in outcomes.values() if o.aside} - anew
        if not found:
            try:
                code = _show(protocols, plan, store, outcomes)
                forget(store, plan.cells)
                return code
            except Damaged as error:
                job = error.path.parent.name
                again = job not in anew and digest.differs(error.path)
                if not again or store.set_aside(error.path.parent) is None:
                    raise
                print(f"bench: {error}", file=sys.stderr)
                found = {job}
        print(f"bench: set aside in {store.damaged}, done anew: {', '.join(sorted(found))}", file=sys.stderr)
        anew |= found


def _go(
    arguments: argparse.Namespace, sources: dict[str, Source], plan: Any, store: Any, cluster: Profile | None
) -> dict[str, Outcome]:
    """Run what is to do of a plan, with pages that follow it, and return how each job ended."""
    from bench import run
    from bench.show.labels import remember
    from bench.show.live import Live
    from bench.show.progress import Watch

    jobs = run.todo(plan, store)
    run.rehearse(plan, jobs)
    run.describe(plan, store, jobs)
    remember(plan, store)
    outcomes: dict[str, Outcome] = {}
    workers = _workers(arguments, plan) if cluster is None else None
    with (
        _stopping(saves=arguments.executor == "local"),
        Watch(plan, store, jobs) as watch,
        Live(sources, plan, store, jobs, workers, watch.say) as live,
    ):

        def on_outcome(outcome: Outcome) -> None:
            watch.outcome(outcome)
            live.outcome(outcome)

        for line in run.changed(plan, store):
            print(f"bench: {line}", file=sys.stderr)
        if jobs and cluster is not None:
            from bench.executors import slurm

            def start(job: str) -> RunOptions:
                run.describe(plan, store, [job])
                return run.options(plan, job, cluster.cpus or 0)

            outcomes = slurm.run(plan, store, jobs, cluster, on_outcome, start)
        elif jobs and workers is not None:
            outcomes = run.run_local(plan, store, jobs, workers, on_outcome).outcomes
    return outcomes


def _compete(arguments: argparse.Namespace) -> int:
    from bench import run
    from bench.compete import entry, standing, terms
    from bench.compete.track import tracked
    from bench.store import Store

    track = tracked(arguments.track, arguments.records)
    one = entry.entered(track, arguments.method, arguments.network, arguments.params, arguments.pretrain)
    arguments.sets, arguments.only = list(track.said.overrides), [f"row={one.row}"]
    arguments.scale = arguments.redo = None
    arguments.phantoms = arguments.json = False
    with one.tried() as file:
        arguments.protocols = [file]
        request = _request(arguments)
        (protocol,) = request.read()
        terms.check(track, one, protocol, run.make_plan(request, [protocol], need_data=not arguments.dry_run))
        if arguments.dry_run:
            return _plan(arguments)
    store = Store.open(arguments.out)  # only now: what is refused leaves nothing
    arguments.protocols = [one.put(store)]
    code = _run(arguments)
    print(standing.as_text(track, one, store))
    return code


def _cluster(arguments: argparse.Namespace) -> Profile | None:
    """Return what is asked of a cluster, None where jobs run here."""
    if arguments.workers is not None and arguments.workers < 1:
        raise BenchError(f"--workers {arguments.workers}: needs at least 1")
    if arguments.executor == "slurm":
        from bench.executors.slurm.profile import profile

        return profile(arguments.cluster)
    if arguments.cluster is not None:
        raise BenchError(f"--cluster {arguments.cluster}: is SLURM's; add --executor slurm, or leave it out")
    return None


@contextmanager
def _stopping(*, saves: bool) -> Iterator[None]:
    """Stop a run the same way on Ctrl-C, when it is terminated, or when its terminal is closed.

    Args:
        saves: jobs run here, which takes a while to save: say so at once, and leave at a second Ctrl-C.
    """
    asked: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not saves:
            raise KeyboardInterrupt
        if not asked:
            asked.append(time.monotonic())
            _say("saving (up to 30 s; again Ctrl-C leaves at once)")
            raise KeyboardInterrupt
        # `timeout` and a closed terminal send more than one signal for one wish
        if number == signal.SIGINT and time.monotonic() - asked[0] > AGAIN:
            import multiprocessing

            for child in multiprocessing.active_children():
                child.kill()  # what is published is whole; the rest goes on from its last checkpoint
            _say("left at once; the same command goes on from the last checkpoints")
            os._exit(130)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    usual = (signal.SIG_DFL, signal.default_int_handler)  # not under nohup
    before = {n: signal.signal(n, stop) for n in numbers if signal.getsignal(n) in usual}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    """Write a line to stderr from a signal's handler, which may have interrupted a ``print``."""
    shown = "\x1b[?25h" * sys.stderr.isatty()  # a progress bar hides the cursor
    with suppress(OSError):
        os.write(2, f"{shown}\nbench: {text}\n".encode())


def _without_gpu(arguments: argparse.Namespace, cluster: Profile | None) -> str:
    """Return what will run jobs without a GPU and what may have one, in words; empty where one is there."""
    from bench.process import gpus

    if cluster is None:
        return (
            "" if gpus() else "this machine has none; take --executor slurm --cluster NAME for one that has"
        )
    if cluster.gpus or cluster.gres:
        return ""
    if arguments.cluster is None:
        return "SLURM is asked for none without --cluster; name a profile of bench.toml with 'gpus'"
    return f"profile [cluster.{arguments.cluster}] of bench.toml asks for none; give it 'gpus' or 'gres'"


def _workers(arguments: argparse.Namespace, plan: Any) -> int:
    if arguments.workers:
        return int(arguments.workers)
    from bench.process import gpus

    threads = max(plan.threads.values(), default=1)
    return gpus() or max(1, (os.cpu_count() or 1) // threads)


def _show(protocols: list[Any], plan: Any, store: Any, outcomes: dict[str, Outcome]) -> int:
    from bench.show.reports import write_reports

    failed = {job: o for job, o in outcomes.items() if o.state == "failed"}
    told: set[str] = set()
    for shown in write_reports(protocols, plan, store):
        told |= _tell(shown)
    for job, outcome in failed.items():
        if job not in told and not failed.keys() & set(plan.before(job)):
            print(f"failed: job {job}: {outcome.reason}")  # it could not leave its reason on the disk
    return 1 if failed or told else 0


def _plan(arguments: argparse.Namespace) -> int:
    from bench import run
    from bench.plan.feasible import refuse_half, told_half
    from bench.runtime import stale
    from bench.show.plan_text import as_json, as_text
    from bench.show.progress import bar
    from bench.store import Store

    cluster, request = _cluster(arguments), _request(arguments)
    protocols = request.read()
    Store.check_place(request.out)
    processes = cluster.world if cluster else 1
    plan = run.make_plan(request, protocols, need_data=False, processes=processes, bar=bar)
    there = (request.out / "bench.json").exists()
    store = Store.open(request.out) if there else Store(request.out)
    seen = run.without_changed(plan, store) if arguments.redo else store
    work = plan, run.todo(plan, seen), _without_gpu(arguments, cluster)
    if arguments.command == "run":  # a dry run says what a run would say
        refuse_half(*work)
    for line in told_half(*work):
        print(f"bench: {line}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(as_json(plan, seen), indent=1))
        return 0
    then = "to do again" if arguments.redo else stale.AGAIN
    print(*map(printable, run.changed(plan, store, then)), as_text(plan, seen, protocols), sep="\n")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from bench.show.status import as_text, prune, status
    from bench.store import Store

    store = Store.open(arguments.out, create=False)
    for line in prune(store) if arguments.prune else ():
        print(line, file=sys.stderr)
    found = status(store)
    print(json.dumps(found, indent=1) if arguments.json else as_text(found))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from bench.bundle import is_bundle
    from bench.protocol import read_all
    from bench.show.reports import rewrite_report
    from bench.store import Store

    if arguments.port is not None and not arguments.serve:
        raise BenchError(f"--port {arguments.port}: is --serve's; add it, or leave --port out")
    bundles = [path for path in arguments.protocols if is_bundle(path)]
    if bundles:
        return _report_bundle(arguments, bundles)
    store, told = Store.open(arguments.out, create=False), set[str]()
    read = read_all(arguments.protocols, arguments.scale, drawn=True)
    if arguments.serve:
        return _serve(arguments, store, [protocol.name for protocol in read])
    for path, protocol in zip(arguments.protocols, read, strict=True):
        to = arguments.to
        if to is not None and len(arguments.protocols) > 1:
            to = to / protocol.name  # one folder each, or the last would replace the others
        told |= _tell(rewrite_report(path, arguments.scale, store, to, plain=arguments.plain))
    return 1 if told else 0


def _report_bundle(arguments: argparse.Namespace, bundles: list[Path]) -> int:
    """Draw what a bundle holds: each protocol in a folder of its own where there are several."""
    from bench.bundle.opening import draw, opened
    from bench.report import write_index

    file = bundles[0]
    if len(arguments.protocols) > 1:
        raise BenchError(f"{file}: is a bundle; draw it by itself")
    if arguments.to is None or arguments.scale is not None:
        why = "has one scale; leave --scale out" if arguments.scale else "name the report's folder with --to"
        raise BenchError(f"{file}: is a bundle: {why}")
    told = set[str]()
    with opened(file) as bundle:
        for name in bundle.manifest.protocols:
            several = len(bundle.manifest.protocols) > 1
            to = arguments.to / name if several else arguments.to
            told |= _tell(draw(bundle, name, to, plain=arguments.plain))
            if several:
                write_index(arguments.to)
    return 1 if told else 0


def _bundle(arguments: argparse.Namespace) -> int:
    first, *more = arguments.what
    if first == Path("verify"):
        return _bundle_verify(arguments, more)
    from bench.bundle.making import bundle, name_of, put
    from bench.protocol.named import find
    from bench.store import Store

    if arguments.json:
        raise BenchError("--json: is of 'bench bundle verify FILE'; leave it out")
    made = bundle(
        [find(path) for path in arguments.what], Store.open(arguments.out, create=False), arguments.data
    )
    for line in made.notes:
        print(f"bench: {line}", file=sys.stderr)
    print(put(made, arguments.to or Path(name_of(made))))
    return 0


def _bundle_verify(arguments: argparse.Namespace, files: list[Path]) -> int:
    from bench.bundle.verifying import as_text, verify

    if len(files) != 1 or arguments.to or arguments.data:
        raise BenchError("bundle verify: takes one FILE and --json")
    found = verify(files[0])
    print(
        json.dumps({**asdict(found), "file": str(found.file)}, indent=1) if arguments.json else as_text(found)
    )
    return 1 if found.findings else 0


def _compare(arguments: argparse.Namespace) -> int:
    from bench.bundle.opening import as_folder
    from bench.show.compare import compare, sides
    from bench.show.compare_text import as_json, as_text

    with as_folder(arguments.a) as a, as_folder(arguments.b) as b:
        found = compare(*sides((arguments.a, a), (arguments.b, b), arguments.protocol))
    print(json.dumps(as_json(found), indent=1) if arguments.json else as_text(found))
    return 1 if found.beyond else 0


def _serve(arguments: argparse.Namespace, store: Any, names: list[str]) -> int:
    """Show reports to a browser until Ctrl-C."""
    from bench.show.drawer import Looked, Source
    from bench.show.redrawing import Redrawing
    from bench.show.reports import rows_of
    from bench.show.run_note import name as run_of
    from bench.show.serve import PORT, Server, address, tunnel

    if arguments.to is not None or arguments.plain:
        what = "--plain" if arguments.to is None else f"--to {arguments.to}"
        raise BenchError(f"{what}: --serve shows what lies in OUT/reports; leave it out")
    wishes = {n: Looked(Source(p, arguments.scale)) for p, n in zip(arguments.protocols, names, strict=True)}
    for name, wish in wishes.items():
        if not run_of(store, name):
            rows_of(store, name, wish.source.file)
    redrawing = Redrawing(store, wishes, lambda line: print(f"bench: {line}", file=sys.stderr, flush=True))
    with Server(store, redrawing, PORT if arguments.port is None else arguments.port) as server:
        print(address(server.port), "from another machine, through:", tunnel(server.port))
        print("Ctrl-C ends it", flush=True)
        try:
            with _stopping(saves=False):
                server.serve_forever()
        except KeyboardInterrupt:
            print("\nbench: no longer served", file=sys.stderr)
        finally:
            redrawing.close()
    return 0


def _tell(shown: Shown) -> set[str]:
    """Print a finished report with what failed, and return the jobs that did."""
    lines = {f.job: f.line for f in shown.failures}
    print("\n".join([shown.text, *lines.values(), f"page: {shown.page}"]))
    return set(lines)


def _list(arguments: argparse.Namespace) -> int:
    from bench.show import listing, one_dataset

    if arguments.name is not None:
        if arguments.what != "datasets":
            raise BenchError(
                f"list {arguments.what} {arguments.name}: takes no NAME; it is of 'list datasets'"
            )
        one = one_dataset.entry(arguments.name, arguments.data)
        print(json.dumps(one, indent=1) if arguments.json else one_dataset.as_text(one))
        return 0
    if arguments.data is not None:
        raise BenchError(f"--data {arguments.data}: is of 'bench list datasets NAME'; leave it out")
    found, broken = listing.entries(arguments.what)
    print(json.dumps(found, indent=1) if arguments.json else listing.as_text(arguments.what, found))
    for line in broken:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if broken else 0


def _check(arguments: argparse.Namespace) -> int:
    from bench.data.check import check
    from bench.data.roots import Roots, adapter
    from bench.show import survey_page
    from bench.show.progress import bar
    from bench.show.survey import Survey

    roots, name = Roots.here(arguments.data), arguments.dataset
    dataset = adapter(name, roots)
    root = roots.require(name)
    if arguments.to is not None:
        survey_page.check_place(arguments.to)
    survey = Survey(name, dataset, root, draw=arguments.to is not None)
    with bar(f"checking {name}") as told:
        survey.findings = check(dataset, root, arguments.workers, told, survey.look)
    if arguments.json:
        print(json.dumps([asdict(f) for f in survey.findings], indent=1))
    else:
        from bench.show.survey_text import as_text

        print(as_text(survey))
    if arguments.to is not None:
        survey_page.write(survey, arguments.to)
        print(f"page: {arguments.to}", file=sys.stderr if arguments.json else sys.stdout)
    return 1 if survey.findings else 0


def _phantom(arguments: argparse.Namespace) -> int:
    from bench import registry
    from bench.phantoms import synthetic

    dataset = registry.load("dataset", arguments.dataset)
    if arguments.cases < 1:
        raise BenchError(f"--cases {arguments.cases}: needs at least 1")
    folder = arguments.directory / arguments.dataset
    if folder.exists() and any(folder.iterdir()):
        raise BenchError(f"{folder}: is not empty; name another DIR")
    folder.mkdir(parents=True, exist_ok=True)
    synthetic.write(dataset, folder, arguments.cases, arguments.seed)
    print(f"{folder}: {arguments.cases} synthetic cases of {arguments.dataset}")
    return 0


def _score(arguments: argparse.Namespace) -> int:
    from bench.metrics import CONVENTIONS
    from bench.metrics.request import named
    from bench.score import as_json, doubts, score_several, verified
    from bench.show.scored import as_ranking, as_text

    metrics = named(arguments.metrics)
    conventions = (arguments.convention,) if arguments.convention else CONVENTIONS
    first, *more = arguments.prediction
    several = bool(more)
    options = arguments.empty, arguments.verify, arguments.ignore_geometry
    conventions = conventions if several else conventions[:1]
    rows, mismatches = score_several((first, *more), arguments.reference, metrics, conventions, *options)
    text = as_ranking if several else as_text
    print(json.dumps(as_json(rows, several=several), indent=1) if arguments.json else text(rows))
    notes = [f"differs from medpy: {line}" for line in mismatches]
    if arguments.ignore_geometry:
        notes.insert(0, "voxels were compared as they are stored, in the references' spacing")
    else:
        notes = [*doubts(tuple(arguments.prediction), arguments.reference), *notes]
    if arguments.verify:
        notes.append(verified(rows, metrics, conventions[0], len(mismatches)))
    for line in notes:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if mismatches else 0


def _export(arguments: argparse.Namespace) -> int:
    from bench.export import export
    from bench.store import Store

    print(export(Store.open(arguments.out, create=False), arguments.job, arguments.to, arguments.format))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from bench.store import Store
    from bench.verify import as_text, verify

    found = verify(Store.open(arguments.out, create=False))
    print(as_text(found))
    return 1 if found.findings else 0


def _new(arguments: argparse.Namespace) -> int:
    from bench.new import new

    print("\n".join(new(arguments.kind, arguments.name, arguments.to)))
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    from bench.executors.slurm import cancel
    from bench.store import Store

    count = cancel(Store.open(arguments.out, create=False))
    print(f"{count} tasks cancelled" if count else "nothing in the queue")
    return 0


def _cluster_check(arguments: argparse.Namespace) -> int:
    from bench.executors.slurm import check
    from bench.executors.slurm.profile import profile
    from bench.store import Store

    if not arguments.wait > 0:
        raise BenchError(f"--wait {arguments.wait}: give seconds above 0")
    store = Store.open(arguments.out)
    found = []
    with _stopping(saves=False):
        for finding in check.check(profile(arguments.name), store.root, arguments.wait):
            found.append(finding)
            if not arguments.json:
                print(f"{'ok ' if finding.ok else 'NO '} {finding.check}: {finding.detail}", flush=True)
    if arguments.json:
        print(json.dumps([asdict(f) for f in found], indent=1))
    return 0 if all(f.ok for f in found) else 1


def _init(arguments: argparse.Namespace) -> int:
    from bench.init import init
    from bench.show.progress import bar

    def ask(question: str, default: str) -> str:
        if not sys.stdin.isatty():
            return default
        try:
            return input(f"{question} [{default}]: ").strip() or default
        except EOFError:
            return default

    given = (arguments.labels, arguments.channels)
    with bar(f"checking {arguments.folder}") as told:
        lines = init(arguments.folder, arguments.to, given, ask, arguments.workers, told)
    print("\n".join(lines))
    return 0


def _completion(arguments: argparse.Namespace) -> int:
    from bench.completion import SCRIPTS

    print(SCRIPTS[arguments.shell], end="")
    return 0


BODIES: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run, "plan": _plan, "status": _status, "report": _report, "list": _list,
    "check": _check, "phantom": _phantom, "score": _score, "export": _export, "verify": _verify,
    "cancel": _cancel, "cluster": _cluster_check, "new": _new, "bundle": _bundle, "compare": _compare,
    "compete": _compete, "completion": _completion, "init": _init,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
