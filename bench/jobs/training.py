"""What pretraining and fine-tuning do alike: the batches they read and may cut, the curve they leave."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.errors import BenchError
from bench.jobs.context import Context
from bench.jobs.training_kind import micro_batches
from bench.protocol.sections import Training
from bench.train import loop, samples
from bench.train.loop import Curve, Objective, Run
from bench.train.samples import Sample, Samples


def fit(
    context: Context[Any],
    objective: Objective,
    training: Training,
    read: Callable[[int, int, int], Sample],
    cases: int,
    each: int = 1,
) -> Curve:
    """Train as a job does, from its last checkpoint where there is one; as ``bench.train.loop.fit``.

    Args:
        context: of the job.
        objective: weights and loss.
        training: its batch, steps and all else.
        read: (case, step, sample) -> what one sample consists of.
        cases: how many cases there are to read.
        each: samples of a step that are read from one case.
    """
    run, seed = context.run, context.spec.seed
    drawn = Samples(cases, training.batch, seed, read, each)
    batches = partial(
        samples.batches,
        drawn,
        training.batch,
        steps=training.steps or 0,
        accumulate=training.accumulate,
        workers=run.loaders,
    )
    asks = (context.progress, context.stopping, context.check)
    return loop.fit(objective, batches, Run(training, seed, context.scratch, run.every, *asks))


def check_micro_batches(
    module: nn.Module, settings: Training, kind: str, frozen: nn.Module | None = None
) -> None:
    """Refuse to cut the batch of what has batch norm, whatever the facts of a network from outside say.

    Args:
        module: what is trained.
        settings: with ``accumulate``.
        kind: of job, named in the error.
        frozen: part of it that never trains, so that its batch norms use the statistics they came with.

    Raises:
        BenchError: names the first such layer.
    """
    still = set(frozen.modules()) if frozen is not None else set()
    layers = ((name, layer) for name, layer in module.named_modules() if layer not in still)
    names = [name for name, layer in layers if _over_batch(layer)]
    if settings.accumulate > 1 and names:
        what = f"layer {names[0]!r} is a batch norm, which computes its statistics over the whole batch"
        raise BenchError(micro_batches(kind, what))


def _over_batch(layer: nn.Module) -> bool:
    """Tell whether a layer normalises by its batch: torch's batch norms, or one of that name."""
    name = type(layer).__name__.lower().replace("_", "")
    return isinstance(layer, _BatchNorm) or "batchnorm" in name


def keep_curve(context: Context[Any], curve: Curve) -> None:
    """Write ``curve.csv`` and note steps, samples, voxels and the share of time spent waiting."""
    if curve.rows:
        file = context.folder / "curve.csv"
        pd.DataFrame(curve.rows).to_csv(file, index=False, float_format="%.6g")
    steps, waited = int(curve.rows[-1]["step"]) if curve.rows else 0, round(curve.waited, 3)
    context.facts.update(steps=steps, samples=curve.samples, voxels=curve.voxels, waited=waited)
