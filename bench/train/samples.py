"""Training samples as a pure function of their number: no state, any worker, any restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench import distributed
from bench.errors import BenchError
from bench.random import order

Sample = dict[str, np.ndarray]


class Samples(Dataset):
    """Sample number ``step * batch + i`` of a run: which case, then what is read from it.

    Args:
        cases: how many there are.
        batch: samples of a step.
        seed: of the order of the cases.
        read: (case, step, sample) -> arrays.
        each: how many samples in a row come from one case; divides ``batch``.
    """

    def __init__(
        self, cases: int, batch: int, seed: int, read: Callable[[int, int, int], Sample], each: int = 1
    ) -> None:
        self._cases, self._batch, self._seed, self._read, self._each = cases, batch, seed, read, each

    def __getitem__(self, number: int) -> Sample | BenchError:
        try:
            return self._sample(number)
        except BenchError as error:
            return error  # raised by `batches`: a loader's process would hand over its text and trace alone

    def _sample(self, number: int) -> Sample:
        epoch, place = divmod(number // self._each, self._cases)
        case = int(order(self._seed, epoch, self._cases)[place])
        step, sample = divmod(number, self._batch)
        return self._read(case, step, sample)


def stack(samples: list[Sample | BenchError]) -> dict[str, Tensor] | BenchError:
    """Stack samples along a new first axis; of those that cannot be read, return the first reason."""
    whole = [s for s in samples if not isinstance(s, BenchError)]
    if len(whole) < len(samples):
        return next(s for s in samples if isinstance(s, BenchError))
    return _stacked(whole)


def _stacked(samples: list[Sample]) -> dict[str, Tensor]:
    return {k: torch.from_numpy(np.stack([s[k] for s in samples])) for k in samples[0]}


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
        step * batch + p * rows for step in range(start, steps) for p, _ in distributed.parts(accumulate)
    )
    numbers = (list(range(n, n + rows)) for n in first)
    options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    loader: DataLoader = DataLoader(
        samples, batch_sampler=numbers, collate_fn=stack, num_workers=workers,
        pin_memory=torch.cuda.is_available(), generator=torch.Generator(), **options,
    )  # fmt: skip
    return map(_or_raise, loader)


def _or_raise(found: dict[str, Tensor] | BenchError) -> dict[str, Tensor]:
    if isinstance(found, BenchError):
        raise found
    return found
