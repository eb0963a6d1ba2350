"""Run jobs in worker processes of this machine.

Pebble's pool is used because a worker that is killed fails its own task and is replaced; the
standard library's pool would lose every task that waits.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait

from pebble import ProcessExpired, ProcessPool

from bench.executors.queue import Queue
from bench.jobs.execute import Outcome, execute

POLL = 0.5  # seconds between looks at jobs that another command works on
GRACE = 30.0  # seconds an orphaned worker gets to reach the next checkpoint

_stop = threading.Event()


def run(out: str, queue: Queue, workers: int, on_outcome: Callable[[Outcome], None]) -> None:
    """Run everything in ``queue``; failures stay with their jobs.

    Raises:
        KeyboardInterrupt: after the workers have saved their state.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a threaded torch process can hang
    pool = ProcessPool(workers, initializer=_begin, initargs=(os.getpid(),), context=context)
    running: dict[Future, str] = {}
    try:
        while queue.open():
            _fill(pool, out, queue, running, workers)
            finished, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                outcome = _outcome(running.pop(future), future)
                queue.finish(outcome)
                on_outcome(outcome)
        pool.close()
    except KeyboardInterrupt:
        _interrupt(pool)
        raise
    finally:
        pool.stop()
        pool.join()


def _fill(pool: ProcessPool, out: str, queue: Queue, running: dict[Future, str], workers: int) -> None:
    while len(running) < workers:
        job = queue.take()
        if job is None:
            return
        running[pool.submit(_work, None, out, job)] = job


def _outcome(job: str, future: Future) -> Outcome:
    try:
        return future.result()
    except ProcessExpired as error:
        code = error.exitcode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        hint = "; out of memory?" if how == "SIGKILL" else ""
        return Outcome(job, "failed", f"the worker process died ({how}{hint})")


def _interrupt(pool: ProcessPool) -> None:
    # The terminal sent the same signal to the workers, which save and return; wait for them.
    pool.close()
    try:
        pool.join(timeout=GRACE)
    except TimeoutError:
        return


def _begin(parent: int) -> None:
    """Prepare a worker: import once, stop between steps when asked or orphaned."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: _stop.set())
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    import bench.jobs.warm  # noqa: F401 - torch and MONAI, once per worker


def _watch(parent: int) -> None:
    """End an orphan: whoever runs the protocol again must not meet a second truth."""
    while os.getppid() == parent:
        time.sleep(POLL)
    _stop.set()
    time.sleep(GRACE)
    os._exit(1)


def _work(out: str, job: str) -> Outcome:
    outcome = execute(out, job, _stop.is_set)
    if os.getppid() == 1:
        os._exit(0)
    return outcome
