"""The sections of a protocol: what each may state, its defaults, and what is out of range."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated, Any, Literal

from bench.dataset import Recipe
from bench.errors import did_you_mean
from bench.ranges import Part, Range, Share
from bench.typed import SPARSE, percents, renamed, sparse, suggested

# Which numbers make sense. Upper bounds lie far above anything in the field: they catch slips.
Triple = Annotated[tuple[int, int, int], Range(0, 4096, above=True, order=False)]  # voxels
Steps = Annotated[int, Range(0, 1e9, above=True)]
Epochs = Annotated[float, Range(0, 1e7, above=True)]
Samples = Annotated[int, Range(0, 65536, above=True)]  # of a batch, a scan, a picture
Factor = Annotated[float, Range(0, 1000, above=True)]  # a rate, a coefficient, a norm
Weight = Annotated[float, Range(0, 1000)]
SomeShare = Annotated[float, Range(0, 1, above=True)]  # a share that is never nothing
Number = Annotated[int, Range(0, 2**32 - 1)]  # a seed, a class, a fold
Numbers = Annotated[tuple[int, ...], Range(0, 2**32 - 1, order=False)]
Ends = tuple[float, float]
ALTERNATIVES: dict[str, tuple[str, Any]] = {  # key: what it replaces, and how that is left empty
    "steps": ("epochs", None),
    "epochs": ("steps", None),
    "mixture": ("datasets", []),
    "datasets": ("mixture", ""),
    "every": ("every_epochs", None),
    "every_epochs": ("every", None),
}
# likewise, of a fine-tuning
DRAWS: dict[str, tuple[str, Any]] = {"draws": ("seeds", [0]), "seeds": ("draws", None)}
# likewise, of a pretraining
SEEDS: dict[str, tuple[str, Any]] = {"seed": ("seeds", []), "seeds": ("seed", None)}
PAIRED = "paired"  # in place of a list of seeds
AMOUNT = re.compile(r"([1-9][0-9]{0,6}) *(cases|%)")


def one_of_each(over: Any, pretrain: bool = False, draws: bool = True) -> Any:
    """Let what an override states replace its alternative: a budget, or the data, is stated once.

    Args:
        over: what is laid over a section.
        pretrain: is it the pretraining's, which has one seed or several?
        draws: may what is below state draws or seeds? A file of settings states neither.
    """
    if not isinstance(over, dict):
        return over
    seeds = SEEDS if pretrain else DRAWS if draws else {}
    pairs = {**ALTERNATIVES, **seeds}
    gone = {v: empty for k, (v, empty) in pairs.items() if k in over and v not in over}
    inner = {k: one_of_each(over[k], k == "pretrain") for k in ("track", "pretrain") if k in over}
    return {**over, **gone, **inner}


def _amount(take: str) -> None:
    if take and not AMOUNT.fullmatch(take):
        raise ValueError(
            f"take is a number of cases or percent, '40 cases' or '20 %', got {take!r}"
        )


def _distinct(key: str, values: Sequence[Any]) -> None:
    if len({*values}) < len(values):
        raise ValueError(f"{key}: list each value once, got {list(values)}")


def _set(settings: Any, keys: Iterable[str]) -> list[str]:
    """Return those of some keys that have another value than by default."""
    return [k for k in keys if getattr(settings, k) != getattr(type(settings), k)]


@dataclass(frozen=True)
class Optimiser:
    """The optimiser of a training."""

    # lars: as in You et al. 2017; biases and norm layers are neither scaled nor decayed
    name: Literal["adamw", "adam", "sgd", "lars"] = "adamw"
    lr: Factor = 1e-4  # peak learning rate
    weight_decay: Weight = 0.0  # coupled for adam, decoupled for adamw
    # for adam and adamw
    betas: Annotated[tuple[float, float], Range(0, 1, below=True, order=False)] = (0.9, 0.999)
    eps: SomeShare = 1e-8  # for adam and adamw
    momentum: Part = 0.9  # for sgd and lars
    nesterov: bool = False  # for sgd
    amsgrad: bool = False  # for adam and adamw
    trust: Factor = 0.001  # trust coefficient, for lars

    @property
    def unread(self) -> list[str]:
        """Return the keys that are set and that this optimiser does not read."""
        reads = {"sgd": ("momentum", "nesterov"), "lars": ("momentum", "trust")}
        read = reads.get(self.name, ("betas", "eps", "amsgrad"))
        others = ("betas", "eps", "amsgrad", "momentum", "nesterov", "trust")
        return _set(self, [key for key in others if key not in read])

    def __post_init__(self) -> None:
        if self.name == "sgd" and self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov needs a momentum above 0; set 'momentum', or leave nesterov out"
            )


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the run: linear warm-up, then a decay."""

    name: Literal["constant", "cosine", "poly"] = "cosine"  # shape after the warm-up
    warmup: Part = 0.0  # length of the warm-up, as a share of all steps
    # rate of warm-up step k of n, as a share of the peak: first: (k + 1) / n; zero: k / n
    warmup_from: Literal["first", "zero"] = "first"
    end: Share = 0.0  # last rate as a share of the peak
    power: Factor = 0.9  # exponent, for poly

    @property
    def unread(self) -> list[str]:
        """Return the keys that are set and that this schedule does not read."""
        idle = {"end": self.name == "constant", "power": self.name != "poly"}
        return _set(self, [key for key in idle if idle[key]])


@dataclass(frozen=True)
class Net:
    """One network at one size, and the crop that it reads."""

    network: str  # name of a network (see `bench list networks`)
    preset: str = "base"  # name of its size
    crop: Triple = (96, 96, 96)  # size in voxels along x, y, z

    @property
    def full_name(self) -> str:
        """``NETWORK/PRESET``, as the table of networks takes it."""
        return f"{self.network}/{self.preset}"


@dataclass(frozen=True)
class Mix:
    """One data set of a pretraining mixture.

    With ``train`` only the training patients are read if the protocol also fine-tunes on the data set, else
    all cases. With ``split`` protocols that fine-tune on different data sets can share a pretraining.
    """

    dataset: str  # name of a data set (see `bench list datasets`)
    cases: Literal["train", "all"] = "train"  # all: also cases that are tested after fine-tuning
    recipe: str | Recipe | None = None  # how scans are prepared, if not as in the mixture
    list: str = ""  # a pretraining list of the data set: read only its cases
    split: str = ""  # if not fine-tuned on here: read only the training patients of this split
    # use only cases whose metadata have these values, such as `modality: CT`
    where: dict[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()  # cases to leave out; "doubtful": those that the data set marks
    take: str = ""  # use only "40 cases" or "20 %", ranked as for label fractions
    task: Number | None = None  # class label of the data set, for methods that learn from it (HSSL)
    group: Number | None = None  # the same for the coarser classes
    # with `train`: read also unlabelled scans, but none of validation and test patients
    unlabelled: bool = False

    def __post_init__(self) -> None:
        if self.split and (self.cases == "all" or self.list):
            raise ValueError("split already chooses the cases; leave out 'cases: all' and list")
        _amount(self.take)


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training has: budget in steps, batch, learning rate."""

    steps: Steps | None = None  # number of optimiser steps; or set `epochs`
    batch: Samples = 2  # samples of a step, over all processes and micro-batches
    accumulate: Samples = 1  # micro-batches per step
    optimiser: Optimiser = Optimiser()  # the optimiser and its parameters
    schedule: Schedule = Schedule()  # schedule of the learning rate
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # bf16 and fp16 need a GPU
    clip: Factor | None = None  # largest gradient norm; no clipping by default


@dataclass(frozen=True, kw_only=True)
class Pretraining(Training):
    """The training settings that a pretraining job gets."""

    # keep the weights also after these steps, not only after the last
    snapshots: Annotated[tuple[int, ...], Range(0, 1e9, above=True, order=False)] = ()


@dataclass(frozen=True, kw_only=True)
class OnlineProbe:
    """A ridge probe of the encoder during pretraining. It chooses nothing and changes no weight.

    Half of the patients (rounded up) fit the probe; the rest are scored: label maps by Dice, classes by accuracy.
    """

    dataset: str  # has labels, and is fine-tuned on here or is in the mixture
    # number of labelled training patients, chosen by a fixed rule
    patients: Annotated[int, Range(2, 1000)] = 8
    # steps between two probes; a first probe is before the first step, the last after the last step
    every: Steps
    recipe: str | Recipe | None = None  # how scans are prepared; by default as for the pretraining
    # feature maps of the encoder (0: the finest); default: all
    levels: tuple[int, ...] | None = None
    # side lengths of cubes over which intensities are averaged; 1: the voxel alone
    intensity: Annotated[tuple[int, ...], Range(1, 31, order=False)] = ()

    def __post_init__(self) -> None:
        if self.levels == ():
            raise ValueError(
                "probe.levels is empty, so the probe would not read the encoder; name a level"
            )
        Probe(levels=self.levels, intensity=self.intensity)

    @property
    def fitted(self) -> int:
        """Return how many of the patients fit it."""
        return -(-self.patients // 2)


@dataclass(frozen=True, kw_only=True)
class Pretrain(Pretraining):
    """Data and budget of the pretraining, for all rows that do not override them."""

    datasets: tuple[Mix, ...] = ()  # list of data sets; or name a `mixture`
    mixture: str = ""  # name of a file in datasets/mixtures, instead of `datasets`
    # name of the mixture in the records; default: `mixture`, or the data sets joined by +
    name: str = ""
    take: str = ""  # use only "400 cases" or "20 %" of the whole mixture
    absent: Literal["refuse", "allow"] = "refuse"  # what to do if the folder lacks cases of a list
    # what to do with cases that are also in a test part
    leaks: Literal["fail", "drop", "allow"] = "fail"
    # if set, it replaces those of a `mixture`; by default "default"
    recipe: str | Recipe | None = None
    network: str = ""  # a key of `networks`, if not the row's own (2D pretraining for a 3D network)
    crop: Triple | None = None  # by default that of the network
    epochs: Epochs | None = None  # each epoch has `crops` samples per case; or set `steps`
    crops: Samples = 1  # samples per case and epoch
    seed: Number | None = None  # 0 by default
    # instead of `seed`: several, crossed with the fine-tuning seeds; paired: one pretraining per fine-tuning seed
    seeds: Numbers | Literal["paired"] = ()
    # score the encoder by a probe during the pretraining; by default not
    probe: OnlineProbe | None = sparse()

    def __post_init__(self) -> None:
        _amount(self.take)
        if self.seeds and self.seed is not None:
            raise ValueError("set either 'seed' or 'seeds', not both")
        if self.seeds != PAIRED:
            _distinct("seeds", self.seeds)
        if bool(self.datasets) == bool(self.mixture):
            raise ValueError("set either 'datasets' or 'mixture'")

    def every_seed(self, tuned: Sequence[int]) -> tuple[int, ...]:
        """Return the seeds of the pretrainings behind fine-tunings of seeds ``tuned``, at least one."""
        return tuple(tuned) if self.paired else tuple(map(int, self.seeds)) or (self.seed or 0,)

    @property
    def first_seed(self) -> int:
        """Return the seed of the one pretraining, or of the first."""
        return self.every_seed((0,))[0]

    @property
    def paired(self) -> bool:
        """Tell whether each fine-tuning seed has a pretraining of its own, of that seed."""
        return self.seeds == PAIRED


@dataclass(frozen=True)
class Inference:
    """The sliding window over the prepared volume."""

    overlap: Part = 0.5  # of neighbouring windows, as a share of their size
    batch: Samples = 4  # windows per forward pass; does not change the result
    blend: Literal["gaussian", "constant"] = "gaussian"  # weights of the voxels within a window
    # axes of test-time flips; the mean over all combinations is used
    mirror: tuple[Literal["x", "y", "z"], ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.mirror)) < len(self.mirror):
            raise ValueError(f"inference.mirror: list each axis once, got {list(self.mirror)}")


@dataclass(frozen=True)
class Windows(Inference):
    """The same with the size of a window, as a job is told."""

    crop: tuple[int, int, int] = (0, 0, 0)  # voxels, what the network reads

    @classmethod
    def side_by_side(cls, crop: tuple[int, int, int], batch: int = 1) -> Windows:
        """Return the windows in which a probe reads: only the last ones of an axis overlap others."""
        return cls(overlap=0.0, batch=batch, blend="constant", crop=crop)


@dataclass(frozen=True)
class Augment:
    """Augmentation in fine-tuning. Most keys are probabilities per sample (for flips, per axis), others ranges.

    The default ranges are those of nnU-Net (MIC-DKFZ/nnUNet @0e49508, batchgeneratorsv2 @3cb4f07). Its full set
    is ``flip: 0.5, rotate: 0.2, zoom: 0.2, noise: 0.1, blur: 0.2, brightness: 0.15, contrast: 0.15,
    lowres: 0.25, gamma_inverted: 0.1, gamma: 0.3, channel: 0.5, balanced: true, margin: 1.6``; in flat
    crops and in 2D ``angle: 180, margin: 1.18`` (angle 15 in 2D with one side over 1.5 times the other).
    """

    flip: float = 0.0  # flip, per axis
    rot90: float = 0.0  # quarter turns in the x-y plane
    scale: float = 0.0  # multiply the intensity by up to 1 +- 0.1
    shift: float = 0.0  # add up to +- 0.1 to the intensity
    rotate: float = 0.0  # rotate about x, y and z, each by at most `angle`
    angle: float = 30.0  # degrees
    zoom: float = 0.0  # zoom by a factor from `zoom_range`
    # size of the region that is read, divided by that of the crop; above 1, structures appear smaller
    zoom_range: Ends = (0.7, 1.4)
    zoom_axes: Literal["alike", "apart"] = "alike"  # one factor for all axes, or one for each axis
    # rotate, zoom and lower the resolution only in x and y; by default for crops flatter than 3 to 1
    plane: bool | None = None
    # extent read around a crop for rotations and zooms, as a factor of the crop; outside of it is 0
    margin: float = 1.0
    noise: float = 0.0  # add Gaussian noise
    noise_range: Ends = (0.0, 0.1)  # size of the noise, in units of the prepared image
    noise_unit: Literal["std", "variance"] = "std"  # unit of `noise_range`
    blur: float = 0.0  # Gaussian blur
    blur_sigma: Ends = (0.5, 1.0)  # sigma in voxels
    brightness: float = 0.0  # multiply the intensity
    brightness_range: Ends = (0.75, 1.25)  # factors
    brightness_clip: bool = False  # clip to the range before the change
    contrast: float = 0.0  # stretch intensities about the mean, then clip to the range before
    contrast_range: Ends = (0.75, 1.25)  # factors
    lowres: float = 0.0  # sample on fewer voxels, then resample to the old grid
    lowres_range: Ends = (0.5, 1.0)  # share of the voxels kept along each axis
    gamma_inverted: float = 0.0  # as `gamma`, on the inverted image
    gamma: float = 0.0  # scale intensities to 0 to 1 and raise them to a power
    gamma_range: Ends = (0.7, 1.5)  # exponents
    # moments: restore mean and standard deviation; range: restore minimum and maximum; unit: restore nothing
    gamma_keep: Literal["moments", "range", "unit"] = "moments"
    channel: float = 1.0  # probability per channel of blur and lowres, if the sample has them
    balanced: bool = False  # draw factors and exponents below 1 as often as above 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, tuple | list):
                least, most = (
                    0.0 if name == "noise_range" else 1e-3,
                    1.0 if name == "lowres_range" else 1e3,
                )
                if not least <= value[0] <= value[1] <= most:
                    raise ValueError(
                        f"augment.{name} must be [low, high] within {least:g} to {most:g}, got {value}"
                    )
            elif (
                isinstance(value, float | int)
                and name not in ("angle", "margin")
                and not 0 <= value <= 1
            ):
                raise ValueError(f"augment.{name} must be a probability from 0 to 1, got {value}")
        if not (0 <= self.angle <= 180 and 1 <= self.margin <= 3):
            raise ValueError(
                f"augment.angle must be 0 to 180 and margin 1 to 3, got {self.angle} and {self.margin}"
            )


@dataclass(frozen=True)
class Anchor:
    """The score that scratch must reach with all labels. Below it, a comparison says nothing about pretraining.

    Scores are from 0 to 1. Beside the anchor the page shows what others reach, from
    ``results/reference.csv``, for the data set and the ``family``.
    """

    mean: Share  # mean over all targets
    each: Share = 0.0  # score of the worst target
    metric: Literal["dice", "iou", "accuracy", "auc", "qwk"] = "dice"  # metric of `mean` and `each`
    family: str = ""  # network family of results/reference.csv; by default all with this metric


@dataclass(frozen=True, kw_only=True)
class Group:
    """How one group of a network's parameters trains, if not as the section says.

    The load receipt says which parameters are ``new`` and which ``loaded``; from scratch all are ``new``.
    """

    rate: Factor | None = None  # peak learning rate; by default that of the optimiser
    # share of all steps, from the group's first step on; by default that of the schedule
    warmup: Part | None = None
    decay: Weight | None = None  # weight decay; by default that of the optimiser
    # share of all steps, at the start, in which the group does not train; 1: it never trains
    frozen: Share = 0.0
    # rate of each encoder layer as a share of the next layer's rate; the last layer has `rate`
    layer_decay: SomeShare = 1.0
    # run the schedule once until the other group begins to train, and again after that
    restart: bool = False


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters beside a transformer's loaded linear layers (Hu et al., LoRA, ICLR 2022).

    Adapters belong to the ``new`` parameters. ``loaded: {frozen: 1}`` keeps the adapted weights unchanged.
    """

    rank: Annotated[int, Range(0, 1024)] = 0  # 0: no adapters
    alpha: Factor = 16.0  # the output of an adapter is multiplied by alpha / rank
    layers: Literal["attention", "all"] = "attention"  # encoder's linear layers that get an adapter


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A simple model that is fitted to the features of a frozen encoder, without a seed.

    For label maps every voxel is a sample, for classes every case. All classes weigh the same.
    """

    # ridge: least squares on one column per class; logistic: by L-BFGS; knn: votes by cosine similarity
    kind: Literal["ridge", "logistic", "knn"] = "ridge"
    # feature maps of the encoder (0: the finest); default: all
    levels: tuple[int, ...] | None = None
    # side lengths of cubes over which intensities are averaged; 1: the voxel alone
    intensity: Annotated[tuple[int, ...], Range(1, 31, order=False)] = ()
    # the penalty is chosen by patients left out in turn, or by validation patients
    strength: Literal["leave_out", "val"] = "leave_out"
    k: Samples = 20  # number of neighbours of knn
    # training samples for knn, logistic; evenly spread
    samples: Annotated[int, Range(1, 1e7)] = 20_000

    def text(self, voxels: bool) -> str:
        """Return in words what is read, of each voxel or of a whole case, and how."""
        levels = "all levels" if self.levels is None else f"levels {list(self.levels)}"
        where = "interpolated to the image's grid"
        if not voxels:
            where = "mean and maximum over a window, their mean over a case's windows"
        sides = [side for side in self.intensity if side > 1]
        maps = {
            f"{levels} of the encoder, {where}": self.levels != (),
            "the voxel's intensity": 1 in self.intensity,
            f"mean and deviation of intensity in cubes of {sides} voxels": bool(sides),
        }
        parts = (
            "one patient after the other"
            if self.kind == "ridge"
            else "a fifth of the patients in turn"
        )
        how = {
            "leave_out": f"its strength is chosen by leaving out {parts} (with one alone: the middle strength)",
            "val": "its strength is chosen on the validation patients",
        }[self.strength]
        if self.kind == "knn":
            among = (
                f"at most {self.samples} voxels, evenly spread" if voxels else "the labelled cases"
            )
            how = f"the {self.k} nearest of {among} vote"
        return (
            f"{self.kind} probe of {', '.join(text for text in maps if maps[text])}; windows side by "
            f"side; norm layers as in evaluation; {how}"
        )

    def __post_init__(self) -> None:
        if self.levels == () and not self.intensity:
            raise ValueError("probe.levels and probe.intensity are both empty; set one of them")
        if any(side % 2 == 0 for side in self.intensity):
            raise ValueError(f"probe.intensity: sides must be odd, got {list(self.intensity)}")
        levels = self.levels or ()
        if len({*levels}) < len(levels):
            raise ValueError(f"probe.levels: each level once, got {list(levels)}")
        self._check_kind()

    def _check_kind(self) -> None:
        if self.kind == "knn" and self.k >= self.samples:
            raise ValueError(f"probe.k: must be below probe.samples, which is {self.samples}")
        linear, sampled = ("ridge", "logistic"), ("knn", "logistic")
        for key, kinds in (("k", ("knn",)), ("samples", sampled), ("strength", linear)):
            if self.kind not in kinds and getattr(self, key) != getattr(Probe, key):
                raise ValueError(f"probe.{key} does nothing with 'kind: {self.kind}'; leave it out")


@dataclass(frozen=True, kw_only=True)
class Tuning(Training):
    """The training settings that a fine-tuning job gets."""

    scans: Samples | None = None  # distinct scans in a step's batch; by default one per crop
    clip_each: bool = False  # clip the norm of each tensor separately
    # by default the usual loss of the task; mse is for regression
    loss: Literal["dice_ce", "dice", "cross_entropy", "mse"] | None = None
    background: bool = True  # count the background in the Dice of the loss
    batch_dice: bool = False  # one Dice over the whole batch, as if its crops were one volume
    ce_weight: Weight = 1.0  # weight of cross-entropy in dice_ce
    # softmax: a class per voxel or case; regions: a sigmoid per region; ordinal: a sigmoid per ordered class
    head: Literal["softmax", "regions", "ordinal"] = "softmax"
    # apply the loss also at coarser scales, weighted 1, 1/2, 1/4 ..., normalised to sum 1
    deep_supervision: bool = False
    foreground: Share | None = None  # share of crops that are centred on a labelled voxel
    exact: bool = False  # have this share in each batch, not only on average
    negatives: Literal["anywhere", "background"] = "anywhere"  # where the other crops are centred
    # draw the class of the labelled voxel first, so that small organs are as frequent
    balanced: bool = False
    augment: Augment = field(default_factory=Augment)  # augmentation; none by default
    # decoder: the encoder does not train; probe: nothing trains, a probe is fitted on the features; as_loaded:
    # nothing is fitted, the loaded weights are scored
    evaluation: Literal["end_to_end", "decoder", "probe", "as_loaded"] = renamed(
        "end_to_end", linear="'decoder' now; a linear model on frozen features is 'probe'"
    )
    probe: Probe = sparse(Probe())  # used with `evaluation: probe`
    frozen: Part = 0.0  # share of all steps, at the start, in which the encoder does not train
    # parameters that were not loaded; nothing is frozen if all are new
    new: Group = sparse(Group())
    loaded: Group = sparse(Group())  # parameters loaded from a pretraining or a file
    # last layer; loaded: use that of the weights, for the same labels; `best_val` then also scores step 0
    output: Literal["new", "loaded"] = sparse("new")
    # start the bias of a new last layer at the log frequencies of the classes in the crops
    prior: bool = sparse(False)
    # batch: loaded norm layers use statistics of the batch in training; kept: they keep the loaded running statistics
    norm: Literal["batch", "kept"] = sparse("batch")
    # momentum of a moving average of the weights, which is then scored; 0: off
    ema: Part = sparse(0.0)
    lora: Lora = sparse(Lora())  # for a row that starts from weights; off by default
    # which weights are scored; best_test only at paper scale
    select: Literal["last", "best_val", "best_test"] = "last"
    # use the row's label fraction of the validation patients, or all of them
    val: Literal["fraction", "full"] = "fraction"
    val_every: SomeShare = 0.1  # share of all steps between two validations
    # stop if validation does not improve for this share of all steps
    patience: SomeShare | None = None

    def __post_init__(self) -> None:
        if self.scans is not None and self.batch % self.scans:
            raise ValueError(f"batch {self.batch} must be a multiple of scans {self.scans}")
        for key, other in (
            ("exact", "foreground"),
            ("balanced", "foreground"),
            ("clip_each", "clip"),
        ):
            if getattr(self, key) and getattr(self, other) is None:
                raise ValueError(
                    f"{key} does nothing without {other}; set {other}, or leave {key} out"
                )
        for key, without in (
            ("batch_dice", "cross_entropy"),
            ("ce_weight", "cross_entropy"),
            ("ce_weight", "dice"),
        ):
            if (
                self.loss == without
                and getattr(self, key) != Tuning.__dataclass_fields__[key].default
            ):
                raise ValueError(
                    f"{key} does nothing with 'loss: {without}'; use dice_ce, or leave {key} out"
                )
        self._check_evaluation()
        self._check_weights()
        self._check_groups()
        if self.patience is not None and self.select == "best_test":
            raise ValueError(
                "patience needs the validation score; use 'select: best_val' or 'last'"
            )

    def _check_evaluation(self) -> None:
        within = f"with 'evaluation: {self.evaluation}'"
        if self.evaluation != "end_to_end" and self.frozen:
            raise ValueError(f"{within} the encoder never trains; leave frozen out")
        if not self.is_trained and self.judged:
            raise ValueError(f"{within} nothing trains; leave select and patience out")
        if self.evaluation != "probe" and self.probe != Probe():
            raise ValueError("'probe' does nothing without 'evaluation: probe'; add that")
        if self.evaluation == "probe" and self.head != "softmax":
            raise ValueError(f"{within} the head is softmax, not {self.head}")

    def _check_weights(self) -> None:
        within = f"with 'evaluation: {self.evaluation}'"
        if self.lora.rank and self.evaluation != "end_to_end":
            raise ValueError(f"{within} the encoder never trains; leave lora out")
        if self.ema and not self.is_trained:
            raise ValueError(f"{within} nothing trains; leave ema out")

    def _check_groups(self) -> None:
        if self.new.frozen and self.loaded.frozen:
            raise ValueError(
                "with both new.frozen and loaded.frozen nothing would train at first; set only one"
            )
        for group, other in (("new", self.loaded), ("loaded", self.new)):
            if getattr(self, group).restart and not other.frozen:
                raise ValueError(
                    f"{group}.restart does nothing unless the other group has a 'frozen' share"
                )
        if self.new.layer_decay != 1:
            raise ValueError("layer_decay is for 'loaded' only; move it there")

    @property
    def is_trained(self) -> bool:
        """Tell whether weights move: they do not where they are scored as loaded, or a probe reads them."""
        return self.evaluation not in ("as_loaded", "probe")

    @property
    def judged(self) -> bool:
        """Tell whether held-out cases are predicted as the training goes, so that it depends on how."""
        return self.select != "last" or self.patience is not None


TUNABLE = (  # what a grid may vary: how weights move, never data, budget or what is scored
    "optimiser",
    "schedule",
    "new",
    "loaded",
    "norm",
    "ema",
    "lora",
    "prior",
    "frozen",
    "clip",
    "clip_each",
    "loss",
    "background",
    "batch_dice",
    "ce_weight",
    "deep_supervision",
    "foreground",
    "exact",
    "negatives",
    "balanced",
    "augment",
)
LARGEST_GRID = 64
JUDGES = {"val": "the validation patients", "folds": "inner folds of the labelled patients"}
FEW_JUDGES = 5  # patients: a choice by fewer is mostly luck
INNER = 2  # folds of the labelled patients: of more each recipe would train more often
SHORT = {"rate": "optimiser.lr"}  # other names of keys in a grid


@dataclass(frozen=True)
class Tune:
    """A small grid of recipes from which each row chooses one, by its score on the validation patients.

    Test patients are never used. If scores are equal, the first recipe of the grid wins; it is also taken if
    ``folds`` decide and a single patient is labelled.
    """

    # a key of the section, such as loaded.rate, with the values to try; rate means optimiser.lr
    over: dict[str, tuple[Any, ...]]
    # val: the validation patients decide, as for `best_val`; folds: the labelled training patients decide, in two
    # halves, each scored by a fine-tuning on the other one (for fewer than about five validation patients)
    on: Literal["val", "folds"] = "val"
    # seeds whose validation scores are averaged for the choice, with the run's own; others: all seeds but its own.
    # With `on: folds`, N means the first N seeds, and all runs of a row have the same choice
    runs: Annotated[int, Range(1, 64)] | Literal["others"] = 1

    def __post_init__(self) -> None:
        if not self.over or not all(self.over.values()):
            raise ValueError("tune.over: name at least one key and the values to try for it")
        stated = dict[str, str]()  # as typed, by the full key
        for key in self.over:
            full = SHORT.get(key, key)
            if full.partition(".")[0] not in TUNABLE:
                near = [
                    k
                    for k in suggested(Finetune, key, [*SHORT])
                    if k.partition(".")[0] in (*TUNABLE, *SHORT)
                ]
                hint = did_you_mean(near) if near else f"use a key of {', '.join(TUNABLE)}"
                raise ValueError(f"tune.over: {key!r} cannot be tuned; {hint}")
            if full in stated:
                raise ValueError(
                    f"tune.over: {stated[full]!r} and {key!r} both set {full}; remove one of them"
                )
            stated[full] = key
        if len(self.grid) > LARGEST_GRID:
            raise ValueError(
                f"tune.over: {len(self.grid)} recipes are more than {LARGEST_GRID}; use fewer values"
            )

    def folds(self, labelled: int) -> list[tuple[int, int] | None]:
        """Return the inner folds on which a recipe is scored; None: on the split's patients that validate."""
        if self.on == "val":
            return [None]
        return [] if labelled == 1 else [(k, INNER) for k in range(INNER)]

    @property
    def fewest(self) -> int:
        """Return how many seeds a section with this grid has at least."""
        return 2 if self.runs == "others" else self.runs

    @property
    def spares_scratch(self) -> bool:
        """Tell whether the grid varies only how loaded weights train: a row from scratch then has one recipe."""
        return {key.partition(".")[0] for key in self.grid[0]} <= {"loaded", "norm"}

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Return every recipe as dotted keys and values; the first key varies slowest."""
        keys = [SHORT.get(key, key) for key in self.over]
        return [dict(zip(keys, values, strict=True)) for values in product(*self.over.values())]


@dataclass(frozen=True)
class Track:
    """A learning curve: which cases are scored during a fine-tuning, and how often. The last step is scored, too.

    The curve chooses nothing, and no weight depends on it.
    """

    # part of the split to score; val as for `best_val`
    part: Literal["val", "test", "train"] = "val"
    every: Steps | None = None  # steps between two scores
    # instead of `every`: epochs of the labelled cases
    every_epochs: Annotated[float, Range(0.001, 1e7)] | None = None

    def __post_init__(self) -> None:
        if (self.every is None) == (self.every_epochs is None):
            raise ValueError("track: set either 'every' (in steps) or 'every_epochs'")


@dataclass(frozen=True, kw_only=True)
class Regressed:
    """What a regression predicts of each case. Set exactly one of the first three keys."""

    volume: str = ""  # a label or region of the data set; predict its volume in ml
    # a label or region; predict (largest - smallest) / largest volume of a patient's cases
    ejection_fraction: str = ""
    meta: str = ""  # name of a number that the data set states for each case, such as age
    unit: str = ""  # unit of that number, as printed

    def __post_init__(self) -> None:
        if [bool(self.volume), bool(self.ejection_fraction), bool(self.meta)].count(True) != 1:
            raise ValueError("value: set exactly one of 'volume', 'ejection_fraction' and 'meta'")
        if bool(self.unit) != bool(self.meta):
            raise ValueError("value.unit: set it together with 'meta', and only then")

    @property
    def text(self) -> str:
        """Return in words what is predicted."""
        if self.meta:
            return f"{self.meta} ({self.unit})"
        if self.volume:
            return f"volume of {self.volume} (ml)"
        return f"ejection fraction of {self.ejection_fraction}"


Named = dict[str | int, str | int]


@dataclass(frozen=True, kw_only=True)
class TestedOn:
    """Another data set on which a section's fine-tuned weights are tested. None of its cases is trained on."""

    dataset: str  # name of a data set (see `bench list datasets`)
    # label of this data set: label of the section's data set to compare it with, by name or value; by default labels
    # of the same name are compared
    labels: Named = field(default_factory=dict)
    split: str = ""  # test only the test patients of this split; by default all labelled patients
    # use only cases whose metadata have these values, such as `modality: CT`
    where: dict[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()  # cases to leave out; "doubtful": those that the data set marks
    recipe: str | Recipe | None = None  # by default that of the section
    title: str = ""  # printed title; by default made from the titles of both data sets


@dataclass(frozen=True)
class External:
    """What makes a section a test of the fine-tunings of another one."""

    section: int  # the other one's index
    labels: Named
    recipe: str | Recipe | None


@dataclass(frozen=True, kw_only=True)
class Finetune(Tuning):
    """One labelled data set on which every row is fine-tuned and scored."""

    dataset: str  # name of a data set (see `bench list datasets`)
    split: str  # a registered list, or rule, even, rule_5fold, cv5, leave_one_out, by_scan, by_scan_5fold, given
    # name of the section in records and tables; default: the data set, with "#2" if it is repeated
    name: str = ""
    title: str = ""  # printed title; by default that of the data set, longer if repeated
    settings: str = ""  # a file of settings, relative to the protocol's folder; keys set here win
    # how scans are prepared: a recipe's name in the data set, or a mapping
    recipe: str | Recipe = "default"
    crop: Triple | None = None  # by default that of the network
    # for classification: units of an additional layer before the last
    hidden: Annotated[int, Range(0, 65536)] = 0
    # percents of the training patients, integers from 1 to 100
    fractions: tuple[int, ...] = percents((100,))
    seeds: Numbers = (0,)  # one run per seed
    # instead of `seeds`: number of draws of labelled patients; N means seeds 0 to N - 1
    draws: Annotated[int, Range(1, 1000)] | None = None
    folds: Numbers | None = None  # folds of the split to run; all by default
    # changes of the pretraining for this section
    pretrain: dict[str, Any] = field(default_factory=dict)
    # use only cases whose metadata have these values, such as `modality: CT`
    where: dict[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()  # cases to leave out; "doubtful": those that the data set marks
    epochs: Epochs | None = None  # each epoch has `crops` samples per case; or set `steps`
    crops: Samples = 1  # samples per case and epoch
    # what is equal at all label fractions; by default the unit in which the budget is given
    hold: Literal["epochs", "steps"] | None = None
    # also predict unlabelled cases whose metadata have these values, such as `modality: CT`, for a challenge's server
    submit: dict[str, str] = field(default_factory=dict)
    # instead of the regions of the data set
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    # regression: predict this number of each case instead of its label
    value: Regressed | None = sparse()
    # share of the row's training patients used for validation, instead of the split's part
    holdout: Part = 0.0
    inference: Inference = Inference()  # the sliding window
    track: Track | None = None  # scores during training; by default only after the last step
    # score that scratch must reach; if unset, nothing checks whether training was long enough
    anchor: Anchor | None = None
    # each row chooses its settings from this grid; by default all rows have the same settings
    tune: Tune | None = sparse()
    # test the same weights on other data sets; each is another section of the tables
    test_on: tuple[TestedOn, ...] = sparse(())
    # of such a section, which no file states
    external: External | None = field(default=None, metadata={"unsaid": True, SPARSE: True})

    def __post_init__(self) -> None:
        if self.draws is not None:
            drawn = tuple(range(self.draws))
            if self.seeds not in ((0,), drawn):
                raise ValueError("set either 'draws' or 'seeds', not both")
            object.__setattr__(self, "seeds", drawn)
        if not self.fractions or not self.seeds:
            raise ValueError("fractions and seeds need at least one value each")
        _distinct("fractions", self.fractions)
        _distinct("seeds", self.seeds)
        for percent in self.fractions:
            if not 1 <= percent <= 100:
                raise ValueError(f"fractions must be whole percents from 1 to 100, got {percent}")
        if self.tune is not None and self.tune.fewest > len(self.seeds):
            raise ValueError(
                f"tune.runs {self.tune.runs} needs at least {self.tune.fewest} seeds, there are {len(self.seeds)}; "
                "add seeds, or set 'tune.runs' to 1"
            )
        if self.tune is not None and self.tune.on == "folds" and self.holdout:
            raise ValueError("tune.on: folds divides all labelled patients; leave 'holdout' out")
        if self.value is not None and self.evaluation != "probe":
            raise ValueError(
                "value: only a probe predicts a number; set 'evaluation: probe', or leave it out"
            )
        if self.value is not None and (self.regions or self.submit):
            raise ValueError("value: 'regions' and 'submit' are for label maps; leave them out")
        if self.evaluation == "probe" and self.track is not None:
            raise ValueError(
                "a probe has no steps to track; leave 'track' out (a row: 'track: null')"
            )
        super().__post_init__()

    @property
    def held(self) -> str:
        """Return what stays the same over label fractions: ``epochs`` or ``steps``."""
        return self.hold or ("epochs" if self.steps is None else "steps")


@dataclass(frozen=True)
class Initial:
    """What a row starts from, if made outside of this protocol: a file of weights, or features of every case."""

    file: str = ""  # a file of weights, relative to the protocol's folder
    # instead of `file`, for a probe: a folder with <case>.npy of every case (see `bench embed`)
    embeddings: str = ""
    # with `embeddings`: a file with the cases or patients of the pretraining, one a line
    pretrained_on: str = ""
    preset: str = ""  # preset of the network, if the tensor names do not tell it
    # kinds of layers, or stages, that the file may lack, such as attention or norms
    lacks: tuple[str, ...] = ()
    weights: str = ""  # name of the public weights (see `bench list weights`)
    # other: scans are prepared by another recipe than for the weights, on purpose
    recipe: Literal["", "other"] = ""
    # for `evaluation: as_loaded`: label of the data set: the classes of the weights that become it, by number or, for
    # public weights, by name; a label without a class is never predicted
    labels: dict[str | int, tuple[int | str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.file) == bool(self.embeddings):
            raise ValueError("init: set either 'file' or 'embeddings'")
        if self.pretrained_on and not self.embeddings:
            raise ValueError("init.pretrained_on: works only with 'embeddings'; leave it out")
        of_file = ("preset", "lacks", "weights", "recipe", "labels")
        stated = [key for key in of_file if getattr(self, key)]
        if self.embeddings and stated:
            raise ValueError(f"init.{stated[0]}: works only with 'file'; leave it out")

    @classmethod
    def of(cls, init: str | Initial) -> Initial:
        """Return what a row states, which may be the file's name alone."""
        return init if isinstance(init, cls) else cls(str(init))


@dataclass(frozen=True)
class Beside:
    """A panel in the picture of embeddings, for a network that no row has."""

    network: str  # a key of `networks`
    init: str | Initial  # a file of weights, as for a row; if it is missing, there is no panel
    title: str = ""  # printed title; by default its name


@dataclass(frozen=True)
class Embeddings:
    """A picture of each encoder's features of the same pretraining samples (HSSL, Fig. 3)."""

    samples: Samples = 50  # number of samples of each data set
    layout: Literal["tsne", "pca"] = "tsne"  # which layout is drawn; jobs compute both
    seed: Number = 0  # seed of the samples and of tsne
    beside: dict[str, Beside] = field(default_factory=dict)  # additional panels, by name


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups of a data set's test patients. The report compares scores between them; no job depends on them."""

    by: tuple[str, ...]  # columns, such as sex or scanner; each column gives separate groups
    # a CSV file, relative to the protocol's folder; its first column names patients or cases. By default what the
    # data set states about its cases, for example in its `participants.tsv`
    file: str = ""

    def __post_init__(self) -> None:
        if not self.by:
            raise ValueError("groups: 'by' is empty; name a column, or leave the data set out")


@dataclass(frozen=True)
class Phantom:
    """Synthetic cases that replace a data set that is not on this machine."""

    cases: Samples = 24  # number of cases
    seed: Number = 0  # seed of the random scans
