"""The sections of a protocol: what each may state, its defaults, and what is out of range."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated, Any, Literal

from bench.dataset import Recipe
from bench.ranges import Part, Range, Share
from bench.typed import SPARSE, renamed, sparse

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


@dataclass(frozen=True)
class Optimiser:
    """How weights move."""

    # lars: as You et al. 2017; biases and norms are neither scaled nor decayed
    name: Literal["adamw", "adam", "sgd", "lars"] = "adamw"
    lr: Factor = 1e-4  # peak rate
    weight_decay: Weight = 0.0  # adam: coupled; adamw: decoupled
    # adam, adamw
    betas: Annotated[tuple[float, float], Range(0, 1, below=True, order=False)] = (0.9, 0.999)
    eps: SomeShare = 1e-8  # adam, adamw
    momentum: Part = 0.9  # sgd, lars
    nesterov: bool = False  # sgd
    amsgrad: bool = False  # adam, adamw
    trust: Factor = 0.001  # lars

    def __post_init__(self) -> None:
        if self.name == "sgd" and self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov is a way to use momentum; state one above 0, or leave nesterov out"
            )


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the run: linear warm-up, then a decay."""

    name: Literal["constant", "cosine", "poly"] = "cosine"  # what follows the warm-up
    warmup: Part = 0.0  # share of all steps
    # rate of step k of n: (k + 1) / n of the peak, or k / n
    warmup_from: Literal["first", "zero"] = "first"
    end: Share = 0.0  # last rate as a share of the peak
    power: Factor = 0.9  # poly


@dataclass(frozen=True)
class Net:
    """One network at one size, and the crop it reads."""

    network: str  # a name of `bench list networks`
    preset: str = "base"  # its size, by name
    crop: Triple = (96, 96, 96)  # voxels along x, y, z


@dataclass(frozen=True)
class Mix:
    """One data set of a pretraining mixture.

    ``train`` reads its training patients only where it is also downstream, else everything, but for what
    ``split`` leaves to be tested elsewhere: so protocols that test on one data set each share a pretraining.
    """

    dataset: str  # a name of `bench list datasets`
    cases: Literal["train", "all"] = "train"  # all: also those that are tested downstream
    recipe: str | Recipe | None = None  # where it differs from the mixture's
    list: str = ""  # a pretraining list of the data set: only what it names
    split: str = ""  # where it is not downstream here: its training patients by this split alone
    # only cases with these entries in their meta
    where: dict[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()  # cases, or "doubtful" for what the data set has against some
    take: str = ""  # "40 cases" or "20 %", by the ranking of label fractions
    task: Number | None = None  # class labels that a method may learn from (HSSL)
    group: Number | None = None  # likewise, of the coarser classes
    # with `train`: also scans without a label, of patients who neither validate nor are tested
    unlabelled: bool = False

    def __post_init__(self) -> None:
        if self.split and (self.cases == "all" or self.list):
            raise ValueError("split says who is read; leave out 'cases: all' and list")
        _amount(self.take)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How any training goes: its budget in steps, its batch, its rate."""

    steps: Steps | None = None  # of the optimiser; or state `epochs`
    batch: Samples = 2  # global: of all processes and micro-batches of a step
    accumulate: Samples = 1  # micro-batches per step
    optimiser: Optimiser = Optimiser()  # how weights move
    schedule: Schedule = Schedule()  # how the rate goes
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # the latter two need a GPU
    clip: Factor | None = None  # gradient norm


@dataclass(frozen=True, kw_only=True)
class Pretraining(Training):
    """What a pretraining job is told of its training."""

    # steps whose weights are kept besides the last
    snapshots: Annotated[tuple[int, ...], Range(0, 1e9, above=True, order=False)] = ()


@dataclass(frozen=True, kw_only=True)
class OnlineProbe:
    """A ridge probe of the encoder while it pretrains: it looks on, chooses nothing and changes no weight.

    Half of the patients (rounded up) fit it, the rest are scored: label maps by Dice, classes by accuracy.
    """

    # with labels; fine-tuned on here, or in the mixture
    dataset: str
    # labelled, of the training part alone, chosen by a fixed rule
    patients: Annotated[int, Range(2, 1000)] = 8
    # steps between two looks; one more before the first step, one after the last
    every: Steps
    recipe: str | Recipe | None = None  # by default the pretraining's
    levels: tuple[int, ...] | None = None  # maps of the encoder, 0 is the finest; by default all
    # cubes in whose voxels intensities are averaged, by their sides; 1: the voxel itself
    intensity: Annotated[tuple[int, ...], Range(1, 31, order=False)] = ()

    def __post_init__(self) -> None:
        if self.levels == ():
            raise ValueError(
                "probe.levels is empty, and the encoder would not be read; name a level"
            )
        Probe(levels=self.levels, intensity=self.intensity)

    @property
    def fitted(self) -> int:
        """Return how many of the patients fit it."""
        return -(-self.patients // 2)


@dataclass(frozen=True, kw_only=True)
class Pretrain(Pretraining):
    """Unlabelled data and budget, shared by all rows that do not override it."""

    datasets: tuple[Mix, ...] = ()  # spelled out; or name a `mixture`
    mixture: str = ""  # one of datasets/mixtures, in place of `datasets`
    # the mixture's name in the records; by default `mixture`, or the data sets joined by +
    name: str = ""
    take: str = ""  # "400 cases" or "20 %" of the whole mixture
    absent: Literal["refuse", "allow"] = "refuse"  # cases that a list names and the folder lacks
    # cases that also stand in a downstream test part
    leaks: Literal["fail", "drop", "allow"] = "fail"
    # stated, it wins over those of a `mixture`; by default "default"
    recipe: str | Recipe | None = None
    # a key of `networks`; by default the row's own (2D pretraining for a 3D network)
    network: str = ""
    crop: Triple | None = None  # by default the network's
    epochs: Epochs | None = None  # with `crops` samples per case and epoch
    crops: Samples = 1  # samples per case and epoch
    seed: Number | None = None  # by default 0
    # in its place: a pretraining each, crossed with those of fine-tuning, or one of its own for each of these
    seeds: Numbers | Literal["paired"] = ()
    # a curve of what the encoder tells of labels as it trains; by default none
    probe: OnlineProbe | None = sparse()

    def __post_init__(self) -> None:
        _amount(self.take)
        if self.seeds and self.seed is not None:
            raise ValueError("state one 'seed' or a list of 'seeds', not both")
        if self.seeds != PAIRED and len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds names each seed once, got {list(self.seeds)}")
        if bool(self.datasets) == bool(self.mixture):
            raise ValueError("state either 'datasets' or the name of a 'mixture'")

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
    """Sliding window over the prepared volume."""

    overlap: Part = 0.5  # of neighbouring windows, a share of their size
    batch: Samples = 4  # windows at once; changes no number
    blend: Literal["gaussian", "constant"] = "gaussian"  # weights within a window
    # axes of test-time flips: the mean of all combinations
    mirror: tuple[Literal["x", "y", "z"], ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.mirror)) < len(self.mirror):
            raise ValueError(f"inference.mirror names each axis once, got {list(self.mirror)}")


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
    """Fine-tuning augmentation: probabilities per sample (per axis for flips), and ranges of uniform draws.

    The ranges are those of nnU-Net (MIC-DKFZ/nnUNet @0e49508, batchgeneratorsv2 @3cb4f07), whose whole set
    is ``flip: 0.5, rotate: 0.2, zoom: 0.2, noise: 0.1, blur: 0.2, brightness: 0.15, contrast: 0.15,
    lowres: 0.25, gamma_inverted: 0.1, gamma: 0.3, channel: 0.5, balanced: true, margin: 1.6``; in flat
    crops and in 2D ``angle: 180, margin: 1.18`` (angle 15 in 2D with one side over 1.5 times the other).
    """

    flip: float = 0.0  # per axis
    rot90: float = 0.0  # quarter turns in the x-y plane
    scale: float = 0.0  # intensity times 1 +- 0.1
    shift: float = 0.0  # intensity +- 0.1
    rotate: float = 0.0  # about x, y and z, each by up to
    angle: float = 30.0  # degrees
    zoom: float = 0.0  # likewise
    zoom_range: Ends = (0.7, 1.4)  # of the extent that is read, in crops: above 1 all looks smaller
    zoom_axes: Literal["alike", "apart"] = "alike"  # one factor, or one for each axis
    # turn, zoom and thin in x and y alone; by default in crops flatter than 3 to 1
    plane: bool | None = None
    # extent, in crops, that is read around a crop for turns and zooms; zeros beyond
    margin: float = 1.0
    noise: float = 0.0  # Gaussian
    noise_range: Ends = (0.0, 0.1)  # its size, on the image's own scale
    noise_unit: Literal["std", "variance"] = "std"  # what that size means
    blur: float = 0.0  # Gaussian
    blur_sigma: Ends = (0.5, 1.0)  # voxels
    brightness: float = 0.0  # times
    brightness_range: Ends = (0.75, 1.25)  # factors
    brightness_clip: bool = False  # to the former range
    contrast: float = 0.0  # about the mean, cut off at the former range
    contrast_range: Ends = (0.75, 1.25)  # factors
    lowres: float = 0.0  # thinned to a share of the voxels, and back
    lowres_range: Ends = (0.5, 1.0)  # shares
    gamma_inverted: float = 0.0  # of the negative
    gamma: float = 0.0  # a power of the values scaled to 0 to 1
    gamma_range: Ends = (0.7, 1.5)  # exponents
    gamma_keep: Literal["moments", "range", "unit"] = "moments"  # mean and spread; extremes; 0 to 1
    channel: float = 1.0  # probability per channel of blur and lowres, in a sample that has them
    balanced: bool = False  # factors and exponents below 1 as often as above

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, tuple | list):
                least, most = (
                    0.0 if name == "noise_range" else 1e-3,
                    1.0 if name == "lowres_range" else 1e3,
                )
                if not least <= value[0] <= value[1] <= most:
                    raise ValueError(
                        f"augment.{name} is [low, high] from {least:g} to {most:g}, got {value}"
                    )
            elif (
                isinstance(value, float | int)
                and name not in ("angle", "margin")
                and not 0 <= value <= 1
            ):
                raise ValueError(f"augment.{name} is a probability from 0 to 1, got {value}")
        if not (0 <= self.angle <= 180 and 1 <= self.margin <= 3):
            raise ValueError(
                f"augment.angle is 0 to 180, margin 1 to 3, got {self.angle} and {self.margin}"
            )


@dataclass(frozen=True)
class Anchor:
    """What scratch must reach with all labels before a comparison with it says anything of pretraining.

    Shares of 1, as the metric has them. What the field reaches stands beside it, out of
    ``results/reference.csv``, by data set and ``family``.
    """

    mean: Share  # of all targets
    each: Share = 0.0  # the worst target
    metric: Literal["dice", "iou", "accuracy", "auc", "qwk"] = "dice"  # what both are of
    family: str = ""  # of networks in results/reference.csv; by default every one with this metric


@dataclass(frozen=True, kw_only=True)
class Group:
    """How one group of a network's parameters trains, where that differs from the section's own recipe.

    Which parameters are ``new`` and which ``loaded`` says the load receipt; from scratch all are ``new``.
    """

    rate: Factor | None = None  # peak learning rate; by default the optimiser's
    # share of all steps, from the first in which it trains; by default the schedule's
    warmup: Part | None = None
    decay: Weight | None = None  # weight decay; by default the optimiser's
    # share of all steps, from the first on, in which it does not train; 1: never
    frozen: Share = 0.0
    # rate of each encoder layer as a share of the next layer's; of the last, of `rate`
    layer_decay: SomeShare = 1.0
    # its schedule runs once until the other group begins to train, and once more after
    restart: bool = False


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters beside a transformer's loaded linear layers (Hu et al., LoRA, ICLR 2022).

    They belong to the ``new`` parameters. ``loaded: {frozen: 1}`` keeps the weights that they adapt.
    """

    rank: Annotated[int, Range(0, 1024)] = 0  # 0: none
    alpha: Factor = 16.0  # what an adapter adds is multiplied by alpha / rank
    layers: Literal["attention", "all"] = "attention"  # linear layers of the encoder that have one


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How features of an encoder that never trains are read: in closed form, without a seed.

    Of label maps every voxel is a sample, of classes every window. All classes weigh the same.
    """

    # ridge: least squares on the classes; logistic: by L-BFGS; knn: votes by cosine similarity
    kind: Literal["ridge", "logistic", "knn"] = "ridge"
    levels: tuple[int, ...] | None = None  # maps of the encoder, 0 is the finest; by default all
    # cubes in whose voxels intensities are averaged, by their sides; 1: the voxel itself
    intensity: Annotated[tuple[int, ...], Range(1, 31, order=False)] = ()
    strength: Literal["leave_out", "val"] = (
        "leave_out"  # who chooses it: patients left out in turn, or val
    )
    k: Samples = 20  # neighbours
    samples: Annotated[int, Range(1, 1e7)] = 20_000  # knn, logistic: of training, evenly spread

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
        how = {
            "leave_out": "patients left out in turn choose its strength",
            "val": "patients that validate choose its strength",
        }[self.strength]
        if self.kind == "knn":
            how = f"{self.k} of {self.samples} samples vote"
        return (
            f"{self.kind} probe of {', '.join(text for text in maps if maps[text])}; windows side by "
            f"side; norm layers as in evaluation; {how}"
        )

    def __post_init__(self) -> None:
        if self.levels == () and not self.intensity:
            raise ValueError("probe.levels is empty and so is probe.intensity; state one of them")
        if any(side % 2 == 0 for side in self.intensity):
            raise ValueError(f"probe.intensity: sides are odd, got {list(self.intensity)}")
        for key, kinds in (("k", ("knn",)), ("samples", ("knn", "logistic"))):
            if self.kind not in kinds and getattr(self, key) != getattr(Probe, key):
                raise ValueError(f"probe.{key} does nothing with 'kind: {self.kind}'; leave it out")


@dataclass(frozen=True, kw_only=True)
class Tuning(Training):
    """What a fine-tuning job is told of its training."""

    scans: Samples | None = None  # distinct scans in a step's batch; by default as many as crops
    clip_each: bool = False  # of each tensor by itself
    # by default what fits the task; mse: of a regression
    loss: Literal["dice_ce", "dice", "cross_entropy", "mse"] | None = None
    background: bool = True  # does Dice in the loss count the background?
    batch_dice: bool = False  # one Dice over the batch, as if its crops were one volume
    ce_weight: Weight = 1.0  # of cross-entropy beside Dice
    # one class per voxel or case; a sigmoid for each region; one for each of classes that have an order
    head: Literal["softmax", "regions", "ordinal"] = "softmax"
    # the loss also at coarser scales, weighted 1, 1/2, 1/4 ... to sum 1
    deep_supervision: bool = False
    foreground: Share | None = None  # share of crops centred on a labelled voxel
    exact: bool = False  # that share of every batch, not of many
    negatives: Literal["anywhere", "background"] = "anywhere"  # centres of the other crops
    # such a voxel: of a class drawn first, so that small organs are as frequent
    balanced: bool = False
    augment: Augment = field(default_factory=Augment)  # none by default
    # decoder: the encoder never trains; probe: neither does, features are read in closed form;
    # as_loaded: nothing is fitted, the weights are scored as they came
    evaluation: Literal["end_to_end", "decoder", "probe", "as_loaded"] = renamed(
        "end_to_end", linear="decoder"
    )
    probe: Probe = sparse(Probe())  # with `evaluation: probe`
    frozen: Part = 0.0  # share of all steps, from the first on, in which the encoder does not train
    # what the load receipt left at random; nothing is frozen where all is new
    new: Group = sparse(Group())
    loaded: Group = sparse(Group())  # what came from a pretraining or a file
    # the last layer; loaded: it comes with the weights, for the same labels; `best_val` looks at step 0, too
    output: Literal["new", "loaded"] = sparse("new")
    # a new last layer's bias starts at the log frequencies of the classes in its crops
    prior: bool = sparse(False)
    # loaded norm layers that keep statistics: of each batch, or kept as they were loaded
    norm: Literal["batch", "kept"] = sparse("batch")
    # momentum of a running mean of the weights, which is what is scored; 0: the weights themselves
    ema: Part = sparse(0.0)
    lora: Lora = sparse(Lora())  # of a row that starts from weights; none by default
    # whose weights are scored; best_test at paper scale alone
    select: Literal["last", "best_val", "best_test"] = "last"
    # of the row's label fraction, or all of the split's
    val: Literal["fraction", "full"] = "fraction"
    val_every: SomeShare = 0.1  # share of all steps, for best_val and best_test
    # stop after this share of all steps without a better validation
    patience: SomeShare | None = None

    def __post_init__(self) -> None:
        if self.scans is not None and self.batch % self.scans:
            raise ValueError(f"scans {self.scans} is no divisor of batch {self.batch}")
        for key, other in (
            ("exact", "foreground"),
            ("balanced", "foreground"),
            ("clip_each", "clip"),
        ):
            if getattr(self, key) and getattr(self, other) is None:
                raise ValueError(
                    f"{key} does nothing without {other}; state it, or leave {key} out"
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
                "patience looks at validation patients; use 'select: best_val' or 'last'"
            )

    def _check_evaluation(self) -> None:
        within = f"with 'evaluation: {self.evaluation}'"
        if self.evaluation != "end_to_end" and self.frozen:
            raise ValueError(f"{within} the encoder never trains; leave frozen out")
        if not self.is_trained and self.judged:
            raise ValueError(f"{within} nothing trains; leave select and patience out")
        if self.evaluation != "probe" and self.probe != Probe():
            raise ValueError("'probe' does nothing without 'evaluation: probe'; state that, too")
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
                "new.frozen and loaded.frozen leave nothing to train at first; state one"
            )
        for group, other in (("new", self.loaded), ("loaded", self.new)):
            if getattr(self, group).restart and not other.frozen:
                raise ValueError(
                    f"{group}.restart does nothing unless the other group has a 'frozen' share"
                )
        if self.new.layer_decay != 1:
            raise ValueError("new.layer_decay: layers have rates of their own in 'loaded' alone")

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
SHORT = {"rate": "optimiser.lr"}  # other names of keys in a grid


@dataclass(frozen=True)
class Tune:
    """A small grid of recipes from which each row chooses its own, by the patients that validate.

    Test patients are never looked at. Of equal scores the first recipe of the grid wins.
    """

    # key of the section, as loaded.rate (rate: optimiser.lr): the values tried
    over: dict[str, tuple[Any, ...]]
    on: Literal["val"] = "val"  # who decides: the patients that validate, as for `best_val`
    # seeds whose mean score decides, a run's own seed the first of them
    runs: Annotated[int, Range(1, 64)] = 1

    def __post_init__(self) -> None:
        if not self.over or not all(self.over.values()):
            raise ValueError("tune.over: name at least one key and the values to try for it")
        for key in self.over:
            if SHORT.get(key, key).partition(".")[0] not in TUNABLE:
                raise ValueError(
                    f"tune.over: {key!r} cannot be tuned; use a key of {', '.join(TUNABLE)}"
                )
        if len(self.grid) > LARGEST_GRID:
            raise ValueError(
                f"tune.over: {len(self.grid)} recipes are more than {LARGEST_GRID}; use fewer values"
            )

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Return every recipe as dotted keys and values; the first key varies slowest."""
        keys = [SHORT.get(key, key) for key in self.over]
        return [dict(zip(keys, values, strict=True)) for values in product(*self.over.values())]


@dataclass(frozen=True)
class Track:
    """A learning curve: which cases are scored as a fine-tuning goes, and how often, its last step always.

    Nothing is chosen by it, and no weight depends on it.
    """

    # of the split; those who validate as for `best_val`
    part: Literal["val", "test", "train"] = "val"
    every: Steps | None = None  # steps
    # in its place: of the labelled cases, as `epochs` counts them
    every_epochs: Annotated[float, Range(0.001, 1e7)] | None = None

    def __post_init__(self) -> None:
        if (self.every is None) == (self.every_epochs is None):
            raise ValueError("track: state either 'every' in steps or 'every_epochs'")


@dataclass(frozen=True, kw_only=True)
class Regressed:
    """What a regression predicts of each case: exactly one of the first three."""

    volume: str = ""  # a label or region of the data set; its volume in ml
    # a label or region; the largest volume of a patient's cases less the smallest, over the largest
    ejection_fraction: str = ""
    meta: str = ""  # a number that the data set states of a case by this name, such as age
    unit: str = ""  # of that number, as printed

    def __post_init__(self) -> None:
        if [bool(self.volume), bool(self.ejection_fraction), bool(self.meta)].count(True) != 1:
            raise ValueError("value: state one of 'volume', 'ejection_fraction' and 'meta'")
        if bool(self.unit) != bool(self.meta):
            raise ValueError("value.unit: state it with 'meta', and leave it out without")

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
    """Another data set on which a section's fine-tuned weights are tested: nothing of it trains."""

    dataset: str  # a name of `bench list datasets`
    # label of this data set: the label of the section's that it is compared with, by names or values; by
    # default labels of one name belong together
    labels: Named = field(default_factory=dict)
    split: str = ""  # whose test patients alone are tested; by default all patients with labels
    # only cases with these entries in their meta
    where: dict[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()  # cases, or "doubtful" for what the data set has against some
    # by default the section's, written out: nothing of it is this data set's own
    recipe: str | Recipe | None = None
    title: str = ""  # as printed; by default the titles of both data sets


@dataclass(frozen=True)
class External:
    """What makes a section a test of the fine-tunings of another one."""

    section: int  # the other one's index
    labels: Named
    recipe: str | Recipe | None


@dataclass(frozen=True, kw_only=True)
class Finetune(Tuning):
    """One labelled data set on which every row is fine-tuned and scored."""

    dataset: str  # a name of `bench list datasets`
    split: str  # a registered list, or rule, even, rule_5fold, cv5, leave_one_out, given
    # what records and tables call the section; by default its data set, "#2" where twice
    name: str = ""
    title: str = ""  # as printed; by default the data set's, and more where that comes twice
    # a file of settings, named from the protocol's folder; what is stated here wins
    settings: str = ""
    # how scans are prepared: a name of the data set's, or spelled out
    recipe: str | Recipe = "default"
    crop: Triple | None = None  # by default the network's
    # units of a layer before the last, of a classification
    hidden: Annotated[int, Range(0, 65536)] = 0
    fractions: tuple[int, ...] = (100,)  # whole percents of the training patients, 1 to 100
    seeds: Numbers = (0,)  # a run each
    # of labelled patients at each fraction, in place of seeds: N stands for seeds 0 to N - 1
    draws: Annotated[int, Range(1, 1000)] | None = None
    folds: Numbers | None = None  # which folds of the split; all by default
    # overrides of what is pretrained for this section
    pretrain: dict[str, Any] = field(default_factory=dict)
    # only cases with these entries in their meta
    where: dict[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()  # cases, or "doubtful" for what the data set has against some
    epochs: Epochs | None = None  # with `crops` samples per case and epoch; or state `steps`
    crops: Samples = 1  # samples per case and epoch
    hold: Literal["epochs", "steps"] | None = None  # by default what the budget is stated in
    # unlabelled cases, by their meta, that are predicted too, for the challenge's server
    submit: dict[str, str] = field(default_factory=dict)
    # in place of the data set's own
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    # a regression: the number of each case that is predicted, in place of its label
    value: Regressed | None = sparse()
    # share of the row's training patients that validate, in place of the split's
    holdout: Part = 0.0
    inference: Inference = Inference()  # the sliding window
    track: Track | None = None  # by default nothing is scored before the last step
    anchor: Anchor | None = None  # without it nothing says whether training was long enough
    # each row chooses its recipe from a grid; by default all rows have this one
    tune: Tune | None = sparse()
    # other data sets that are tested by the same weights, a section of the tables each
    test_on: tuple[TestedOn, ...] = sparse(())
    # of such a section, which no file states
    external: External | None = field(default=None, metadata={"unsaid": True, SPARSE: True})

    def __post_init__(self) -> None:
        if self.draws is not None:
            drawn = tuple(range(self.draws))
            if self.seeds not in ((0,), drawn):
                raise ValueError("state either 'draws' or 'seeds', not both")
            object.__setattr__(self, "seeds", drawn)
        if not self.fractions or not self.seeds:
            raise ValueError("fractions and seeds need at least one value each")
        for percent in self.fractions:
            if not 1 <= percent <= 100:
                raise ValueError(f"fractions are whole percents from 1 to 100, got {percent}")
        if self.tune is not None and self.tune.runs > len(self.seeds):
            raise ValueError(
                f"tune.runs {self.tune.runs} needs as many seeds, there are {len(self.seeds)}"
            )
        if self.value is not None and self.evaluation != "probe":
            raise ValueError(
                "value: a number is read by a probe alone; state 'evaluation: probe', or leave it out"
            )
        if self.value is not None and (self.regions or self.submit):
            raise ValueError("value: 'regions' and 'submit' are of label maps; leave them out")
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
    """What a row starts from that was made elsewhere: a file of weights, or features of every case."""

    file: str = ""  # of weights, named from the protocol's folder
    # in its place, with a probe: a folder with <case>.npy of every case, as `bench embed` writes it
    embeddings: str = ""
    # of embeddings: a file with a case or patient a line that they were pretrained on
    pretrained_on: str = ""
    preset: str = ""  # of the network, where the names of its tensors leave it open
    # kinds of layers, or stages, that it may lack: attention, norms, ...
    lacks: tuple[str, ...] = ()
    weights: str = ""  # which public ones they are, a name of `bench list weights`
    # other: this data is prepared by another recipe than they were trained with, on purpose
    recipe: Literal["", "other"] = ""
    # of `evaluation: as_loaded`: label of the data set: the classes of the weights that become it, by number or,
    # of public weights, by name; a label of no class is never predicted
    labels: dict[str | int, tuple[int | str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.file) == bool(self.embeddings):
            raise ValueError("init: state either 'file' or 'embeddings'")
        if self.pretrained_on and not self.embeddings:
            raise ValueError("init.pretrained_on: is of 'embeddings'; leave it out")
        of_file = ("preset", "lacks", "weights", "recipe", "labels")
        stated = [key for key in of_file if getattr(self, key)]
        if self.embeddings and stated:
            raise ValueError(f"init.{stated[0]}: is of a file of weights; leave it out")

    @classmethod
    def of(cls, init: str | Initial) -> Initial:
        """Return what a row states, which may be the file's name alone."""
        return init if isinstance(init, cls) else cls(str(init))


@dataclass(frozen=True)
class Beside:
    """A panel of the picture of embeddings for a network that no row has."""

    network: str  # a key of `networks`
    init: str | Initial  # a file of weights, as of a row; the panel is left out without it
    title: str = ""  # as printed; by default its name


@dataclass(frozen=True)
class Embeddings:
    """A picture of what each row's encoder makes of the pretraining's samples (HSSL, Fig. 3)."""

    samples: Samples = 50  # of each data set
    layout: Literal["tsne", "pca"] = "tsne"  # which of the two that every job makes is drawn
    seed: Number = 0  # of the samples and of tsne
    beside: dict[str, Beside] = field(default_factory=dict)  # further panels, by name


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups of a data set's test patients between which a report compares scores; no job depends on it."""

    by: tuple[str, ...]  # columns, such as sex or scanner; each divides the patients by itself
    # a CSV file, named from the protocol's folder; its first column names patients or cases. By default what
    # the data set itself says of its cases, as by its `participants.tsv`
    file: str = ""

    def __post_init__(self) -> None:
        if not self.by:
            raise ValueError("groups: 'by' names no column; state one, or leave the data set out")


@dataclass(frozen=True)
class Phantom:
    """Synthetic cases that stand in for a data set which is not on this machine."""

    cases: Samples = 24  # how many
    seed: Number = 0  # of what is drawn
