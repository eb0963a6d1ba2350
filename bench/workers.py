"""Worker processes: each has a pipe of its own, and does one task at a time.

A worker shares nothing with the others, so one that is killed, at any moment, takes one task with it and
no lock. Pools whose workers share a queue do worse: the standard library's breaks whole, pebble's breaks
where a worker dies before it has begun a task.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from bench.blame import blaming
from bench.errors import BenchError, Bug, Damaged
from bench.process import STOPS, environment

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

POLL = 0.5  # seconds between looks at the parent
CLOSING = 5.0  # seconds that a worker without a task gets to end
GRACE = 20.0  # seconds that a task in work gets to end once nobody waits for it
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Start = Callable[[], AbstractContextManager[Callable[[Any], Any]]]


class Died(Exception):  # noqa: N818 - as the words are used
    """A worker ended without an answer; says how. ``code``: its exit code."""

    def __init__(self, code: int) -> None:
        self.code = code
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        super().__init__(how + ("; out of memory?" if code == -signal.SIGKILL else ""))


@dataclass(eq=False)
class Worker:
    """A process of ours, and our end of its pipe."""

    process: SpawnProcess
    pipe: Connection
    number: int = 0  # among those of its ``Workers``
    task: Any = None  # what it works on
    # what its tasks have left in it, which no other task may meet
    touched: frozenset[Any] = frozenset()
    keeps: str = ""  # what its tasks have left in memory, from which others gain

    @classmethod
    def start(cls, target: Callable[..., None], *args: Any, daemon: bool = False) -> Self:
        """Start a process.

        It begins with ``STOPS`` blocked, until it says by ``attend`` how it answers them. A fork of a process
        whose libraries run threads can hang, so it is spawned.

        Args:
            target: called with its end of the pipe, this process's number, and ``args``.
            args: picklable.
            daemon: does it end with this process, whatever it does?
        """
        import multiprocessing
        from multiprocessing import resource_tracker

        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=target, args=(theirs, os.getpid(), *args), daemon=daemon, name="bench worker"
        )
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            resource_tracker.ensure_running()  # lives on with them blocked; it unblocks two of them here
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return cls(process, ours)

    def give(self, task: Any) -> None:
        """Hand over a task; None lets the process end after the one that it works on."""
        self.task = task
        with suppress(OSError):  # it died just now: `receive` says so, as of any other
            self.pipe.send(task)

    def receive(self) -> Any:
        """Wait for what the process makes of its task, and return it.

        Raises:
            Died: it ended.
        """
        self.task = None
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.pipe.close()
            self.process.join()
            raise Died(self.process.exitcode or 0) from None

    def end(self, deadline: float) -> None:
        """Wait for the process until ``deadline`` by the monotonic clock, then kill it."""
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


class Workers:
    """Several of them; they are started when there is a task for them."""

    def __init__(self, start: Callable[[int], Worker]) -> None:
        """Take a function that starts the worker of a number."""
        self._start, self._all = start, list[Worker]()

    def busy(self) -> int:
        """Return how many have a task."""
        return sum(worker.task is not None for worker in self._all)

    def in_memory(self) -> tuple[set[str], set[str]]:
        """Return what the free workers keep in memory, and what the busy ones do."""
        alive = [w for w in self._all if w.keeps and w.process.is_alive()]
        free = {w.keeps for w in alive if w.task is None}
        return free, {w.keeps for w in alive if w.task is not None}

    def give(self, task: Any, touched: frozenset[Any] = frozenset(), keeps: str = "") -> None:
        """Hand a task to a worker that is free, or to a new one.

        It goes to no process in which others of its kind have left more than ``touched``. Where no other is
        free, the first such process ends. A worker that keeps what the task keeps comes first.
        """
        free = [w for w in self._all if w.task is None and w.process.is_alive()]
        fit = [w for w in free if w.touched <= touched]
        for worker in free[:1] if not fit else ():
            self._all.remove(worker)
            worker.give(None)
            worker.end(time.monotonic() + CLOSING)
        liking = max(fit, key=lambda w: (w.keeps == keeps, len(w.touched)), default=None)
        worker = liking or self._new()
        worker.touched |= touched
        worker.keeps = keeps or worker.keeps
        worker.give(task)

    def _new(self) -> Worker:
        numbers = {worker.number for worker in self._all}
        number = next(n for n in itertools.count() if n not in numbers)
        self._all.append(self._start(number))
        self._all[-1].number = number
        return self._all[-1]

    def answers(self, seconds: float | None = None) -> list[tuple[Any, Any]]:
        """Return tasks that ended, each with its answer, or with ``Died``; the dead leave the list.

        Args:
            seconds: how long to wait for the first, None for ever.
        """
        from multiprocessing import connection

        ready, ended = (
            connection.wait([w.pipe for w in self._all], seconds),
            list[tuple[Any, Any]](),
        )
        for worker in [w for w in self._all if w.pipe in ready]:
            task = worker.task
            try:
                reply = worker.receive()
            except Died as died:
                self._all.remove(worker)
                reply = died
            if task is not None:
                ended.append((task, reply))
        return ended

    def terminate(self) -> None:
        """Ask every process to save and end (``SIGTERM``)."""
        for worker in self._all:
            worker.process.terminate()

    def close(self, seconds: float) -> None:
        """Let every process end its task, and end; kill those that have not after ``seconds``."""
        for worker in self._all:
            worker.give(None)
        deadline = time.monotonic() + seconds
        for worker in self._all:
            worker.end(deadline)


# In the worker


def attend(parent: int, set_handler: Callable[[int], Any], orphaned: Callable[[], None]) -> None:
    """Answer signals from here on, and see to it that a process without its parent ends.

    Args:
        parent: the number of the process that started this one.
        set_handler: sets how one signal is answered.
        orphaned: called, in a thread, once the parent has gone; then the process ends.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        orphaned()
        os._exit(1)

    for stop in STOPS:
        set_handler(stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    threading.Thread(target=watch, daemon=True).start()


def received(pipe: Connection) -> Any:
    """Return the next task; None where there is none, or nobody left who gives one."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


# A pool: processes that work through a list together


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
    workers = Workers(lambda number: _pool_worker(start))
    try:
        for task in tasks:
            workers.give(task)
            while workers.busy() == count:
                yield from itertools.starmap(_result, workers.answers())
        while workers.busy():
            yield from itertools.starmap(_result, workers.answers())
    finally:
        workers.close(GRACE)


def _result(task: Any, reply: Any) -> Any:
    """Return what a task gave, from its worker's answer."""
    if isinstance(reply, Died):
        raise BenchError(
            f"{task}: its process died ({reply}); finished results are kept, run again"
        )
    done, result = reply
    if not done:
        raise result
    return result


def _pool_worker(start: Start) -> Worker:
    with environment(dict.fromkeys(THREADS, "1")):  # there are as many as cores are meant for it
        return Worker.start(_serve_pool, start, daemon=True)


def _serve_pool(pipe: Connection, parent: int, start: Start) -> None:
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
