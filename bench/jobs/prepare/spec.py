"""Prepare: every volume of one data set, oriented, resampled, scaled and packed once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench import registry
from bench.dataset import Recipe
from bench.job import Job
from bench.jobs.kind import START, Kind, PlanContext
from bench.typed import sparse

BYTE = 1.5e-7  # seconds of a compressed byte


@dataclass(frozen=True)
class PrepareSpec(Kind):
    """A data set under a recipe; ``contents`` is the digest of its files, None where they are not here."""

    kind = "prepare"
    version = 3  # 2 and 3: another layout of its files
    gpu = False
    by_cases = True

    dataset: str
    dataset_version: int
    recipe: Recipe
    contents: str | None
    source: str = sparse("")  # digest of what a data set from outside says

    def likeness(self, job: Job, plan: PlanContext) -> list[Any]:
        """The same data by the same recipe."""
        return [self.dataset, self.recipe]

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """By the bytes that are read."""
        return START + BYTE * self.bytes(plan) if plan.sizes.get(job.id) else None

    def bytes(self, plan: PlanContext) -> float:
        """Return how many bytes the data set's folder holds, 0 where it is not here."""
        root = plan.roots.get(self.dataset)
        return 0.0 if root is None else _size(root)

    def sides(self, job: Job, plan: PlanContext) -> tuple[float, ...]:
        """Return about how many voxels a prepared case has along each axis.

        Where the recipe does not say, a cube of as many voxels as its files have bytes; of pictures a square.
        """
        name = self.dataset
        flat = name in registry.names("dataset") and registry.load("dataset", name).flat
        axes = 2 if flat else 3
        side = (self.bytes(plan) / max(1, plan.sizes.get(job.id, 1))) ** (1 / axes)
        estimated = (side,) * axes + (1.0,) * (3 - axes)
        resized = zip(self.recipe.resize or (0, 0, 0), estimated, strict=True)
        return tuple(float(stated or by_bytes) for stated, by_bytes in resized)


@lru_cache(maxsize=64)
def _size(root: str) -> float:
    size = 0.0
    for path in Path(root).rglob("*"):
        with suppress(OSError):  # gone meanwhile
            size += path.stat().st_size if path.is_file() else 0
    return size
