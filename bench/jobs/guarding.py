"""Guard: which cases of a pretraining also stand in a downstream test part, by patient or content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.cache import AGAIN
from bench.data.prepared import Prepared, opened
from bench.dataset import Case
from bench.errors import BenchError, Stopped
from bench.jobs import guard
from bench.jobs.context import Context
from bench.jobs.guard import Found, GuardSpec, Leak
from bench.jobs.inputs import declaration, mixed, part
from bench.partial import Kept
from bench.pool import work

SHOWN = 3  # cases that a failure names
LOGGED = 1000  # and its log
TOGETHER = 16  # scans that a process compares before it tells, and that a stop may cost
Place = tuple[Path, str]  # a prepared data set and a case of it
Pairs = np.ndarray  # float64 (N, 3): number of the scan, number of the other, score


@dataclass(frozen=True, eq=False)
class _Scan:
    """One case with what tells whose it is."""

    dataset: str
    case: Case
    person: str
    prepared: Prepared


def run(context: Context[GuardSpec]) -> None:
    """Write ``leaks.json``: every pair of a pretraining case and a test case that are one.

    Raises:
        BenchError: another guard found one, and this one judges by ``leaks: fail``.
    """
    spec, roots = context.spec, context.run.roots
    if spec.judges:
        known = guard.read(context.input(0))
        if known.leaks:
            raise BenchError(_refusal(known.leaks))
        guard.write(context.made, known)
        return
    inputs = [opened(context.input(i)) for i in range(len(spec.data) + len(spec.tests))]
    mixture, downstream = inputs[: len(spec.data)], inputs[len(spec.data) :]
    chosen_to_read = mixed(mixture, spec.data, spec.take, spec.seed or 0, roots)
    read = [_scan(spec.data[i].dataset, case, mixture[i], roots) for i, case in chosen_to_read]
    tests: dict[tuple[str, str], _Scan] = {}
    for prepared, data in zip(downstream, spec.tests, strict=True):
        chosen = set(part(prepared, data, roots.get(data.dataset)))
        for case in prepared.cases():
            if case.id in chosen:
                scan = _scan(data.dataset, case, prepared, roots)
                tests.setdefault((scan.dataset, case.id), scan)
    found = sorted(_by_patient(read, list(tests.values())), key=str)
    found += _by_content(context, read, list(tests.values()), {(k.dataset, k.case) for k in found})
    counts = Counter(dataset for dataset, _ in tests)
    guard.write(context.made, Found(len(read), dict(counts), tuple(found)))
    for leak in found[:LOGGED]:
        context.log(str(leak))
    context.log(f"{len(read)} cases against {len(tests)} test cases: {len(_cases(found))} in both")
    context.facts.update(read=len(read), tests=len(tests), leaks=len(_cases(found)))


def _scan(name: str, case: Case, prepared: Prepared, roots: dict[str, str]) -> _Scan:
    return _Scan(name, case, declaration(name, roots.get(name)).person(case), prepared)


def _by_patient(read: Sequence[_Scan], tests: Sequence[_Scan]) -> Iterator[Leak]:
    scans: dict[str, list[_Scan]] = {}
    for test in tests:
        scans.setdefault(test.person, []).append(test)
    for scan in read:
        for test in scans.get(scan.person, ()):
            yield Leak(scan.dataset, scan.case.id, test.dataset, test.case.id, "patient")


def _by_content(
    context: Context[GuardSpec], read: Sequence[_Scan], tests: Sequence[_Scan], known: set[tuple[str, str]]
) -> list[Leak]:
    rest = [s for s in read if (s.dataset, s.case.id) not in known]
    places = ([(s.prepared.folder, s.case.id) for s in side] for side in (rest, tests))
    return [
        Leak(rest[a].dataset, rest[a].case.id, tests[b].dataset, tests[b].case.id, "content", score)
        for a, b, score in _pairs(context, *places)
    ]


def _cases(found: Sequence[Leak]) -> set[tuple[str, str]]:
    return {(leak.dataset, leak.case) for leak in found}


def _refusal(found: Sequence[Leak]) -> str:
    listed = ", ".join(map(str, found[:SHOWN]))
    return (
        f"leak: {len(_cases(found))} case(s) of the pretraining stand in a downstream test part: {listed}"
        f"{' ...' if len(found) > SHOWN else ''}; say 'leaks: drop' under pretrain to leave them out, or "
        "'leaks: allow' to keep them and print it"
    )


@dataclass(frozen=True)
class _Task:
    """Some scans to be compared with all the others."""

    number: int
    first: int  # number of its first scan
    scans: tuple[Place, ...]

    def __str__(self) -> str:
        return f"comparing {self.scans[0][1]} and what follows"


@dataclass(frozen=True)
class _Comparer:
    """How a process takes part in the work."""

    others: tuple[Place, ...]

    @contextmanager
    def __call__(self) -> Iterator[Callable[[_Task], tuple[int, Pairs]]]:
        """Give the function that compares the scans of one task."""
        from bench.leaks.duplicates import matches

        others = [_print(*place) for place in self.others]

        def do(task: _Task) -> tuple[int, Pairs]:
            found = matches([_print(*place) for place in task.scans], others)
            return task.number, np.array([(task.first + m.a, m.b, m.score) for m in found]).reshape(-1, 3)

        yield do


def _pairs(
    context: Context[GuardSpec], scans: Sequence[Place], others: Sequence[Place]
) -> list[tuple[int, int, float]]:
    """Return (number of the scan, number of the other, score) of every pair that is the same scan.

    What earlier attempts compared is taken over.

    Raises:
        Stopped: between two tasks, as the context asks.
    """
    kept, found = Kept(context.scratch), dict[int, Pairs]()
    starts = range(0, len(scans), TOGETHER)
    tasks = [_Task(n, start, tuple(scans[start : start + TOGETHER])) for n, start in enumerate(starts)]
    for task in tasks:
        before = kept.get(task.number)
        if before is not None:
            found[task.number] = before["pairs"]
    rest = [task for task in tasks if task.number not in found]
    with closing(work(rest, _Comparer(tuple(others)), context.run.loaders)) as results:
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
