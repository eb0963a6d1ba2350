"""What stands beside rows of elsewhere, and beside those made here: one report speaks of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from bench.report import Beside

THEIRS = "track"  # begins what is said of how rows of elsewhere came about
T = TypeVar("T")
TOGETHER = ("titles", "sources", "receipts", "curves", "defaults")  # mappings, of which our own win
ONE_AFTER_ANOTHER = (
    "costs", "failures", "leaks", "pretrainings", "pretexts", "courses", "clouds", "submissions",
)  # fmt: skip


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
