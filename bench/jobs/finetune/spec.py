"""Fine-tune: one network on one label fraction of one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Annotated, Any, Literal

from bench.data.parts import Labelled
from bench.dataset import Dataset
from bench.errors import BenchError
from bench.job import Job
from bench.jobs import prediction
from bench.jobs.kind import EMBEDDINGS, MAPS, START, Given, NetSpec, PlanContext
from bench.jobs.pretrain.spec import PretrainSpec
from bench.jobs.training_kind import TrainingKind, batch_norm
from bench.nets import catalog
from bench.protocol.comparable import LOSSES
from bench.protocol.sections import Inference, Number, Tuning
from bench.ranges import Range
from bench.typed import canonical, sparse

FOR_MAPS = (
    "foreground",
    "deep_supervision",
    "balanced",
    "exact",
    "negatives",
    "batch_dice",
    "background",
    "ce_weight",
)

HEADS = {
    "segmentation": ("softmax", "regions"),
    "classification": ("softmax", "ordinal"),
    "regression": ("softmax",),
}


Interval = Annotated[float, Range(0, 1e9, above=True)]
# what a learning curve is kept in: `record.SCORES`, and the step
TRACKED = "scores_by_step.parquet"


@dataclass(frozen=True)
class Tracked:
    """The learning curve that a fine-tuning leaves: whose scores, how often, of which targets.

    Label maps are scored by Dice, target by target, classes by accuracy and kappa.
    """

    part: Literal["val", "test", "train"]
    every: Interval | None  # steps, whole ones or not; None where epochs are of unknown length
    targets: tuple[tuple[int, ...], ...] = sparse(())  # label values of each
    empty: str = sparse("default")  # how empty masks count

    def due(self, step: int, last: int) -> bool:
        """Tell whether the curve has a point after ``step`` steps."""
        every = self.every or last
        return step == last or step == round(every * round(step / every))

    def looks(self, last: int) -> int:
        """Return how many points it has after ``last`` steps."""
        every = self.every or last
        if every <= 1:
            return last
        before = int(last / every)  # the last step is one more, unless it is one of these
        return before + (round(every * before) < last)


def target_name(values: Sequence[int]) -> str:
    """Return what a fine-tuning calls a target, which has no name there: ``1``, or ``1+2`` of a region."""
    return "+".join(map(str, values))


@dataclass(frozen=True, kw_only=True)
class TuningSpec(Tuning):
    """How it is trained; with how held-out cases are predicted, where anything depends on that."""

    # "linear" is what protocols and records call "decoder": ids of jobs keep the former word
    evaluation: Literal["end_to_end", "linear", "probe", "as_loaded"] = "end_to_end"  # type: ignore[assignment]
    inference: Inference | None = sparse()
    track: Tracked | None = sparse()
    validated: bool = sparse(False)  # scored on the patients that validate, for a grid's choice

    @property
    def validates(self) -> bool:
        """Tell whether patients that validate are predicted for more than a curve."""
        chosen = self.evaluation == "probe" and self.probe.strength == "val"
        return self.judged or self.validated or chosen


@dataclass(frozen=True)
class Candidate:
    """One recipe of a grid, and the fine-tunings under it."""

    settings: dict[str, Any]  # dotted keys of the section
    # their places among the job's needs; the first is the run of the job's own seed
    runs: tuple[int, ...]
    others: bool = sparse(False)  # all runs but the first decide
    inner: bool = sparse(
        False
    )  # they are of inner folds: none is taken over, the job trains by itself

    @property
    def judges(self) -> tuple[int, ...]:
        """Return the places of the runs whose mean decides."""
        return self.runs[1:] if self.others else self.runs


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return a recipe's settings in words: ``loaded: rate 0.0002 with frozen 0.33; norm: kept``."""
    return "; ".join(f"{key}: {setting_text(value)}" for key, value in settings.items())


def setting_text(value: Any) -> str:
    """Return one value of a grid in words; of a group of parameters its keys."""
    if not isinstance(value, Mapping):
        return str(value)
    return " with ".join(f"{key} {v}" for key, v in value.items()) or "the defaults"


@dataclass(frozen=True)
class FinetuneSpec(TrainingKind):
    """A network, what it starts from, the labelled cases, how it is trained."""

    kind = "finetune"
    # 2: labels had been flipped along other axes than their images
    # 3: windows larger than the volume had been padded with 0 and not, as in training, with its lowest value
    version = 3

    network: NetSpec
    init: str  # random, job:<id>[@step], file:<sha256>
    data: Labelled
    finetune: TuningSpec
    seed: Number
    control: Literal["", "shuffled"] = sparse("")
    given: Given = sparse(Given())  # of the file that ``init`` names
    dose: float = sparse(1.0)  # share of the way from fresh weights to the pretrained
    # the best of these fine-tunings is taken over; of inner folds its recipe alone
    tune: tuple[Candidate, ...] = sparse(())

    def refuse(self, job: Job, plan: PlanContext) -> None:
        """A batch, a crop or a loss that cannot be; weights that the network cannot take over."""
        net = self.network
        self.refuse_training(job, plan, processes=1)
        self._refuse_for_task()
        self._refuse_curve()
        self._refuse_output(job, plan)
        needs = (plan.jobs[need].spec for need in job.needs)
        for before in (spec.network for spec in needs if isinstance(spec, PretrainSpec)):
            if net.in_channels % before.in_channels:
                raise BenchError(
                    f"pretrained on {before.in_channels} channel(s), and data set {self.data.dataset!r} has "
                    f"{net.in_channels} channels, which is not a multiple of {before.in_channels}; pick "
                    "channels by 'channels' of a recipe"
                )
            catalog.check_handover((before.network, before.preset), (net.network, net.preset))

    def _refuse_for_task(self) -> None:
        tuning, task, net = self.finetune, self.data.task, self.network
        catalog.check_task(net.network, task)
        if self.has_features and not self.probes:
            raise BenchError(
                "init.embeddings: only a probe reads features; write 'evaluation: probe'"
            )
        if self.probes:
            self._refuse_probe()
        if tuning.loss not in LOSSES[task]:
            raise BenchError(
                f"finetune.loss {tuning.loss} is not for {task}; use {' or '.join(LOSSES[task])}"
            )
        if task == "classification":
            for key in FOR_MAPS:
                if getattr(tuning, key) != Tuning.__dataclass_fields__[key].default:
                    raise BenchError(
                        f"finetune.{key}: is only for label maps, not for classification; leave it out"
                    )
        if tuning.head not in HEADS[task]:
            raise BenchError(
                f"finetune.head {tuning.head} is not for {task}; use {' or '.join(HEADS[task])}"
            )
        self._refuse_hidden()
        self._refuse_adapters()
        if tuning.deep_supervision and catalog.network_facts(net.network).scales < 2:
            deep = ", ".join(e.name for e in catalog.entries().values() if e.scales > 1)
            raise BenchError(
                f"finetune.deep_supervision: network {net.network!r} has one scale; use {deep}"
            )

    def _refuse_probe(self) -> None:
        """Levels that the encoder does not have, intensities of what has no voxels to score."""
        probe, net = self.finetune.probe, self.network
        catalog.check_levels(net.full_name, probe.levels or (), "finetune.probe.levels")
        if self.has_features and (probe.intensity or probe.levels is not None):
            raise BenchError(
                "finetune.probe: features from files are used unchanged; leave 'levels' and 'intensity' "
                "out, or write 'finetune: {probe: {intensity: [], levels: null}}' for this row"
            )
        if probe.intensity and self.data.task != MAPS:
            raise BenchError(
                "finetune.probe.intensity: is only for label maps, not for labels of whole cases; leave it out"
            )
        if probe.kind == "logistic" and self.data.value is not None:
            raise BenchError("finetune.probe.kind logistic is only for classes; use ridge or knn")

    def _refuse_adapters(self) -> None:
        net = self.network
        if self.finetune.lora.rank and not catalog.network_facts(net.network).patches:
            fit = ", ".join(e.name for e in catalog.entries().values() if e.patches)
            raise BenchError(
                f"finetune.lora: network {net.network!r} has no attention layers to adapt; use {fit}"
            )

    def _refuse_hidden(self) -> None:
        tuning = self.finetune
        if self.network.hidden and self.data.task == MAPS:
            raise BenchError(
                "finetune.hidden: is only for classification, not for label maps; leave it out"
            )
        if self.network.hidden and tuning.batch // tuning.accumulate < 2:
            raise BenchError(
                "finetune.hidden: the hidden layer has batch norm, which cannot normalise a single sample; "
                "use a batch of 2"
            )

    def _refuse_output(self, job: Job, plan: PlanContext) -> None:
        """A last layer that cannot have come, or that was taught other labels."""
        as_loaded = self.finetune.evaluation == "as_loaded"
        key = "evaluation: as_loaded" if as_loaded else "output: loaded"
        if self.given.own_head and not as_loaded:
            raise BenchError(
                "init.labels: the weights' own classes can only be scored without fine-tuning; write "
                "'finetune: {evaluation: as_loaded}', or leave 'labels' out"
            )
        if not as_loaded and self.finetune.output == "new":
            return
        if self.init == "random":
            raise BenchError(f"finetune.{key}: the row starts from random weights; leave it out")
        if self.given.own_head and (self.finetune.head != "softmax" or self.data.task != MAPS):
            raise BenchError(
                "init.labels: works only for segmentation with a softmax head; use 'head: softmax', or leave "
                "'labels' out"
            )
        for need in job.needs:
            before = plan.jobs[need].spec
            if not isinstance(before, PretrainSpec):
                continue
            taught = {part.dataset for part in before.data if part.classes}
            if taught != {self.data.dataset} or self.finetune.head != "softmax":
                learned = f"the labels of {', '.join(sorted(taught))}" if taught else "no labels"
                raise BenchError(
                    f"finetune.{key}: method {before.method.name!r} learned {learned}, but the task is "
                    f"{self.data.dataset} with a {self.finetune.head} head, so the last layer does not fit; leave "
                    f"'{key}' out, or pretrain on the same labels with softmax (method supervised, 'labels: own')"
                )

    def channels(self, dataset: Dataset) -> list[str]:
        """Return what each output channel is, by the labels of its data set; empty where they do not tell."""
        if self.data.value is not None or self.given.own_head:
            return []
        names = {0: "background"} if self.data.task == MAPS else {}
        names |= dict(sorted(dataset.labels.items()))
        if not self.data.regions:
            return list(names.values())
        regions = {tuple(values): name for name, values in dataset.regions.items()}
        # a protocol may state regions of its own
        return [
            regions.get(values, "+".join(names[value] for value in values))
            for values in self.data.regions
        ]

    @property
    def loads_output(self) -> bool:
        """Tell whether the last layer comes with the weights."""
        return self.finetune.evaluation == "as_loaded" or self.finetune.output == "loaded"

    @property
    def untrained(self) -> bool:
        """Tell whether the weights are scored as they came, or are those of another fine-tuning."""
        taken_over = any(not candidate.inner for candidate in self.tune)
        return self.finetune.evaluation == "as_loaded" or taken_over

    def _refuse_curve(self) -> None:
        track, steps = self.finetune.track, self.finetune.steps
        if track is None:
            return
        if track.every and steps and track.every > steps:
            raise BenchError(
                f"finetune.track.every: is {track.every:g}, but the training at {self.data.fraction} % of the "
                f"labels has {steps} steps; use at most {steps}"
            )

    def across_batch(self) -> str:
        """The loss, or batch norm in what trains; beside a frozen encoder ``rehearse`` looks for it."""
        if self.finetune.batch_dice:
            return "batch_dice is computed over the whole batch"
        if self.data.ignore is not None:
            return f"the loss is a mean over the voxels that data set {self.data.dataset!r} does not ignore"
        if self.network.hidden:
            return "the hidden layer has batch norm, which computes its statistics over the whole batch"
        return "" if self.finetune.evaluation == "linear" else batch_norm(self.network.network)

    @property
    def builds(self) -> bool:
        """Where its batch is cut, the layers of its network are looked at."""
        return self.finetune.accumulate > 1

    def likeness(self, job: Job, plan: PlanContext) -> list[Any]:
        """The same network and batch, the same looks; probes: the same features, and weights drawn alike."""
        if self.probes:
            return [self.network, self.finetune.probe, self.finetune.precision, self.draws_weights]
        looks = [self.finetune.track, self.data] if self.finetune.track else []
        return [self.network, self.finetune.batch, self.finetune.precision, *looks]

    @property
    def training(self) -> Tuning:
        """Of its own section."""
        return self.finetune

    def sample(self) -> float:
        """One crop through the network; a classification has no decoder."""
        return prod(self.network.crop) * self.network.flops(self.data.task == MAPS)

    @property
    def has_features(self) -> bool:
        """Tell whether it starts from features that were made outside, and so from no network."""
        return self.init.startswith(EMBEDDINGS)

    @property
    def probes(self) -> bool:
        """Tell whether features of a frozen encoder are read in closed form."""
        return self.finetune.evaluation == "probe"

    @property
    def draws_weights(self) -> bool:
        """Tell whether the seed draws weights that are read, of all layers or of some."""
        if self.probes and self.finetune.probe.levels == ():
            return False
        return self.init == "random" or bool(self.control) or self.dose != 1

    def keeps(self, job: Job, jobs: Mapping[str, Job]) -> str:
        """Of a probe the features of an encoder: the same for all draws of patients, if no seed draws weights."""
        return f"{job.needs[0]} {self._encoded}" if self.probes else ""

    @cached_property
    def _encoded(self) -> str:
        seed = self.seed if self.draws_weights else None
        return canonical([self.features, self.init, self.control, self.dose, seed])

    @property
    def features(self) -> list[Any]:
        """Return what the features of a case that a probe reads depend on, besides the weights."""
        data = replace(self.data, fraction=0, n_train=None)  # of whatever patients
        return [self.network, data, self.finetune.probe, self.finetune.precision]

    def units(self, job: Job, plan: PlanContext) -> float | None:
        """By the step; of a probe by the labelled patient."""
        if self.probes:
            return None if self.data.n_train is None else float(self.data.n_train)
        return 0.0 if self.untrained else super().units(job, plan)

    def operations(self) -> float | None:
        """Every sample of every step, where there is one."""
        return 0.0 if self.untrained or self.probes else super().operations()

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """By its operations, and the cases that its curve predicts at each look."""
        if self.untrained:
            return START
        if self.probes:
            return self._probing(job, plan)
        trained, cases = super().seconds(job, plan), plan.sizes.get(job.id)
        tuning = self.finetune
        if trained is None or tuning.track is None or not cases:
            return trained
        inference = tuning.inference or Inference()
        each = prediction.seconds(job, plan, 0, self.network, self.data.task, inference)
        return trained + each * cases * tuning.track.looks(tuning.steps or 0)

    def _probing(self, job: Job, plan: PlanContext) -> float | None:
        """Every labelled scan through the encoder once, in windows side by side."""
        if self.data.n_train is None:
            return None
        each = prediction.seconds(job, plan, 0, self.network, self.data.task)
        return START + prediction.PROBED * each * self.data.n_train
