"""``bench list datasets NAME``: recipes, splits and how large their parts are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data import split as splits
from bench.data.roots import Roots, adapter
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError, printable
from bench.typed import plain


def entry(name: str, data: Path | None) -> dict[str, Any]:
    """Return what a data set declares, and what of it is on this machine.

    Args:
        name: registered, or a folder's in MSD layout.
        data: ``--data DIR``.

    Returns:
        Plain values: those of ``bench list datasets --json``, then ``regions channels recipes lists unpack``,
        the ``folder`` (None: not here), ``cases patients labelled`` in it, and ``parts``: split -> a mapping
        ``train val test`` of patients for each fold, or in words why it cannot be had.

    Raises:
        BenchError: no such data set, or its folder cannot be read.
    """
    roots = Roots.here(data)
    dataset, root = adapter(name, roots), roots.find(name)
    cases = None if root is None else dataset.cases(root)
    given = [splits.GIVEN] if cases is not None and splits.gives(cases) else []
    known = [*dataset.splits, *splits.RULES, *given]
    found: dict[str, Any] = {
        "name": name, "title": dataset.title, "task": dataset.task, "modality": dataset.modality,
        "channels": list(dataset.channels), "labels": {str(k): v for k, v in dataset.labels.items()},
        "regions": plain(dataset.regions), "splits": known,
        "recipes": {key: _stated(recipe) for key, recipe in dataset.recipes.items()},
        "lists": [*dataset.lists], "licence": dataset.licence, "source": plain(dataset.source),
        "unpack": dataset.unpack, "folder": None if root is None else str(root),
        "parts": {split: _parts(dataset, name, cases, split) for split in known},
    }  # fmt: skip
    if cases is not None:
        found["cases"], found["patients"] = len(cases), len({case.patient for case in cases})
        found["labelled"] = sum(case.label is not None for case in cases)
    return found


def _stated(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe states beside the defaults."""
    usual = plain(Recipe())
    return {key: value for key, value in plain(recipe).items() if value != usual[key]}


def _parts(
    dataset: Dataset, name: str, cases: Sequence[Case] | None, split: str
) -> list[dict[str, int]] | str:
    if cases is None and split in splits.RULES:
        return "of the patients that are there"
    try:
        folds = splits.listed(dataset, split) if cases is None else splits.folds(dataset, name, cases, split)
    except BenchError as error:
        return str(error).removeprefix(f"{name}: ")
    return [{side: len(getattr(fold, side)) for side in splits.SIDES} for fold in folds]


def as_text(found: dict[str, Any]) -> str:
    """Return an entry for a person."""
    from tabulate import tabulate

    said = [f"{found['name']}: {found['title']}", ""]
    here = "not on this machine, as far as --data or bench.toml say"
    if found["folder"] is not None:
        counts = f"{found['cases']} cases of {found['patients']} patients, {found['labelled']} labelled"
        here = f"{found['folder']}: {counts}"
    labels = ", ".join(f"{value} {label}" for value, label in found["labels"].items())
    regions = ", ".join(f"{region} = {_values(values)}" for region, values in found["regions"].items())
    facts = {
        "here": here, "unpack": "" if found["folder"] else found["unpack"], "task": found["task"],
        "modality": f"{found['modality']}, channels {', '.join(found['channels'])}", "labels": labels,
        "regions": regions, "lists": ", ".join(found["lists"]), "licence": found["licence"],
        "source": found["source"]["cite"],
    }  # fmt: skip
    said.append(tabulate([(key, text) for key, text in facts.items() if text], tablefmt="plain"))
    recipes = [
        (name, ", ".join(f"{key} {_value(value)}".removesuffix(" True") for key, value in stated.items()))
        for name, stated in found["recipes"].items()
    ]
    said += ["", tabulate(recipes, headers=("recipe", "what it does"), tablefmt="plain")]
    parts = [(split, *_sizes(of)) for split, of in found["parts"].items()]
    headers = ("split", "folds", "train", "validate", "test", "")
    said += ["", tabulate(parts, headers=headers, tablefmt="plain", disable_numparse=True)]
    return "\n".join(printable(line) for text in said for line in text.split("\n"))


def _sizes(parts: list[dict[str, int]] | str) -> tuple[str, ...]:
    """Return the number of folds, and the fewest and the most patients who train, validate and test."""
    if isinstance(parts, str):
        return "", "", "", "", parts
    sides = [[fold[side] for fold in parts] for side in splits.SIDES]
    return str(len(parts)), *("-".join(map(str, sorted({min(n), max(n)}))) for n in sides), ""


def _values(values: Sequence[int]) -> str:
    return " + ".join(map(str, values))


def _value(value: Any) -> str:
    return " x ".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)
