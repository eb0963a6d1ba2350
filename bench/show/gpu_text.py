"""``bench plan --gpu``: what a plan needs of a graphics card, for a person and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from bench.gpu.cards import Card
from bench.gpu.forecast import UNKNOWN_CASES, UNKNOWN_STEPS, Need
from bench.plan import Cell, Plan
from bench.protocol import Protocol
from bench.show.plan_text import limits
from bench.show.state import laid_out
from bench.show.words import counted

if TYPE_CHECKING:
    from bench.executors.slurm.profile import Profile

WITHOUT_DATA = (UNKNOWN_CASES, UNKNOWN_STEPS)
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

    def cards(self, need: Need) -> int:
        """Return the cards that a job reserves."""
        return need.processes * max(1, self.profile.gpus if self.profile else 1)


def as_json(need: Need) -> dict[str, Any]:
    """Return the public part of what a job needs."""
    values = {key: getattr(need, key) for key in PUBLIC}
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in values.items()}


def as_lines(
    plan: Plan, protocols: Sequence[Protocol], needs: Mapping[str, Need], site: Site, done: set[str]
) -> list[str]:
    """Return the totals, then each row and pretraining."""
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
        days += f", {_few(together(plan, todo, site) / 24)} on {site.count}"
    unknown = [job for job in todo if todo[job].assumed == UNKNOWN_STEPS]
    by_paper = [job for job in todo if job in plan.paper_steps]
    if unknown:
        lacking = counted(plan.jobs[job].kind for job in unknown)
        days += f"; without {lacking} of unknown length"
    disk = sum(need.disk for need in todo.values())
    most = _most(todo.values()) or 0
    lines = [
        f"{_few(hours)} GPU-hours on {card.name}: {days}; the longest job takes {_few(longest)} h",
        f"the largest job needs {most:.1f} GiB, the card has {card.gib:g} GiB; weights take {_few(disk)} GiB on "
        f"disk; to do: {jobs}",
    ]
    if by_paper:
        kinds = counted(plan.jobs[job].kind for job in by_paper)
        lines.append(
            f"the data are not here: steps of {kinds} are by the number of cases in the paper"
        )
    unfit = sum(need.fits is False for need in todo.values())
    if unfit:
        lines += [
            f"{unfit} jobs do not fit this card; their rows say what helps",
            *_help(todo.values()),
        ]
    lines += _unknown(plan, todo)
    reserved = sum(need.elapsed * site.cards(need) for need in todo.values())
    if reserved > 1.01 * hours:
        each = site.profile.gpus if site.profile else 1
        lines.append(
            f"{_few(reserved)} GPU-hours are reserved: each process asks for {each} cards and uses one"
        )
    if site.profile is not None:
        if site.profile.minutes:
            lines.append(
                f"{_tasks(plan, todo, site.profile)} tasks of {site.profile.minutes} minutes"
            )
        seconds = {job: 3600 * need.elapsed for job, need in todo.items()}
        lines += limits(plan, seconds, site.profile)
    return [*lines, card.speed.text, ""]


def _help(needs: Iterable[Need]) -> list[str]:
    """Return how to do what the rows advise, of what is advised anywhere."""
    advice = " ".join(need.advice for need in needs)
    ways = {
        "accumulate": "“accumulate N”: --set pretrain.accumulate=N, or finetune.accumulate=N",
        "bf16": "“bf16”: --set pretrain.precision=bf16, or finetune.precision=bf16",
        "processes": "“N processes”: a cluster profile with processes = N, and --only row=ROW, because N must divide "
        "the batch of each row",
    }
    return [f"  {text}" for word, text in ways.items() if word in advice]


def _unknown(plan: Plan, todo: Mapping[str, Need]) -> list[str]:
    reasons = dict[str, list[str]]()
    for job, need in todo.items():
        if need.hours is None:
            reasons.setdefault(need.assumed, []).append(plan.jobs[job].kind)
    return [
        f"not in the hours: {counted(kinds)}; {'their ' * (why in WITHOUT_DATA)}{why}"
        for why, kinds in reasons.items()
    ]


def together(plan: Plan, todo: Mapping[str, Need], site: Site) -> float:
    """Return the hours from the first job's begin to the last one's end on the cards of a site.

    A job begins when those that it needs have ended and its cards are free; of several the one that most
    depends on begins first.
    """
    needs = {job: [need for need in plan.before(job) if need in todo] for job in todo}
    ahead = dict.fromkeys(todo, 0.0)  # hours from its begin to the end of what waits for it
    for job in reversed([job for job in plan.jobs if job in todo]):
        ahead[job] += todo[job].elapsed
        for need in needs[job]:
            ahead[need] = max(ahead[need], ahead[job])
    hours = {job: need.elapsed for job, need in todo.items()}
    cards = {job: min(site.cards(n), site.count) if n.elapsed else 0 for job, n in todo.items()}
    turn = {job: -rest for job, rest in ahead.items()}
    return max(laid_out(needs, hours, turn, site.count, cards).values(), default=0.0)


def _few(number: float) -> str:
    """Return a number in few digits, never as a power of ten."""
    if number and number < 0.01:
        return "under 0.01"
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
