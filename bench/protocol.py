"""A protocol: the YAML that fixes one comparison, usually one table of a paper.

The file states the paper's values; a scale lays small overrides over them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.dataset import Recipe
from bench.errors import BenchError, unknown
from bench.strict import Document, build, overlay, parse

Triple = tuple[int, int, int]
SCALES = ("paper", "pilot", "smoke")
PAPERS = ("pgl", "hssl", "voco", "taleb", "glmae")


def _positive(where: str, **values: float | None) -> None:
    for key, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{where}{key} must be above 0, got {value}")


@dataclass(frozen=True)
class Optimiser:
    """How weights move."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9  # sgd
    nesterov: bool = False  # sgd
    amsgrad: bool = False  # adam, adamw

    def __post_init__(self) -> None:
        _positive("optimiser.", lr=self.lr)


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


@dataclass(frozen=True)
class Pretrain:
    """Unlabelled data and budget, shared by all rows that do not override it."""

    datasets: tuple[Mix, ...]
    name: str = ""  # the mixture's name in the records; by default the data sets joined by +
    recipe: str | Recipe = "default"
    steps: int | None = None
    epochs: float | None = None  # with `crops` samples per case and epoch
    crops: int = 1
    batch: int = 2
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16"] = "bf16"
    clip: float | None = None  # gradient norm
    seed: int = 0
    snapshots: tuple[int, ...] = ()  # steps whose weights are kept besides the last

    def __post_init__(self) -> None:
        _positive("", steps=self.steps, epochs=self.epochs, crops=self.crops, batch=self.batch)
        if not self.datasets:
            raise ValueError("datasets is empty")


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
    steps: int | None = None
    epochs: float | None = None
    crops: int = 1
    hold: Literal["epochs", "steps"] = "epochs"
    batch: int = 2
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16"] = "bf16"
    clip: float | None = None
    loss: Literal["dice_ce"] = "dice_ce"
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
        if not self.fractions or not self.seeds:
            raise ValueError("fractions and seeds need at least one value each")
        for percent in self.fractions:
            if not 1 <= percent <= 100:
                raise ValueError(f"fractions are whole percents from 1 to 100, got {percent}")


@dataclass(frozen=True)
class Row:
    """One line of the table: a method on a network, with what differs from its defaults."""

    method: str
    network: str  # a key of `networks`
    params: dict[str, Any] = field(default_factory=dict)
    pretrain: dict[str, Any] = field(default_factory=dict)  # overrides of the pretrain section
    finetune: dict[str, Any] = field(default_factory=dict)  # overrides of every finetune section
    at: int | None = None  # snapshot step to fine-tune from; the last by default
    published: str = ""  # its name in results/published/<paper>.csv
    title: str = ""  # as printed; by default the method's title and the network


@dataclass(frozen=True)
class Layout:
    """How the table is laid out."""

    columns: Literal["targets", "fractions", "datasets"] = "targets"
    metric: str = "dice"  # the table's own; the others follow as further tables
    mean: str = "Mean"
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)  # heading: rows under it


@dataclass(frozen=True)
class Phantom:
    """Synthetic cases that stand in for a data set which is not on this machine."""

    cases: int = 24
    seed: int = 0


@dataclass(frozen=True)
class Protocol:
    """One comparison: which rows, on what data, at what budget, against which table."""

    title: str
    networks: dict[str, Net]
    rows: dict[str, Row]
    finetune: tuple[Finetune, ...]
    name: str = ""
    paper: str = ""
    table: str = ""
    about: str = ""
    expected: str = ""  # what the paper printed, in words
    cost: str = ""  # what a run at this scale takes, in words
    notes: tuple[str, ...] = ()  # deviations and assumptions, printed under the table
    scale: Literal["paper", "pilot", "smoke"] = "paper"
    baseline: Literal["scratch", "none"] = "scratch"
    pretrain: Pretrain | None = None
    metrics: tuple[str, ...] = ("dice",)
    convention: Literal["medpy", "monai", "deepmind"] = "medpy"
    empty: Literal["default", "brats", "skip"] | None = None  # the data set's own by default
    layout: Layout = Layout()
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    phantoms: dict[str, Phantom] = field(default_factory=dict)  # by data set
    threads: int = 1  # per job; a resource, not part of any identity


def read(path: Path, scale: str | None = None) -> Protocol:
    """Return the protocol in ``path`` at ``scale`` (its own by default).

    Raises:
        BenchError: names file, line, key and the nearest valid name.
    """
    document = parse(path)
    chosen = scale or document.value.get("scale", "paper")
    scales = document.value.get("scales") or {}
    for key in scales:
        if key not in SCALES:
            raise BenchError(f"{document.where(('scales', key))}: {unknown('scale', key, SCALES)}")
    if chosen != "paper":
        if chosen not in scales:
            raise BenchError(f"{path}: has no scale {chosen!r}; it has: {', '.join(['paper', *scales])}")
        document = _laid_over(document, chosen)
    document.value["scale"] = chosen
    document.value.setdefault("name", _name(path))
    protocol = build(Protocol, document)
    _check(protocol, document)
    return protocol


def _laid_over(document: Document, scale: str) -> Document:
    over = document.value["scales"][scale]
    merged = Document(document.path, overlay(document.value, over), dict(document.lines))
    for keys, line in document.lines.items():  # a mistake in an override is shown at its own line
        if keys[:2] == ("scales", scale) and len(keys) > 2:
            merged.lines[keys[2:]] = line
    return merged


def _name(path: Path) -> str:
    parts = path.resolve().with_suffix("").parts
    if "protocols" in parts:
        last = len(parts) - 1 - parts[::-1].index("protocols")
        return "_".join(parts[last + 1 :])
    return parts[-1]


def _check(protocol: Protocol, document: Document) -> None:
    if protocol.paper and protocol.paper not in PAPERS:
        raise BenchError(f"{document.where(('paper',))}: {unknown('paper', protocol.paper, PAPERS)}")
    for name, row in protocol.rows.items():
        if row.network not in protocol.networks:
            line = document.where(("rows", name, "network"))
            raise BenchError(f"{line}: {unknown('entry of networks', row.network, protocol.networks)}")
        if row.method != "scratch" and protocol.pretrain is None:
            raise BenchError(f"{document.where(('rows', name))}: needs a 'pretrain' section")
        if row.pretrain:
            pretrain_of(protocol, row, document, name)
        for i in range(len(protocol.finetune) if row.finetune else 0):
            finetune_of(protocol, i, row, document, name)
    for i, target in enumerate(protocol.finetune):
        _has_budget(target, document, ("finetune", str(i)))
        if target.select == "best_test" and protocol.scale != "paper":
            raise BenchError(
                f"{document.where(('finetune', str(i), 'select'))}: best_test exists for the "
                "'paper' scale only; take last or best_val"
            )
    if protocol.pretrain is not None:
        _has_budget(protocol.pretrain, document, ("pretrain",))
    if protocol.baseline == "scratch":
        _has_baseline(protocol, document)


def _has_budget(section: Any, document: Document, keys: tuple[str, ...]) -> None:
    if (section.steps is None) == (section.epochs is None):
        raise BenchError(f"{document.where(keys)}: state the budget once, as 'steps' or as 'epochs'")


def _has_baseline(protocol: Protocol, document: Document) -> None:
    from_scratch = {r.network for r in protocol.rows.values() if r.method == "scratch"}
    for name, row in protocol.rows.items():
        if row.network not in from_scratch:
            raise BenchError(
                f"{document.where(('rows', name))}: nothing to compare with; add a row with "
                f"'method: scratch' on network {row.network!r}, or say 'baseline: none'"
            )


def pretrain_of(protocol: Protocol, row: Row, where: Document | None = None, name: str = "") -> Pretrain:
    """Return the protocol's pretraining with one row's overrides laid over it."""
    if protocol.pretrain is None:
        raise BenchError(f"protocol {protocol.name!r} has no 'pretrain' section")
    return _overridden(protocol.pretrain, row.pretrain, where, ("rows", name, "pretrain"))


def finetune_of(
    protocol: Protocol, index: int, row: Row, where: Document | None = None, name: str = ""
) -> Finetune:
    """Return one fine-tuning section with one row's overrides laid over it."""
    return _overridden(protocol.finetune[index], row.finetune, where, ("rows", name, "finetune"))


def _overridden(section: Any, over: dict[str, Any], where: Document | None, keys: tuple) -> Any:
    if not over:
        return section
    over = dict(over)
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if one in over and other not in over:
            over[other] = None  # a budget is stated once: the override's replaces the section's
    document = where or Document(Path("protocol"), {})
    return build(type(section), document, overlay(_yaml_like(asdict(section)), over), keys)


def _yaml_like(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _yaml_like(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_yaml_like(v) for v in value]
    return value
