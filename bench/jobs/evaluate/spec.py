"""Evaluate: predict every test case; keep its label map on the original grid, or its class scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.data.parts import Tested
from bench.errors import BenchError
from bench.job import Job
from bench.jobs import prediction
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.kind import START, Kind, PlanContext
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

    def refuse(self, job: Job, plan: PlanContext) -> None:
        """Flips along an axis that a window does not have."""
        if "z" in self.inference.mirror and self.inference.crop[2] == 1:
            why = "windows of one slice cannot be flipped along z"
            raise BenchError(f"inference.mirror: {why}; leave z out")

    def keeps(self, job: Job, jobs: Mapping[str, Job]) -> str:
        """What its fine-tuning keeps."""
        tuned = jobs[job.needs[0]]
        return tuned.spec_as(FinetuneSpec).keeps(tuned, jobs)

    def likeness(self, job: Job, plan: PlanContext) -> list[Any]:
        """The same data, predicted alike by the same network; of a probe as what was fitted."""
        tuned = plan.jobs[job.needs[0]]
        spec = tuned.spec_as(FinetuneSpec)
        probe = spec.likeness(tuned, plan) if spec.probes else []
        return [spec.network, self.inference, job.needs[1], *probe]

    def units(self, job: Job, plan: PlanContext) -> float | None:
        """By the case."""
        return plan.sizes.get(job.id) or None

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """By the windows over each case, and its voxels."""
        cases = plan.sizes.get(job.id)
        if not cases:
            return None
        net = plan.jobs[job.needs[0]].spec_as(FinetuneSpec).network
        return START + cases * prediction.seconds(job, plan, 1, net, self.data.task, self.inference)
