"""How jobs become SLURM arrays: stages, packs of cells, splits under the site's limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from bench.executors.slurm.profile import Profile, Shape
from bench.job import Job
from bench.jobs import KINDS

T = TypeVar("T")
STAGES = ("prepare", "guard", "pretrain", "cell")
CALLS = {"prepare": 2, "guard": 2, "pretrain": 3, "cell": 5}  # of sbatch for one shape, before merging

Unit = tuple[str, ...]  # jobs that run one after another in one task


@dataclass(frozen=True)
class Array:
    """One sbatch call: equal tasks, each a pack of jobs, that wait for the same tasks."""

    shape: Shape
    after: tuple[str, ...]
    packs: tuple[Unit, ...]


def units(jobs: Mapping[str, Job], todo: Sequence[str]) -> dict[str, list[Unit]]:
    """Return what runs together, by stage: a fine-tuning takes its evaluations along.

    An evaluation whose fine-tuning is not in ``todo`` is a unit of its own.
    """
    found: dict[str, list[Unit]] = {stage: [] for stage in STAGES}
    cells: dict[str, list[str]] = {}
    for job in todo:
        kind = jobs[job].kind
        if kind in STAGES:
            found[kind].append((job,))
            continue
        tuned = jobs[job].needs[0] if kind == "evaluate" else job
        cells.setdefault(tuned if tuned in todo else job, []).append(job)
    kinds = {kind: place for place, kind in enumerate(KINDS)}
    for cell in cells.values():
        cell.sort(key=lambda job: kinds[jobs[job].kind])  # stable
        found["cell"].append(tuple(cell))
    return found


def arrays(
    stage: str, found: Sequence[Unit], shape: Callable[[Unit], Shape],
    after: Callable[[Unit], tuple[str, ...]], profile: Profile,
) -> Iterator[Array]:  # fmt: skip
    """Yield the arrays of one stage, split by the site's limit: one per shape and tasks to wait for.

    Only cells are packed: a pretraining is long, and a fine-tuning waits for its own alone. Where
    that makes more than ``CALLS`` arrays of a shape, neighbours are merged, packs unmixed, and wait
    for each other's tasks as well: a site counts calls of sbatch, and pretrainings end in plan order.
    """
    by_shape: dict[Shape, dict[tuple[str, ...], list[Unit]]] = {}
    for unit in found:
        by_shape.setdefault(shape(unit), {}).setdefault(after(unit), []).append(unit)
    size = profile.pack if stage == "cell" else 1
    for needed, groups in by_shape.items():
        for near in _chunks(list(groups.items()), math.ceil(len(groups) / CALLS[stage])):
            waits = sorted({task for tasks, _ in near for task in tasks})
            packs = [tuple(chain(*pack)) for _, group in near for pack in _chunks(group, size)]
            for part in _chunks(packs, profile.max_array_size):
                yield Array(needed, tuple(waits), tuple(part))


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
