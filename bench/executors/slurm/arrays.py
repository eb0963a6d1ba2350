"""How jobs become SLURM arrays: stages and their levels, packs of cells, splits under the site's limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from bench.executors.slurm.profile import Profile, Shape
from bench.job import Job

T = TypeVar("T")
STAGES = ("prepare", "guard", "pretrain", "cell")
# of sbatch for one shape, before merging
CALLS = {"prepare": 2, "guard": 2, "pretrain": 3, "cell": 5}

Unit = tuple[str, ...]  # jobs that run one after another in one task


@dataclass(frozen=True)
class Array:
    """One sbatch call: equal tasks, each a pack of jobs, that wait for the same tasks."""

    shape: Shape
    after: tuple[str, ...]
    packs: tuple[Unit, ...]


def units(
    jobs: Mapping[str, Job], before: Callable[[str], Sequence[str]], todo: Sequence[str]
) -> Iterator[tuple[str, list[Unit]]]:
    """Yield what may be submitted together: a stage, and units of it of which none waits for another.

    A stage comes in several levels where its jobs need each other. Whatever a unit waits for is done,
    in the queue, in the unit itself, or in a level before. A fine-tuning takes along those of its
    evaluations that wait for nothing else; any other evaluation is a unit of its own. ``before`` gives
    what must be done before a job starts, ``todo`` the ids of the jobs to submit.
    """
    left = dict.fromkeys(todo)
    stages: dict[str, list[str]] = {stage: [] for stage in STAGES}
    scored: dict[str, list[str]] = {}  # fine-tuning -> its evaluations
    for job in todo:
        kind = jobs[job].kind
        stages[kind if kind in STAGES else "cell"].append(job)
        if kind == "evaluate":
            scored.setdefault(jobs[job].needs[0], []).append(job)

    def waits(job: str, unit: Sequence[str] = ()) -> bool:
        return any(need in left and need not in unit for need in before(job))

    while left:
        for stage, members in stages.items():
            while first := [job for job in members if job in left and not waits(job)]:
                level = [_unit(job, scored.get(job, ()), waits) for job in first]
                for job in chain.from_iterable(level):
                    del left[job]
                yield stage, level


def _unit(
    job: str, evaluations: Sequence[str], waits: Callable[[str, Sequence[str]], bool]
) -> Unit:
    """Return a job and those of its evaluations that wait for nothing outside of the unit."""
    unit = [job]
    for evaluation in evaluations:
        if not waits(evaluation, unit):
            unit.append(evaluation)
    return tuple(unit)


def arrays(
    stage: str,
    level: Sequence[Unit],
    shape: Callable[[Unit], Shape],
    after: Callable[[Unit], tuple[str, ...]],
    profile: Profile,
) -> Iterator[Array]:
    """Yield the arrays of one level, split by the site's limit: one per shape and tasks to wait for.

    Only cells are packed: a pretraining is long, and a fine-tuning waits for its own alone. Where
    that makes more than ``CALLS`` arrays of a shape, neighbours are merged, packs unmixed, and wait
    for each other's tasks as well: a site counts calls of sbatch, and pretrainings end in plan order.
    """
    by_shape: dict[Shape, dict[tuple[str, ...], list[Unit]]] = {}
    for unit in level:
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
