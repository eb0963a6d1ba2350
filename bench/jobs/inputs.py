"""What later jobs read of a prepared data set: volumes, patients, parts of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.data import choice
from bench.data import split as splits
from bench.data.prepared import Prepared
from bench.data.where import Roots, adapter
from bench.dataset import Case, Dataset
from bench.errors import BenchError
from bench.jobs.context import Context
from bench.train.samples import Sample, Samples, batches


def part(prepared: Prepared, data: dict[str, Any], root: str | None, seed: int = 0) -> list[str]:
    """Return the case ids that one entry of a spec's ``data`` selects.

    ``part`` is all, train, val or test; ``fraction`` thins by the ranking of ``seed``, and a ``holdout``
    parts what is left of the training patients into those that train and those that validate.

    Raises:
        BenchError: the division is not the one the plan saw, or a case selected could not be read.
    """
    found = _part(prepared, data, root, seed)
    choice.check_usable(data["dataset"], found, prepared.faults)
    return found


def _part(prepared: Prepared, data: dict[str, Any], root: str | None, seed: int) -> list[str]:
    cases = choice.kept(prepared.cases(), data.get("where", {}), data.get("exclude", ()))
    if data["part"] == "all":
        return [c.id for c in cases]
    fold = fold_of(prepared, data, root)
    chosen = set(_patients(fold, data, seed))
    return [c.id for c in cases if c.patient in chosen and c.label is not None]


def mixed(
    prepared: Sequence[Prepared], spec: dict[str, Any], roots: dict[str, str]
) -> list[tuple[int, Case]]:
    """Return the cases that a pretraining's spec selects, each with the index of its data set.

    Args:
        prepared: one per entry of the spec's ``data``.
        spec: ``data``, ``seed`` and, where only a share of the mixture is read, ``take``.
        roots: folders by data set.

    Raises:
        BenchError: a case selected could not be read.
    """
    found: list[tuple[int, Case]] = []
    for index, (opened, data) in enumerate(zip(prepared, spec["data"], strict=True)):
        root = roots.get(data["dataset"])
        fold = fold_of(opened, data, root) if data["part"] == "train" else None
        dataset = declaration(data["dataset"], root)
        chosen = choice.selected(opened.cases(), data, dataset, fold, spec["seed"])
        found += [(index, case) for case in chosen]
    named = [(spec["data"][index]["dataset"], case) for index, case in found]
    kept = {(name, case.id) for name, case in choice.shared(named, spec.get("take", {}), spec["seed"])}
    read = [f for f, (name, case) in zip(found, named, strict=True) if (name, case.id) in kept]
    for number, (opened, data) in enumerate(zip(prepared, spec["data"], strict=True)):
        choice.check_usable(data["dataset"], [case.id for n, case in read if n == number], opened.faults)
    return read


def declaration(name: str, root: str | None) -> Dataset:
    """Return a data set's declaration."""
    return adapter(name, Roots(None, {name: Path(root)} if root else {}))


def _patients(fold: splits.Fold, data: dict[str, Any], seed: int) -> list[str]:
    if data["part"] != "test" and data.get("holdout"):
        labelled = splits.fraction(fold.train, data["fraction"], data["split"], seed, data["dataset"])
        return splits.parted(labelled, data["holdout"])[data["part"] == "val"]
    patients = list(getattr(fold, data["part"]))
    if "fraction" not in data or not patients:
        return patients
    if data["part"] == "train":
        return splits.fraction(patients, data["fraction"], data["split"], seed, data["dataset"])
    # those who validate may be less than half a patient, and are one then
    return splits.leading(splits.ranked(patients, data["split"], seed), data["fraction"])


def fold_of(prepared: Prepared, data: dict[str, Any], root: str | None) -> splits.Fold:
    """Return the fold a spec names, checked against the digest it carries."""
    cases = prepared.cases()
    kept = choice.kept(cases, data.get("where", {}), data.get("exclude", ()))
    gone = {c.patient for c in cases} - {c.patient for c in kept}
    dataset = declaration(data["dataset"], root)
    found = splits.folds(dataset, data["dataset"], kept, data["split"], gone)
    fold = found[data["fold"]]
    if data["split_hash"] not in (None, fold.digest):
        raise BenchError(
            f"{data['dataset']}: split {data['split']!r} is {fold.digest} now and was "
            f"{data['split_hash']} when planned; run the protocol again"
        )
    return fold


def training_batches(
    context: Context, read: Callable[[int, int, int], Sample], cases: int, start: int
) -> Iterator[dict[str, Tensor]]:
    """Yield this process's micro-batches of a training job from step ``start`` on.

    Args:
        context: of a pretrain or finetune job.
        read: (case, step, sample) -> what one sample consists of.
        cases: how many cases there are to read.
        start: the first step, counted from 0.
    """
    recipe = context.spec[context.kind]
    each = recipe["batch"] // (recipe.get("scans") or recipe["batch"])
    samples = Samples(cases, recipe["batch"], context.spec["seed"], read, each)
    return batches(
        samples, recipe["batch"], start, recipe["steps"], accumulate=recipe["accumulate"],
        workers=context.run.loaders,
    )  # fmt: skip
