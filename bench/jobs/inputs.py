"""What later jobs read of a prepared data set: volumes, patients, parts of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.data import split as splits
from bench.data.prepared import Prepared
from bench.data.where import Roots, adapter
from bench.errors import BenchError
from bench.jobs.context import Context
from bench.train.samples import Sample, Samples, batches


def part(prepared: Prepared, data: dict[str, Any], root: str | None, seed: int = 0) -> list[str]:
    """Return the case ids that one entry of a spec's ``data`` selects.

    ``part`` is all, train, val or test; ``fraction`` thins by the ranking of ``seed``.

    Raises:
        BenchError: the division is not the one the plan saw.
    """
    cases = prepared.cases()
    if data["part"] == "all":
        return [c.id for c in cases]
    fold = fold_of(prepared, data, root)
    patients = list(getattr(fold, data["part"]))
    if "fraction" in data and patients:
        patients = _thinned(patients, data, seed)
    chosen = set(patients)
    return [c.id for c in cases if c.patient in chosen and c.label is not None]


def _thinned(patients: list[str], data: dict[str, Any], seed: int) -> list[str]:
    if data["part"] == "train":
        what = data["dataset"]
        return splits.fraction(patients, data["fraction"], data["split"], seed, what)
    ranked = splits.ranked(patients, data["split"], seed)  # validation is never thinned below one
    return ranked[: max(1, int(data["fraction"] * len(patients) / 100 + 0.5))]


def fold_of(prepared: Prepared, data: dict[str, Any], root: str | None) -> splits.Fold:
    """Return the fold a spec names, checked against the digest it carries."""
    roots = Roots(None, {data["dataset"]: Path(root)} if root else {})
    dataset = adapter(data["dataset"], roots)
    found = splits.folds(dataset, data["dataset"], prepared.cases(), data["split"])
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
    samples = Samples(cases, recipe["batch"], context.spec["seed"], read)
    return batches(
        samples, recipe["batch"], start, recipe["steps"], accumulate=recipe["accumulate"],
        workers=context.run["loaders"],
    )  # fmt: skip
