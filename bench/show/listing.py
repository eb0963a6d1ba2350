"""``bench list``: methods, data sets, networks, metrics and protocols by name."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bench import registry
from bench.data.split import RULES
from bench.errors import printable


def entries(what: str) -> list[dict[str, Any]]:
    """Return one mapping per thing, as the public contract lists its keys."""
    kinds = {
        "methods": _methods, "datasets": _datasets, "mixtures": _mixtures, "networks": _networks,
        "metrics": _metrics, "protocols": _protocols,
    }  # fmt: skip
    return kinds[what]()


def _methods() -> list[dict[str, Any]]:
    found = []
    for name in registry.names("method"):
        method = registry.load("method", name)
        defaults = method.Params()
        found.append(
            {"name": name, "title": method.title, "paper": method.paper, "dims": method.dims,
             "params": {f.name: getattr(defaults, f.name) for f in fields(defaults)},
             "networks": method.networks(), "source": asdict(method.source),
             "fidelity": method.fidelity}
        )  # fmt: skip
    return found


def _datasets() -> list[dict[str, Any]]:
    found = []
    for name in registry.names("dataset"):
        dataset = registry.load("dataset", name)()
        found.append(
            {"name": name, "title": dataset.title, "modality": dataset.modality,
             "labels": {str(k): v for k, v in dataset.labels.items()},
             "splits": [*dataset.splits, *RULES], "licence": dataset.licence,
             "source": asdict(dataset.source)}
        )  # fmt: skip
    return found


def _mixtures() -> list[dict[str, Any]]:
    from bench.protocol import mixture

    found = []
    for name in mixture.names():
        made = mixture.mixture(name)
        parts = [{k: v for k, v in asdict(m).items() if v not in ("", None, {}, ())} for m in made.datasets]
        found.append(
            {"name": name, "title": made.title, "source": made.source, "note": made.note,
             "expected_cases": made.expected_cases, "datasets": parts}
        )  # fmt: skip
    return found


def _networks() -> list[dict[str, Any]]:
    from bench.nets.catalog import describe

    return describe()


def _metrics() -> list[dict[str, Any]]:
    from bench.metrics import METRICS

    return [{"name": name, **asdict(metric)} for name, metric in METRICS.items()]


def _protocols() -> list[dict[str, Any]]:
    from bench.protocol import read

    root = Path(__file__).resolve().parents[2] / "protocols"
    found = []
    for path in sorted(p for p in root.rglob("*.yaml") if p.parent.name != "settings"):
        protocol = read(path)
        found.append(
            {"name": protocol.name, "title": protocol.title, "paper": protocol.paper,
             "table": protocol.table, "file": path.relative_to(root.parent).as_posix(),
             "scales": ["paper", *protocol.scales]}
        )  # fmt: skip
    return found


def as_text(what: str, found: list[dict[str, Any]]) -> str:
    """Return a table for a person."""
    from tabulate import tabulate

    shown = {
        "methods": ("name", "title", "paper", "dims", "fidelity"),
        "datasets": ("name", "title", "modality", "splits", "licence"),
        "mixtures": ("name", "title", "datasets", "expected_cases"),
        "networks": ("name", "title", "dims", "presets"),
        "metrics": ("name", "title", "unit"),
        "protocols": ("name", "title", "scales", "file"),
    }[what]
    if what == "methods":  # the JSON has one number
        either = {e["name"]: registry.load("method", e["name"]).any_dims for e in found}
        found = [{**entry, "dims": "2, 3"} if either[entry["name"]] else entry for entry in found]
    rows = [[_cell(entry.get(key, "")) for key in shown] for entry in found]
    return tabulate(rows, headers=shown, tablefmt="plain") + (_unpacking() if what == "datasets" else "")


def _unpacking() -> str:
    """Return where to get each data set, and what to unpack where: too long for a column."""
    told = {name: registry.load("dataset", name).unpack for name in registry.names("dataset")}
    return "\n\n" + "\n".join(f"{name}: {text}" for name, text in told.items())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_item(v) for v in value)
    return printable("" if value is None else str(value))


def _item(value: Any) -> str:
    if isinstance(value, dict) and "preset" in value:
        return f"{value['preset']} ({value['parameters'] / 1e6:.2f} M)"
    return str(value["dataset"] if isinstance(value, dict) else value)
