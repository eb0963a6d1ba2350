"""``bench list``: methods, data sets, networks, weights, metrics and protocols by name, or one data set in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bench import plugins, registry
from bench.data import split as splits
from bench.data.roots import Roots, adapter
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError, printable
from bench.show.words import smallest_to_largest
from bench.typed import plain

# their kind as plugins
PLUGINS = {"methods": "method", "datasets": "dataset", "networks": "network"}
COLUMNS = {  # of a person's table
    "methods": ("name", "title", "paper", "dims", "networks"),
    "datasets": ("name", "title", "modality", "splits", "licence"),
    "mixtures": ("name", "title", "datasets", "expected_cases"),
    "networks": ("name", "title", "dims", "presets"),
    "metrics": ("name", "title", "unit"),
    "weights": ("name", "network", "data", "window", "spacing", "licence"),
    "protocols": ("name", "title", "scales", "assumed", "deviations", "file"),
}
WIDTH = 28  # letters of the networks of a method
WRAPPED = ("title", "splits", "licence", "data", "datasets", "networks", "presets")  # of words
LEAST = 24  # letters of a line of such a column
Listed = dict[str, Any]  # plain values, by the keys of the public contract


def listed(what: str) -> tuple[list[Listed], list[str]]:
    """Return the things of one kind, and a line for each that is broken."""
    if what == "metrics":
        from bench.metrics import METRICS

        return [{"name": name, **asdict(metric)} for name, metric in METRICS.items()], []
    names, describe = _kind(what)
    things, broken = list[Listed](), list[str]()
    for name in names:
        try:
            thing = describe(name)
            plugin = plugins.by_name(PLUGINS.get(what, "")).get(thing["name"])
            things.append(thing if plugin is None else {**thing, "from": plugin.origin})
        except BenchError as error:
            broken.append(str(error))
        except (Exception, SystemExit) as error:  # a plugin half written may raise anything
            if what not in PLUGINS:
                raise
            broken.append(str(registry.broken(PLUGINS[what], name, error)))
    return things, broken


def _kind(what: str) -> tuple[Sequence[Any], Callable[[Any], Listed]]:
    """Return the names of a kind, and what describes each."""
    if what == "protocols":
        from bench.protocol import named

        return named.files(), _protocol
    if what == "mixtures":
        from bench.protocol import mixture

        return mixture.names(), _mixture
    if what == "networks":
        from bench.nets import catalog

        return catalog.names(), catalog.describe
    if what == "weights":
        from bench.nets import public_weights

        return list(public_weights.table().values()), plain
    return registry.names(PLUGINS[what]), {"methods": _method, "datasets": _dataset}[what]


def _method(name: str) -> Listed:
    method = registry.load("method", name)
    return {
        "name": name,
        **{key: getattr(method, key) for key in ("title", "paper", "dims")},
        "params": {f.name: getattr(method.Params(), f.name) for f in fields(method.Params)},
        "networks": method.networks(),
        "source": asdict(method.source),
        "fidelity": method.fidelity,
    }


def _dataset(name: str) -> Listed:
    return _declared(name, registry.load("dataset", name)())


def _declared(name: str, dataset: Dataset) -> Listed:
    return {
        "name": name,
        "title": dataset.title,
        "modality": dataset.modality,
        "labels": {str(k): v for k, v in dataset.labels.items()},
        "splits": splits.offered(dataset),
        "licence": dataset.licence,
        "source": asdict(dataset.source),
    }


def _mixture(name: str) -> Listed:
    from bench.protocol import mixture

    mixed = mixture.mixture(name)
    keys = ("title", "source", "note", "expected_cases")
    parts = [
        {k: v for k, v in asdict(m).items() if v not in ("", None, {}, ())} for m in mixed.datasets
    ]
    return {"name": name, **{key: getattr(mixed, key) for key in keys}, "datasets": parts}


def _protocol(path: Path) -> Listed:
    from bench.protocol import named, read

    protocol = read(path)
    return {
        **{key: getattr(protocol, key) for key in ("name", "title", "paper", "table")},
        "file": path.relative_to(named.ROOT).as_posix(),
        "scales": ["paper", *protocol.scales],
        "assumed": len(protocol.assumed),
        "deviations": len(protocol.deviations),
    }


def as_text(what: str, things: list[Listed], width: int = 0) -> str:
    """Return a table for a person; below one of data sets, where to get each: too long for a column.

    Args:
        what: the kind of the things.
        things: from ``listed``.
        width: of the terminal, in letters: long words are broken into lines, and the last columns left
            out where there is no room. 0: one line for each thing, with every column.
    """
    from tabulate import tabulate

    columns = (*COLUMNS[what], *(("from",) if any("from" in thing for thing in things) else ()))
    if what == "methods":  # the JSON has one number
        methods = [registry.load("method", thing["name"]) for thing in things]
        dims = ({"dims": "2, 3"} if method.any_dims else {} for method in methods)
        things = [
            thing | both | {"networks": _fitting(thing["networks"])}
            for thing, both in zip(things, dims, strict=True)
        ]
    rows = [[_cell(thing.get(key, "")) for key in columns] for thing in things]
    widths = _widths([columns, *rows], width) if width else [None] * len(columns)
    shown = len(widths)
    text = tabulate([row[:shown] for row in rows], columns[:shown], "plain", maxcolwidths=widths)
    if shown < len(columns):
        text += f"\n\nnot shown in {width} letters: {', '.join(columns[shown:])} (--json has them)"
    if what == "datasets":
        datasets = {thing["name"]: registry.load("dataset", thing["name"]) for thing in things}
        text += "\n\n" + "\n".join(
            f"{name}: {dataset.unpack}" for name, dataset in datasets.items()
        )
    if what == "weights":
        text += "\n\n" + "\n".join(map(_read, things))
    return text


def _widths(table: Sequence[Sequence[str]], width: int) -> list[int | None]:
    """Return the most letters of each column that there is room for, None for one that is not broken."""
    names, columns = table[0], zip(*table, strict=True)
    # tabulate pads heads
    sizes = [max(len(head) + 2, *map(len, cells)) for head, *cells in columns]
    count = len(names)
    while True:
        words = [i for i in range(count) if names[i] in WRAPPED]
        room = width - sum(sizes[i] for i in range(count) if i not in words) - 2 * (count - 1)
        if count <= 2 or room >= sum(min(sizes[i], LEAST) for i in words):
            break
        count -= 1
    most = max(LEAST, room)
    while words and sum(min(sizes[i], most) for i in words) > max(room, LEAST):
        most -= 1
    return [min(sizes[i], most) if i in words else None for i in range(count)]


def _read(weights: Listed) -> str:
    """Return what does not fit in a column: how files are read, and what was read for it."""
    note = f"; {weights['note']}" if weights["note"] else ""
    return (
        f"{weights['name']}: {weights['layout']}, {weights['orientation']}{note}. {weights['cite']}. Read: "
        f"{weights['code']}"
    )


def _fitting(networks: Sequence[str]) -> str:
    """Return which networks a method pretrains, in few words."""
    from bench.nets import catalog

    facts, fits = catalog.entries(), set(networks)
    for dims, text in (((2, 3), "any"), ((3,), "any 3D"), ((2,), "any 2D")):
        every = {name for name, entry in facts.items() if entry.dims in dims}
        decoded = {name for name in every if "segmentation" in facts[name].tasks}
        if fits == every:
            return text
        if fits == decoded:
            return f"{text} that segments"
    if fits == {name for name, entry in facts.items() if entry.tokens}:
        return f"ViT: {', '.join(sorted(fits))}"
    text = ", ".join(networks)
    return text if len(text) <= WIDTH else f"{', '.join(networks[:1])} and {len(networks) - 1} more"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict) and "preset" in value:
        return f"{value['preset']} ({value['parameters'] / 1e6:.2f} M)"
    if isinstance(value, dict):
        return str(value["dataset"])
    return printable("" if value is None else str(value))


def one_dataset(name: str, data: Path | None) -> Listed:
    """Return what a data set, registered or a folder in MSD layout, declares, and what of it is on this machine.

    Returns:
        Plain values: those of ``bench list datasets --json``, then ``task regions channels recipes lists
        unpack``, the ``folder`` (None: not on this machine), ``cases patients labelled`` in it, and
        ``parts``: split -> a mapping ``train val test`` of patients for each fold, or why it cannot be had.

    Raises:
        BenchError: no such data set, or its folder cannot be read.
    """
    roots = Roots.here(data)
    dataset, root = adapter(name, roots), roots.find(name)
    cases = None if root is None else dataset.listed(root)
    given = [splits.GIVEN] if cases is not None and splits.gives(cases) else []
    usual, declared = plain(Recipe()), _declared(name, dataset)
    declared["splits"] += given
    recipes = {
        key: {field: value for field, value in plain(recipe).items() if value != usual[field]}
        for key, recipe in dataset.recipes.items()
    }
    thing = declared | {
        "task": dataset.task,
        "channels": list(dataset.channels),
        "regions": plain(dataset.regions),
        "recipes": recipes,
        "lists": [*dataset.lists],
        "source": plain(dataset.source),
        "unpack": dataset.unpack,
        "folder": None if root is None else str(root),
        "parts": {split: _parts(dataset, name, cases, split) for split in declared["splits"]},
    }
    if cases is not None:
        thing["cases"], thing["patients"] = len(cases), len({case.patient for case in cases})
        thing["labelled"] = sum(case.label is not None for case in cases)
    return thing


def _parts(
    dataset: Dataset, name: str, cases: Sequence[Case] | None, split: str
) -> list[dict[str, int]] | str:
    if cases is None and split in (*splits.RULES, *splits.BY_SCAN):
        return "computed from the patients that are there"
    try:
        if cases is None:
            folds = splits.listed(dataset, split)
        else:
            folds = splits.folds(dataset, name, cases, split)
    except BenchError as error:
        return str(error).removeprefix(f"{name}: ")
    return [{side: len(getattr(fold, side)) for side in splits.SIDES} for fold in folds]


def dataset_as_text(thing: Listed) -> str:
    """Return ``one_dataset`` for a person."""
    from tabulate import tabulate

    where = "not found on this machine by --data or bench.toml"
    if thing["folder"] is not None:
        counts = (
            f"{thing['cases']} cases of {thing['patients']} patients, {thing['labelled']} labelled"
        )
        where = f"{thing['folder']}: {counts}"
    regions = (
        f"{region} = {' + '.join(map(str, values))}" for region, values in thing["regions"].items()
    )
    facts = {
        "here": where,
        "unpack": "" if thing["folder"] else thing["unpack"],
        "task": thing["task"],
        "modality": f"{thing['modality']}, channels {', '.join(thing['channels'])}",
        "labels": ", ".join(f"{value} {label}" for value, label in thing["labels"].items()),
        "regions": ", ".join(regions),
        "lists": ", ".join(thing["lists"]),
        "licence": thing["licence"],
        "source": thing["source"]["cite"],
    }
    recipes = []
    for name, stated in thing["recipes"].items():
        settings = (f"{k} {_setting(v)}".removesuffix(" True") for k, v in stated.items())
        recipes.append((name, ", ".join(settings)))
    parts = [(split, *_sizes(folds)) for split, folds in thing["parts"].items()]
    headers = ("split", "folds", "train", "validate", "test", "")
    tables = [
        f"{thing['name']}: {thing['title']}",
        tabulate([(key, text) for key, text in facts.items() if text], tablefmt="plain"),
        tabulate(recipes, headers=("recipe", "what it does"), tablefmt="plain"),
        tabulate(parts, headers=headers, tablefmt="plain", disable_numparse=True),
    ]
    return "\n".join(printable(line) for line in "\n\n".join(tables).split("\n"))


def _sizes(folds: list[dict[str, int]] | str) -> tuple[str, ...]:
    """Return the number of folds, and the fewest and the most patients who train, validate and test."""
    if isinstance(folds, str):
        return "", "", "", "", folds
    sides = [{fold[side] for fold in folds} for side in splits.SIDES]
    return str(len(folds)), *map(smallest_to_largest, sides), ""


def _setting(value: Any) -> str:
    return " x ".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)
