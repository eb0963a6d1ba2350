"""Run one job from its id: claim, work, publish. The same for every executor."""

from __future__ import annotations

import contextlib
import os
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO

from bench.errors import BenchError, Stopped
from bench.jobs.context import Context
from bench.jobs.provenance import provenance
from bench.jobs.scoring import score_missing
from bench.store import Claim, Fenced, Store


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: ``done``, ``failed`` (with the reason), ``busy`` or ``stopped``."""

    job: str
    state: str
    reason: str = ""
    seconds: float = 0.0


def execute(out: str, job: str, stopping: Callable[[], bool] = lambda: False) -> Outcome:
    """Do one job unless it is done or somebody else does it.

    A mistake or a bug fails this job only; its reason and its log stay in ``DIR/work/<id>``.
    """
    store = Store(Path(out))
    scorings = store.spec(job)["run"].get("scoring", [])
    began = time.monotonic()
    if not store.done(job):
        claim = store.claim(job)
        if claim is None and not store.done(job):
            return Outcome(job, "busy")
        if claim is not None:
            outcome = _attempt(store, claim, stopping)
            if outcome.state != "done":
                return outcome
    try:
        score_missing(store, job, scorings)
    except BenchError as error:
        return Outcome(job, "failed", str(error))
    return Outcome(job, "done", seconds=time.monotonic() - began)


def _attempt(store: Store, claim: Claim, stopping: Callable[[], bool]) -> Outcome:
    with _log(store.work / claim.job / "log.txt") as file:
        try:
            _work(store, claim, stopping, file)
            return Outcome(claim.job, "done")
        except Fenced:
            return Outcome(claim.job, "busy")
        except Stopped as why:
            _say(file, str(why))
            store.release(claim)
            return Outcome(claim.job, "stopped", str(why))
        except BenchError as error:
            return _failed(store, claim, file, str(error), "mistake")
        except MemoryError:
            return _failed(store, claim, file, "out of memory", "memory")
        except OSError as error:
            reason = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
            _say(file, traceback.format_exc())
            return _failed(store, claim, file, reason, "system")
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError,
                AttributeError, ImportError, NotImplementedError) as error:  # fmt: skip
            # A bug in one method's file must not stop the other rows: it becomes a typed hole.
            _say(file, traceback.format_exc())
            first = str(error).splitlines()[0] if str(error) else ""
            return _failed(store, claim, file, f"{type(error).__name__}: {first}", "bug")


def _work(store: Store, claim: Claim, stopping: Callable[[], bool], file: IO[str]) -> None:
    described = store.spec(claim.job)
    job, run = described["job"], described["run"]
    with store.attempt(claim) as made:
        context = Context(
            store, claim, job["kind"], job["spec"], tuple(job["needs"]), run, made,
            log=lambda text: _say(file, text), stopping=stopping,
        )  # fmt: skip
        _say(file, f"{job['kind']} {claim.job}, attempt {claim.number}, process {os.getpid()}")
        began = time.monotonic()
        _limit_threads(run["threads"])
        import_module(f"bench.jobs.{job['kind']}").run(context)
        context.facts["seconds"] = round(time.monotonic() - began, 3)
        context.facts.setdefault("peak_memory_mb", _peak())
        manifest = {
            **described["job"], "id": claim.job, "attempts": claim.number, **context.facts,
            "provenance": provenance(run["threads"]),
        }  # fmt: skip
        _say(file, f"done in {context.facts['seconds']:.1f} s")
        file.flush()
        (made / "log.txt").write_bytes((store.work / claim.job / "log.txt").read_bytes())
        store.publish(claim, made, manifest)


def _failed(store: Store, claim: Claim, file: IO[str], reason: str, kind: str) -> Outcome:
    _say(file, f"failed: {reason}")
    with contextlib.suppress(OSError):  # a full disk cannot even take the reason
        store.fail(claim, reason, kind)
    return Outcome(claim.job, "failed", reason)


@contextlib.contextmanager
def _log(path: Path) -> Iterator[IO[str]]:
    with path.open("a", encoding="utf-8") as file:
        yield file


def _say(file: IO[str], text: str) -> None:
    with contextlib.suppress(OSError):  # losing a log line must not lose the work
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
        file.flush()


def _limit_threads(threads: int) -> None:
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
