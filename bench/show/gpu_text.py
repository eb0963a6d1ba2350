"""``bench plan --gpu``: what a plan needs of a graphics card, for a person and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from bench.gpu.cards import Card
from bench.gpu.forecast import UNKNOWN_CASES, UNKNOWN_STEPS, Need
from bench.plan import Cell, Plan
from bench.protocol import Protocol
from bench.show.plan_text import limits
from bench.show.words import counted

if TYPE_CHECKING:
    from bench.executors.slurm.profile import Profile

PUBLIC = ("gib", "teraflop", "hours", "fits", "assumed")


@dataclass(frozen=True)
class Site:
    """Where jobs run: the card, and the cluster profile that limits them."""

    card: Card
    profile: Profile | None = None

    @property
    def count(self) -> int:
        """Cards that may be used at once."""
        return (self.profile and self.profile.max_gpus) or self.card.count


def as_json(need: Need) -> dict[str, Any]:
    """Return the public part of what a job needs."""
    values = {key: getattr(need, key) for key in PUBLIC}
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in values.items()}


def as_lines(
    plan: Plan, protocols: Sequence[Protocol], needs: Mapping[str, Need], site: Site, done: set[str]
) -> list[str]:
    """Return the totals, then each row and pretraining.

    Args:
        plan: the jobs.
        protocols: that asked for them.
        needs: of each job that is wanted.
        site: where they run.
        done: jobs that cost nothing more.
    """
    todo = {job: need for job, need in needs.items() if job not in done}
    lines = _totals(plan, todo, site)
    for protocol in protocols:
        lines.append(f"{protocol.name}: {protocol.title}")
        lines += _rows(plan, plan.cells[protocol.name], needs, done)
    return lines


def _totals(plan: Plan, todo: Mapping[str, Need], site: Site) -> list[str]:
    """Return what all that is to do takes together."""
    card, hours = site.card, _hours(todo.values())
    jobs = counted(plan.jobs[job].kind for job in todo) or "nothing"
    longest = max((need.elapsed for need in todo.values()), default=0.0)
    days = f"{_few(hours / 24)} days on one card"
    if site.count > 1:
        days += f", {_few(max(hours / site.count, longest) / 24)} on {site.count}"
    unknown = [job for job in todo if todo[job].assumed == UNKNOWN_STEPS]
    if unknown:
        lacking = counted(plan.jobs[job].kind for job in unknown)
        days += f"; without {lacking} of unknown length"
    disk = sum(need.disk for need in todo.values())
    lines = [
        f"{_few(hours)} GPU-hours on {card.name}: {days}; the longest job takes {_few(longest)} h",
        f"memory at most {_most(todo.values()) or 0:.1f} GiB of {card.gib:g}; disk {_few(disk)} GiB of weights; "
        f"to do: {jobs}",
    ]
    unfit = sum(need.fits is False for need in todo.values())
    if unfit:
        lines.append(f"{unfit} jobs do not fit this card; their rows say what helps")
    lines += _unknown(todo.values())
    if site.profile is not None:
        if site.profile.minutes:
            lines.append(
                f"{_tasks(plan, todo, site.profile)} tasks of {site.profile.minutes} minutes"
            )
        seconds = {job: 3600 * need.elapsed for job, need in todo.items()}
        lines += limits(plan, seconds, site.profile)
    return [*lines, card.speed.text, ""]


def _unknown(needs: Iterable[Need]) -> list[str]:
    reasons = Counter(need.assumed for need in needs if need.hours is None)
    return [f"{count} jobs more: {why}" for why, count in reasons.items()]


def _few(number: float) -> str:
    return f"{number:,.1f}" if number >= 1 or not number else f"{number:.2g}"


def _hours(needs: Iterable[Need]) -> float:
    return sum(need.hours or 0.0 for need in needs)


def _most(needs: Iterable[Need]) -> float | None:
    return max((need.gib for need in needs if need.gib is not None), default=None)


def _tasks(plan: Plan, todo: Mapping[str, Need], profile: Profile) -> int:
    """Return how many tasks the trainings take: pretrainings alone, short cells packed as the profile says."""
    limit = (profile.minutes or 1) / 60

    def hours(kind: str) -> list[float]:
        return [need.elapsed for job, need in todo.items() if plan.jobs[job].kind == kind]

    cells = hours("finetune")
    short = [h for h in cells if h <= limit]
    alone = hours("pretrain") + [h for h in cells if h > limit]
    packed = max(ceil(len(short) / profile.pack), ceil(sum(short) / limit))
    return packed + sum(max(1, ceil(h / limit)) for h in alone)


def _rows(
    plan: Plan, cells: Sequence[Cell], needs: Mapping[str, Need], done: set[str]
) -> list[str]:
    rows = dict[str, list[Cell]]()
    for cell in cells:
        if cell.wanted:
            rows.setdefault(cell.row, []).append(cell)
    lines = []
    trained: dict[str, str] = {}  # job: the row under which its training stands
    for row, of_row in rows.items():
        tuned = dict.fromkeys(cell.finetune for cell in of_row)
        jobs = dict.fromkeys(job for cell in of_row for job in (cell.finetune, cell.evaluate))
        pretrained = dict.fromkeys(filter(None, (cell.pretrain for cell in of_row)))
        if all(job in trained for job in tuned):
            others = ", ".join(dict.fromkeys(trained[job] for job in tuned))
            cost = f"trains nothing, scores weights of {others}"
        else:
            cost = _cost([needs[job] for job in jobs])
        lines.append(f"  {row}: {len(of_row)} cells, {cost}")
        for job in (job for job in pretrained if job not in trained):
            state = ", done" if job in done else ""
            lines.append(f"    pretrain {job}{state}: {_cost([needs[job]])}")
        trained = dict.fromkeys([*pretrained, *tuned], row) | trained
    return lines


def _cost(needs: Sequence[Need]) -> str:
    """Return hours, memory and disk of some jobs, and what helps those that do not fit."""
    most, disk = _most(needs), sum(need.disk for need in needs)
    step = max(need.step for need in needs)
    parts = {
        f"{_few(_hours(needs))} GPU-hours": any(need.hours is not None for need in needs),
        "memory not counted" if most is None else f"{most:.1f} GiB": True,
        f"{step:.2g} s a step": bool(step),
        f"disk {_few(disk)} GiB": bool(disk),
    }
    reasons = dict.fromkeys(need.assumed for need in needs if need.hours is None)
    ways = dict.fromkeys(need.advice for need in needs if need.advice)
    return ", ".join(
        [
            *(text for text, shown in parts.items() if shown),
            *(why for why in reasons if why != UNKNOWN_CASES),  # the totals say that once
            *(f"does not fit: {way}" for way in ways),
        ]
    )
