"""What a pretraining reads, and which downstream test cases it must not have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.data import case_filter
from bench.data.parts import Entry, Narrowed, Part, Take
from bench.data.split import Fold
from bench.dataset import Case, Dataset, Recipe
from bench.errors import Misstated
from bench.plan.arm import Arm
from bench.plan.cohorts import Cohorts, Target, recipe_of
from bench.protocol import Finetune, Mix, Pretrain, Protocol, mixture, pretrain_of, pretrains

Division = tuple[Target, Fold]


@dataclass(frozen=True)
class Read:
    """One data set of a mixture: what a spec says of it, and the cases where it is here."""

    data: Entry
    cases: tuple[Case, ...]
    fold: Fold | None  # whose training patients alone are read
    present: bool


def mixed(cohorts: Cohorts, arm: Arm, section: Pretrain, labels: bool) -> list[Read]:
    """Return the parts of a mixture, as one arm's fold divides them; only ``labels``, where it says so."""
    reads = []
    for number, mix in enumerate(mixture.parts(section)):
        try:
            reads.append(_part(cohorts, arm, mix, section, labels))
        except Misstated as error:
            raise Misstated(f"datasets.{number}.{error.key}", str(error)) from None
    return reads


def count(section: Pretrain, parts: Sequence[Read]) -> int:
    """Return how many cases are read; 0 where a data set is not here and so nobody knows."""
    if not all(part.present for part in parts):
        return 0
    return len(chosen(section, parts))


def unlabelled(section: Pretrain, parts: Sequence[Read]) -> int:
    """Return how many of these cases have no label."""
    return sum(case.label is None for _, case in chosen(section, parts))


def chosen(section: Pretrain, parts: Sequence[Read]) -> list[tuple[str, Case]]:
    """Return the cases that are read, each with its data set."""
    cases = [(part.data.dataset, case) for part in parts for case in part.cases]
    return case_filter.shared(cases, overall(section), section.first_seed)


def overall(section: Pretrain) -> Take:
    """Return which share of a whole mixture is read."""
    return Take(section.take, mixture.ranking(section)) if section.take else Take()


def _part(cohorts: Cohorts, arm: Arm, mix: Mix, section: Pretrain, labels: bool) -> Read:
    dataset, cases_here = cohorts.dataset(mix.dataset), cohorts.cases(mix.dataset)
    division = _division(cohorts, arm.protocol, mix, (arm.target, arm.fold))
    fold = division[1] if division is not None else None
    read = (
        Part(dataset=mix.dataset, part="all")
        if division is None
        else division[0].part(division[1], "train")
    )
    # of values only those that a data set states decide which cases have labels
    if read.value is not None and not read.value.meta:
        read = replace(read, value=None)
    exclude = case_filter.excluded(dataset, mix.dataset, mix.exclude, cases_here or ())
    data = Entry(
        **vars(read),
        list=mix.list,
        take=mix.take,
        task=mix.task,
        group=mix.group,
        labelled=labels,
        unlabelled=mix.unlabelled and fold is not None,
        list_hash=case_filter.digest(case_filter.listed(dataset, mix.dataset, mix.list))
        if mix.list
        else "",
        only=Narrowed(where=mix.where, exclude=tuple(exclude)),
        classes=_classes(dataset, mix.dataset) if labels else 0,
    )
    if cases_here is None:
        return Read(data, (), fold, False)
    absent = "allow" if cohorts.roots.phantoms else section.absent
    cases = case_filter.selected(cases_here, data, dataset, fold, section.first_seed, absent=absent)
    if not cases:
        raise Misstated("where" if mix.where else "dataset", _nothing(mix, cases_here, fold))
    cohorts.check_usable(mix.dataset, cases)
    return Read(data, tuple(cases), fold, True)


def _classes(dataset: Dataset, name: str) -> int:
    """Return how many classes the label maps have that a method reads, background left out."""
    if dataset.task != "segmentation" or max(dataset.labels, default=0) < 1:
        raise Misstated(
            "dataset", f"data set {name!r} has no label maps, and the method learns from label maps"
        )
    if dataset.ignore is not None:
        raise Misstated(
            "dataset",
            f"data set {name!r} has voxels that nobody labelled (ignore), which a method that learns "
            "from label maps would read as a class; leave it out",
        )
    return max(dataset.labels)


def _nothing(mix: Mix, cases_here: Sequence[Case], fold: Fold | None) -> str:
    """Say why an entry reads no case."""
    among = (
        f" among the training patients of split {fold.name!r} ('cases: all' reads the others too)"
        if fold
        else ""
    )
    met = case_filter.entries_met(cases_here, mix.where)
    return f"data set {mix.dataset!r}: where, list and exclude leave no case{among}{met}"


def _division(cohorts: Cohorts, protocol: Protocol, mix: Mix, tested: Division) -> Division | None:
    """Return the division of a data set whose training patients alone are read, if there is a single one."""
    if mix.cases != "train" or mix.list:
        return None
    sections = [section for section in protocol.finetune if section.dataset == mix.dataset]
    if not sections:
        return _division_of_others(cohorts, mix) if mix.split else None
    if mix.split:
        raise Misstated(
            "split",
            f"data set {mix.dataset!r} is also fine-tuned on, so its split there is used; leave split out",
        )
    if mix.dataset == tested[0].name:
        return tested
    others = map(cohorts.target, sections)  # downstream in another column
    return next(((other, other.folds[0]) for other in others if len(other.folds) == 1), None)


def _division_of_others(cohorts: Cohorts, mix: Mix) -> Division:
    """Return the division of a data set that other protocols test on."""
    if not cohorts.dataset(mix.dataset).labels:
        raise Misstated(
            "split", f"data set {mix.dataset!r} has no labels to be tested on; leave split out"
        )
    section = Finetune(dataset=mix.dataset, split=mix.split, where=mix.where, exclude=mix.exclude)
    target = cohorts.target(section)
    if len(target.folds) != 1:
        raise Misstated(
            "split",
            f"split {mix.split!r} of data set {mix.dataset!r} has {len(target.folds)} folds; use a split of one fold",
        )
    return target, target.folds[0]


def tests(cohorts: Cohorts, arm: Arm) -> list[tuple[Target, Fold, str | Recipe]]:
    """Return every downstream test part behind which an arm's pretraining stands, with its recipe.

    A section counts where any row that has cells there is told the same pretraining: such rows share it. Of
    its folds those for which the same training patients are read: the others have a pretraining of their own.
    """
    mixes, protocol = mixture.parts(arm.before), arm.protocol

    def read(tested: Division) -> list[Division | None]:
        return [_division(cohorts, protocol, mix, tested) for mix in mixes]

    divisions = read((arm.target, arm.fold))
    parts: list[tuple[Target, Fold, str | Recipe]] = []
    for index, section in enumerate(protocol.finetune):
        rows = [r for r in protocol.rows_in(index).values() if pretrains(protocol, r)]
        if all(pretrain_of(protocol, row, index) != arm.before for row in rows):
            continue
        target = cohorts.target(section)
        folds = target.folds_of(section)
        if section.external is None:
            folds = [f for f in folds if read((target, f)) == divisions]
        recipe = recipe_of(section, protocol.finetune[protocol.trained_in(index)], cohorts)
        tested = [(target, f, recipe) for f in folds]
        parts += [part for part in tested if part not in parts]  # two sections may share theirs
    return parts
