"""Processes that work through a list together, one task each at a time.

Each has a pipe of its own and shares nothing with the others, so one
that is killed takes one task with it and no lock.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any

from bench import process
from bench.blame import blaming
from bench.errors import BenchError, Bug, Damaged

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
    pool = _Pool(start)
    try:
        waiting = iter(tasks)
        for task in waiting:
            pool.give(task)
            if pool.busy() == count:
                yield pool.next()
        while pool.busy():
            yield pool.next()
    finally:
        pool.close()


@dataclass(eq=False)
class _Member:
    process: SpawnProcess
    pipe: connection.Connection
    task: Any = None


class _Pool:
    """The processes at work; they are started when there is a task for them."""

    def __init__(self, start: Start) -> None:
        self._start, self._all = start, list[_Member]()

    def busy(self) -> int:
        return sum(member.task is not None for member in self._all)

    def give(self, task: Any) -> None:
        member = next((m for m in self._all if m.task is None), None) or self._new()
        member.task = task
        with suppress(OSError):  # it died just now: `next` finds out
            member.pipe.send(task)

    def next(self) -> Any:
        """Return the result of the next task that ends."""
        pipes = {m.pipe: m for m in self._all if m.task is not None}
        member = pipes[connection.wait(list(pipes))[0]]  # type: ignore[index]
        task, member.task = member.task, None
        try:
            done, found = member.pipe.recv()
        except (EOFError, OSError):
            self._all.remove(member)
            member.process.join()
            how = process.died(member.process.exitcode or 0)
            raise BenchError(
                f"{task}: its process died ({how}); what is finished is kept, run again"
            ) from None
        if not done:
            raise found
        return found

    def close(self) -> None:
        """Let every process end its task, and end."""
        for member in self._all:
            with suppress(OSError):
                member.pipe.send(None)
        deadline = time.monotonic() + GRACE
        for member in self._all:
            process.end(member.process, deadline)
            member.pipe.close()

    def _new(self) -> _Member:
        with _one_thread():  # a terminal sends Ctrl-C to all: their parent decides
            self._all.append(_Member(*process.start(_serve, self._start, daemon=True)))
        return self._all[-1]


def _serve(pipe: connection.Connection, parent: int, start: Start) -> None:
    # what an orphan would still make, the next attempt makes too
    process.attend(parent, lambda stop: signal.signal(stop, signal.SIG_IGN), lambda: None)
    task = None
    try:
        with start() as do:
            while (task := _received(pipe)) is not None:
                with blaming():
                    done = do(task)
                pipe.send((True, done))
    except Exception as error:  # whatever it is, its controller says so
        with suppress(OSError):
            pipe.send((False, _sendable(error, task)))


def _received(pipe: connection.Connection) -> Any:
    """Return the next task; None where there is none, or nobody left who gives one."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have a process that is started inside use one thread: there are as many as cores are meant for it."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
