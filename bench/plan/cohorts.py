"""The data sets on this machine as one plan sees them; each is looked at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import registry, typed
from bench.data import case_filter, values
from bench.data import split as splits
from bench.data.parts import Division, Narrowed, Part, Value, Which
from bench.data.recipe import consistent
from bench.data.roots import Contents, Roots, adapter
from bench.dataset import Case, Dataset, Recipe
from bench.digest import short
from bench.errors import BenchError, Misstated, first_of, unknown
from bench.jobs.prepare.spec import PrepareSpec
from bench.metrics.request import REGRESSION
from bench.protocol.sections import Finetune, Regressed


@dataclass(frozen=True)
class Target:
    """One downstream data set as found on this machine (or not found: provisional)."""

    name: str
    dataset: Dataset
    cases: tuple[Case, ...]
    folds: tuple[splits.Fold, ...]
    present: bool  # on this machine
    narrowed: Narrowed = Narrowed()  # what leaves cases out
    # the protocol's or the data set's
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    value: Value | None = None  # of a regression

    @property
    def task(self) -> str:
        """Return what is predicted: the data set's task, or a regression's value."""
        return self.dataset.task if self.value is None else REGRESSION

    def count(self, patients: Collection[str]) -> int:
        """Return how many labelled cases patients have; where none is here, one each."""
        if not self.present:
            return len(patients)
        return sum(self._labelled[patient] for patient in {*patients})

    @cached_property
    def _labelled(self) -> Counter[str]:
        return Counter(c.patient for c in self.cases if c.label is not None)

    def folds_of(self, section: Finetune) -> list[splits.Fold]:
        """Return the folds that a section runs."""
        return [f for f in self.folds if section.folds is None or f.index in section.folds]

    def division(self, fold: splits.Fold) -> Division:
        """Return what a spec says of a fold; the digest where its patients are known."""
        cases = self.present or fold.train
        return Division(
            dataset=self.name,
            split=fold.name,
            fold=fold.index,
            split_hash=fold.digest if cases else None,
            value=self.value,
            **vars(self.narrowed),
        )

    def part(self, fold: splits.Fold, which: Which) -> Part:
        """Return what a spec says of one part of a fold."""
        return Part(**vars(self.division(fold)), part=which)


class Cohorts:
    """Finds data sets under the roots and remembers what it found."""

    def __init__(self, roots: Roots, contents: Contents, *, need_data: bool) -> None:
        self.roots, self.contents, self.need_data = roots, contents, need_data
        self.used: dict[str, str] = {}  # data set -> folder
        self.provisional = False
        self._datasets: dict[str, Dataset] = {}
        self._cases: dict[str, tuple[Case, ...] | None] = {}
        self._digests: dict[str, str] = {}
        # data set -> case -> what its headers give away
        self._faults: dict[str, dict[str, str]] = {}
        self._targets: dict[tuple[Any, ...], Target] = {}

    def dataset(self, name: str) -> Dataset:
        """Return a data set's declaration."""
        if name not in self._datasets:
            self._datasets[name] = adapter(name, self.roots)
        return self._datasets[name]

    def cases(self, name: str) -> tuple[Case, ...] | None:
        """Return a data set's cases, None where it is not on this machine.

        Raises:
            BenchError: files are missing, or the data is needed and not there.
        """
        if name not in self._cases:
            root = self.roots.require(name) if self.need_data else self.roots.find(name)
            self._cases[name] = None if root is None else self._look(name, root)
        if self._cases[name] is None:
            self.provisional = True
        return self._cases[name]

    def _look(self, name: str, root: Path) -> tuple[Case, ...]:
        dataset = self.dataset(name)
        cases = tuple(dataset.listed(root))
        missing = dataset.missing(root, cases)
        if missing:
            case, file = missing[0]
            raise BenchError(
                f"{name}: {len(missing)} file(s) missing, first {file} (case {case}); "
                f"'bench check {name} --data ...' lists all"
            )
        faults = self.contents.header_faults(cases, len(dataset.channels))
        if len(faults) == len(cases):
            case_filter.check_usable(name, [c.id for c in cases], faults)
        self._faults[name] = faults
        self.used[name] = str(root)
        return cases

    def check_usable(self, name: str, chosen: Sequence[Case]) -> None:
        """Refuse a choice of a data set's cases of which some have headers that cannot be.

        Raises:
            BenchError: as ``bench.data.case_filter.check_usable``.
        """
        case_filter.check_usable(name, [c.id for c in chosen], self._faults.get(name, {}))

    def target(self, section: Finetune) -> Target:
        """Return a downstream data set divided as a protocol's section asks."""
        where, regions = tuple(sorted(section.where.items())), tuple(section.regions.items())
        key = (section.dataset, section.split, where, section.exclude, regions, section.value)
        if key not in self._targets:  # every row and fold asks again, of every section
            self._targets[key] = self._divided(section)
        return self._targets[key]

    def _divided(self, section: Finetune) -> Target:
        name, dataset = section.dataset, self.dataset(section.dataset)
        if section.split == splits.EXTERNAL and section.external is None:
            raise Misstated(
                "split",
                f"{section.split!r} has no training patients; name data set {name!r} in 'test_on' of another "
                "section, or use another split",
            )
        value = _value(name, dataset, section.value)
        if not dataset.labels and value is None:
            raise Misstated(
                "dataset",
                f"data set {name!r} has no labels; pretrain on it, and fine-tune on another",
            )
        if section.regions and dataset.task == "classification":
            raise Misstated(
                "regions", f"data set {name!r} has classes and no label maps; leave it out"
            )
        regions = section.regions or dict(dataset.regions)
        strange = sorted(
            {v for values in section.regions.values() for v in values} - {*dataset.labels}
        )
        if strange or not all(section.regions.values()):
            labels = ", ".join(f"{value} {label}" for value, label in dataset.labels.items())
            raise Misstated(
                "regions",
                f"data set {name!r} has the labels {labels}; give each region one or more of these",
            )
        cases = self.cases(name)
        if cases is not None:
            cases = tuple(values.labelled(cases, value))
        if cases and value is not None and all(case.label is None for case in cases):
            keys = sorted({key for case in self.cases(name) or () for key in case.meta})
            raise Misstated(
                "value.meta",
                f"no case of data set {name!r} has the entry {value.meta!r}; entries: {', '.join(keys) or 'none'}",
            )
        exclude = case_filter.excluded(dataset, name, section.exclude, cases or ())
        narrowed = Narrowed(where=section.where, exclude=tuple(exclude))
        if cases is None:
            return Target(
                name, dataset, (), tuple(_unseen(dataset, section)), False, narrowed, regions, value
            )
        selected = case_filter.matching(cases, section.where, exclude)
        if not selected:
            key, met = (
                ("where" if section.where else "exclude"),
                case_filter.entries_met(cases, section.where),
            )
            raise Misstated(
                key,
                f"data set {name!r}: 'where' and 'exclude' leave none of {len(cases)} cases{met}",
            )
        if value is not None and value.ejection_fraction:
            _check_phases(name, selected)
        gone = {c.patient for c in cases} - {c.patient for c in selected}
        folds = splits.folds(dataset, name, selected, section.split, gone)
        _apart(name, dataset, selected, folds)
        divided = {patient for fold in folds for patient in (*fold.train, *fold.val, *fold.test)}
        self.check_usable(
            name, [c for c in selected if c.label is not None and c.patient in divided]
        )
        return Target(name, dataset, tuple(selected), tuple(folds), True, narrowed, regions, value)

    def matching(self, target: Target, where: Mapping[str, str]) -> int:
        """Return how many cases of a data set have these entries in their meta; 0 where it is not here.

        Raises:
            BenchError: some of them have headers that cannot be.
        """
        wanted = {**target.narrowed.where, **where}
        selected = case_filter.matching(
            self.cases(target.name) or (), wanted, target.narrowed.exclude
        )
        self.check_usable(target.name, selected)
        return len(selected)

    def prepare(self, name: str, recipe: str | Recipe, over: Mapping[str, Any]) -> PrepareSpec:
        """Return the spec of the job that prepares a data set by a recipe, which ``over`` changes.

        Raises:
            Misstated: no recipe of this name, one that contradicts itself, or channels that are not there.
        """
        dataset = self.dataset(name)
        if isinstance(recipe, str):
            if recipe not in dataset.recipes:
                raise Misstated(
                    "recipe", unknown(f"recipe of data set {name!r}", recipe, dataset.recipes)
                )
            recipe = dataset.recipes[recipe]
        recipe = typed.build(
            Recipe, {**vars(recipe), **over}, lambda keys: f"recipe.{'.'.join(keys)}"
        )
        _check_recipe(name, dataset, recipe)
        cases = self.cases(name)
        if cases is not None and name not in self._digests:
            self._digests[name] = self.contents.digest(cases)
        return PrepareSpec(
            name, dataset.version, recipe, self._digests.get(name), _outside(name, dataset)
        )


def _check_recipe(name: str, dataset: Dataset, recipe: Recipe) -> None:
    try:
        consistent(recipe)
    except BenchError as error:
        raise Misstated("recipe", str(error).removeprefix("recipe: ")) from None
    if not all(0 <= channel < len(dataset.channels) for channel in recipe.channels or ()):
        listed = ", ".join(f"{number} {text}" for number, text in enumerate(dataset.channels))
        raise Misstated(
            "recipe",
            f"channels {list(recipe.channels or ())}: data set {name!r} has only the channels {listed}; use these "
            "numbers",
        )


def recipe_of(section: Finetune, trained: Finetune, cohorts: Cohorts) -> str | Recipe:
    """Return how the scans of a section are prepared; of another data set's test as the trained section's.

    Args:
        section: whose scans.
        trained: whose fine-tunings are scored; ``section`` itself unless it is a test elsewhere.
        cohorts: the data sets.
    """
    if section.external is not None and section.external.recipe is not None:
        return section.external.recipe
    if section.external is None or not isinstance(trained.recipe, str):
        return trained.recipe
    recipes = cohorts.dataset(trained.dataset).recipes
    return recipes.get(trained.recipe, trained.recipe)


def _outside(name: str, dataset: Dataset) -> str:
    """Return a digest of what makes arrays of a data set from outside: its plugin, or its folder's values."""
    if name in registry.names("dataset"):
        return registry.source("dataset", name)
    values: list[tuple[int | str, int]] = [*sorted(dataset.raw_labels.items())]
    values += [] if dataset.ignore is None else [("ignore", dataset.ignore)]
    return short(repr(values).encode()) if values else ""


def _apart(
    name: str, dataset: Dataset, cases: Sequence[Case], folds: Sequence[splits.Fold]
) -> None:
    """Refuse to train and test on one person who goes by two names."""
    people: dict[str, set[str]] = {}
    for case in cases:
        people.setdefault(dataset.person(case), set()).add(case.patient)
    several = [patients for patients in people.values() if len(patients) > 1]
    for fold in folds:
        for patients in several:
            if patients & {*fold.train, *fold.val} and patients & {*fold.test}:
                raise Misstated(
                    "split",
                    f"{name}: {' and '.join(sorted(patients))} are the same person, on both sides of split "
                    f"{fold.name!r}; leave one out by 'exclude: [doubtful]' or by name",
                )


def check_folds(section: Finetune, folds: Sequence[splits.Fold]) -> None:
    """Refuse folds that a split has not.

    Raises:
        BenchError: names the first, and how many there are.
    """
    gone = sorted({*(section.folds or ())} - {f.index for f in folds})
    if gone or section.folds == ():
        which = f"fold {gone[0]}" if gone else "no fold"
        raise Misstated(
            "folds",
            f"{which} of split {section.split!r} of data set {section.dataset!r}, which has "
            f"{len(folds)} folds, counted from 0",
        )


def _unseen(dataset: Dataset, section: Finetune) -> list[splits.Fold]:
    """Return a stand-in fold where the data is not here; registered lists are known all the same."""
    if section.split in (*splits.RULES, *splits.BY_SCAN, splits.GIVEN, splits.EXTERNAL):
        count = splits.FOLDS.get(section.split, 1)
        return [splits.Fold(section.split, i, (), (), ()) for i in range(count)]
    if section.split not in dataset.splits:
        names = [*dataset.splits, *splits.RULES, *splits.BY_SCAN, splits.GIVEN]
        raise Misstated(
            "split", unknown(f"split of data set {section.dataset!r}", section.split, names)
        )
    return splits.listed(dataset, section.split)


def _check_phases(name: str, cases: Sequence[Case]) -> None:
    counts = Counter(case.patient for case in cases if case.label is not None)
    if single := [patient for patient, count in counts.items() if count < 2]:
        raise Misstated(
            "value.ejection_fraction",
            f"data set {name!r} has patients with one labelled case ({first_of(single, 3)}); an ejection fraction "
            "needs two phases; exclude them",
        )


def _value(name: str, dataset: Dataset, stated: Regressed | None) -> Value | None:
    """Return what a regression predicts, label values in the place of their names."""
    if stated is None:
        return None
    if stated.meta:
        return Value(meta=stated.meta, unit=stated.unit)
    key = "volume" if stated.volume else "ejection_fraction"
    structure = stated.volume or stated.ejection_fraction
    structures: dict[str, tuple[int, ...]] = {n: (v,) for v, n in dataset.labels.items()}
    structures |= dataset.regions
    if dataset.task != "segmentation" or structure not in structures:
        raise Misstated(
            f"value.{key}", unknown(f"structure of data set {name!r}", structure, structures)
        )
    return (
        Value(volume=structures[structure])
        if stated.volume
        else Value(ejection_fraction=structures[structure])
    )
