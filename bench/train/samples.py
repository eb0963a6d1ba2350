"""Training samples as a pure function of their number: no state, any worker, any restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench import distributed
from bench.blame import blaming, defined
from bench.errors import BenchError
from bench.random import order

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Samples(Dataset):
    """Sample number ``step * batch + i`` of a run: which case, then what is read from it."""

    cases: int  # how many there are
    batch: int  # samples of a step
    seed: int  # of the order of the cases
    read: Callable[[int, int, int], Sample]  # (case, step, sample) -> arrays
    each: int = 1  # how many samples in a row come from one case; divides ``batch``

    def __getitem__(self, number: int) -> Sample | BenchError:
        epoch, position = divmod(number // self.each, self.cases)
        case = int(order(self.seed, epoch, self.cases)[position])
        try:
            with blaming():
                return self.read(case, *divmod(number, self.batch))
        except BenchError as error:
            return error  # raised by `batches`: a loader's process would hand over its text and trace alone


def stack(
    samples: list[Sample | BenchError], where: str = "read"
) -> dict[str, Tensor] | BenchError:
    """Stack samples along a new first axis; of those that cannot be read, return the first reason.

    Args:
        samples: arrays by name, or why they cannot be read.
        where: file and line of the function that reads them, for the error of shapes that differ.
    """
    loaded = [s for s in samples if not isinstance(s, BenchError)]
    if len(loaded) < len(samples):
        return next(s for s in samples if isinstance(s, BenchError))
    if why := _unlike(loaded):
        return BenchError(f"{where}: {why}")
    return {k: torch.from_numpy(np.stack([s[k] for s in loaded])) for k in loaded[0]}


def _unlike(loaded: list[Sample]) -> str:
    """Return which array has not the same shape in all samples; nothing where all have."""
    for key in loaded[0]:
        first, *others = dict.fromkeys(
            tuple(np.shape(s[key])) if key in s else "none" for s in loaded
        )
        if others:
            return (
                f"read returns {key!r} of shape {first} for one sample and {others[0]} for another; "
                "return arrays of the same shape for every sample, or they cannot be stacked to a batch"
            )
    return ""


def batches(
    samples: Samples, batch: int, start: int, steps: int, *, accumulate: int = 1, workers: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Yield this process's ``accumulate`` micro-batches of every step from ``start`` to ``steps``.

    ``batch`` is the global one; how it is cut says ``bench.distributed.parts``.

    Raises:
        BenchError: as a sample's ``read`` raised it.
    """
    rows = batch // (accumulate * distributed.size())
    first = (
        step * batch + p * rows
        for step in range(start, steps)
        for p, _ in distributed.parts(accumulate)
    )
    numbers = (list(range(n, n + rows)) for n in first)
    options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    loader: DataLoader = DataLoader(
        samples,
        batch_sampler=numbers,
        collate_fn=partial(stack, where=defined(samples.read)),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
        **options,
    )
    for loaded in loader:
        if isinstance(loaded, BenchError):
            raise loaded
        yield loaded
        del loaded  # the next batch is stacked where this one was, if its reader has let it go
