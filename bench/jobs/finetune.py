"""Fine-tune: one network on one label fraction of one data set."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from bench.data.parts import Labelled
from bench.errors import BenchError
from bench.job import Job
from bench.jobs.kind import MAPS, Around, NetSpec
from bench.jobs.pretrain import PretrainSpec
from bench.jobs.trains import Trains
from bench.nets import catalog
from bench.protocol.comparable import LOSSES
from bench.protocol.sections import Inference, Number, Tuning
from bench.typed import sparse

FOR_MAPS = (
    "foreground", "head", "deep_supervision", "balanced", "exact", "negatives", "batch_dice", "background",
    "ce_weight",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TuningSpec(Tuning):
    """How it is trained; with how held-out cases are predicted, where that decides anything."""

    inference: Inference | None = sparse()


@dataclass(frozen=True)
class FinetuneSpec(Trains):
    """A network, what it starts from, the labelled cases, how it is trained."""

    kind = "finetune"
    # 2: labels had been flipped along other axes than their images
    # 3: windows larger than the volume had been padded with 0 and not, as in training, with its lowest value
    version = 3
    work = "bench.jobs.finetuning"

    network: NetSpec
    init: str  # random, job:<id>[@step], file:<sha256>
    data: Labelled
    finetune: TuningSpec
    seed: Number
    control: Literal["", "shuffled"] = sparse("")

    def refuse(self, job: Job, around: Around) -> None:
        """A batch, a crop or a loss that cannot be; weights that the network cannot take over."""
        net = self.network
        self.refuse_training(job, around, processes=1)
        self._refuse_for_task()
        needs = (around.jobs[need].spec for need in job.needs)
        for before in (spec.network for spec in needs if isinstance(spec, PretrainSpec)):
            if net.in_channels % before.in_channels:
                raise BenchError(
                    f"pretrained on {before.in_channels} channel(s), and data set {self.data.dataset!r} has "
                    f"{net.in_channels}, no multiple of it; pick as many by 'channels' of a recipe"
                )
            catalog.check_handover((before.network, before.preset), (net.network, net.preset))

    def _refuse_for_task(self) -> None:
        tuning, task, net = self.finetune, self.data.task, self.network
        catalog.check_task(net.network, task)
        if tuning.loss not in LOSSES[task]:
            raise BenchError(
                f"finetune.loss {tuning.loss} is not for {task}; take {' or '.join(LOSSES[task])}"
            )
        if task == "classification":
            for key in FOR_MAPS:
                if getattr(tuning, key) != Tuning.__dataclass_fields__[key].default:
                    raise BenchError(
                        f"finetune.{key}: is for label maps, not for a classification; leave it out"
                    )
        if tuning.batch_dice and tuning.accumulate > 1:
            raise BenchError(
                "finetune.batch_dice: is of the whole batch, which accumulate would cut; leave "
                "accumulate at 1"
            )
        if (tuning.head == "regions") != bool(self.data.regions):
            raise BenchError("finetune.head: is the protocol's to state, --set cannot change it")
        if tuning.deep_supervision and catalog.entry(net.network).scales < 2:
            deep = ", ".join(e.name for e in catalog.entries().values() if e.scales > 1)
            raise BenchError(f"finetune.deep_supervision: network {net.network!r} has one scale; take {deep}")

    def rehearse(self, weights: Path | None) -> None:
        """The network with the weights in it."""
        from bench.jobs import initial_weights

        if weights is not None:
            initial_weights.rehearse(initial_weights.network_of(self.network, self.data.task), weights)

    def likeness(self, job: Job) -> list[Any]:
        """The same network and batch."""
        return [self.network, self.finetune.batch, self.finetune.precision]

    @property
    def training(self) -> Tuning:
        """Of its own section."""
        return self.finetune

    def sample(self) -> float:
        """One crop through the network; a classification has no decoder."""
        return prod(self.network.crop) * self.network.flops(self.data.task == MAPS)
