"""Embed: what one encoder makes of the same samples of every data set, laid out in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.data.parts import Entry, Take
from bench.job import Job
from bench.jobs.kind import Given, Kind, NetSpec, PlanContext
from bench.protocol.sections import Number, Samples
from bench.typed import sparse

FILE, NAMES = "embeddings.npz", "embeddings.json"  # where the samples lie; what they are


@dataclass(frozen=True)
class Embedded:
    """Whose samples a job laid out, and how their embeddings spread."""

    groups: tuple[str, ...]  # data sets
    cases: tuple[str, ...]  # of each sample
    std: float | None = sparse()
    rank: float | None = sparse()


@dataclass(frozen=True)
class EmbedSpec(Kind):
    """A network, what it starts from, and the samples that it is shown."""

    kind = "embed"

    network: NetSpec
    init: str  # as of a fine-tuning
    data: tuple[Entry, ...]
    samples: Samples  # of each data set
    seed: Number
    take: Take = sparse(Take())
    given: Given = sparse(Given())  # as of a fine-tuning

    def likeness(self, job: Job, plan: PlanContext) -> list[Any]:
        """The same network, as many samples."""
        return [self.network, self.samples]

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """Some hundred samples; measured after the first such job."""
        return 30.0
