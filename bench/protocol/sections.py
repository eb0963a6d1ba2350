"""The sections of a protocol: what each may state, its defaults, and what is out of range."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.dataset import Recipe
from bench.protocol.augmentation import Augment as Augment

Triple = tuple[int, int, int]
ALTERNATIVES: dict[str, tuple[str, Any]] = {  # key: what it replaces, and how that is left empty
    "steps": ("epochs", None), "epochs": ("steps", None), "mixture": ("datasets", []),
    "datasets": ("mixture", ""),
}  # fmt: skip
SEEDS: dict[str, tuple[str, Any]] = {
    "seed": ("seeds", []),
    "seeds": ("seed", None),
}  # likewise, of a pretraining
AMOUNT = re.compile(r"([1-9][0-9]{0,6}) *(cases|%)")


def one_of_each(over: Any, pretrain: bool = False) -> Any:
    """Let what an override states replace its alternative: a budget, or the data, is stated once.

    Args:
        over: what is laid over a section.
        pretrain: is it the pretraining's, which has one seed or several?
    """
    if not isinstance(over, dict):
        return over
    pairs = {**ALTERNATIVES, **(SEEDS if pretrain else {})}
    gone = {v: empty for k, (v, empty) in pairs.items() if k in over and v not in over}
    return {**over, **gone}


def _positive(where: str, **values: float | None) -> None:
    for key, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{where}{key} must be above 0, got {value}")


def _shares(**values: float) -> None:
    for key, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{key} is a share in [0, 1), got {value}")


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
    eps: float = 1e-8  # adam, adamw
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
    warmup_from: Literal["first", "zero"] = "first"  # rate of step k of n: (k + 1) / n of the peak, or k / n
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
    network: str = ""  # a key of `networks`; by default the row's own (2D pretraining for a 3D network)
    crop: Triple | None = None  # by default the network's
    steps: int | None = None
    epochs: float | None = None  # with `crops` samples per case and epoch
    crops: int = 1
    batch: int = 2  # global: of all processes and micro-batches of a step
    accumulate: int = 1  # micro-batches per step
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    clip: float | None = None  # gradient norm
    seed: int | None = None  # by default 0
    seeds: tuple[int, ...] = ()  # in its place: a pretraining each, crossed with those of fine-tuning
    snapshots: tuple[int, ...] = ()  # steps whose weights are kept besides the last

    def __post_init__(self) -> None:
        _positive("", steps=self.steps, epochs=self.epochs, crops=self.crops, batch=self.batch)
        _positive("", accumulate=self.accumulate)
        _amount(self.take)
        if self.seeds and self.seed is not None:
            raise ValueError("state one 'seed' or a list of 'seeds', not both")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds names each seed once, got {list(self.seeds)}")
        if bool(self.datasets) == bool(self.mixture):
            raise ValueError("state either 'datasets' or the name of a 'mixture'")

    @property
    def every_seed(self) -> tuple[int, ...]:
        """Return the seeds of the pretrainings that this asks for, at least one."""
        return self.seeds or (self.seed or 0,)


@dataclass(frozen=True)
class Inference:
    """Sliding window over the prepared volume."""

    overlap: float = 0.5
    batch: int = 4
    blend: Literal["gaussian", "constant"] = "gaussian"
    mirror: tuple[Literal["x", "y", "z"], ...] = ()  # axes of test-time flips: the mean of all combinations

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"inference.overlap is a share of a window in [0, 1), got {self.overlap}")
        if len(set(self.mirror)) < len(self.mirror):
            raise ValueError(f"inference.mirror names each axis once, got {list(self.mirror)}")


@dataclass(frozen=True)
class Finetune:
    """One labelled data set on which every row is fine-tuned and scored."""

    dataset: str
    split: str
    name: str = ""  # what records and tables call the section; by default its data set, "#2" where twice
    settings: str = ""  # a file of settings, named from the protocol's folder; what is stated here wins
    recipe: str | Recipe = "default"
    crop: Triple | None = None  # by default the network's
    fractions: tuple[int, ...] = (100,)
    seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] | None = None  # which folds of the split; all by default
    where: dict[str, str] = field(default_factory=dict)  # only cases with these entries in their meta
    exclude: tuple[str, ...] = ()  # cases, or "doubtful" for what the data set has against some
    steps: int | None = None
    epochs: float | None = None
    crops: int = 1
    scans: int | None = None  # distinct scans in a step's batch; by default as many as crops
    hold: Literal["epochs", "steps"] | None = None  # by default what the budget is stated in
    batch: int = 2  # global: of all processes and micro-batches of a step
    accumulate: int = 1  # micro-batches per step
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    clip: float | None = None  # gradient norm
    clip_each: bool = False  # of each tensor by itself
    loss: Literal["dice_ce", "dice", "cross_entropy"] | None = None  # by default what fits the task
    background: bool = True  # does Dice in the loss count the background?
    batch_dice: bool = False  # one Dice over the batch, as if its crops were one volume
    ce_weight: float = 1.0  # of cross-entropy beside Dice
    head: Literal["softmax", "regions"] = "softmax"  # one class per voxel, or a sigmoid for each region
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)  # in place of the data set's own
    deep_supervision: bool = False  # the loss also at coarser scales, weighted 1, 1/2, 1/4 ... to sum 1
    foreground: float | None = None  # share of crops centred on a labelled voxel
    exact: bool = False  # that share of every batch, not of many
    negatives: Literal["anywhere", "background"] = "anywhere"  # centres of the other crops
    balanced: bool = False  # such a voxel: of a class drawn first, so that small organs are as frequent
    augment: Augment = field(default_factory=Augment)
    evaluation: Literal["end_to_end", "linear"] = "end_to_end"
    frozen: float = 0.0  # share of all steps, from the first on, in which the encoder does not train
    select: Literal["last", "best_val", "best_test"] = "last"
    val: Literal["fraction", "full"] = "fraction"
    holdout: float = 0.0  # share of the row's training patients that validate, in place of the split's
    val_every: float = 0.1  # share of all steps, for best_val and best_test
    patience: float | None = None  # stop after this share of all steps without a better validation
    inference: Inference = Inference()

    def __post_init__(self) -> None:
        _positive("", steps=self.steps, epochs=self.epochs, crops=self.crops, batch=self.batch)
        _positive("", accumulate=self.accumulate)
        _positive("", val_every=self.val_every, patience=self.patience, clip=self.clip)
        _shares(frozen=self.frozen, holdout=self.holdout)
        for key in ("val_every", "patience"):
            if (getattr(self, key) or 0) > 1:
                raise ValueError(f"{key} is a share of all steps, at most 1, got {getattr(self, key)}")
        if self.foreground is not None and not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground is a share of crops in [0, 1], got {self.foreground}")
        if not self.ce_weight >= 0:
            raise ValueError(f"ce_weight must be 0 or more, got {self.ce_weight}")
        if not self.fractions or not self.seeds:
            raise ValueError("fractions and seeds need at least one value each")
        for percent in self.fractions:
            if not 1 <= percent <= 100:
                raise ValueError(f"fractions are whole percents from 1 to 100, got {percent}")
        self._fits_together()

    def _fits_together(self) -> None:
        if self.scans is not None and (self.scans < 1 or self.batch % self.scans):
            raise ValueError(f"scans {self.scans} is no divisor of batch {self.batch}")
        for key, other in (("exact", "foreground"), ("balanced", "foreground"), ("clip_each", "clip")):
            if getattr(self, key) and getattr(self, other) is None:
                raise ValueError(f"{key} does nothing without {other}; state it, or leave {key} out")
        if self.evaluation == "linear" and self.frozen:
            raise ValueError("with 'evaluation: linear' the encoder never trains; leave frozen out")
        if self.patience is not None and self.select == "best_test":
            raise ValueError("patience looks at validation patients; take 'select: best_val' or 'last'")

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
class Beside:
    """A panel of the picture of embeddings for a network that no row has."""

    network: str  # a key of `networks`
    init: str  # a file of weights, named from the protocol's folder; the panel is left out without it
    title: str = ""


@dataclass(frozen=True)
class Embeddings:
    """A picture of what each row's encoder makes of the pretraining's samples (HSSL, Fig. 3)."""

    samples: int = 50  # of each data set
    layout: Literal["tsne", "pca"] = "tsne"  # which of the two that every job makes is drawn
    seed: int = 0
    beside: dict[str, Beside] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _positive("embeddings.", samples=self.samples)


@dataclass(frozen=True)
class Phantom:
    """Synthetic cases that stand in for a data set which is not on this machine."""

    cases: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        _positive("", cases=self.cases)
