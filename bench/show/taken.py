"""What stands beside rows without jobs, and beside those made here: one report speaks of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from bench.report import Beside, Cloud, Cost, Pretext, Pretraining

THEIRS = "track"  # begins what is said of how rows of elsewhere came about
T = TypeVar("T")
TOGETHER = ("titles", "sources", "receipts", "curves", "defaults")  # mappings, of which our own win
ONE_AFTER_ANOTHER = (
    "costs", "failures", "leaks", "pretrainings", "pretexts", "courses", "clouds", "submissions",
)  # fmt: skip

BY_METHOD, BY_ROW = ("titles", "sources", "defaults"), ("receipts", "curves")
KEYS: dict[str, Callable[[Any], set[Any]]] = {  # what tells that two speak of the same
    "leaks": lambda one: {(one.row, one.section)},
    "pretrainings": lambda one: {*one.rows},
    "pretexts": lambda one: {(row, one.seed) for row in (one.row, *one.shared)},
    "courses": lambda one: {(one.row, one.section, one.fraction, one.seed)},
    "clouds": lambda one: {one.title},
}
ADDED: dict[str, Callable[[list[Any]], Any]] = {
    "seconds": sum, "memory_mb": max, "device_mb": max, "steps": sum, "samples": sum, "voxels": sum,
}  # fmt: skip
JOBS = re.compile(r".* \((\d+) jobs\)$")


def joined(own: Beside, theirs: Beside) -> Beside:
    """Return both in one: what made the numbers of each is told apart.

    A row of elsewhere that was run here as well is spoken of as it ran here.
    """
    if theirs == Beside():
        return own
    here = {cost.row for cost in own.costs}
    known = {info.name for info in own.datasets}
    both: dict[str, Any] = {name: getattr(theirs, name) | getattr(own, name) for name in TOGETHER}
    for name in ONE_AFTER_ANOTHER:
        both[name] = (*_elsewhere(getattr(theirs, name), here), *getattr(own, name))
    return replace(
        own,
        **both,
        datasets=(*own.datasets, *(info for info in theirs.datasets if info.name not in known)),
        read=own.read or theirs.read,
        other_source=(*own.other_source, *(f"{THEIRS}: {line}" for line in theirs.other_source)),
        provenance=own.provenance | {f"{THEIRS}: {k}": v for k, v in theirs.provenance.items()},
    )


def _elsewhere(some: tuple[T, ...], here: set[str]) -> list[T]:
    """Return what is of no row that was run here."""
    return [one for one in some if not here & _rows(one)]


def _rows(one: Any) -> set[str]:
    return {*getattr(one, "rows", ()), *filter(None, [getattr(one, "row", "")])}


def continued(own: Beside, before: Beside, rows: Iterable[str]) -> Beside:
    """Return what a run says, and what was said before of ``rows`` whose job folders went, as of one run.

    What is said of a pretraining or fine-tuning that was done again is what it was here.
    """
    if before == Beside():
        return own
    here = {name: {key for one in getattr(own, name) for key in keys(one)} for name, keys in KEYS.items()}
    names = {*rows}
    both: dict[str, Any] = {name: getattr(before, name) | getattr(own, name) for name in BY_METHOD}
    for name in BY_ROW:
        both[name] = {k: v for k, v in getattr(before, name).items() if k in names} | getattr(own, name)
    for name, keys in KEYS.items():
        old = (_limited(one, names) for one in getattr(before, name))
        both[name] = (*(one for one in old if one and not here[name] & keys(one)), *getattr(own, name))
    known = {info.name for info in own.datasets}
    return replace(
        own,
        **both,
        costs=tuple(_summed([*(cost for cost in before.costs if cost.row in names), *own.costs])),
        datasets=(*own.datasets, *(info for info in before.datasets if info.name not in known)),
        read=own.read or before.read,
        other_source=(*before.other_source, *own.other_source),
        provenance={
            k: _every(k, before.provenance, own.provenance) for k in before.provenance | own.provenance
        },
    )


def _limited(one: Any, names: set[str]) -> Any:
    """Return what is said of several rows, of some of them; None where it is of none."""
    match one:
        case Pretraining():
            rows = tuple(row for row in one.rows if row in names)
            return replace(one, rows=rows) if rows else None
        case Pretext():
            rows = tuple(row for row in (one.row, *one.shared) if row in names)
            return replace(one, row=rows[0], shared=rows[1:]) if rows else None
        case Cloud():
            return one if not one.rows or names.intersection(one.rows) else None
    return one if one.row in names else None


def _summed(costs: list[Cost]) -> Iterator[Cost]:
    """Yield one line of costs for each row and stage; ``fine-tune (3 jobs)`` counts them."""
    per: dict[tuple[str, str], list[Cost]] = {}
    for cost in costs:
        per.setdefault((cost.row, cost.stage.partition(" (")[0]), []).append(cost)
    for (_, stage), some in per.items():
        if len(some) == 1 or some[0].steps is None is some[0].memory_mb:  # a time of one crop is no sum
            yield some[-1]
            continue
        jobs = sum(int(found[1]) if (found := JOBS.match(cost.stage)) else 1 for cost in some)
        every: dict[str, Any] = {name: [getattr(cost, name) for cost in some] for name in ADDED}
        sums: dict[str, Any] = {n: None if None in known else ADDED[n](known) for n, known in every.items()}
        yield replace(some[0], stage=f"{stage} ({jobs} jobs)", **sums)


def _every(what: str, *made: dict[str, str]) -> str:
    """Return what made numbers at several times, as ``gather.provenance`` tells it of one."""
    known = [one[what] for one in made if one.get(what)]
    if what == "last run":
        return max(known)
    if what == "attempts":
        return max(known, key=int)
    between = "; " if what.endswith("commit") else ", "
    return between.join(sorted({part for text in known for part in text.split(between)}))
