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
Section = TypeVar("Section", Pretrain, Finetune)
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
    """One line of the table: a method on a network, with settings that differ from the defaults."""

    method: str  # name of a method (see `bench list methods`)
    network: str  # a key of `networks`
    # parameters of the method that differ from its defaults
    params: dict[str, Any] = field(default_factory=dict)
    pretrain: dict[str, Any] = field(default_factory=dict)  # changes of the pretrain section
    finetune: dict[str, Any] = field(default_factory=dict)  # changes of every finetune section
    # start from the snapshot after this step, or `last`; a list of them makes one row per step; by default the last
    at: Steps | None = None
    # a file of weights, relative to the protocol's folder, instead of a pretraining
    init: str | Initial = ""
    published: str = ""  # the row's name in results/published/<paper>.csv
    title: str = ""  # printed title; by default the titles of method and network
    sections: tuple[str, ...] = ()  # sections in which the row has cells; all by default
    # a positive control: pretrained with the section's recipe and the labels of its training scans
    ceiling: bool = False
    # share of the way from new random weights (0) to the pretrained weights (1)
    dose: Annotated[float, Range(0, 1)] = 1.0


@dataclass(frozen=True)
class Quoted:
    """A line of the table that is not run: a paper's numbers for a method that is not available."""

    published: str  # its name in results/published/<paper>.csv, as for a row
    title: str = ""  # printed title; by default that name
    why: str = ""  # why it is not run, for a footnote


@dataclass(frozen=True)
class Origin:
    """Which file a protocol is, without naming this machine: what its records remember of it."""

    # from ``protocols/`` on; a digest of the whole path where the file lies elsewhere
    path: str = ""
    content: str = ""  # digest of what it says, at every scale; without ``detects``

    def same(self, other: Origin) -> bool:
        """Tell whether this is the file ``other``, edited perhaps, or a copy of what it says."""
        return self.path == other.path or self.content == other.content


@dataclass(frozen=True)
class Protocol:
    """One comparison: its rows, data, budget, and the published table to compare with."""

    title: str  # printed title of the table
    networks: dict[str, Net]  # by label; rows name the label
    rows: dict[str, Row]  # by name; records have the name
    finetune: tuple[Finetune, ...]  # the fine-tuning sections
    # lines with only a paper's numbers
    published_only: dict[str, Quoted] = field(default_factory=dict)
    # name of records and reports; default: the path under `protocols/` with "_" for "/", else the name of the file
    name: str = ""
    paper: str = ""  # pgl, hssl, voco, taleb, glmae or tran: its numbers are shown beside ours
    table: str = ""  # table or figure of that paper: table1, fig5
    about: str = ""  # the question of the study, printed under the title
    expected: str = ""  # what the paper found, in words
    cost: str = ""  # what a run at this scale costs, in words
    detects: str = ""  # the smallest differences by `bench plan --detect`, in words
    plugins: tuple[str, ...] = ()  # your own files or folders, relative to the protocol's folder
    notes: tuple[str, ...] = ()  # printed under the table
    assumed: tuple[str, ...] = ()  # a value that the paper does not give, and where it comes from
    deviations: tuple[str, ...] = ()  # what deliberately differs from the paper, and why
    scale: Literal["paper", "pilot", "smoke"] = "paper"  # scale used without `--scale`
    # scratch: each row has a scratch row trained alike; unequal: one trained otherwise; none: no scratch row
    baseline: Literal["scratch", "unequal", "none"] = "scratch"
    # rows that the plan adds. random: fine-tuned alike from random weights; shuffled: pretrained weights permuted
    # in each tensor; long: scratch with as many samples as the longest pretraining; ceiling: pretrained with all
    # labels; doses: weights between random ones and the ceiling's; intensity: a probe of intensities, no encoder
    controls: tuple[Control, ...] = ()
    pretrain: Pretrain | None = None  # needed if a row is pretrained here
    metrics: tuple[str, ...] = ()  # by default dice; accuracy for classes, mae for a regression
    convention: Literal["medpy", "monai", "deepmind"] = "medpy"  # for surface distances
    empty: Literal["default", "brats", "skip"] | None = None  # by default as the data set says
    layout: Layout = field(default_factory=Layout)  # layout of tables and figures
    # by data set: groups of its test patients that the report compares
    groups: dict[str, Grouping] = field(default_factory=dict)
    embeddings: Embeddings | None = None  # a picture of the encoders' features; none by default
    # pilot, smoke: changes of all these keys
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    phantoms: dict[str, Phantom] = field(default_factory=dict)  # synthetic cases, by data set
    # CPU threads per job; not part of a job's id
    threads: Annotated[int, Range(0, 1024, above=True)] = 1
    # changes of every recipe by which scans are prepared
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
            stated = [(*keys, *error.key.split(".")) for keys in places or [()]]
            keys = next((keys for keys in stated if keys in self.stated.lines), stated[-1])
            raise BenchError(f"{self.where(keys)}: {error}") from None

    @cached_property
    def stated(self) -> Document:
        """Return its file, which one that is made in memory has not."""
        return self.document or Document(Path(f"protocol {self.name!r}"), {})

    def where(self, keys: tuple[str, ...]) -> str:
        """Return where it is stated what stands under ``keys``, as ``Document.where`` does."""
        return self.stated.where(keys)

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


def base_of(protocol: Protocol, name: str) -> str:
    """Return the name of the row itself: "voco" of "voco (shuffled)"."""
    return name.removesuffix(row_of(protocol, name)[1])


def is_control(protocol: Protocol, name: str) -> bool:
    """Tell whether records call a control ``name``: a variant of a row, or a row pretrained with labels."""
    row, variant = row_of(protocol, name)
    return bool(variant) or (row is not None and row.ceiling)


def method_pretrains(row: Row) -> bool:
    """Tell whether a row's method pretrains at all."""
    return registry.pretrains(row.method)


def from_scratch(row: Row) -> bool:
    """Tell whether a row begins with random weights: no method pretrains it and no file is loaded."""
    return not row.init and not method_pretrains(row)


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


def pretrain_of(protocol: Protocol, row: Row, index: int) -> Pretrain:
    """Return the pretraining behind one fine-tuning section: that section's overrides, then one row's."""
    index = protocol.trained_in(index)
    if row.ceiling:
        return once(protocol, "pretrain", index, row, lambda: _with_labels(protocol, index, row))
    if protocol.pretrain is None:
        raise BenchError(f"protocol {protocol.name!r} has no 'pretrain' section")
    shared, section_own = protocol.pretrain, protocol.finetune[index].pretrain

    def build() -> Pretrain:
        keys = ("finetune", str(index), "pretrain")
        return _of_row(protocol, row, _overridden(protocol, shared, section_own, keys))

    return once(protocol, "pretrain", index, row, build)


def _with_labels(protocol: Protocol, index: int, row: Row) -> Pretrain:
    """Return the pretraining of a positive control: a section's recipe on all its training scans."""
    tuned = finetune_of(protocol, index, row)
    shared = {key: getattr(tuned, key) for key in OF_BOTH}
    mix = Mix(tuned.dataset, where=tuned.where, exclude=tuned.exclude)
    section = Pretrain(datasets=(mix,), seeds=_ceilings(protocol, tuned), **shared)
    return _of_row(protocol, row, section)


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


def finetune_of(protocol: Protocol, index: int, row: Row) -> Finetune:
    """Return one fine-tuning section with one row's overrides laid over it."""
    section = protocol.finetune[index]
    if section.external is not None:
        trained = finetune_of(protocol, section.external.section, row)
        return once(protocol, "finetune", index, row, lambda: external.overridden(trained, section))
    return once(protocol, "finetune", index, row, lambda: _of_row(protocol, row, section))


def recipes_of(
    protocol: Protocol, index: int, section: Finetune
) -> list[tuple[dict[str, Any], Finetune]]:
    """Return each recipe of a section's grid: what it states, and the section under it."""
    if section.tune is None:
        return [({}, section)]
    alone, keys = replace(section, tune=None), ("finetune", str(index), "tune", "over")
    return [
        (settings, _overridden(protocol, alone, _nested(settings), keys))
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


def _of_row(protocol: Protocol, row: Row, section: Section) -> Section:
    """Return a section with a row's overrides laid over it."""
    key = "pretrain" if isinstance(section, Pretrain) else "finetune"
    name = next((name for name, other in protocol.rows.items() if other is row), "")
    return _overridden(protocol, section, getattr(row, key), ("rows", name, key))


def _overridden(
    protocol: Protocol, section: Section, over: dict[str, Any], keys: tuple[str, ...]
) -> Section:
    if not over:
        return section
    document = protocol.document or Document(Path("protocol"), {})
    stated = one_of_each(over, isinstance(section, Pretrain))
    return document.build(type(section), overlay(plain(section), stated), keys)
