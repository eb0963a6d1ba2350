"""Slow copies of a network."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """Return a copy that no optimiser moves."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, tau: float, buffers: bool = False) -> None:
    """Move the parameters of ``slow``: tau * slow + (1 - tau) * fast.

    Buffers stay its own, as its own forward passes make its batch statistics, unless ``buffers`` says that
    they follow, too.
    """
    for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
        a.lerp_(b.to(a.dtype), 1 - tau)
    for own, given in zip(slow.buffers(), fast.buffers(), strict=True) if buffers else ():
        if own.is_floating_point():
            own.lerp_(given, 1 - tau)


def cosine_tau(base: float, progress: float) -> float:
    """Return the momentum at ``progress`` in [0, 1]: from ``base`` to 1 along a half cosine.

    Grill et al., NeurIPS 2020, Section 3.3: 1 - (1 - base) (cos(pi k / K) + 1) / 2.
    """
    return 1 - (1 - base) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2
