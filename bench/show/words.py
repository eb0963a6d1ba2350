"""Counts and times as a person says them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from bench.jobs import KINDS

YEAR = 365.25 * 86400  # seconds


def smallest_to_largest(numbers: Collection[int]) -> str:
    """Return ``smallest-largest``, or one number where all are equal."""
    return "-".join(map(str, sorted({min(numbers), max(numbers)})))


def duration(seconds: float) -> str:
    """Return seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.1f} h"
    if seconds < 100 * 86400:
        return f"{seconds / 86400:.0f} days"
    if seconds < 2 * YEAR:
        return f"{12 * seconds / YEAR:.0f} months"
    return f"{seconds / YEAR:,.0f} years"


def counted(kinds: Iterable[str]) -> str:
    """Return how many jobs there are of each kind, in the order in which they are done."""
    counts, order = Counter(kinds), [*KINDS]
    ordered = sorted(counts, key=lambda kind: order.index(kind) if kind in order else len(order))
    return ", ".join(f"{counts[kind]} {kind}" for kind in ordered)
