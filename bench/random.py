"""Randomness as a pure function of (seed, purpose, step, sample).

Never of worker, rank, history or job id: a resumed run restores a step number and nothing else,
and all methods with one seed see the same crops, augmentations and initial weights.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def _digest(seed: int, purpose: str, step: int, sample: int) -> bytes:
    return hashlib.sha256(f"{seed}:{purpose}:{step}:{sample}".encode()).digest()


def numpy_rng(seed: int, purpose: str, step: int = 0, sample: int = 0) -> np.random.Generator:
    """Return a counter-based generator (Philox) for one draw on the CPU."""
    key = np.frombuffer(_digest(seed, purpose, step, sample)[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def torch_seed(seed: int, purpose: str, step: int = 0, sample: int = 0) -> int:
    """Return the same tuple as a 63-bit seed for torch."""
    return int.from_bytes(_digest(seed, purpose, step, sample)[:8], "little") >> 1


def torch_generator(device: torch.device | str, seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """Return a device generator seeded from the tuple."""
    import torch

    return torch.Generator(device=device).manual_seed(torch_seed(seed, purpose, step))


@lru_cache(maxsize=8)
def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order in which ``n`` cases are visited in one epoch."""
    return numpy_rng(seed, "order", epoch).permutation(n)
