"""What it costs to predict a case, whoever asks: an evaluation, or a curve that a fine-tuning leaves."""

from __future__ import annotations

from math import ceil, prod

from bench.job import Job
from bench.jobs.kind import MAPS, NetSpec, PlanContext
from bench.jobs.prepare.spec import PrepareSpec
from bench.protocol.sections import Inference

CASE = 0.1  # seconds of a predicted case: reading, writing, scoring
PROBED = 2.0  # a scan's features and their products, against its prediction
VOXEL = 1e-6  # of a voxel of it: resampling to the original grid, surface distances
SIDE_BY_SIDE = Inference(overlap=0.0)  # windows in which a probe reads


def seconds(
    job: Job,
    plan: PlanContext,
    data: int,
    net: NetSpec,
    task: str,
    inference: Inference = SIDE_BY_SIDE,
) -> float:
    """Return the seconds in which a job predicts one case: by the windows over it, and its voxels.

    ``data``: which of its needs prepares the case. A classification has no decoder.
    """
    prepared = plan.jobs[job.needs[data]]
    sides = prepared.spec_as(PrepareSpec).sides(prepared, plan)
    step = [side * (1 - inference.overlap) for side in net.crop]
    windows = prod(
        1 + ceil(max(0.0, side - crop) / max(1.0, by))
        for side, crop, by in zip(sides, net.crop, step, strict=True)
    )
    read = windows * prod(net.crop) * 2 ** len(inference.mirror)
    return CASE + VOXEL * prod(sides) + read * net.flops(task == MAPS) / plan.speed(job)
