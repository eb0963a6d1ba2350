"""Compare the fingerprints of many scans with those of many others, shared out to processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.cache import AGAIN
from bench.data.prepared import opened
from bench.errors import BenchError, Stopped
from bench.jobs.context import Context
from bench.jobs.guard import GuardSpec
from bench.partial import Kept
from bench.pool import work

TOGETHER = 16  # scans that a process compares before it tells, and that a stop may cost
Place = tuple[Path, str]  # a prepared data set and a case of it
Pairs = np.ndarray  # float64 (N, 3): number of the scan, number of the other, score


@dataclass(frozen=True)
class Task:
    """Some scans to be compared with all the others."""

    number: int
    first: int  # number of its first scan
    scans: tuple[Place, ...]

    def __str__(self) -> str:
        return f"comparing {self.scans[0][1]} and what follows"


@dataclass(frozen=True)
class Comparer:
    """How a process takes part in the work."""

    others: tuple[Place, ...]

    @contextmanager
    def __call__(self) -> Iterator[Callable[[Task], tuple[int, Pairs]]]:
        """Give the function that compares the scans of one task."""
        from bench.leaks.duplicates import matches

        others = [_print(*place) for place in self.others]

        def do(task: Task) -> tuple[int, Pairs]:
            found = matches([_print(*place) for place in task.scans], others)
            return task.number, np.array([(task.first + m.a, m.b, m.score) for m in found]).reshape(-1, 3)

        yield do


def pairs(
    context: Context[GuardSpec], scans: Sequence[Place], others: Sequence[Place]
) -> list[tuple[int, int, float]]:
    """Return (number of the scan, number of the other, score) of every pair that is the same scan.

    What earlier attempts compared is taken over.

    Raises:
        Stopped: between two tasks, as the context asks.
    """
    kept, found = Kept(context.scratch), dict[int, Pairs]()
    starts = range(0, len(scans), TOGETHER)
    tasks = [Task(n, start, tuple(scans[start : start + TOGETHER])) for n, start in enumerate(starts)]
    for task in tasks:
        before = kept.get(task.number)
        if before is not None:
            found[task.number] = before["pairs"]
    rest = [task for task in tasks if task.number not in found]
    with closing(work(rest, Comparer(tuple(others)), context.run.loaders)) as results:
        for number, made in results:
            kept.put(number, {"pairs": made})
            found[number] = made
            context.progress(len(found), len(tasks))
            if len(found) < len(tasks) and context.stopping():
                raise Stopped(f"stopped after {len(found)} of {len(tasks)} groups of scans")
    every = (tuple(row) for number in sorted(found) for row in found[number].tolist())
    return [(int(a), int(b), score) for a, b, score in every]


def _print(folder: Path, case: str) -> np.ndarray:
    found = opened(folder).fingerprint(case)
    if found is None:
        raise BenchError(f"{folder}: has no fingerprint of {case}; {AGAIN}")
    return found
