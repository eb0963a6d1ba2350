"""Pretrain: one method on one network and one mixture; snapshots by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

from bench import registry
from bench.data.parts import Entry, Take
from bench.errors import BenchError
from bench.job import Job
from bench.jobs import prediction
from bench.jobs.kind import NetSpec, PlanContext
from bench.jobs.training_kind import TrainingKind, batch_norm
from bench.nets import catalog
from bench.protocol.sections import Number, Pretraining
from bench.typed import canonical, plain, sparse

FILE = "probe.csv"  # of an online probe, a row for each look: step, and the score by its name


@dataclass(frozen=True)
class MethodSpec:
    """A method, and the values of its parameters, all of them."""

    name: str
    version: int
    params: dict[str, Any]
    source: str = sparse("")  # digest of what a method from outside says

    @classmethod
    def of(cls, name: str, given: dict[str, Any]) -> MethodSpec:
        """Return a method with what is ``given`` over its defaults.

        Raises:
            BenchError: as ``Method.make_params``.
        """
        method = registry.load("method", name)
        params = plain(method.make_params(given))
        return cls(name, method.version, params, registry.source("method", name))

    @property
    def method(self) -> Any:
        """Return its class."""
        return registry.load("method", self.name)

    @cached_property  # plans ask thousands of times
    def typed_params(self) -> Any:
        """Return its parameters as its own ``Params``."""
        return self.method.make_params(self.params)

    @cached_property
    def differing(self) -> str:
        """Return canonical JSON of the parameters that are not the method's defaults."""
        default, params = _defaults(self.method.Params), self.params.items()
        return canonical({k: v for k, v in params if k not in default or v != default[k]})


@cache
def _defaults(params: Any) -> dict[str, Any]:
    """Return what a method's parameters are by default, without what is sparse: stored where it differs."""
    return dict(plain(params()))


@dataclass(frozen=True, kw_only=True)
class Probing:
    """An online probe: whom it reads, how often, which features."""

    data: tuple[Entry, ...]  # of one data set: its patients train in each
    task: str
    classes: int  # with the background
    patients: int
    every: int  # steps
    ignore: int | None = sparse()  # value of voxels that nobody labelled
    levels: tuple[int, ...] | None = sparse()
    intensity: tuple[int, ...] = sparse(())

    @property
    def dataset(self) -> str:
        """Return the data set's name."""
        return self.data[0].dataset

    @property
    def text(self) -> str:
        """Return in words whose labels are read, and what for."""
        return (
            f"the online probe reads the labels of {self.patients} training patients of {self.dataset}; "
            "these labels select nothing"
        )

    def due(self, step: int, last: int) -> bool:
        """Tell whether the probe looks after ``step`` steps of ``last``."""
        return step % self.every == 0 or step == last

    def looks(self, last: int) -> int:
        """Return how often it looks in ``last`` steps."""
        return 1 + -(-last // self.every)


@dataclass(frozen=True)
class PretrainSpec(TrainingKind):
    """A method, its network, what is read, how it is trained."""

    kind = "pretrain"
    joined = True

    method: MethodSpec
    network: NetSpec
    data: tuple[Entry, ...]
    pretrain: Pretraining
    seed: Number
    take: Take = sparse(Take())
    # cases that a guard, the last need, found in a test part
    leaks: Literal["", "drop"] = sparse("")
    # the preparation of its data set is the last need
    probe: Probing | None = sparse()

    @property
    def classes(self) -> tuple[dict[str, int], int]:
        """Return how many label classes (no background) come before each data set's, and how many all have."""
        before: dict[str, int] = {}
        total = 0
        for item in self.data:
            if item.dataset not in before:  # it may be listed twice, by other conditions
                before[item.dataset], total = total, total + item.classes
        return before, total

    def volumes_key(self, needs: Sequence[str]) -> str:
        """Return what pretrainings share that read the same cases of the same preparations."""
        return canonical([self.data, self.take, self.seed, [*needs]])

    def refuse(self, job: Job, plan: PlanContext) -> None:
        """A batch, a mixture or a recipe that the method cannot train on."""
        net, training, method = self.network, self.pretrain, self.method.method
        called = f"method {self.method.name!r}"
        recipes = self.refuse_training(job, plan, plan.processes)
        if net.network not in method.networks():
            fitting = ", ".join(method.networks())
            wanted, given = method.dims, catalog.network_facts(net.network).dims
            other = wanted != given and not method.any_dims
            why = f" ({wanted}D method, {given}D network)" if other else ""
            raise BenchError(
                f"{called} cannot train network {net.network!r}{why}; use one of {fitting}"
            )
        if training.batch < method.min_batch:
            needs = f"needs a batch of at least {method.min_batch}"
            raise BenchError(f"{called} {needs}, got {training.batch}")
        params = self.method.typed_params
        params.check_data(self.data)
        params.check_batch(net.full_name, net.crop, training.batch, plan.processes)
        for recipe in recipes[: len(self.data)]:
            params.check(net.crop, recipe)
        for shape in plan.volumes.get(self.volumes_key(job.needs), ()):
            params.check_volume(net.crop, shape)

    def across_batch(self) -> str:
        """The method's loss, or batch norm in the network."""
        if self.method.method.across_batch or self.method.typed_params.across_batch:
            return f"method {self.method.name!r} compares the samples of a batch"
        return batch_norm(self.network.network)

    @property
    def builds(self) -> bool:
        """A method around its network, without memory for weights."""
        return True

    def likeness(self, job: Job, plan: PlanContext) -> list[Any]:
        """The same method, network and batch."""
        training = self.pretrain
        method = (self.method.name, self.method.params)
        looks = [self.probe] if self.probe else []
        return [self.network, training.batch, training.precision, *method, *looks]

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """By its operations, and the patients that its probe reads at each look."""
        trained, probe = super().seconds(job, plan), self.probe
        if trained is None or probe is None:
            return trained
        each = prediction.seconds(job, plan, -1, self.network, probe.task)
        patients = (prediction.PROBED + 1) / 2 * probe.patients
        return trained + probe.looks(self.pretrain.steps or 0) * patients * each

    @property
    def training(self) -> Pretraining:
        """Of its own section."""
        return self.pretrain

    def sample(self) -> float:
        """Every voxel that a sample shows to the network, and the method's own heads."""
        from bench.method import forward_flops  # which loads torch

        net, method = self.network, self.method
        facts, size = catalog.network_facts(net.full_name), catalog.preset(net.network, net.preset)
        return forward_flops(method.method, method.typed_params, facts, size, net.crop)
