"""``bench list``: methods, data sets, networks, metrics and protocols by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bench import plugins, registry
from bench.data.split import RULES
from bench.errors import BenchError, printable

PLUGINS = {
    "methods": "method",
    "datasets": "dataset",
    "networks": "network",
}  # what a person asks for: the kind of plugin


def entries(what: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return one mapping per thing, as the public contract lists its keys, and a line for each broken one."""
    if what == "metrics":
        from bench.metrics import METRICS

        return [{"name": name, **asdict(metric)} for name, metric in METRICS.items()], []
    names, entry = _kind(what)
    found, broken = list[dict[str, Any]](), list[str]()
    for name in names:
        try:
            found.append(_from(entry(name), PLUGINS.get(what, "")))
        except BenchError as error:
            broken.append(str(error))
        except (Exception, SystemExit) as error:  # a plugin half written may raise anything
            if what not in PLUGINS:
                raise
            broken.append(str(registry.broken(PLUGINS[what], name, error)))
    return found, broken


def _from(entry: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return an entry with where it comes from, if that is outside."""
    plugin = plugins.known(kind).get(entry["name"])
    return entry if plugin is None else {**entry, "from": plugin.place}


def _kind(what: str) -> tuple[Sequence[Any], Callable[[Any], dict[str, Any]]]:
    """Return what there is of a kind, and what makes an entry of each."""
    if what == "protocols":
        from bench.protocol import named

        return named.files(), _protocol
    if what == "mixtures":
        from bench.protocol import mixture

        return mixture.names(), _mixture
    if what == "networks":
        from bench.nets import catalog

        return catalog.names(), catalog.describe
    return registry.names(PLUGINS[what]), {"methods": _method, "datasets": _dataset}[what]


def _method(name: str) -> dict[str, Any]:
    method = registry.load("method", name)
    defaults = method.Params()
    return {
        "name": name, "title": method.title, "paper": method.paper, "dims": method.dims,
        "params": {f.name: getattr(defaults, f.name) for f in fields(defaults)},
        "networks": method.networks(), "source": asdict(method.source), "fidelity": method.fidelity,
    }  # fmt: skip


def _dataset(name: str) -> dict[str, Any]:
    dataset = registry.load("dataset", name)()
    return {
        "name": name, "title": dataset.title, "modality": dataset.modality,
        "labels": {str(k): v for k, v in dataset.labels.items()}, "splits": [*dataset.splits, *RULES],
        "licence": dataset.licence, "source": asdict(dataset.source),
    }  # fmt: skip


def _mixture(name: str) -> dict[str, Any]:
    from bench.protocol import mixture

    made = mixture.mixture(name)
    parts = [{k: v for k, v in asdict(m).items() if v not in ("", None, {}, ())} for m in made.datasets]
    return {
        "name": name, "title": made.title, "source": made.source, "note": made.note,
        "expected_cases": made.expected_cases, "datasets": parts,
    }  # fmt: skip


def _protocol(path: Path) -> dict[str, Any]:
    from bench.protocol import named, read

    protocol = read(path)
    return {
        "name": protocol.name, "title": protocol.title, "paper": protocol.paper, "table": protocol.table,
        "file": path.relative_to(named.ROOT).as_posix(), "scales": ["paper", *protocol.scales],
        "assumed": len(protocol.assumed), "deviations": len(protocol.deviations),
    }  # fmt: skip


def as_text(what: str, found: list[dict[str, Any]]) -> str:
    """Return a table for a person."""
    from tabulate import tabulate

    shown: tuple[str, ...] = {
        "methods": ("name", "title", "paper", "dims", "fidelity"),
        "datasets": ("name", "title", "modality", "splits", "licence"),
        "mixtures": ("name", "title", "datasets", "expected_cases"),
        "networks": ("name", "title", "dims", "presets"),
        "metrics": ("name", "title", "unit"),
        "protocols": ("name", "title", "scales", "assumed", "deviations", "file"),
    }[what]
    shown += ("from",) if any("from" in entry for entry in found) else ()
    if what == "methods":  # the JSON has one number
        either = {e["name"]: registry.load("method", e["name"]).any_dims for e in found}
        found = [{**entry, "dims": "2, 3"} if either[entry["name"]] else entry for entry in found]
    rows = [[_cell(entry.get(key, "")) for key in shown] for entry in found]
    return tabulate(rows, headers=shown, tablefmt="plain") + (_unpacking(found) if what == "datasets" else "")


def _unpacking(found: list[dict[str, Any]]) -> str:
    """Return where to get each data set, and what to unpack where: too long for a column."""
    told = {entry["name"]: registry.load("dataset", entry["name"]).unpack for entry in found}
    return "\n\n" + "\n".join(f"{name}: {text}" for name, text in told.items())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_item(v) for v in value)
    return printable("" if value is None else str(value))


def _item(value: Any) -> str:
    if isinstance(value, dict) and "preset" in value:
        return f"{value['preset']} ({value['parameters'] / 1e6:.2f} M)"
    return str(value["dataset"] if isinstance(value, dict) else value)
