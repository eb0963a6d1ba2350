"""What a person calls a job: row, data set, fraction, seed. The run leaves it beside the records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import chain
from typing import Any

from bench.digest import short
from bench.jobs.evaluate.spec import EvaluateSpec
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.plan import Cell, Plan
from bench.row_weights import NOTED, NOTES
from bench.store import Store, read_json, write_atomic

NUMBERS = dict.fromkeys(("fraction?", "seed?", "fold?", "pretrain_seed?"), int)
SHAPE = {"jobs": {"*": {"row": str, "dataset": str, **NUMBERS}}}
ROWS = 2  # that a label names of those which share a job


@dataclass(frozen=True)
class Label:
    """What the cells that stand on a job have in common; None or empty where they differ."""

    row: str = ""
    dataset: str = ""
    fraction: int | None = None  # percent
    seed: int | None = None
    fold: int | None = None  # where a split has several
    pretrain_seed: int | None = None  # where a row is pretrained with several

    def __str__(self) -> str:
        numbers = {"seed": self.seed, "fold": self.fold, "pretraining seed": self.pretrain_seed}
        parts = [self.row, self.dataset, "" if self.fraction is None else f"{self.fraction} %"]
        parts += [f"{name} {number}" for name, number in numbers.items() if number is not None]
        return " · ".join(filter(None, parts))


def labels(plan: Plan, protocol: str | None = None) -> dict[str, Label]:
    """Return what each job of a plan, or of one protocol in it, is called."""
    chosen = [cells for name, cells in plan.cells.items() if protocol in (None, name)]
    cells = [*chain.from_iterable(chosen)]
    several = len({cell.columns["fold"] for cell in cells}) > 1
    seeds = {
        (cell.columns["pretrain_seed"], cell.columns["seed"]) for cell in cells if cell.pretrain
    }
    crossed = len({before for before, _ in seeds}) > 1 and any(
        before != tuned for before, tuned in seeds
    )
    behind: dict[str, list[Cell]] = {}
    for cell in cells:
        for job in _behind(plan, cell):
            behind.setdefault(job, []).append(cell)
    for name, protocol_cells in plan.beside.items():
        if protocol in (None, name):
            behind |= {job: [] for job in protocol_cells.values() if job not in behind}
    return {
        job: _label(plan, job, cells, several=several, crossed=crossed)
        for job, cells in behind.items()
    }


def _behind(plan: Plan, cell: Cell) -> Iterator[str]:
    """Yield every job that a cell stands on, once."""
    seen: set[str] = set()
    waiting = cell.ends
    while waiting:
        job = waiting.pop()
        if job not in seen:
            seen.add(job)
            yield job
            waiting += plan.before(job)


def _label(plan: Plan, job: str, cells: list[Cell], *, several: bool, crossed: bool) -> Label:
    spec = plan.jobs[job].spec
    if isinstance(spec, PrepareSpec):
        return Label(dataset=spec.dataset)
    rows = list(dict.fromkeys(cell.row for cell in cells))
    left = len(rows) - ROWS
    more = f" and {left} more row{'' if left == 1 else 's'}" if left > 0 else ""
    row = ", ".join(rows[:ROWS]) + more
    if isinstance(spec, (FinetuneSpec, EvaluateSpec)):
        columns = cells[0].columns
        fold = int(columns["fold"]) if several else None
        # A section is called by its data set, unless two are of one.
        where = str(columns["section"])
        percent = int(columns["fraction"])
        seed = int(columns["seed"])
        if isinstance(spec, EvaluateSpec) and spec.submission:
            where += ", for its server"
        before = int(columns["pretrain_seed"]) if crossed and cells[0].pretrain else None
        return Label(row, where, percent, seed, fold, before)
    read = ", ".join(dict.fromkeys(source.dataset for source in getattr(spec, "data", ())))
    return Label(row, read, seed=spec.seed if isinstance(spec, PretrainSpec) else None)


def remember(plan: Plan, store: Store) -> None:
    """Leave, for each protocol of a plan, which jobs it wants, what they are called, and its cells.

    Each scale has a file of its own, and each ``--set``: one run does not unsay what another wants.
    """
    changed = f"-{short(' '.join(plan.overrides).encode())}" if plan.overrides else ""
    for protocol, cells in plan.cells.items():
        scale = cells[0].columns["scale"] if cells else "none"
        named = {job: asdict(label) for job, label in labels(plan, protocol).items()}
        columns = [{**cell.columns, "job": cell.evaluate} for cell in cells]
        noted = [{name: of[name] for name in NOTED} for of in columns]
        path = store.within(store.root / "records") / f"{protocol}.{scale}{changed}{NOTES}"
        write_atomic(path, json.dumps({"jobs": named, "cells": noted}, sort_keys=True))


def labels_wanted(store: Store) -> dict[str, Label] | None:
    """Return the jobs that some protocol wants, as its last runs left them; None where none has."""
    files = sorted((store.root / "records").glob(f"*{NOTES}"))
    names = {field.name for field in fields(Label)}
    labels: dict[str, Label] = {}
    for file in files:
        left: dict[str, Any] = (read_json(file, SHAPE) or {}).get("jobs", {})
        labels |= {
            job: Label(**{k: v for k, v in label.items() if k in names})
            for job, label in left.items()
        }
    return labels if files else None
