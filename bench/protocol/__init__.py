"""A protocol: the YAML that fixes one comparison, usually one table of a paper.

The file states the paper's values; a scale lays small overrides over them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench import registry
from bench.errors import BenchError, printable, shown, unknown
from bench.job import listed
from bench.nets import catalog
from bench.protocol import mixture
from bench.protocol.sections import (
    Augment,
    Finetune,
    Inference,
    Layout,
    Mix,
    Net,
    Optimiser,
    Phantom,
    Pretrain,
    Schedule,
)
from bench.protocol.strict import Document, build, overlay, parse

__all__ = [
    "Augment", "Finetune", "Inference", "Layout", "Mix", "Net", "Optimiser", "Phantom", "Pretrain",
    "Protocol", "Row", "Schedule", "finetune_of", "mixture", "pretrain_of", "read",
]  # fmt: skip
SCALES = ("paper", "pilot", "smoke")
PAPERS = ("pgl", "hssl", "voco", "taleb", "glmae")
LONGEST = 120  # bytes of a name: a file system takes 255, and files get suffixes
ALTERNATIVES: dict[str, tuple[str, Any]] = {  # key: what it replaces, and how that is left empty
    "steps": ("epochs", None), "epochs": ("steps", None), "mixture": ("datasets", []),
    "datasets": ("mixture", ""),
}  # fmt: skip
SHARED = ("dataset", "split", "folds", "where", "exclude")  # of a finetune section: no row may have its own


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
    metrics: tuple[str, ...] = ()  # by default dice, and accuracy where a data set has classes
    convention: Literal["medpy", "monai", "deepmind"] = "medpy"
    empty: Literal["default", "brats", "skip"] | None = None  # the data set's own by default
    layout: Layout = field(default_factory=Layout)
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
    scales = _scales(document)
    if chosen != "paper":
        if not isinstance(chosen, str) or chosen not in scales:
            raise BenchError(f"{path}: has no scale {shown(chosen)}; it has: {', '.join(['paper', *scales])}")
        document = _laid_over(document, chosen)
    document.value["scale"] = chosen
    document.value.setdefault("name", _name(path))
    protocol = build(Protocol, document)
    _check(protocol, document)
    return protocol


def _scales(document: Document) -> dict[str, Any]:
    scales = document.value.get("scales", {})
    if not isinstance(scales, dict):
        raise BenchError(f"{document.where(('scales',))}: expected a mapping, got {shown(scales)}")
    for key, over in scales.items():
        where = document.where(("scales", key))
        if key not in SCALES:
            raise BenchError(f"{where}: {unknown('scale', key, SCALES)}")
        if not isinstance(over, dict):
            raise BenchError(f"{where}: expected a mapping, got {shown(over)}")
    return scales


def _laid_over(document: Document, scale: str) -> Document:
    base, over = document.value, document.value["scales"][scale]
    merged = Document(document.path, overlay(base, _replacing(over)), dict(document.lines))
    for keys, line in document.lines.items():  # a mistake in an override is shown at its own line
        if keys[:2] == ("scales", scale) and len(keys) > 2:
            merged.lines |= dict.fromkeys(_reached(base, keys[2:]), line)
    return merged


def _reached(base: Any, keys: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the paths that an override at ``keys`` lands on: a mapping reaches into a list."""
    if not keys:
        return [()]
    if isinstance(base, list) and not keys[0].isdigit():
        return [(str(i), *rest) for i, b in enumerate(base) for rest in _reached(b, keys)]
    inner = base.get(keys[0]) if isinstance(base, dict) else None
    return [(keys[0], *rest) for rest in _reached(inner, keys[1:])]


def _replacing(over: dict[str, Any]) -> dict[str, Any]:
    """Return a scale's overrides with each budget, and the data, replacing what it lies over."""
    found = {k: _one_of_each(v) if k in ("pretrain", "finetune") else v for k, v in over.items()}
    if isinstance(rows := over.get("rows"), dict):
        found["rows"] = {k: _replacing(v) if isinstance(v, dict) else v for k, v in rows.items()}
    return found


def _one_of_each(over: Any) -> Any:
    """Let what an override states replace its alternative: a budget, or the data, is stated once."""
    if not isinstance(over, dict):
        return over
    gone = {v: empty for k, (v, empty) in ALTERNATIVES.items() if k in over and v not in over}
    return {**over, **gone}


def _name(path: Path) -> str:
    parts = path.resolve().with_suffix("").parts
    if "protocols" in parts:
        last = len(parts) - 1 - parts[::-1].index("protocols")
        return "_".join(parts[last + 1 :])
    return parts[-1]


def _check(protocol: Protocol, document: Document) -> None:
    _check_file_names(protocol, document)
    if protocol.paper and protocol.paper not in PAPERS:
        raise BenchError(f"{document.where(('paper',))}: {unknown('paper', protocol.paper, PAPERS)}")
    for name, net in protocol.networks.items():
        try:
            catalog.check_crop(net.network, net.preset, net.crop)
        except BenchError as error:
            raise BenchError(f"{document.where(('networks', name))}: {error}") from None
    for name, row in protocol.rows.items():
        _check_row(protocol, name, row, document)
    for i, target in enumerate(protocol.finetune):
        _check_section(target, protocol.scale, document, ("finetune", str(i)))
    if protocol.pretrain is not None:
        _has_budget(protocol.pretrain, document, ("pretrain",))
        _has_mixture(protocol.pretrain, document, ("pretrain",))
    if protocol.baseline != "none":
        _has_baseline(protocol, document)


def _check_file_names(protocol: Protocol, document: Document) -> None:
    """Refuse names that would lead out of the folders in which files are named after them."""
    names: dict[tuple[str, ...], str] = {("name",): protocol.name}
    names |= {("finetune", str(i), "dataset"): t.dataset for i, t in enumerate(protocol.finetune)}
    mixed = protocol.pretrain.datasets if protocol.pretrain else ()
    names |= {("pretrain", "datasets", str(i), "dataset"): m.dataset for i, m in enumerate(mixed)}
    names |= {("phantoms", name): name for name in protocol.phantoms}
    for keys, name in names.items():
        plain = name and name[0] not in ".-" and not {*"/\\"} & {*name} and name == printable(name)
        if not plain or len(name.encode()) > LONGEST:
            raise BenchError(
                f"{document.where(keys)}: {name[:80]!r} becomes the name of a file or folder; take "
                f"letters, digits, '_', '-' and '.', at most {LONGEST}"
            )


def _check_row(protocol: Protocol, name: str, row: Row, document: Document) -> None:
    keys = ("rows", name)
    methods = registry.names("method")
    if row.method not in methods:
        where = document.where((*keys, "method"))
        raise BenchError(f"{where}: {unknown('method', row.method, methods)}")
    if row.network not in protocol.networks:
        where = document.where((*keys, "network"))
        raise BenchError(f"{where}: {unknown('entry of networks', row.network, protocol.networks)}")
    if _pretrains(row) and protocol.pretrain is None:
        raise BenchError(f"{document.where(keys)}: needs a 'pretrain' section")
    if row.pretrain:
        section = pretrain_of(protocol, row, document, name)
        _has_budget(section, document, (*keys, "pretrain"))
        _has_mixture(section, document, (*keys, "pretrain"))
    for key in SHARED:
        if key in row.finetune:
            where = document.where((*keys, "finetune", key))
            raise BenchError(f"{where}: is the same for all rows; set it in the 'finetune' section")
    for i in range(len(protocol.finetune) if row.finetune else 0):
        tuned = finetune_of(protocol, i, row, document, name)
        _check_section(tuned, protocol.scale, document, (*keys, "finetune"))


def _check_section(target: Finetune, scale: str, document: Document, keys: tuple[str, ...]) -> None:
    _has_budget(target, document, keys)
    if target.select == "best_test" and scale != "paper":
        raise BenchError(
            f"{document.where((*keys, 'select'))}: best_test exists for the 'paper' scale only; "
            "take last or best_val"
        )


def _has_budget(section: Any, document: Document, keys: tuple[str, ...]) -> None:
    if (section.steps is None) == (section.epochs is None):
        raise BenchError(f"{document.where(keys)}: state the budget once, as 'steps' or as 'epochs'")


def _has_mixture(section: Pretrain, document: Document, keys: tuple[str, ...]) -> None:
    try:
        mixture.parts(section)
    except BenchError as error:
        raise BenchError(f"{document.where((*keys, 'mixture'))}: {error}") from None


def _pretrains(row: Row) -> bool:
    # read from the method's file, not from its class: a report must not import torch
    return bool(registry.declared("method", row.method, "pretrains", True))


def _has_baseline(protocol: Protocol, document: Document) -> None:
    from_scratch = {r.network for r in protocol.rows.values() if not _pretrains(r)}
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


def _overridden(section: Any, over: dict[str, Any], where: Document | None, keys: tuple[str, ...]) -> Any:
    if not over:
        return section
    document = where or Document(Path("protocol"), {})
    return build(type(section), document, overlay(listed(asdict(section)), _one_of_each(over)), keys)
