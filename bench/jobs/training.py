"""What pretraining and fine-tuning jobs have in common: refusals, batches, the curve that they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bench.data.recipe import consistent
from bench.dataset import Recipe
from bench.errors import BenchError
from bench.jobs.kind import NetSpec
from bench.nets import catalog
from bench.protocol.sections import Training

if TYPE_CHECKING:
    from torch import Tensor

    from bench.jobs.context import Context
    from bench.train.loop import Curve
    from bench.train.samples import Sample


def refuse_batch(kind: str, training: Training, net: NetSpec, processes: int) -> None:
    """Refuse a batch that processes and micro-batches cannot share.

    Raises:
        BenchError: says what to take.
    """
    parts = training.accumulate * processes
    if training.batch % parts:
        raise BenchError(
            f"{kind}.batch {training.batch} has no {parts} equal parts, one for each of {processes} "
            f"processes x accumulate {training.accumulate}; take a multiple of {parts}"
        )
    # over processes they are joined
    catalog.check_batch(net.network, net.crop, training.batch // training.accumulate)


def refuse_recipes(recipes: Sequence[Recipe]) -> None:
    """Refuse recipes of which two settings contradict each other.

    Raises:
        BenchError: says which.
    """
    for recipe in recipes:
        consistent(recipe)


def batches(
    context: Context[Any], training: Training, read: Callable[[int, int, int], Sample], cases: int,
    start: int, each: int = 1,
) -> Iterator[dict[str, Tensor]]:  # fmt: skip
    """Yield this process's micro-batches of a training job from step ``start`` on.

    Args:
        context: of the job.
        training: its batch and steps.
        read: (case, step, sample) -> what one sample consists of.
        cases: how many cases there are to read.
        start: the first step, counted from 0.
        each: samples of a step that are read from one case.
    """
    from bench.train.samples import Samples, batches

    samples = Samples(cases, training.batch, context.spec.seed, read, each)
    return batches(
        samples, training.batch, start, training.steps or 0, accumulate=training.accumulate,
        workers=context.run.loaders,
    )  # fmt: skip


def keep_curve(context: Context[Any], curve: Curve) -> None:
    """Write ``curve.csv`` and note steps, samples, voxels and the share of time spent waiting."""
    import pandas as pd

    pd.DataFrame(curve.rows).to_csv(context.made / "curve.csv", index=False, float_format="%.6g")
    context.facts.update(
        steps=int(curve.rows[-1]["step"]) if curve.rows else 0,
        samples=curve.samples, voxels=curve.voxels, waited=round(curve.waited, 3),
    )  # fmt: skip
