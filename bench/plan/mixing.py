"""What a pretraining reads, and which downstream test cases it must not have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.data import choice
from bench.data.split import Fold
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.plan.here import Here, Target
from bench.plan.line import Line
from bench.protocol import Mix, Pretrain, mixture


@dataclass(frozen=True)
class Part:
    """One data set of a mixture: what a spec says of it, and the cases where it is here."""

    data: dict[str, Any]
    cases: tuple[Case, ...]
    fold: Fold | None  # whose training patients alone are read
    here: bool


def mixed(here: Here, line: Line, section: Pretrain, labels: bool) -> list[Part]:
    """Return the parts of a mixture, as one line's fold divides them; only ``labels``, where it says so."""
    return [_part(here, line, mix, section, labels) for mix in mixture.parts(section)]


def count(section: Pretrain, parts: Sequence[Part]) -> int:
    """Return how many cases are read; 0 where a data set is not here and so nobody knows."""
    if not all(part.here for part in parts):
        return 0
    cases = [(part.data["dataset"], case) for part in parts for case in part.cases]
    return len(choice.shared(cases, overall(section), section.every_seed[0]))


def overall(section: Pretrain) -> dict[str, str]:
    """Return which share of a whole mixture is read, as a spec says it; empty where all is."""
    return {"amount": section.take, "ranking": mixture.ranking(section)} if section.take else {}


def _part(here: Here, line: Line, mix: Mix, section: Pretrain, labels: bool) -> Part:
    dataset, found = here.dataset(mix.dataset), here.cases(mix.dataset)
    data: dict[str, Any] = {"dataset": mix.dataset, "part": "all"}
    place = _place(here, line, mix) if mix.cases == "train" and not mix.list else None
    if place is not None:
        data = {"dataset": mix.dataset, "part": "train", **place[0].division(place[1])}
    named = choice.digest(choice.listed(dataset, mix.dataset, mix.list)) if mix.list else ""
    exclude = choice.excluded(dataset, mix.dataset, mix.exclude, found or ())
    stated = {
        "list": mix.list, "list_hash": named,
        "only": {k: v for k, v in (("where", mix.where), ("exclude", exclude)) if v},
        "take": mix.take, "task": mix.task, "group": mix.group,
    }  # fmt: skip
    data |= {k: v for k, v in stated.items() if v not in ("", None, {})}
    data |= _labelled(dataset, mix.dataset) if labels else {}
    fold = place[1] if place is not None else None
    if found is None:
        return Part(data, (), fold, False)
    cases = choice.selected(found, data, dataset, fold, section.every_seed[0], absent=section.absent)
    if not cases:
        raise BenchError(_nothing(mix, found, fold))
    here.check_usable(mix.dataset, cases)
    return Part(data, tuple(cases), fold, True)


def _labelled(dataset: Dataset, name: str) -> dict[str, Any]:
    """Return what a spec says of an entry whose label maps are read: only cases that have one."""
    if dataset.task != "segmentation" or max(dataset.labels, default=0) < 1:
        raise BenchError(f"pretrain: data set {name!r} has no label maps, from which the method learns")
    return {"labelled": True, "classes": max(dataset.labels)}


def _nothing(mix: Mix, found: Sequence[Case], fold: Fold | None) -> str:
    """Say why an entry reads no case."""
    among = (
        f" among the training patients of split {fold.name!r} ('cases: all' reads the others too)"
        if fold
        else ""
    )
    met = {key: sorted({c.meta[key] for c in found if key in c.meta}) for key in mix.where}
    there = "; ".join(f"{key} is {', '.join(values) or 'in no case'}" for key, values in met.items())
    return f"pretrain: data set {mix.dataset!r}: where, list and exclude leave no case{among}" + (
        f" (there, {there})" if there else ""
    )


def _place(here: Here, line: Line, mix: Mix) -> tuple[Target, Fold] | None:
    """Return the division of a data set that is also downstream, if there is a single one."""
    if mix.dataset == line.target.name:
        return line.target, line.fold
    for section in line.protocol.finetune:
        if section.dataset == mix.dataset:  # downstream in another column
            other = here.target(section)
            if len(other.folds) == 1:
                return other, other.folds[0]
    return None


def tests(here: Here, line: Line, parts: Sequence[Part]) -> list[tuple[Target, Fold, str | Recipe]]:
    """Return every downstream test part of a protocol, with the recipe it is read by.

    Of a data set whose training patients are pretrained on, only the same fold's.
    """
    divided = {p.data["dataset"]: p.fold for p in parts if p.fold is not None}
    found: list[tuple[Target, Fold, str | Recipe]] = []
    for section in line.protocol.finetune:
        target = here.target(section)
        folds = [f for f in target.folds if section.folds is None or f.index in section.folds]
        own = divided.get(section.dataset)
        tested = [(target, f, section.recipe) for f in folds if own is None or f == own]
        found += [part for part in tested if part not in found]  # two sections may share theirs
    return found
