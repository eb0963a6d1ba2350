"""What it costs to predict a case, whoever asks: an evaluation, or a curve that a fine-tuning leaves."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from bench.jobs.kind import MAPS, NetSpec
from bench.protocol.sections import Inference

CASE = 0.1  # seconds of a predicted case: reading, writing, scoring
PROBED = 2.0  # a scan's features and their products, against its prediction
VOXEL = 1e-6  # of a voxel of it: resampling to the original grid, surface distances


def seconds(
    net: NetSpec, inference: Inference, sides: Sequence[float], task: str, speed: float
) -> float:
    """Return the seconds of one case: by the windows over it, and its voxels.

    ``sides`` are the voxels of a prepared case along each axis, ``speed`` floating point operations a second.
    A classification has no decoder.
    """
    step = [side * (1 - inference.overlap) for side in net.crop]
    windows = prod(
        1 + ceil(max(0.0, side - crop) / max(1.0, by))
        for side, crop, by in zip(sides, net.crop, step, strict=True)
    )
    read = windows * prod(net.crop) * 2 ** len(inference.mirror)
    return CASE + VOXEL * prod(sides) + read * net.flops(task == MAPS) / speed
