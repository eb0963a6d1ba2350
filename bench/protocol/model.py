"""A protocol's rows and sections together, and what a row makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from bench import registry
from bench.document import Document, overlay
from bench.errors import BenchError, Misstated
from bench.protocol import external
from bench.protocol.sections import (
    Embeddings,
    Finetune,
    Grouping,
    Initial,
    Mix,
    Net,
    Phantom,
    Pretrain,
    Steps,
    one_of_each,
)
from bench.protocol.views import Layout
from bench.ranges import Range
from bench.typed import plain

T = TypeVar("T")
# random: a pretrained row from fresh weights; shuffled: its weights permuted within each tensor; long: the
# scratch row with more samples, those of the longest pretraining of its network; ceiling: pretrained with the
# labels of all training scans; doses: weights between fresh ones and the ceiling's; intensity: a probe of a
# voxel's intensity and its neighbourhood's, without an encoder.
OF_BOTH = (  # keys that a fine-tuning and a pretraining have alike
    "recipe",
    "steps",
    "epochs",
    "crops",
    "batch",
    "accumulate",
    "optimiser",
    "schedule",
    "clip",
    "precision",
    "crop",
)
Control = Literal["random", "shuffled", "long", "ceiling", "doses", "intensity"]


@dataclass(frozen=True)
class Row:
    """One line of the table: a method on a network, with what differs from its defaults."""

    method: str  # a name of `bench list methods`
    network: str  # a key of `networks`
    # of the method, where they differ from its defaults
    params: dict[str, Any] = field(default_factory=dict)
    pretrain: dict[str, Any] = field(default_factory=dict)  # overrides of the pretrain section
    finetune: dict[str, Any] = field(default_factory=dict)  # overrides of every finetune section
    # snapshot step to fine-tune from, or several, a row each; the last by default
    at: Steps | None = None
    # a file of weights, named from the protocol's folder, in place of pretraining here
    init: str | Initial = ""
    published: str = ""  # its name in results/published/<paper>.csv
    title: str = ""  # as printed; by default the method's title and the network
    sections: tuple[str, ...] = ()  # the fine-tuning sections that it has cells in; all by default
    # a positive control: pretrained by each section's own recipe with the labels of its training scans
    ceiling: bool = False
    # how far from fresh weights (0) to the pretrained (1)
    dose: Annotated[float, Range(0, 1, above=True)] = 1.0


@dataclass(frozen=True)
class Quoted:
    """A line of the table that nobody here runs: the paper printed it for a method that cannot be had."""

    published: str  # its name in results/published/<paper>.csv, as a row's
    title: str = ""  # by default the name there
    why: str = ""  # it is not run, for a footnote


@dataclass(frozen=True)
class Origin:
    """Which file a protocol is, without naming this machine: what its records remember of it."""

    # from ``protocols/`` on; a digest of the whole path where the file lies elsewhere
    path: str = ""
    content: str = ""  # digest of what it says, at every scale

    def same(self, other: Origin) -> bool:
        """Tell whether this is the file ``other``, edited perhaps, or a copy of what it says."""
        return self.path == other.path or self.content == other.content


@dataclass(frozen=True)
class Protocol:
    """One comparison: which rows, on what data, at what budget, against which table."""

    title: str  # of the table, as printed
    networks: dict[str, Net]  # by the label that rows name
    rows: dict[str, Row]  # by the name that records carry
    finetune: tuple[Finetune, ...]  # the sections
    published_only: dict[str, Quoted] = field(default_factory=dict)  # in grey, beside the rows
    # of records and reports; by default the path under `protocols/` with "_" for "/"
    name: str = ""
    paper: str = ""  # pgl, hssl, voco, taleb or glmae: whose numbers stand beside ours
    table: str = ""  # of that paper: table1, fig5
    about: str = ""  # what is asked, printed under the title
    expected: str = ""  # what the paper printed, in words
    cost: str = ""  # what a run at this scale takes, in words
    plugins: tuple[str, ...] = ()  # files or folders from outside, named from the protocol's folder
    notes: tuple[str, ...] = ()  # printed under the table
    # what the paper does not say and is taken from elsewhere, and from where
    assumed: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()  # where this knowingly differs from the paper, and why
    scale: Literal["paper", "pilot", "smoke"] = "paper"  # the one taken without `--scale`
    # scratch: each row has one to be compared with; else say that it is trained otherwise, or absent
    baseline: Literal["scratch", "unequal", "none"] = "scratch"
    # random, shuffled: beside pretrained rows; long, ceiling, doses, intensity: beside scratch
    controls: tuple[Control, ...] = ()
    pretrain: Pretrain | None = None  # needed where a row is pretrained here
    metrics: tuple[str, ...] = ()  # by default dice, and accuracy where a data set has classes
    convention: Literal["medpy", "monai", "deepmind"] = "medpy"  # of distances
    empty: Literal["default", "brats", "skip"] | None = None  # the data set's own by default
    layout: Layout = field(default_factory=Layout)  # of tables and figures
    # by data set: between which of its patients the report compares scores
    groups: dict[str, Grouping] = field(default_factory=dict)
    embeddings: Embeddings | None = None  # a picture of what encoders see; none by default
    # pilot, smoke: laid over all of this
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    phantoms: dict[str, Phantom] = field(default_factory=dict)  # by data set
    # per job; a resource, not part of any identity
    threads: Annotated[int, Range(0, 1024, above=True)] = 1
    # laid over every recipe by which scans are prepared
    recipe: dict[str, Any] = field(default_factory=dict)
    # where it lies, for files are named from there; no key of the format
    folder: Path = field(default=Path(), metadata={"unsaid": True})
    origin: Origin = field(default=Origin(), metadata={"unsaid": True})
    # what --set changed, as typed
    overrides: tuple[str, ...] = field(default=(), metadata={"unsaid": True})
    document: Document | None = field(
        default=None, repr=False, compare=False, metadata={"unsaid": True}
    )

    @cached_property
    def sections(self) -> tuple[str, ...]:
        """Return what records and tables call each fine-tuning section.

        That is its name; by default its data set's, with ``#2``, ``#3`` where one comes twice.
        """
        return tuple(section_names([(section.name, section.dataset) for section in self.finetune]))

    def trained_in(self, index: int) -> int:
        """Return the section whose fine-tunings a section scores: itself, but for a test elsewhere."""
        tested = self.finetune[index].external
        return index if tested is None else tested.section

    @property
    def scaled(self) -> bool:
        """Tell whether it has more than one scale; else its rows' `paper` means: as it is written."""
        return bool(self.scales) or self.scale != "paper"

    @contextmanager
    def at(self, *places: tuple[str, ...]) -> Iterator[None]:
        """Say of what is misstated on which line of the file it stands.

        Args:
            places: the keys of what is looked at inside, those that win first.
        """
        try:
            yield
        except Misstated as error:
            document = self.document or Document(Path(f"protocol {self.name!r}"), {})
            stated = [(*keys, *error.key.split(".")) for keys in places or [()]]
            keys = next((keys for keys in stated if keys in document.lines), stated[-1])
            raise BenchError(f"{document.where(keys)}: {error}") from None

    @cached_property
    def resolved(self) -> dict[Any, Any]:
        """Return what is known of rows and sections laid over each other: the plan asks again and again."""
        return {}

    def rows_in(self, index: int) -> dict[str, Row]:
        """Return the rows that have cells in one fine-tuning section."""
        return {name: row for name, row in self.rows.items() if index in self.sections_of(row)}

    def sections_of(self, row: Row) -> list[int]:
        """Return the indices of the fine-tuning sections that a row has cells in."""
        return [
            i
            for i, name in enumerate(self.sections)
            if not row.sections or {name, self.sections[self.trained_in(i)]} & {*row.sections}
        ]


def section_names(sections: Sequence[tuple[str, str]]) -> list[str]:
    """Return what sections are called of which each states a name, which may be empty, and a data set."""
    names = list[str]()
    for i, (name, dataset) in enumerate(sections):
        twins = 1 + sections[:i].count(("", dataset))
        names.append(name or dataset + (f"#{twins}" if twins > 1 else ""))
    return names


def labelled(name: str, variant: str) -> str:
    """Return what the records call a variant of a row; ``row_of`` is the way back."""
    return f"{name} ({variant})" if variant else name


def row_of(protocol: Protocol, name: str) -> tuple[Row | None, str]:
    """Return the row that records call ``name``, and what follows its own name: "voco (shuffled)".

    The plan expands a row to several: ``(last)`` weights beside the best, and the controls.
    """
    base = name
    # a row's own name may have one
    while base not in protocol.rows and base.endswith(")") and " (" in base:
        base = base[: base.rindex(" (")]
    return (protocol.rows[base], name[len(base) :]) if base in protocol.rows else (None, "")


def is_control(protocol: Protocol, name: str) -> bool:
    """Tell whether records call a control ``name``: a variant of a row, or a row pretrained with labels."""
    row, variant = row_of(protocol, name)
    return bool(variant) or (row is not None and row.ceiling)


def method_pretrains(row: Row) -> bool:
    """Tell whether a row's method pretrains at all; read from its file: a report must not import torch."""
    return bool(registry.declared("method", row.method, "pretrains", True))


def learns(protocol: Protocol, row: Row) -> bool:
    """Return ``method_pretrains``, asked once of a row of a protocol: plans ask thousands of times."""
    return once(protocol, "learns", 0, row, lambda: method_pretrains(row))


def pretrains(protocol: Protocol, row: Row) -> bool:
    """Tell whether a row is pretrained here: neither from scratch nor from a file."""
    return not row.init and learns(protocol, row)


def beside(protocol: Protocol, row: Row, index: int) -> dict[str, Row]:
    """Return the rows that are pretrained here on a row's network and have cells in one section."""
    rows = protocol.rows_in(index).items()
    near = ((n, other) for n, other in rows if other.network == row.network and not other.ceiling)
    return {name: other for name, other in near if pretrains(protocol, other)}


def controls_of(protocol: Protocol, row: Row, index: int) -> list[Control]:
    """Return the controls that stand beside a row in one section."""
    if row.ceiling or (row.init and Initial.of(row.init).embeddings):
        return []  # it is one, or has no weights
    if learns(protocol, row):
        return [control for control in protocol.controls if control in ("random", "shuffled")]
    section = finetune_of(protocol, index, row)
    fits: dict[Control, bool] = {
        "long": section.evaluation != "probe" and bool(beside(protocol, row, index)),
        "intensity": section.evaluation == "probe"
        and section.value is None
        and registry.declared("dataset", section.dataset, "task", "segmentation") == "segmentation",
    }
    return [control for control in protocol.controls if fits.get(control)]


def pretrain_of(
    protocol: Protocol, row: Row, index: int, where: Document | None = None, name: str = ""
) -> Pretrain:
    """Return the pretraining behind one fine-tuning section: that section's overrides, then one row's."""
    index = protocol.trained_in(index)
    if row.ceiling:
        return once(
            protocol,
            "pretrain",
            index,
            row,
            lambda: _with_labels(protocol, index, row, where, name),
        )
    if protocol.pretrain is None:
        raise BenchError(f"protocol {protocol.name!r} has no 'pretrain' section")
    shared, section_own = protocol.pretrain, protocol.finetune[index].pretrain

    def build() -> Pretrain:
        section = _overridden(shared, section_own, where, ("finetune", str(index), "pretrain"))
        return _overridden(section, row.pretrain, where, ("rows", name, "pretrain"))

    return once(protocol, "pretrain", index, row, build)


def _with_labels(
    protocol: Protocol, index: int, row: Row, where: Document | None, name: str
) -> Pretrain:
    """Return the pretraining of a positive control: a section's recipe on all its training scans."""
    tuned = finetune_of(protocol, index, row)
    shared = {key: getattr(tuned, key) for key in OF_BOTH}
    mix = Mix(tuned.dataset, where=tuned.where, exclude=tuned.exclude)
    section = Pretrain(datasets=(mix,), seeds=_ceilings(protocol, tuned), **shared)
    return _overridden(section, row.pretrain, where, ("rows", name, "pretrain"))


def _ceilings(protocol: Protocol, tuned: Finetune) -> tuple[int, ...] | Literal["paired"]:
    """Return the seeds of ceilings: one for each seed; of draws those of the protocol's pretrainings, else three."""
    if tuned.draws is None:
        return "paired"
    if protocol.pretrain is not None and not protocol.pretrain.paired and protocol.pretrain.seeds:
        return tuple(map(int, protocol.pretrain.seeds))
    return tuned.seeds[:3]


def pretrained_net(protocol: Protocol, row: Row, index: int) -> Net:
    """Return the network that a row pretrains for one section, with the crop it reads then."""
    section = pretrain_of(protocol, row, index)
    return _cropped(protocol.networks[section.network or row.network], section.crop)


def tuned_net(protocol: Protocol, row: Row, tuned: Finetune) -> Net:
    """Return the network that a row fine-tunes, with the crop it reads then."""
    return _cropped(protocol.networks[row.network], tuned.crop)


def _cropped(net: Net, crop: tuple[int, int, int] | None) -> Net:
    return net if crop is None else replace(net, crop=crop)


def finetune_of(
    protocol: Protocol, index: int, row: Row, where: Document | None = None, name: str = ""
) -> Finetune:
    """Return one fine-tuning section with one row's overrides laid over it."""
    section, keys = protocol.finetune[index], ("rows", name, "finetune")
    if section.external is not None:
        trained = finetune_of(protocol, section.external.section, row, where, name)
        return once(protocol, "finetune", index, row, lambda: external.overridden(trained, section))
    return once(
        protocol, "finetune", index, row, lambda: _overridden(section, row.finetune, where, keys)
    )


def recipes_of(
    protocol: Protocol, index: int, section: Finetune
) -> list[tuple[dict[str, Any], Finetune]]:
    """Return each recipe of a section's grid: what it states, and the section under it."""
    if section.tune is None:
        return [({}, section)]
    alone, keys = replace(section, tune=None), ("finetune", str(index), "tune", "over")
    return [
        (settings, _overridden(alone, _nested(settings), protocol.document, keys))
        for settings in section.tune.grid
    ]


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Return dotted keys as mappings of mappings."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return nested


def once(protocol: Protocol, what: str, index: int, row: Row, make: Callable[[], T]) -> T:
    """Return what a function makes of a row in a section, from the second time on without calling it."""
    key = what, index, id(row)
    if key not in protocol.resolved:
        protocol.resolved[key] = row, make()  # with the row, so that its id stays its own
    result: T = protocol.resolved[key][1]
    return result


def _overridden(
    section: T, over: dict[str, Any], where: Document | None, keys: tuple[str, ...]
) -> T:
    if not over:
        return section
    document = where or Document(Path("protocol"), {})
    stated = one_of_each(over, isinstance(section, Pretrain))
    return document.build(type(section), overlay(plain(section), stated), keys)
