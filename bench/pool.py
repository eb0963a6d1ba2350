"""Processes that work through a list together, one task each at a time."""

from __future__ import annotations

import itertools
import signal
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection
from typing import Any

from bench.blame import blaming
from bench.errors import BenchError, Bug, Damaged
from bench.process import environment
from bench.workers import Died, Worker, Workers, attend, received

GRACE = 20.0  # seconds that a task in work gets to end once nobody waits for it
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Start = Callable[[], AbstractContextManager[Callable[[Any], Any]]]


def work(tasks: Iterable[Any], start: Start, count: int) -> Generator[Any]:
    """Yield what each task gives, in the order in which they end. Close it: see ``contextlib.closing``.

    Args:
        tasks: what is to be done; ``str`` of one names it. Taken from as processes get free.
        start: entered once in each process, gives the function that does one task. Must be picklable.
        count: processes at one time; 0 works in this one.

    Raises:
        BenchError: as a task raised it, or because a process died. Whatever else a task raises.
    """
    if count == 0:
        with start() as do:
            for task in tasks:
                yield do(task)
        return
    workers = Workers(lambda number: _new(start))
    try:
        for task in tasks:
            workers.give(task)
            while workers.busy() == count:
                yield from itertools.starmap(_result, workers.answers())
        while workers.busy():
            yield from itertools.starmap(_result, workers.answers())
    finally:
        workers.close(GRACE)


def _result(task: Any, answer: Any) -> Any:
    """Return what a task gave, from its worker's answer."""
    if isinstance(answer, Died):
        raise BenchError(
            f"{task}: its process died ({answer}); what is finished is kept, run again"
        )
    done, result = answer
    if not done:
        raise result
    return result


def _new(start: Start) -> Worker:
    with environment(dict.fromkeys(THREADS, "1")):  # there are as many as cores are meant for it
        return Worker.start(_serve, start, daemon=True)


def _serve(pipe: Connection, parent: int, start: Start) -> None:
    # A terminal sends Ctrl-C to all: their parent decides. What an orphan would make the next attempt makes.
    attend(parent, lambda stop: signal.signal(stop, signal.SIG_IGN), lambda: None)
    task = None
    try:
        with start() as do:
            while (task := received(pipe)) is not None:
                with blaming():
                    done = do(task)
                pipe.send((True, done))
    except Exception as error:  # whatever it is, its controller says so
        with suppress(OSError):
            pipe.send((False, _sendable(error, task)))


def _sendable(error: Exception, task: Any) -> Exception:
    """Return an exception that says the same and can be unpickled, as not every one can."""
    if isinstance(error, Bug | Damaged):
        return error
    if isinstance(error, BenchError):
        return BenchError(str(error))
    if isinstance(error, MemoryError):
        return MemoryError()
    if isinstance(error, OSError):
        where = [str(error.filename)] if error.filename else []
        return OSError(error.errno, error.strerror or str(error), *where)
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    return RuntimeError(f"{task}: {first}\n{''.join(traceback.format_exception(error))}")
