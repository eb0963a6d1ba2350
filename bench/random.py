"""Randomness as a pure function of (seed, purpose, step, sample).

Never of worker, rank, history or job id: a resumed run restores a step number and nothing else,
and all methods with one seed see the same crops, augmentations and initial weights.

A batch may be worked on in equal parts, by several processes or one part after the other. What is
drawn on the device is then drawn for the whole batch and cut, so that the parts make up the batch
that one process would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _digest(seed: int, purpose: str, step: int, sample: int) -> bytes:
    return hashlib.sha256(f"{seed}:{purpose}:{step}:{sample}".encode()).digest()


def numpy_rng(seed: int, purpose: str, step: int = 0, sample: int = 0) -> np.random.Generator:
    """Return a counter-based generator (Philox) for one draw on the CPU."""
    key = np.frombuffer(_digest(seed, purpose, step, sample)[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def torch_seed(seed: int, purpose: str, step: int = 0, sample: int = 0) -> int:
    """Return the same tuple as a 63-bit seed for torch."""
    return int.from_bytes(_digest(seed, purpose, step, sample)[:8], "little") >> 1


def torch_generator(
    device: torch.device | str,
    seed: int,
    purpose: str,
    step: int = 0,
    part: tuple[int, int] = (0, 1),
) -> torch.Generator:
    """Return a device generator seeded from the tuple, for part p of the P equal ``part``s of a batch."""
    generator = _partial()(device=device)
    generator.part = part
    return generator.manual_seed(torch_seed(seed, purpose, step))


@lru_cache(maxsize=1)
def _partial() -> Any:
    import torch

    # A subclass because a Generator itself takes no attributes; made late because torch loads slowly.
    return type("Generator", (torch.Generator,), {"part": (0, 1)})


def rand(shape: int | Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw uniformly from [0, 1) on the generator's device.

    Args:
        shape: of this part of the batch: its first axis holds k numbers for each sample, k whole.
        generator: from ``torch_generator``; any other counts as one for a whole batch.
    """
    import torch

    return _rows(torch.rand, shape, generator)


def randn(
    shape: int | Sequence[int], generator: torch.Generator, dtype: torch.dtype | None = None
) -> Tensor:
    """Draw from the standard normal distribution, otherwise as ``rand``."""
    import torch

    return _rows(partial(torch.randn, dtype=dtype), shape, generator)


def randint(low: int, high: int, shape: int | Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw integers from ``low`` to below ``high``, otherwise as ``rand``."""
    import torch

    return _rows(partial(torch.randint, low, high), shape, generator)


def _rows(
    draw: Callable[..., Tensor], shape: int | Sequence[int], generator: torch.Generator
) -> Tensor:
    number, parts = getattr(generator, "part", (0, 1))
    rows, *rest = (shape,) if isinstance(shape, int) else shape
    drawn = draw((parts * rows, *rest), generator=generator, device=generator.device)
    return drawn[number * rows : (number + 1) * rows]


@lru_cache(maxsize=8)
def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order in which ``n`` cases are visited in one epoch."""
    return numpy_rng(seed, "order", epoch).permutation(n)
