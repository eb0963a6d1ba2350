"""Which cases of a data set take part: filters, lists, and a share of them by one ranking."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from bench.data import split as splits
from bench.data.parts import Entry, Take
from bench.data.split import Fold, read_list
from bench.dataset import Case, Dataset, natural
from bench.errors import BenchError, Misstated, unknown

T = TypeVar("T")
DOUBTFUL = "doubtful"
SHOWN = 10  # cases that a line names


def excluded(
    dataset: Dataset, name: str, exclude: Sequence[str], cases: Collection[Case]
) -> list[str]:
    """Return the ids that ``exclude`` names; ``doubtful`` stands for what is declared so.

    Raises:
        BenchError: no case has such an id; names the nearest one.
    """
    ids = {case.id for case in cases}
    chosen: set[str] = set()
    for pick in exclude:
        if pick == DOUBTFUL:
            chosen |= dataset.doubtful.keys()
        elif ids and pick not in ids:
            message = unknown(f"case of data set {name!r}", pick, ids | {DOUBTFUL})
            raise Misstated("exclude", message)
        else:
            chosen.add(pick)
    return sorted(chosen & ids if ids else chosen, key=natural)


def matching(
    cases: Sequence[Case], where: Mapping[str, str], without: Collection[str]
) -> list[Case]:
    """Return the cases that have these entries in their meta and are not left out."""
    gone = set(without)
    return [
        c for c in cases if c.id not in gone and all(c.meta.get(k) == v for k, v in where.items())
    ]


def entries_met(cases: Sequence[Case], where: Mapping[str, str]) -> str:
    """Return which values cases have in the entries that ``where`` names, in brackets; "" without ``where``."""
    known = ", ".join(sorted({key for case in cases for key in case.meta})) or "none"
    met = {key: sorted({case.meta[key] for case in cases if key in case.meta}) for key in where}
    values = (f"{k} is {', '.join(v) or f'in no case; entries: {known}'}" for k, v in met.items())
    return f" (there, {'; '.join(values)})" if where else ""


def check_usable(name: str, chosen: Sequence[str], faults: Mapping[str, str]) -> None:
    """Refuse a choice of cases of which some cannot be used.

    Args:
        name: the data set.
        chosen: case ids.
        faults: by case id, the file and what is wrong with it.

    Raises:
        BenchError: says how many cannot, what is wrong with the first, and how to go on without them.
    """
    faulty = [case for case in chosen if case in faults]
    if faulty:
        names = ", ".join(faulty[:SHOWN]) + (", ..." if len(faulty) > SHOWN else "")
        raise BenchError(
            f"{name}: {len(faulty)} of {len(chosen)} cases cannot be used, first {faulty[0]}: "
            f"{faults[faulty[0]]}; correct or remove them, or leave them out by 'exclude: [{names}]'; "
            f"'bench check {name} --data ...' lists all"
        )


def listed(dataset: Dataset, name: str, which: str) -> tuple[str, ...]:
    """Return the cases that a pretraining list of a data set names for training.

    Raises:
        BenchError: the data set has no such list.
    """
    if which not in dataset.lists:
        raise Misstated(
            "list", unknown(f"pretraining list of data set {name!r}", which, dataset.lists)
        )
    return tuple(read_list(dataset, dataset.lists[which])["cases"]["train"])


def digest(names: Sequence[str]) -> str:
    """Return 16 hex digits of a list: equal names, equal digest."""
    return hashlib.sha256(json.dumps(sorted(names)).encode()).hexdigest()[:16]


def of_list(cases: Sequence[Case], names: Sequence[str], what: str, *, absent: str) -> list[Case]:
    """Return the cases that a list names.

    Raises:
        BenchError: some are not there and ``absent`` is not "allow"; says how many.
    """
    wanted = set(names)
    listed_cases = [c for c in cases if c.id in wanted]
    lacking = sorted(wanted - {c.id for c in listed_cases}, key=natural)
    if lacking and absent != "allow":
        first = f"{', '.join(lacking[:3])}{' ...' if len(lacking) > 3 else ''}"
        raise BenchError(
            f"{what} lists {len(wanted)} cases, but {len(lacking)} of them are not in the folder "
            f"({first}); add them to the folder, or write 'absent: allow' to go without them"
        )
    return listed_cases


def taken(
    items: Sequence[T],
    person: Callable[[T], str],
    take: str,
    ranking: str,
    seed: int,
    what: str = "mixture",
) -> list[T]:
    """Return a share of cases in their own order, chosen by one ranking of patients.

    Patients are ordered and counted as label fractions are, so a larger share holds every smaller one.

    Args:
        items: cases.
        person: whose each is.
        take: ``40 cases`` (whole patients in rank order, the last one cut off where it exceeds), or
            ``20 %`` of the patients.
        ranking: names the ranking.
        seed: of the ranking.
        what: is taken from, for the message.

    Raises:
        BenchError: more cases than there are, or a share of less than half a patient.
    """
    if not take or not items:
        return list(items)
    number, unit = int(take.removesuffix("%").removesuffix("cases")), take[-1]
    people = splits.ranked({person(item) for item in items}, ranking, seed)
    if unit == "%":
        if not 0.5 <= number * len(people) / 100 <= len(people):
            raise BenchError(
                f"{what}: 'take: {take}' of {len(people)} patients; use 1 to 100 %, and enough "
                "for at least half a patient"
            )
        chosen = set(splits.leading(people, number))
        return [item for item in items if person(item) in chosen]
    if number > len(items):
        raise BenchError(
            f"{what}: 'take: {take}' asks for more than the {len(items)} that there are; use a smaller number"
        )
    rank = {p: i for i, p in enumerate(people)}
    order = sorted(range(len(items)), key=lambda i: (rank[person(items[i])], i))
    return [items[i] for i in sorted(order[:number])]


def selected(
    cases: Sequence[Case],
    data: Entry,
    dataset: Dataset,
    fold: Fold | None,
    seed: int,
    *,
    absent: str = "allow",
) -> list[Case]:
    """Return the cases that one entry of a mixture selects for pretraining.

    Args:
        cases: of the data set.
        data: the entry; its ``where`` and ``exclude`` are those of the division, in ``only`` its own.
        dataset: its declaration.
        fold: the division, where only its training patients are read.
        seed: of the ranking by which ``take`` chooses.
        absent: "refuse" makes an error of cases that a list names and that are not there.
    """
    chosen = list(cases)
    for narrowed in (data, data.only):  # of the division, and of this entry
        chosen = matching(chosen, narrowed.where, narrowed.exclude)
    if data.list:
        what = f"{data.dataset}: list {data.list!r}"
        names = listed(dataset, data.dataset, data.list)
        if data.list_hash not in ("", digest(names)):
            raise BenchError(
                f"{what} has changed since the run was planned; run the protocol again"
            )
        chosen = of_list(chosen, names, what, absent=absent)
    if data.labelled:
        chosen = [c for c in chosen if c.label is not None]
    if fold is not None:
        train, held_out = set(fold.train), {*fold.val, *fold.test}
        # by scan, an unlabelled crop of a scan that is held out is held out, too
        whose = dataset.scan if fold.name in splits.BY_SCAN else (lambda case: case.patient)
        held = {whose(case) for case in cases if case.patient in held_out}
        chosen = [
            case
            for case in chosen
            if (case.patient in train if case.label is not None else data.unlabelled)
            and whose(case) not in held
        ]
    ranking = data.split or data.list or data.dataset
    what = f"data set {data.dataset!r}" + (f", training part of {fold.name!r}" if fold else "")
    return taken(chosen, lambda c: c.patient, data.take, ranking, seed, what)


def in_all(selections: Sequence[Sequence[Case]]) -> list[Case]:
    """Return the cases that stand in every selection of a data set, in the order of the first."""
    ids = set.intersection(*({case.id for case in cases} for cases in selections))
    return [case for case in selections[0] if case.id in ids]


def halves(cases: Sequence[Case], name: str, patients: int) -> tuple[list[str], list[str]]:
    """Return the patients whom an online probe is fitted to, and those whom it is scored on.

    The cases are labelled. The order is that of a hash of names, without a seed; of classes each has its
    turn. The first half, rounded up, fits.

    Raises:
        BenchError: there are fewer.
    """
    classes: dict[str, int] = {}
    for case in cases:
        classes.setdefault(case.patient, case.label if isinstance(case.label, int) else 0)
    if len(classes) < patients:
        raise Misstated(
            "patients",
            f"{patients} patients are needed, but in data set {name!r} only {len(classes)} labelled patients "
            f"are in the training part of all folds; use fewer patients, or another data set",
        )
    turns: Counter[int] = Counter()
    turn_of: dict[str, tuple[int, int]] = {}
    for patient in sorted(classes, key=lambda p: splits.unit("online probe", name, p)):
        turn_of[patient] = turns[classes[patient]], classes[patient]
        turns[classes[patient]] += 1
    chosen = sorted(turn_of, key=turn_of.__getitem__)[:patients]
    first = -(-patients // 2)
    return chosen[:first], chosen[first:]


def shared(cases: Sequence[tuple[str, Case]], take: Take, seed: int) -> list[tuple[str, Case]]:
    """Return the share of a whole mixture: cases with their data sets, ranked over all of it."""
    return taken(cases, lambda c: f"{c[0]}/{c[1].patient}", take.amount, take.ranking, seed)
