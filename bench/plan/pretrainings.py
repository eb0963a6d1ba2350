"""The pretrainings of a plan, what they read, and the guards that look for leaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from bench.data.parts import Entry, Part, Which
from bench.dataset import Recipe
from bench.errors import BenchError
from bench.job import Job
from bench.jobs.guard.spec import GuardSpec
from bench.jobs.kind import NetSpec, Sides
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.plan import mixing, online_probes, specs
from bench.plan.arm import Arm
from bench.plan.cohorts import Cohorts
from bench.plan.dag import Plan
from bench.protocol import Pretrain, Protocol, beside, mixture
from bench.protocol.sections import OnlineProbe, Pretraining
from bench.typed import narrowed

T = TypeVar("T")


class Pretrainings:
    """Adds pretrainings to a plan; remembers their guards.

    Args:
        plan: is added to.
        cohorts: the data sets on this machine.
    """

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
        method, net = arm.method, arm.pretrained
        section = replace(arm.before, seed=None, seeds=(seed,))
        labels = method.typed_params.reads_labels
        parts = self._once(
            arm, ("reads", seed, labels), lambda: mixing.mixed(self.cohorts, arm, section, labels)
        )
        needs = tuple(
            self.prepare(arm.protocol, m.dataset, m.recipe) for m in mixture.parts(section)
        )
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
            probing = self._once(
                arm,
                ("probe", seed, budget),
                lambda: online_probes.probing(self.cohorts, arm, probe, parts, budget),
            )
            spec = replace(spec, probe=probing)
            needs = (*needs, self._probed(arm, section, probe, network))
        job = self.plan.add(Job(spec, needs))
        self.plan.wait(job, guard)
        if read := mixing.count(section, parts):
            self.plan.scans[job] = read, mixing.unlabelled(section, parts)
        expected = mixture.expected_cases(section)
        if budget is None and expected and (steps := specs.steps(section, expected)):
            self.plan.paper_steps[job] = steps
        self.guards[job, arm.protocol.name] = guard
        _has_snapshot(arm, spec.pretrain)
        return job

    def _probed(self, arm: Arm, section: Pretrain, probe: OnlineProbe, network: NetSpec) -> str:
        """Add the preparation of the data set that an online probe reads and return it."""
        with online_probes.of_probe("recipe"):
            prepared = self.prepare(
                arm.protocol, probe.dataset, online_probes.recipe(section, probe)
            )
        with online_probes.of_probe("dataset"):
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

    def prepare(self, protocol: Protocol, name: str, recipe: str | Recipe | None) -> str:
        """Add the preparation of a data set by a recipe, as a protocol changes it, and return it."""
        if (protocol.name, name, recipe) not in self._prepared:
            job = self.plan.add(
                Job(self.cohorts.prepare(name, recipe or "default", protocol.recipe))
            )
            self.plan.sizes[job] = len(self.cohorts.cases(name) or ())
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
        """Refuse to test weights on a data set of another number of channels.

        Args:
            trained: preparation of what they are trained on.
            tested: of what they are tested on.
        """
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
        chosen = spec.take.amount or any(
            source.take for source in spec.data
        )  # else no seed decides
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
        """Add a guard.

        Args:
            spec: of it.
            read: the preparations of what is read.
            tested: those of its tests.
            cases: how many are read.
            test_cases: how many each test has.
        """
        guarded = self.plan.add(Job(spec, (*read, *tested)))
        channels_read, *each = (
            self._channels(self.plan.spec(job, PrepareSpec)) for job in (read[0], *tested)
        )
        channels = sum(n * per for n, per in zip(test_cases, each, strict=True))
        self.plan.sides[guarded] = Sides(cases, cases * channels_read, sum(test_cases), channels)
        return guarded

    def guard_external(self, arm: Arm, prepare: str, tested: str, test: Part, cases: int) -> str:
        """Add the guard that looks for cases which train or validate among those of another data set.

        Args:
            arm: whose training patients.
            prepare: the preparation of its data set.
            tested: that of the other one.
            test: which of its patients are tested.
            cases: how many cases these have.
        """
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
