"""Run one job from its id: claim, work, publish. The same for every executor."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import claims, digest, jobs, plugins, process
from bench.atomic import append
from bench.blame import blaming, summary
from bench.claims import Claim, Fenced
from bench.errors import BenchError, Bug, Damaged, Stopped
from bench.job import Job, identify
from bench.jobs.context import Context, RunOptions
from bench.jobs.scoring import Scoring, score_missing
from bench.runtime.memory import Peak, keep_pages
from bench.runtime.provenance import provenance, tree
from bench.runtime.sources import EARLIER, changed, note, sources, unfinished
from bench.store import Store

BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    NameError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
)
FAILURES = (BenchError, MemoryError, OSError, *BUGS)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: ``done``, ``failed`` (with the reason), ``busy`` or ``stopped``.

    ``aside`` is the job whose damaged result made it fail; that was set aside and is to do again.
    """

    job: str
    state: str
    reason: str = ""
    seconds: float = 0.0
    aside: str = ""


Together = Callable[[], AbstractContextManager[None]]


def execute(
    out: str,
    job: str,
    run: RunOptions,
    stopping: Callable[[], bool] = lambda: False,
    together: Together = nullcontext,
    explain: Callable[[str], str] = str,
) -> Outcome:
    """Do one job unless it is done or somebody else does it; score it as this run asks, whoever did it.

    A mistake or a bug fails this job only; its reason and its log stay in ``DIR/work/<id>``.

    Args:
        out: the output folder.
        job: id.
        run: what the command that asks brings along.
        stopping: asked between steps; where it says yes, the job saves itself.
        together: the work happens inside it; it brings other processes in, which ``follow``.
        explain: turns the reason of a failure into the one that is kept.
    """
    store, began = Store(Path(out)), time.monotonic()
    outcome = _begin(store, job, _How(run, stopping, together, explain))
    if outcome.state == "done":
        outcome = _score(store, job, run.scoring)
    return replace(outcome, seconds=time.monotonic() - began)


def follow(out: str, job: str, run: RunOptions, stopping: Callable[[], bool]) -> Outcome:
    """Take part in a training that another process leads: nothing is claimed, saved or published."""
    store = Store(Path(out))
    try:
        described = _described(store, job)
        plugins.arrive(run.plugins)
        with tempfile.TemporaryDirectory() as folder:
            claim = Claim(job, 0, Path(folder) / "claim")
            _run(Context(store, claim, described, run, Path(folder), stopping=stopping))
    except Stopped as why:
        return Outcome(job, "stopped", str(why))
    except FAILURES as error:
        return Outcome(job, "failed", _reason(error)[0], aside=_aside(store, error))
    return Outcome(job, "done")


@dataclass(frozen=True)
class _How:
    """What ``execute`` was given besides the job."""

    run: RunOptions
    stopping: Callable[[], bool]
    together: Together
    explain: Callable[[str], str]


def lacking(store: Store, needs: Sequence[str], guards: Sequence[str]) -> list[str]:
    """Return which jobs must still be done before one starts: its needs, and one of its guards."""
    passed = not guards or any(map(store.done, guards))
    return [need for need in needs if not store.done(need)] + ([] if passed else list(guards))


def _begin(store: Store, job: str, how: _How) -> Outcome:
    if store.done(job):
        return Outcome(job, "done")
    try:
        described = _described(store, job)
    except BenchError as error:  # or did somebody publish it just now, and clear its description?
        return Outcome(job, "done") if store.done(job) else Outcome(job, "failed", str(error))
    needs = lacking(store, described.needs, how.run.after)
    # only a cluster's queue starts a job after a need that failed; the need keeps the reason
    if needs:
        return Outcome(job, "failed", f"needs job {needs[0]}, which is not done")
    try:
        claim = store.claim(job)
    except (BenchError, OSError) as error:
        return Outcome(job, "failed", _reason(error)[0])
    if claim is not None:
        return _attempt(store, claim, described, how)
    return Outcome(job, "done" if store.done(job) else "busy")


def _described(store: Store, job: str) -> Job:
    """Return a job as whoever asked for it left it.

    BenchError: nobody did, or it is not what its name says: a name in a spec may become a path.
    """
    description, where = store.spec(job)["job"], f"{store.working(job)}/job.json"
    kind, spec = jobs.KINDS.get(description["kind"]), description["spec"]
    if kind is None or identify(kind.kind, kind.version, spec, description["needs"]) != job:
        raise BenchError(
            f"{where} is not of the job in whose folder it lies; run the protocol again"
        )
    return jobs.read(description, where)


def _score(store: Store, job: str, scorings: Sequence[Scoring]) -> Outcome:
    log = _Log(store.work / job / "log.txt")  # what is published stays as its digests say
    try:
        if scorings:
            store.within(store.jobs / job)
        with blaming():
            score_missing(store, job, scorings)
    except (BenchError, OSError, *BUGS) as error:
        reason, kind = _reason(error)
        if kind == "bug":
            log.path.parent.mkdir(exist_ok=True)
            log.say(_trace(error))
            reason += f" (log {log.path})"
        return Outcome(job, "failed", f"scoring: {reason}", aside=_aside(store, error))
    return Outcome(job, "done")


def _attempt(store: Store, claim: Claim, job: Job, how: _How) -> Outcome:
    with _Log(store.work / claim.job / "log.txt") as file:
        try:
            with claims.beating(claim):
                _work(store, claim, job, how, file)
            return Outcome(claim.job, "done")
        except Fenced:
            return Outcome(claim.job, "busy")
        except Stopped as why:
            file.say(str(why))
            with contextlib.suppress(OSError):  # it ends with this process, too
                store.release(claim)
            return Outcome(claim.job, "stopped", str(why))
        except FAILURES as error:
            # A bug in one method's file must not stop the other rows: it becomes a typed hole.
            if _reason(error)[1] in ("bug", "system"):
                file.say(_trace(error))
            if _lost(store, claim):  # it stumbled over what the other attempt has cleared
                return Outcome(claim.job, "busy")
            reason, kind = _reason(error)
            reason = how.explain(reason)
            file.say(f"failed: {reason}")
            with contextlib.suppress(OSError):  # a full disk cannot even take the reason
                store.fail(claim, reason, kind)
            return Outcome(claim.job, "failed", reason, aside=_aside(store, error))


def _lost(store: Store, claim: Claim) -> bool:
    try:
        claims.check(claim)
    except Fenced:
        return True
    except OSError:
        return False
    return store.done(claim.job)


def _work(store: Store, claim: Claim, job: Job, how: _How, file: _Log) -> None:
    plugins.arrive(how.run.plugins)
    with store.attempt(claim) as folder:
        file.say(f"{job.kind} {claim.job}, attempt {claim.number}, process {os.getpid()}")
        made_by = sources(job.plain(), again=False)  # an edit from here on is not what runs
        tree()  # nor a commit
        before, earlier = unfinished(store.begun_by(claim.job), made_by), set[str]()
        if before.differ and not how.run.keep_unfinished:
            store.drop_unfinished(claim)
            names = ", ".join(before.differ)
            file.say(
                f"another version of {names} left this job unfinished: it starts from the beginning"
            )
        else:
            earlier.update(before.differ, before.earlier)
        if earlier:
            names = ", ".join(sorted(earlier))
            file.say(f"continues what another version of {names} left unfinished")
        store.begin(claim, note(made_by, earlier))
        keep_pages()
        context = Context[Any](store, claim, job, how.run, folder, file.say, how.stopping)
        context.fresh = lambda manifest: changed(manifest) == ()
        context.earlier = store.spent(claim.job)
        peak = Peak()
        try:
            with how.together():
                _run(context)
                circumstances = provenance(made_by, how.run.threads) | {EARLIER: sorted(earlier)}
        except Stopped:
            store.spend(claim.job, context.seconds)
            raise
        context.facts["seconds"] = round(context.seconds, 3)
        context.facts |= peak.facts(how.run.loaders)
        manifest = {**job.plain(), "id": claim.job, "attempts": claim.number, **context.facts}
        manifest["provenance"] = circumstances
        file.say(f"done in {context.facts['seconds']:.1f} s")
        (folder / "log.txt").write_bytes((store.work / claim.job / "log.txt").read_bytes())
        store.publish(claim, folder, manifest)


def _run(context: Context[Any]) -> None:
    """Do a job's work, whatever this process did before: switches are set, what it changes is undone."""
    from bench.runtime.switches import Switches, begin

    with blaming():
        for plugin in context.run.plugins:  # what their files do as they are imported comes before
            plugins.module(plugin.plugin)
    with process.contained():
        begin(context.run.threads, context.run.cuda)
        try:
            with blaming():
                context.job.spec.run(context)
        finally:
            context.facts["switches"] = asdict(Switches.now())
            begin(context.run.threads)


def _aside(store: Store, error: BaseException) -> str:
    """Set the job aside whose damaged file made another fail; return its id, nothing where there is none.

    Looked at again: what could not be read just then, or was made anew meanwhile, stays.
    """
    if not isinstance(error, Damaged):
        return ""
    folder = error.path.parent
    with contextlib.suppress(OSError):
        differs = digest.differs(error.path) and store.set_aside(folder) is not None
        if differs or (folder.parent == store.jobs and not store.done(folder.name)):
            return folder.name  # by this process, or by another that was quicker
    return ""


def _reason(error: BaseException) -> tuple[str, str]:
    """Return why an attempt failed, and of which kind that is."""
    if isinstance(error, BenchError):
        return str(error), "bug" if isinstance(error, Bug) else "mistake"
    if isinstance(error, MemoryError):
        return "out of memory", "memory"
    if isinstance(error, OSError):
        file = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{file}", "system"
    return summary(error), "bug"


def _trace(error: BaseException) -> str:
    """Return a traceback for a log: that of a plugin's code may be of another process."""
    return error.trace if isinstance(error, Bug) else "".join(traceback.format_exception(error))


class _Log:
    """A job's log. Losing a line, on a full disk, must not lose the work."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def say(self, text: str) -> None:
        """Append one line, or a traceback."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n"
        with contextlib.suppress(OSError):
            append(self.path, line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:  # what ends the process: its controller only sees an exit code
            self.say("".join(traceback.format_exception(error)))
