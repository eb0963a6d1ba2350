"""A page for each data set: what its declaration says, with the sizes of its registered splits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields

from bench import registry
from bench.data.split import RULES
from bench.dataset import Dataset, Recipe
from bench.protocol.named import ROOT
from bench.show.site.fields import as_yaml
from bench.show.site.markdown import anchor, cited, facts, joined, paragraphs, table, words
from bench.typed import plain


def page(name: str, used: Mapping[str, Sequence[str]]) -> str:
    """Return the page of one data set; ``used``: links to the protocols that read it, by data set."""
    data: Dataset = registry.load("dataset", name)()
    more = f"../../docs/datasets.md#{anchor(f'{name}: {data.title}')}"
    return "\n\n".join([
        f"# {name}: {data.title}", paragraphs(type(data).__doc__),
        f"How many cases, and what to know before using it: [data sets]({more}).",
        facts(_facts(data)), "## Labels", _labels(data), "## Recipes", _recipes(data.recipes),
        "## Splits", *_splits(data), "## Protocols", ", ".join(used.get(name, ())) or "None.", "",
    ])  # fmt: skip


def _facts(data: Dataset) -> list[tuple[str, object]]:
    passed = "yes" if data.redistribution else "not said to be so: no page meant for sharing shows any"
    overlaps = "; ".join(f"[{other}]({other}.md): {words(what)}" for other, what in data.overlaps.items())
    doubts = "; ".join(f"`{case}`: {words(what)}" for case, what in data.doubtful.items())
    return [
        ("source", cited(data.source)), ("licence", words(data.licence)), ("images may be passed on", passed),
        ("modality", data.modality), ("channels", ", ".join(data.channels)), ("task", data.task),
        ("how to get it", words(data.unpack)), ("empty masks", f"convention `{data.empty}`"),
        ("same scans or people in", overlaps), ("doubtful cases", doubts), ("version", data.version),
    ]  # fmt: skip


def _labels(data: Dataset) -> str:
    if not data.labels:
        return "None."
    raw = {mine: theirs for theirs, mine in data.raw_labels.items()}
    rows = [(value, words(name), raw.get(value, value)) for value, name in data.labels.items()]
    regions = "; ".join(f"{name} = {', '.join(map(str, own))}" for name, own in data.regions.items())
    text = table(("value", "name", "value in the files"), rows)
    return f"{text}\n\nRegions that are scored: {regions}." if regions else text


def _recipes(recipes: Mapping[str, Recipe]) -> str:
    return table(
        ("name", "what differs from a bare recipe"), [(f"`{n}`", _differs(r)) for n, r in recipes.items()]
    )


def _differs(recipe: Recipe) -> str:
    own = {
        f.name: plain(getattr(recipe, f.name)) for f in fields(recipe) if getattr(recipe, f.name) != f.default
    }
    return ", ".join(f"`{key}: {as_yaml(value)}`" for key, value in own.items()) or "nothing"


def _splits(data: Dataset) -> list[str]:
    listed = {**data.splits, **{f"{name} (for pretraining)": file for name, file in data.lists.items()}}
    rows = [(f"`{split}`", *_listed(file)) for split, file in listed.items()]
    by_rule = f"By a rule, on whatever is there: {joined(RULES)}."
    return [*([table(("name", "cases or patients", "source"), rows)] if rows else []), by_rule]


def _listed(file: str) -> tuple[str, str]:
    """Return how many names each part of a list has, and whose list it is."""
    said = json.loads((ROOT / "datasets" / "splits" / file).read_text(encoding="utf-8"))
    folds = [
        f"{len(fold['test'])} tested in fold {number}" for number, fold in enumerate(said.get("folds", ()))
    ]
    sizes = [f"{part} {len(own)}" for part, own in said.items() if isinstance(own, list) and part != "folds"]
    sizes += [f"{part} {len(own)}" for part, own in said.get("cases", {}).items()]
    return ", ".join(sizes + folds), words(f"{said['source']}. {said['note']}")


def index() -> str:
    """Return the list of all data sets."""
    every = [(name, registry.load("dataset", name)()) for name in registry.names("dataset")]
    rows = [(f"[{n}]({n}.md)", d.title, d.modality, len(d.labels), words(d.licence)) for n, d in every]
    return "# Data sets\n\n" + table(("name", "title", "modality", "labels", "licence"), rows) + "\n"
