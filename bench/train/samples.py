"""Training samples as a pure function of their number: no state, any worker, any restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.random import order

Sample = dict[str, np.ndarray]


class Samples(Dataset):
    """Sample number ``step * batch + i`` of a run: which case, then what is read from it."""

    def __init__(self, cases: int, batch: int, seed: int, read: Callable[[int, int, int], Sample]) -> None:
        self._cases, self._batch, self._seed, self._read = cases, batch, seed, read

    def __getitem__(self, number: int) -> Sample:
        epoch, place = divmod(number, self._cases)
        case = int(order(self._seed, epoch, self._cases)[place])
        step, sample = divmod(number, self._batch)
        return self._read(case, step, sample)


def stack(samples: list[Sample]) -> dict[str, Tensor]:
    """Stack samples along a new first axis."""
    return {k: torch.from_numpy(np.stack([s[k] for s in samples])) for k in samples[0]}


def batches(
    samples: Samples, batch: int, start: int, steps: int, *, workers: int = 0, pin: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Yield the batches of steps ``start`` to ``steps``."""
    numbers = range(start * batch, steps * batch)
    options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    loader: DataLoader = DataLoader(
        samples, batch_size=batch, sampler=numbers, collate_fn=stack, num_workers=workers,
        pin_memory=pin, generator=torch.Generator(), **options,
    )  # fmt: skip
    return iter(loader)
