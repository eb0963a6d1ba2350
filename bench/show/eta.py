"""When what is left of a run will be there: its jobs laid out on the places that it has, in its own order."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush

from bench.jobs import KINDS
from bench.plan import Plan


def ends(
    plan: Plan, waiting: Mapping[str, float], working: Mapping[str, float], places: int
) -> dict[str, float]:
    """Return in how many seconds each job will have ended.

    Args:
        plan: what each job needs.
        waiting: seconds that each job takes which has not begun, needs first.
        working: seconds that each job still takes which is in work.
        places: jobs at one time; those in work may be more.
    """
    kinds = {kind: place for place, kind in enumerate(KINDS)}
    turn = {job: (kinds[plan.jobs[job].kind], number) for number, job in enumerate(waiting)}
    ahead = {job: {n for n in plan.before(job) if n in waiting or n in working} for job in waiting}
    behind: dict[str, list[str]] = {}
    for job, needs in ahead.items():
        for need in needs:
            behind.setdefault(need, []).append(job)
    ready = [(turn[job], job) for job, needs in ahead.items() if not needs]
    busy = [(seconds, job) for job, seconds in working.items()]
    heapify(ready)
    heapify(busy)
    now, found = 0.0, dict[str, float]()
    while ready or busy:
        while ready and len(busy) < max(places, 1):
            job = heappop(ready)[1]
            heappush(busy, (now + waiting[job], job))
        now, job = heappop(busy)
        found[job] = now
        for other in behind.get(job, ()):
            ahead[other].discard(job)
            if not ahead[other]:
                heappush(ready, (turn[other], other))
    return found
