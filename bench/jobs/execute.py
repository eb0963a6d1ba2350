"""Run one job from its id: claim, work, publish. The same for every executor."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.atomic import append
from bench.errors import BenchError, Stopped
from bench.job import Job
from bench.jobs.context import Context
from bench.jobs.memory import Peak
from bench.jobs.provenance import provenance
from bench.jobs.scoring import score_missing
from bench.store import HEARTBEAT, Claim, Fenced, Store

BUGS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError,
    NameError, RuntimeError, StopIteration, SyntaxError, TypeError, ValueError,
)  # fmt: skip


FAILURES = (BenchError, MemoryError, OSError, *BUGS)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: ``done``, ``failed`` (with the reason), ``busy`` or ``stopped``."""

    job: str
    state: str
    reason: str = ""
    seconds: float = 0.0


Together = Callable[[], AbstractContextManager[None]]


def execute(
    out: str, job: str, stopping: Callable[[], bool] = lambda: False, together: Together = nullcontext,
    explain: Callable[[str], str] = str,
) -> Outcome:  # fmt: skip
    """Do one job unless it is done or somebody else does it.

    A mistake or a bug fails this job only; its reason and its log stay in ``DIR/work/<id>``.

    Args:
        out: the output folder.
        job: id.
        stopping: asked between steps; where it says yes, the job saves itself.
        together: the work happens inside it; it brings other processes in, which ``follow``.
        explain: turns the reason of a failure into the one that is kept.
    """
    store = Store(Path(out))
    try:
        described = store.spec(job)
    except BenchError as error:
        # Whoever publishes a job clears its description; the queue describes it again.
        return Outcome(job, "busy") if store.done(job) else Outcome(job, "failed", str(error))
    began = time.monotonic()
    how = _How(stopping, together, explain)
    outcome = Outcome(job, "done") if store.done(job) else _begin(store, job, described, how)
    if outcome.state == "done":
        outcome = _score(store, job, described["run"].get("scoring", []))
    return replace(outcome, seconds=time.monotonic() - began)


def follow(out: str, job: str, stopping: Callable[[], bool]) -> Outcome:
    """Take part in a training that another process leads: nothing is claimed, saved or published."""
    store = Store(Path(out))
    try:
        described = store.spec(job)
        entry, run = described["job"], described["run"]
        with tempfile.TemporaryDirectory() as made:
            claim = Claim(job, 0, Path(made) / "claim")
            context = Context(
                store, claim, entry["kind"], entry["spec"], tuple(entry["needs"]), run, Path(made),
                log=lambda line: None, stopping=stopping,
            )  # fmt: skip
            _run(context)
    except Stopped as why:
        return Outcome(job, "stopped", str(why))
    except FAILURES as error:
        return Outcome(job, "failed", _said(error)[0])
    return Outcome(job, "done")


@dataclass(frozen=True)
class _How:
    """What ``execute`` was given besides the job."""

    stopping: Callable[[], bool]
    together: Together
    explain: Callable[[str], str]


def awaited(store: Store, described: dict[str, Any]) -> list[str]:
    """Return the jobs that a described one still lacks: of what it reads, and of its guards one."""
    return lacking(store, described["job"]["needs"], described.get("run", {}).get("after", ()))


def lacking(store: Store, needs: Sequence[str], guards: Sequence[str]) -> list[str]:
    """Return which jobs must still be done before one starts: its needs, and one of its guards."""
    passed = not guards or any(map(store.done, guards))
    return [need for need in needs if not store.done(need)] + ([] if passed else list(guards))


def _begin(store: Store, job: str, described: dict[str, Any], how: _How) -> Outcome:
    needs = awaited(store, described)
    if needs:  # only a cluster's queue starts a job after a need that failed; the need keeps the reason
        return Outcome(job, "failed", f"needs {needs[0]}, which is not done")
    try:
        claim = store.claim(job)
    except OSError as error:
        return Outcome(job, "failed", _system(error))
    if claim is not None:
        return _attempt(store, claim, how)
    return Outcome(job, "done" if store.done(job) else "busy")


def _score(store: Store, job: str, scorings: list[dict[str, Any]]) -> Outcome:
    log = _Log(store.jobs / job / "log.txt")
    try:
        score_missing(store, job, scorings)
    except BenchError as error:
        return Outcome(job, "failed", f"scoring: {error}")
    except OSError as error:
        return Outcome(job, "failed", f"scoring: {_system(error)}")
    except BUGS as error:
        log.say(traceback.format_exc())
        return Outcome(job, "failed", f"scoring: {_bug(error)} (log {log.path})")
    return Outcome(job, "done")


def _attempt(store: Store, claim: Claim, how: _How) -> Outcome:
    with _Log(store.work / claim.job / "log.txt") as file:
        try:
            with _beating(store, claim):
                _work(store, claim, how, file)
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
            if not isinstance(error, (BenchError, MemoryError)):
                file.say(traceback.format_exc())
            if _taken(store, claim):  # it stumbled over what the other attempt has cleared
                return Outcome(claim.job, "busy")
            reason, kind = _said(error)
            return _failed(store, claim, file, how.explain(reason), kind)


def _taken(store: Store, claim: Claim) -> bool:
    try:
        store.check(claim)
    except Fenced:
        return True
    except OSError:
        return False
    return store.done(claim.job)


def _work(store: Store, claim: Claim, how: _How, file: _Log) -> None:
    described = store.spec(claim.job)
    job, run = described["job"], described["run"]
    with store.attempt(claim) as made:
        context = Context(
            store, claim, job["kind"], job["spec"], tuple(job["needs"]), run, made,
            log=file.say, stopping=how.stopping,
        )  # fmt: skip
        file.say(f"{job['kind']} {claim.job}, attempt {claim.number}, process {os.getpid()}")
        began, peak = time.monotonic(), Peak()
        with how.together():
            _run(context)
            circumstances = provenance(described["job"], run["threads"])
        context.facts["seconds"] = round(time.monotonic() - began, 3)
        context.facts |= peak.facts(run.get("loaders", 0))
        manifest = {
            **described["job"], "id": claim.job, "attempts": claim.number, **context.facts,
            "provenance": circumstances,
        }  # fmt: skip
        file.say(f"done in {context.facts['seconds']:.1f} s")
        (made / "log.txt").write_bytes((store.work / claim.job / "log.txt").read_bytes())
        store.publish(claim, made, manifest)


def _run(context: Context) -> None:
    if Job(context.kind, context.spec, context.needs).id != context.id:  # a name in a spec may become a path
        raise BenchError(f"{context.scratch}/job.json is not what its name says; run the protocol again")
    _limit_threads(context.run["threads"])
    import_module(f"bench.jobs.{context.kind}").run(context)


def _said(error: BaseException) -> tuple[str, str]:
    """Return why an attempt failed, and of which kind that is."""
    if isinstance(error, BenchError):
        return str(error), "mistake"
    if isinstance(error, MemoryError):
        return "out of memory", "memory"
    if isinstance(error, OSError):
        return _system(error), "system"
    return _bug(error), "bug"


def _failed(store: Store, claim: Claim, file: _Log, reason: str, kind: str) -> Outcome:
    file.say(f"failed: {reason}")
    with contextlib.suppress(OSError):  # a full disk cannot even take the reason
        store.fail(claim, reason, kind)
    return Outcome(claim.job, "failed", reason)


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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # what ends the process: its controller only sees an exit code
            self.say("".join(traceback.format_exception(error)))


@contextlib.contextmanager
def _beating(store: Store, claim: Claim) -> Iterator[None]:
    """Renew a claim however long one step or one case takes."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            store.beat(claim)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _system(error: OSError) -> str:
    return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")


def _bug(error: BaseException) -> str:
    first = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {first}"


def _limit_threads(threads: int) -> None:
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
