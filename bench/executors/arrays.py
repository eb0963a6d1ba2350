"""How jobs become SLURM arrays: stages, packs of cells, splits under the site's limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.executors.cluster import Profile, Shape
from bench.job import Job

STAGES = ("prepare", "pretrain", "cell")

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
        if kind in ("prepare", "pretrain"):
            found[kind].append((job,))
            continue
        tuned = jobs[job].needs[0] if kind == "evaluate" else job
        cells.setdefault(tuned if tuned in todo else job, []).append(job)
    order = {job: place for place, job in enumerate(todo)}
    kinds = ("finetune", "evaluate")
    for cell in cells.values():
        cell.sort(key=lambda j: (kinds.index(jobs[j].kind), order[j]))
        found["cell"].append(tuple(cell))
    return found


def arrays(
    stage: str, found: Sequence[Unit], shape: Callable[[Unit], Shape],
    after: Callable[[Unit], tuple[str, ...]], profile: Profile,
) -> Iterator[Array]:  # fmt: skip
    """Yield the arrays of one stage: one per shape and set of tasks to wait for, split by limit.

    Only cells are packed: a pretraining is long, and a fine-tuning waits for its own alone.
    """
    groups: dict[tuple[Shape, tuple[str, ...]], list[Unit]] = {}
    for unit in found:
        groups.setdefault((shape(unit), after(unit)), []).append(unit)
    size = profile.pack if stage == "cell" else 1
    for (needed, waits), members in groups.items():
        packs = [tuple(job for unit in pack for job in unit) for pack in _chunks(members, size)]
        for part in _chunks(packs, profile.max_array_size):
            yield Array(needed, waits, tuple(part))


def _chunks(items: Sequence[Unit], size: int) -> Iterator[Sequence[Unit]]:
    return (items[start : start + size] for start in range(0, len(items), size))
