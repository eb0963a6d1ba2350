"""Slow copies of a network."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

Buffers = Literal["own", "average", "copy"]


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, tau: float, buffers: Buffers = "own") -> None:
    """Move the parameters of ``slow``: tau * slow + (1 - tau) * fast.

    Buffers stay its own, as its own forward passes make its batch statistics, unless ``buffers`` says that
    they follow at the same pace, too, or are those of ``fast`` at every step.
    """
    for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
        a.lerp_(b.to(a.dtype), 1 - tau)
    for own, given in zip(slow.buffers(), fast.buffers(), strict=True) if buffers != "own" else ():
        if buffers == "copy":
            own.copy_(given)
        elif own.is_floating_point():
            own.lerp_(given, 1 - tau)


class SlowCopy(nn.Module):
    """Copies that no optimiser moves, each of the module of a method that has its name."""

    encoder: Any
    projector: Any

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, deepcopy(module).requires_grad_(False))

    def follow(self, method: nn.Module, tau: float, buffers: Buffers = "own") -> None:
        """Move every copy towards its module, as ``follow`` does."""
        for name, copied in self.named_children():
            follow(copied, getattr(method, name), tau, buffers)


def cosine_tau(base: float, progress: float, rises: bool = True) -> float:
    """Return the momentum at ``progress`` in [0, 1]: from ``base`` to 1 along a half cosine, if it ``rises``.

    Grill et al., NeurIPS 2020, Section 3.3: 1 - (1 - base) (cos(pi k / K) + 1) / 2.
    """
    if not rises:
        return base
    return 1 - (1 - base) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2


Ways = tuple[tuple[int, int], ...]


def both_ways(symmetric: bool) -> Ways:
    """Return which of two views is compared with which: each with the other, or the first with the second."""
    return ((0, 1), (1, 0)) if symmetric else ((0, 1),)


def siamese(
    method: Any, views: Tensor, ways: Ways
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Let one view of each pair predict what a slow copy says of the other.

    Views are embedded one after the other, so that batch statistics are per view, as in the codes of BYOL and
    MoCo v3.

    Args:
        method: with ``encoder``, ``projector``, ``predictor``, and ``slow``, a copy of the first two.
        views: (B, 2, C, X, Y, Z).
        ways: which view predicts which.

    Returns:
        Of each way the projections, the predictions and, without gradient, the slow projections, (B, C) each.
    """
    one = views.unbind(1)
    fast = [method.projector(method.encoder.embed(one[asked])) for asked, _ in ways]
    with torch.no_grad():
        slow = [method.slow.projector(method.slow.encoder.embed(one[kept])) for _, kept in ways]
    return fast, [method.predictor(z) for z in fast], slow
