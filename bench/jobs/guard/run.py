"""Guard: which cases of a pretraining also stand in a downstream test part, by patient or content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.cache import AGAIN
from bench.data.prepared import Prepared, opened
from bench.dataset import Case
from bench.errors import BenchError, Stopped
from bench.jobs.context import Context
from bench.jobs.guard import spec as guard
from bench.jobs.guard.spec import GuardResult, GuardSpec, Leak
from bench.jobs.inputs import declaration, mixed, part
from bench.store import FinishedParts
from bench.workers import work

if TYPE_CHECKING:
    from bench.leaks.screen import Level

SHOWN = 3  # cases that a failure names
LOGGED = 1000  # and its log
TOGETHER = 16  # scans that a process compares before it tells, and that a stop may cost
ScanKey = tuple[Path, str]  # a prepared data set and a case of it
Rows = np.ndarray  # (N, M): what a step of the search says of pairs of scans
NONE = np.empty((0, 2))


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
        result = guard.read(context.input(0))
        if result.leaks:
            raise BenchError(_refusal(result.leaks, spec.leaks))
        guard.write(context.folder, result)
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
    leaks = sorted(_by_patient(read, list(tests.values())), key=str)
    leaks += _by_content(context, read, list(tests.values()), {(k.dataset, k.case) for k in leaks})
    counts = Counter(dataset for dataset, _ in tests)
    guard.write(context.folder, GuardResult(len(read), dict(counts), tuple(leaks)))
    for leak in leaks[:LOGGED]:
        context.log(str(leak))
    context.log(
        f"{len(read)} cases compared with {len(tests)} test cases: {len(_cases(leaks))} in both"
    )
    context.facts.update(read=len(read), tests=len(tests), leaks=len(_cases(leaks)))


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
    context: Context[GuardSpec],
    read: Sequence[_Scan],
    tests: Sequence[_Scan],
    drop: set[tuple[str, str]],
) -> list[Leak]:
    rest = [s for s in read if (s.dataset, s.case.id) not in drop]
    places = ([(s.prepared.folder, s.case.id) for s in side] for side in (rest, tests))
    return [
        Leak(rest[a].dataset, rest[a].case.id, tests[b].dataset, tests[b].case.id, "content", score)
        for a, b, score in _pairs(context, *places)
    ]


def _cases(leaks: Sequence[Leak]) -> set[tuple[str, str]]:
    return {(leak.dataset, leak.case) for leak in leaks}


def _refusal(leaks: Sequence[Leak], policy: str) -> str:
    listed = ", ".join(map(str, leaks[:SHOWN])) + (" ..." if len(leaks) > SHOWN else "")
    if policy == "external":
        text = (
            f"{len(_cases(leaks))} training or validation case(s) are also in a data set of test_on"
        )
        return f"leak: {text}: {listed}; leave these out by the 'exclude' of that data set"
    text = f"{len(_cases(leaks))} case(s) of the pretraining are also in a downstream test part"
    advice = "write 'leaks: drop' under pretrain to leave them out, or 'leaks: allow' to keep them"
    return f"leak: {text}: {listed}; {advice} and print it"


@dataclass(frozen=True, eq=False)
class _Task:
    """One step of the search for some scans."""

    step: str  # compare, or screen | refine | confirm
    number: int
    scans: slice
    rows: Rows  # what the step before says

    def __str__(self) -> str:
        return f"{self.step} of scans, group {self.number}"


@dataclass(frozen=True)
class _Comparer:
    """How a process takes part in the work."""

    scans: tuple[ScanKey, ...]
    others: tuple[ScanKey, ...]
    level: Level | None  # None: every pair is compared

    @contextmanager
    def __call__(self) -> Iterator[Callable[[_Task], tuple[int, Rows]]]:
        """Give the function that does one task; in its rows all scans are counted from the first."""
        prints = [_print(*key) for key in self.others]
        if self.level is None:
            yield partial(self._compare, prints)
        else:
            yield self._search(prints, self.level)

    def _compare(self, prints: list[np.ndarray], task: _Task) -> tuple[int, Rows]:
        from bench.leaks import duplicates

        every = duplicates.matches([_print(*key) for key in self.scans[task.scans]], prints)
        start = task.scans.start
        return task.number, np.array([(m.a + start, m.b, m.score) for m in every]).reshape(-1, 3)

    def _search(
        self, prints: list[np.ndarray], level: Level
    ) -> Callable[[_Task], tuple[int, Rows]]:
        from bench.leaks import search

        others = search.Scans.of(prints, level)

        def do(task: _Task) -> tuple[int, Rows]:
            if task.step == "confirm":
                sights = [
                    search.Sight(int(a), int(b), int(i), int(j), v)
                    for a, b, i, j, v in task.rows.tolist()
                ]
                same = search.confirmed(
                    sights, lambda a: search.views(_print(*self.scans[a])), others.views
                )
                return task.number, np.array([(m.a, m.b, m.score) for m in same]).reshape(-1, 3)
            scans, start = [_print(*key) for key in self.scans[task.scans]], task.scans.start
            seen_as = search.Scans.of(scans, level)
            if task.step == "screen":
                return task.number, search.screened(seen_as, others)
            seen = search.looked_at(seen_as, others, task.rows - (start, 0, 0, 0))
            rows = [(s.a + start, s.b, s.i, s.j, s.value) for s in seen]
            return task.number, np.array(rows).reshape(-1, 5)

        return do


def _pairs(
    context: Context[GuardSpec], scans: Sequence[ScanKey], others: Sequence[ScanKey]
) -> list[tuple[int, int, float]]:
    """Return (number of the scan, number of the other, score) of every pair that is the same scan.

    What earlier attempts compared is taken over. Stopped: between two tasks, as the context asks.
    """
    from bench.leaks import screen, search

    if not scans or not others:
        return []
    groups = [slice(n, n + TOGETHER) for n in range(0, len(scans), TOGETHER)]
    larger = [slice(n, n + guard.GROUP) for n in range(0, len(scans), guard.GROUP)]
    counts = len(scans), len(others)
    if search.exact(*counts):
        steps = _Work(context, len(groups))
        tasks = (_Task("compare", n, g, NONE) for n, g in enumerate(groups))
        return _as_pairs(steps.done(_Comparer(tuple(scans), tuple(others), None), tasks))
    parts = search.parts(*counts)
    steps = _Work(context, len(parts) * (len(groups) + len(larger)) + len(others))
    pairs = []
    for number, section in enumerate(parts):
        comparer = _Comparer(tuple(scans), tuple(others[section]), screen.level(*counts))
        done = partial(steps.done, comparer, part=number)
        scores = done(_Task("screen", n, g, NONE) for n, g in enumerate(groups))
        likely = search.likeliest(np.concatenate(scores))
        group = likely[:, 0] // guard.GROUP
        sights = done(_Task("refine", n, g, likely[group == n]) for n, g in enumerate(larger))
        seen, tests = np.concatenate(sights), range(len(comparer.others))
        none = slice(0)  # which scans a comparison reads, its rows say
        every = done(_Task("confirm", b, none, seen[seen[:, 1] == b]) for b in tests)
        pairs += [(a, b + section.start, score) for a, b, score in _as_pairs(every)]
    return pairs


def _as_pairs(every: Iterable[Rows]) -> list[tuple[int, int, float]]:
    return [(int(a), int(b), score) for rows in every for a, b, score in rows.tolist()]


class _Work:
    """The ``count`` tasks of all steps of a guard: kept, shared among processes, told."""

    def __init__(self, context: Context[GuardSpec], count: int) -> None:
        self._context, self._count, self._done = context, count, 0

    def done(self, start: _Comparer, tasks: Iterable[_Task], part: int = 0) -> list[Rows]:
        """Return what the tasks of one step give, in their order; ``part``: of the others they are about.

        ``start`` is how a process takes part. Stopped: between two tasks.
        """
        every = list(tasks)
        folder = self._context.scratch / f"part-{part}" / every[0].step
        folder.mkdir(parents=True, exist_ok=True)
        earlier, results = FinishedParts(folder), dict[int, Rows]()
        for task in every:
            before = earlier.get(task.number)
            if before is not None:
                results[task.number] = before["rows"]
        self._done += len(results)
        rest = [task for task in every if task.number not in results]
        with closing(work(rest, start, self._context.run.loaders)) as finished:
            for number, rows in finished:
                earlier.put(number, {"rows": rows})
                results[number] = rows
                self._done += 1
                self._context.progress(self._done, self._count)
                if self._done < self._count and self._context.stopping():
                    raise Stopped(f"stopped after {self._done} of {self._count} groups of scans")
        return [results[task.number] for task in every]


def _print(folder: Path, case: str) -> np.ndarray:
    fingerprint = opened(folder).fingerprint(case)
    if fingerprint is None:
        raise BenchError(f"{folder}: has no fingerprint of {case}; {AGAIN}")
    return fingerprint
