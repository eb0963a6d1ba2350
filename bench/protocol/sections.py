"""The sections of a protocol: what each may state, its defaults, and what is out of range."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from bench.dataset import Recipe

Triple = tuple[int, int, int]
AMOUNT = re.compile(r"([1-9][0-9]{0,6}) *(cases|%)")


def _positive(where: str, **values: float | None) -> None:
    for key, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{where}{key} must be above 0, got {value}")


def _amount(take: str) -> None:
    if take and not AMOUNT.fullmatch(take):
        raise ValueError(f"take is a number of cases or percent, '40 cases' or '20 %', got {take!r}")


@dataclass(frozen=True)
class Optimiser:
    """How weights move."""

    name: Literal["adamw", "adam", "sgd", "lars"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9  # sgd, lars
    nesterov: bool = False  # sgd
    amsgrad: bool = False  # adam, adamw
    trust: float = 0.001  # lars

    def __post_init__(self) -> None:
        _positive("optimiser.", lr=self.lr, trust=self.trust)


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the run: linear warm-up, then a decay."""

    name: Literal["constant", "cosine", "poly"] = "cosine"
    warmup: float = 0.0  # share of all steps
    end: float = 0.0  # last rate as a share of the peak
    power: float = 0.9  # poly

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(f"schedule.warmup is a share of all steps in [0, 1), got {self.warmup}")


@dataclass(frozen=True)
class Net:
    """One network at one size, and the crop it reads."""

    network: str
    preset: str = "base"
    crop: Triple = (96, 96, 96)


@dataclass(frozen=True)
class Mix:
    """One data set of a pretraining mixture.

    ``train`` reads its training patients only where it is also downstream, else everything.
    """

    dataset: str
    cases: Literal["train", "all"] = "train"
    recipe: str | Recipe | None = None  # where it differs from the mixture's
    list: str = ""  # a pretraining list of the data set: only what it names
    where: dict[str, str] = field(default_factory=dict)  # only cases with these entries in their meta
    exclude: tuple[str, ...] = ()  # cases, or "doubtful" for what the data set has against some
    take: str = ""  # "40 cases" or "20 %", by the ranking of label fractions
    task: int | None = None  # class labels that a method may learn from (HSSL)
    group: int | None = None

    def __post_init__(self) -> None:
        _amount(self.take)


@dataclass(frozen=True)
class Pretrain:
    """Unlabelled data and budget, shared by all rows that do not override it."""

    datasets: tuple[Mix, ...] = ()
    mixture: str = ""  # one of datasets/mixtures, in place of `datasets`
    name: str = ""  # the mixture's name in the records; by default `mixture`, or the data sets joined by +
    take: str = ""  # "400 cases" or "20 %" of the whole mixture
    absent: Literal["refuse", "allow"] = "refuse"  # cases that a list names and the folder lacks
    leaks: Literal["fail", "drop", "allow"] = "fail"  # cases that also stand in a downstream test part
    recipe: str | Recipe = "default"
    steps: int | None = None
    epochs: float | None = None  # with `crops` samples per case and epoch
    crops: int = 1
    batch: int = 2  # global: of all processes and micro-batches of a step
    accumulate: int = 1  # micro-batches per step
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    clip: float | None = None  # gradient norm
    seed: int = 0
    snapshots: tuple[int, ...] = ()  # steps whose weights are kept besides the last

    def __post_init__(self) -> None:
        _positive("", steps=self.steps, epochs=self.epochs, crops=self.crops, batch=self.batch)
        _positive("", accumulate=self.accumulate)
        _amount(self.take)
        if bool(self.datasets) == bool(self.mixture):
            raise ValueError("state either 'datasets' or the name of a 'mixture'")


@dataclass(frozen=True)
class Augment:
    """Fine-tuning augmentation, probabilities per sample (per axis for flips)."""

    flip: float = 0.0
    rot90: float = 0.0  # quarter turns in the x-y plane
    scale: float = 0.0  # intensity times 1 +- 0.1
    shift: float = 0.0  # intensity +- 0.1


@dataclass(frozen=True)
class Inference:
    """Sliding window over the prepared volume."""

    overlap: float = 0.5
    batch: int = 4
    blend: Literal["gaussian", "constant"] = "gaussian"


@dataclass(frozen=True)
class Finetune:
    """One labelled data set on which every row is fine-tuned and scored."""

    dataset: str
    split: str
    recipe: str | Recipe = "default"
    fractions: tuple[int, ...] = (100,)
    seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] | None = None  # which folds of the split; all by default
    where: dict[str, str] = field(default_factory=dict)  # only cases with these entries in their meta
    exclude: tuple[str, ...] = ()  # cases, or "doubtful" for what the data set has against some
    steps: int | None = None
    epochs: float | None = None
    crops: int = 1
    hold: Literal["epochs", "steps"] | None = None  # by default what the budget is stated in
    batch: int = 2  # global: of all processes and micro-batches of a step
    accumulate: int = 1  # micro-batches per step
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    clip: float | None = None
    loss: Literal["dice_ce", "cross_entropy"] | None = None  # by default what fits the task
    background: bool = True  # does Dice in the loss count the background?
    foreground: float | None = None  # share of crops centred on a labelled voxel
    augment: Augment = Augment()
    evaluation: Literal["end_to_end", "linear"] = "end_to_end"
    select: Literal["last", "best_val", "best_test"] = "last"
    val: Literal["fraction", "full"] = "fraction"
    val_every: float = 0.1  # share of all steps, for best_val and best_test
    inference: Inference = Inference()

    def __post_init__(self) -> None:
        _positive("", steps=self.steps, epochs=self.epochs, crops=self.crops, batch=self.batch)
        _positive("", accumulate=self.accumulate)
        _positive("", val_every=self.val_every)
        if not self.fractions or not self.seeds:
            raise ValueError("fractions and seeds need at least one value each")
        for percent in self.fractions:
            if not 1 <= percent <= 100:
                raise ValueError(f"fractions are whole percents from 1 to 100, got {percent}")

    @property
    def held(self) -> str:
        """Return what stays the same over label fractions: ``epochs`` or ``steps``."""
        return self.hold or ("epochs" if self.steps is None else "steps")


@dataclass(frozen=True)
class Layout:
    """How the table is laid out."""

    columns: Literal["targets", "fractions", "datasets"] = "targets"
    metric: str = ""  # the table's own, by default the first; the others follow as further tables
    mean: str = "Mean"
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)  # heading: rows under it


@dataclass(frozen=True)
class Phantom:
    """Synthetic cases that stand in for a data set which is not on this machine."""

    cases: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        _positive("", cases=self.cases)
