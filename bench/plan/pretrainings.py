"""The pretrainings of a plan, what they read, and the guards that look for leaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from bench.data import case_filter
from bench.data.parts import Entry, Part, Which
from bench.data.recipe import largest, median_size
from bench.data.split import Fold
from bench.dataset import Case, Recipe
from bench.errors import BenchError, Misstated
from bench.job import Job
from bench.jobs.class_scores import CLASSIFICATION
from bench.jobs.guard.spec import GuardSpec
from bench.jobs.kind import MAPS, NetSpec, Sides
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec, Probing
from bench.nets import catalog
from bench.plan import mixing, specs
from bench.plan.arm import Arm
from bench.plan.cohorts import Cohorts
from bench.plan.dag import Plan
from bench.plan.mixing import Read
from bench.protocol import Pretrain, Protocol, beside, mixture
from bench.protocol.sections import Finetune, OnlineProbe, Pretraining
from bench.ranges import Triple
from bench.typed import narrowed

T = TypeVar("T")


class Pretrainings:
    """Adds pretrainings to a plan; remembers their guards."""

    def __init__(self, plan: Plan, cohorts: Cohorts) -> None:
        self.plan, self.cohorts = plan, cohorts
        self.guards: dict[tuple[str, str], str] = {}  # pretraining, protocol -> guard
        self._prepared: dict[tuple[Any, ...], str] = {}  # protocol's name, data set, recipe -> job
        self._results: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def add(self, arm: Arm, seed: int) -> str:
        """Add an arm's pretraining under one of its seeds and return it.

        Raises:
            BenchError: an impossible mixture, network or snapshot.
        """
        from bench.method import MethodParams  # late: it imports torch

        method, net = arm.method, arm.pretrained
        section = replace(arm.before, seed=None, seeds=(seed,))
        labels = method.typed_params.reads_labels
        parts = self._once(
            arm, ("reads", seed, labels), lambda: mixing.mixed(self.cohorts, arm, section, labels)
        )
        needs = tuple(self._mixed(arm.protocol, section))
        budget = specs.steps(section, mixing.count(section, parts))
        spec = PretrainSpec(
            method=method,
            network=NetSpec.of(net, self.channels(needs, net.crop)),
            data=tuple(part.data for part in parts),
            pretrain=narrowed(Pretraining, section, steps=budget),
            seed=seed,
            take=mixing.overall(section),
        )
        probe, network = section.probe, spec.network
        guard = self._guard(arm, section, spec, parts, needs)
        if section.leaks == "drop":  # what is left out is part of the result
            spec, needs = replace(spec, leaks="drop"), (*needs, guard)
        if probe is not None:
            online = self._once(
                arm,
                ("probe", seed, budget),
                lambda: probing(self.cohorts, arm, probe, parts, budget),
            )
            spec = replace(spec, probe=online)
            needs = (*needs, self._probed(arm, section, probe, network))
        job = self.plan.add(Job(spec, needs))
        judged = type(method.typed_params).check_volume is not MethodParams.check_volume
        if judged and section.leaks != "drop":  # else it is not known yet which cases are read
            self.plan.volumes[spec.volumes_key(needs)] = self._volumes(section, parts, needs)
        self.plan.wait(job, guard)
        if read := mixing.count(section, parts):
            self.plan.scans[job] = read, mixing.unlabelled(section, parts)
        expected = mixture.expected_cases(section)
        if budget is None and expected and (steps := specs.steps(section, expected)):
            self.plan.paper_steps[job] = steps
        self.guards[job, arm.protocol.name] = guard
        _has_snapshot(arm, spec.pretrain)
        return job

    def _volumes(
        self, section: Pretrain, parts: Sequence[Read], needs: Sequence[str]
    ) -> tuple[Triple, ...]:
        """Return the sizes, at most, of the prepared volumes that a pretraining reads and headers state."""
        chosen = {(name, case.id) for name, case in mixing.chosen(section, parts)}
        volumes = set[Triple]()
        for part, job in zip(parts, needs, strict=False):
            cases = [case for case in part.cases if (part.data.dataset, case.id) in chosen]
            recipe = self.plan.spec(job, PrepareSpec).recipe
            grids = self.cohorts.contents.grids(cases)
            volumes |= {largest(shape, spacing, recipe) for shape, spacing in grids}
        return tuple(sorted(volumes))

    def _probed(self, arm: Arm, section: Pretrain, probe: OnlineProbe, network: NetSpec) -> str:
        """Add the preparation of the data set that an online probe reads and return it."""
        with of_probe("recipe"):
            prepared = self.prepare(arm.protocol, probe.dataset, probe_recipe(section, probe))
        with of_probe("dataset"):
            channels = self.channels([prepared], network.crop)
            if channels != network.in_channels:
                raise BenchError(
                    f"data set {probe.dataset!r} has {channels} channels, but the pretraining has "
                    f"{network.in_channels}; select channels with 'channels' of a recipe, or use another data set"
                )
        return prepared

    def samples(self, arm: Arm) -> int | None:
        """Return the samples that the longest pretraining beside an arm sees, None where nobody knows.

        Those are the ones of its network in its section; of a row that starts from a snapshot, up to there.
        """
        seen = list[int | None]()
        for name, row in beside(arm.protocol, arm.row, arm.index).items():
            other = replace(arm, name=name, row=row, control="")
            for seed in other.before.every_seed(arm.tuned.seeds):
                settings = self.plan.spec(self.add(other, seed), PretrainSpec).pretrain
                steps = row.at or settings.steps
                seen.append(None if steps is None else steps * settings.batch)
        return None if None in seen else max(filter(None, seen))

    def _mixed(self, protocol: Protocol, section: Pretrain) -> Iterator[str]:
        """Yield the preparation of each data set of a mixture; of a fault it says which entry states it."""
        for number, mix in enumerate(mixture.parts(section)):
            try:
                yield self.prepare(protocol, mix.dataset, mix.recipe)
            except Misstated as error:
                in_entry = bool(section.datasets) and section.datasets[number].recipe is not None
                key = f"datasets.{number}.recipe" if in_entry else error.key
                raise Misstated(key, str(error)) from None

    def recipe(self, protocol: Protocol, name: str, recipe: str | Recipe | None) -> PrepareSpec:
        """Return how a data set is prepared by a recipe, as a protocol changes it.

        Raises:
            Misstated: as ``Cohorts.prepare``. BenchError: only with the protocol's changes; names their line.
        """
        try:
            return self.cohorts.prepare(name, recipe or "default", protocol.recipe)
        except Misstated as error:
            # if it is wrong without the changes, too, this is said
            self.cohorts.prepare(name, recipe or "default", {})
            with protocol.at():
                raise error from None

    def prepare(self, protocol: Protocol, name: str, recipe: str | Recipe | None) -> str:
        """Add the preparation of a data set by a recipe, as a protocol changes it, and return it."""
        if (protocol.name, name, recipe) not in self._prepared:
            spec = self.recipe(protocol, name, recipe)
            job, cases = self.plan.add(Job(spec)), self.cohorts.cases(name) or ()
            self.plan.sizes[job] = len(cases)
            if median := median_size(self.cohorts.contents.grids(cases), spec.recipe):
                self.plan.medians[job] = median
            self._prepared[protocol.name, name, recipe] = job
        return self._prepared[protocol.name, name, recipe]

    def channels(self, prepared: Sequence[str], crop: Sequence[int]) -> int:
        """Return the channels that all prepared data sets have.

        Raises:
            BenchError: they have different ones, or are pictures that a crop in 3D misses.
        """
        per: dict[str, int] = {}
        for spec in (self.plan.spec(job, PrepareSpec) for job in prepared):
            dataset = self.cohorts.dataset(spec.dataset)
            if dataset.flat and crop[2] > 1:
                raise BenchError(
                    f"data set {spec.dataset!r} holds pictures, and a crop {list(crop)} lies mostly outside of them; "
                    "use a 2D network and a crop [x, y, 1]"
                )
            per[spec.dataset] = self._channels(spec)
        if len(set(per.values())) > 1:
            listing = ", ".join(f"{name} {n}" for name, n in per.items())
            raise BenchError(
                f"a mixture needs one number of channels, and its data sets have {listing}; pick channels "
                "by 'channels' of a recipe"
            )
        return next(iter(per.values()))

    def check_channels(self, trained: str, tested: str) -> None:
        """Refuse to test weights on a data set of another number of channels."""
        first, second = (self.plan.spec(job, PrepareSpec) for job in (trained, tested))
        if self._channels(first) != self._channels(second):
            raise BenchError(
                f"data set {second.dataset!r} has {self._channels(second)} channels and {first.dataset!r} "
                f"{self._channels(first)}; pick channels by 'channels' of a recipe"
            )

    def _channels(self, spec: PrepareSpec) -> int:
        return len(spec.recipe.channels or self.cohorts.dataset(spec.dataset).channels)

    def _guard(
        self,
        arm: Arm,
        section: Pretrain,
        spec: PretrainSpec,
        parts: list[mixing.Read],
        needs: tuple[str, ...],
    ) -> str:
        """Add the job that looks for downstream test cases among what a pretraining reads."""
        # else no seed decides
        chosen = spec.take.amount or any(source.take for source in spec.data)
        tests = self._once(arm, ("tests",), lambda: mixing.tests(self.cohorts, arm))
        reads = tuple(self.prepare(arm.protocol, t.name, recipe) for t, _, recipe in tests)
        parted = tuple(target.part(fold, "test") for target, fold, _ in tests)
        wanted = GuardSpec(spec.data, parted, spec.seed if chosen else 0, spec.take)
        sizes = [target.count(fold.test) for target, fold, _ in tests]
        read = mixing.count(section, parts)
        guarded = self._compared(wanted, needs, reads, read, sizes)
        if section.leaks != "fail":
            return guarded
        return self.plan.add(Job(GuardSpec(leaks="fail"), (guarded,)))

    def _compared(
        self,
        spec: GuardSpec,
        read: tuple[str, ...],
        tested: tuple[str, ...],
        cases: int,
        test_cases: Sequence[int],
    ) -> str:
        """Add a guard of what is read against its tests."""
        guarded = self.plan.add(Job(spec, (*read, *tested)))
        channels_read, *each = (
            self._channels(self.plan.spec(job, PrepareSpec)) for job in (read[0], *tested)
        )
        channels = sum(n * per for n, per in zip(test_cases, each, strict=True))
        self.plan.sides[guarded] = Sides(cases, cases * channels_read, sum(test_cases), channels)
        return guarded

    def guard_external(self, arm: Arm, prepare: str, tested: str, test: Part, cases: int) -> str:
        """Add the guard that looks for cases which train or validate among those of another data set."""
        fold, target = arm.fold, arm.target
        sides: list[Which] = ["train", "val"] if fold.val else ["train"]
        data = tuple(Entry(**vars(target.part(fold, side))) for side in sides)
        spec = GuardSpec(data, (test,), 0)
        read = target.count((*fold.train, *fold.val))
        guarded = self._compared(spec, (prepare,) * len(data), (tested,), read, [cases])
        return self.plan.add(Job(GuardSpec(leaks="external"), (guarded,)))

    def _once(self, arm: Arm, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Return what a function makes of where an arm's pretraining reads, called once: rows share it."""
        cache_key = (
            *map(id, (arm.protocol, arm.before, arm.target)),
            arm.fold.name,
            arm.fold.index,
            *key,
        )
        if cache_key not in self._results:
            # with what the ids are of, so that they stay theirs
            self._results[cache_key] = (arm, arm.before, make())
        result: T = self._results[cache_key][-1]
        return result


def _has_snapshot(arm: Arm, pretraining: Pretraining) -> None:
    at, snapshots = arm.row.at, list(pretraining.snapshots)
    if at is not None and pretraining.steps is not None and at > pretraining.steps:
        raise BenchError(
            f"row {arm.name!r}: 'at: {at}', and the pretraining ends after {pretraining.steps} steps; use "
            "fewer steps, or leave 'at' out for the end"
        )
    if at is not None and at not in snapshots:
        raise BenchError(
            f"row {arm.name!r}: 'at: {at}' is not among the snapshots {snapshots} that "
            f"{pretraining.steps} steps of pretraining leave; write 'pretrain: {{snapshots: [{at}]}}'"
        )


# Whom the online probe of a pretraining reads: labelled patients who train wherever they are divided here.


@contextmanager
def of_probe(key: str) -> Iterator[None]:
    """Say of what is refused inside that it is stated by a key of the probe."""
    try:
        yield
    except BenchError as error:
        stated = error.key if isinstance(error, Misstated) else key
        named = stated if stated in OnlineProbe.__dataclass_fields__ else key
        raise Misstated(f"probe.{named}", str(error)) from None


def probing(
    cohorts: Cohorts, arm: Arm, probe: OnlineProbe, reads: Sequence[Read], steps: int | None
) -> Probing:
    """Return what a pretraining is told of its probe.

    Raises:
        Misstated: a data set that is unknown, has no labels or is not divided here, too few patients, fewer
            steps than between two looks, a level that the encoder lacks, intensities of classes.
    """
    if steps is not None and probe.every > steps:
        text = f"is {probe.every} steps, but the pretraining has only {steps}; use at most {steps}"
        raise Misstated("probe.every", text)
    with of_probe("levels"):
        catalog.check_levels(arm.pretrained.full_name, probe.levels or (), "levels")
    with of_probe("dataset"):
        dataset = cohorts.dataset(probe.dataset)
        if not dataset.labels or dataset.task not in (MAPS, CLASSIFICATION):
            raise BenchError(
                f"data set {probe.dataset!r} has no label maps and no classes; use another data set"
            )
        data = _training_parts(cohorts, arm, probe.dataset, reads)
        cases = cohorts.cases(probe.dataset)
    if probe.intensity and dataset.task != MAPS:
        text = "works only for segmentation, not for classification; leave it out"
        raise Misstated("probe.intensity", text)
    if cases is not None:
        with of_probe("patients"):
            _check_patients(cohorts, probe, data, cases)
    return Probing(
        data=tuple(item for item, _ in data),
        task=dataset.task,
        classes=max(dataset.labels) + 1,
        patients=probe.patients,
        every=probe.every,
        ignore=dataset.void,
        levels=probe.levels,
        intensity=probe.intensity,
    )


def _check_patients(
    cohorts: Cohorts,
    probe: OnlineProbe,
    data: Sequence[tuple[Entry, Fold | None]],
    cases: Sequence[Case],
) -> None:
    """Refuse too few patients, one class alone among those that fit, and cases that cannot be used."""
    dataset = cohorts.dataset(probe.dataset)
    selections = [case_filter.selected(cases, item, dataset, fold, 0) for item, fold in data]
    usable = case_filter.in_all(selections)
    fitted, scored = case_filter.halves(usable, probe.dataset, probe.patients)
    read = [case for case in usable if case.patient in {*fitted, *scored}]
    cohorts.check_usable(probe.dataset, read)
    classes = {case.label for case in read if case.patient in fitted}
    if dataset.task == CLASSIFICATION and len(classes) < 2:
        raise BenchError(
            f"the {len(fitted)} patients on which the probe is fitted all have the same class; use more patients"
        )


def probe_recipe(section: Pretrain, probe: OnlineProbe) -> str | Recipe:
    """Return how the probe's data set is prepared: as stated, as for the pretraining, or by its default."""
    of_mixture = [m.recipe for m in mixture.parts(section) if m.dataset == probe.dataset]
    return probe.recipe or next(iter(of_mixture), section.recipe) or "default"


def _of_section(cohorts: Cohorts, section: Finetune) -> Iterator[tuple[Entry, Fold | None]]:
    """Yield the training part of each fold that a section runs."""
    target = cohorts.target(section)
    for fold in target.folds_of(section):
        yield Entry(**vars(target.part(fold, "train")), labelled=True), fold


def _training_parts(
    cohorts: Cohorts, arm: Arm, name: str, reads: Sequence[Read]
) -> list[tuple[Entry, Fold | None]]:
    """Return the training part of every fold by which the protocol divides a data set.

    Of a data set that is pretrained on alone, what its first entry of the mixture may read.
    """
    sections = [section for section in arm.protocol.finetune if section.dataset == name]
    if sections:
        every = [part for section in sections for part in _of_section(cohorts, section)]
        return [part for number, part in enumerate(every) if part not in every[:number]]
    for read in reads:
        if read.data.dataset == name:
            entry = replace(
                read.data,
                labelled=True,
                take="",
                task=None,
                group=None,
                unlabelled=False,
                classes=0,
            )
            return [(entry, read.fold)]
    raise BenchError(
        f"the training patients of data set {name!r} are not known, because this protocol neither fine-tunes "
        "nor pretrains on this data set; use a data set of this protocol"
    )
