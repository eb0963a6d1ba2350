"""Sides of a contest, each in a process of its own: it has the allocator that its users have.

A job of bench keeps the pages of arrays that are gone (``bench.runtime.memory``); a script of MONAI's users
has glibc's default. ``KEPT`` gives it the same pages, which tells what of a ratio they are.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from bench.runtime.memory import TUNABLES, UNCACHED, fitting_pages, keep_pages

Timed = Callable[[], Any]  # what is timed, ready to run


@dataclass(frozen=True)
class Side:
    """One side.

    Args:
        name: in the table.
        make: a function of a module, which returns what is timed.
        given: what ``make`` is called with.
        pages: does its process keep them?
    """

    name: str
    make: Callable[..., Timed]
    given: tuple[Any, ...] = ()
    pages: bool = False


def as_a_job() -> None:
    """Begin this script anew where it was not begun as a job's process is, and keep pages from here on."""
    if UNCACHED not in os.environ.get(TUNABLES, ""):
        with fitting_pages():
            os.execv(sys.executable, [sys.executable, *sys.argv])
    keep_pages()


def contest(
    sides: Sequence[Side], rounds: int, warm: int = 1
) -> dict[str, list[tuple[float, Any]]]:
    """Return processor seconds and result of every round that counts, by the sides' names.

    Sides take turns, A B A B; rounds before those that count pay imports and let the heap grow.
    """
    with ExitStack() as stack:
        runs = {side.name: stack.enter_context(_running(side)) for side in sides}
        every = [{name: run() for name, run in runs.items()} for _ in range(warm + rounds)]
    return {name: [first[name] for first in every[warm:]] for name in runs}


@contextmanager
def _running(side: Side) -> Iterator[Callable[[], tuple[float, Any]]]:
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_work, args=(theirs, side), daemon=True)
    with fitting_pages() if side.pages else nullcontext():
        process.start()

    def run() -> tuple[float, Any]:
        ours.send("again")
        reply: tuple[float, Any] = ours.recv()
        return reply

    try:
        yield run
    finally:
        process.kill()


def _work(pipe: Any, side: Side) -> None:
    import torch

    torch.set_num_threads(1)
    if side.pages:
        keep_pages()
    built = side.make(*side.given)
    while True:
        pipe.recv()
        start = time.process_time()
        result = built()
        pipe.send((time.process_time() - start, result))
