"""Evaluate: predict every test case; keep its label map on the original grid, or its class scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bench.data.parts import Tested
from bench.errors import BenchError
from bench.job import Job
from bench.jobs import prediction
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.kind import START, Around, Kind
from bench.jobs.prepare.spec import PrepareSpec
from bench.protocol.sections import Windows
from bench.typed import sparse


@dataclass(frozen=True)
class EvaluateSpec(Kind):
    """The test cases, which of a fine-tuning's weights predict them, and how.

    Its needs are the fine-tuning and the preparation of what is predicted.
    """

    kind = "evaluate"
    version = 2  # windows larger than the volume had been padded with 0, not with its lowest value

    data: Tested
    weights: Literal["last", "best_val", "best_test"]
    inference: Windows
    submission: bool = sparse(False)  # of cases without labels, for a challenge's server
    seen: bool = sparse(False)  # label maps on the grid that the network sees are kept, too

    def refuse(self, job: Job, around: Around) -> None:
        """Flips along an axis that a window does not have."""
        if "z" in self.inference.mirror and self.inference.crop[2] == 1:
            raise BenchError("inference.mirror: windows of one slice have no z to flip; take x and y")

    def likeness(self, job: Job, around: Around) -> list[Any]:
        """The same data, predicted alike by the same network."""
        tuned = around.jobs[job.needs[0]].told(FinetuneSpec)
        return [tuned.network, self.inference, job.needs[1]]

    def units(self, job: Job, around: Around) -> float | None:
        """By the case."""
        return around.sizes.get(job.id) or None

    def seconds(self, job: Job, around: Around) -> float | None:
        """By the windows over each case, and its voxels."""
        cases, inference = around.sizes.get(job.id), self.inference
        if not cases:
            return None
        tuned, prepared = (around.jobs[need] for need in job.needs)
        net = tuned.told(FinetuneSpec).network
        sides = prepared.told(PrepareSpec).sides(prepared, around)
        each = prediction.seconds(net, inference, sides, self.data.task, around.speed(job))
        return START + cases * each
