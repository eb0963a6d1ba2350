"""Distributions over prototypes that a teacher hands to a student (DINO, Caron et al., ICCV 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench import distributed
from bench.pretext.losses import full_precision


class Centre(nn.Module):
    """The running mean of a teacher's logits; taken from them, it keeps one prototype from winning always."""

    mean: Tensor

    def __init__(self, width: int, momentum: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.momentum = momentum
        self._seen: Tensor | None = None

    @torch.no_grad()
    def see(self, logits: Tensor) -> None:
        """Note the logits (..., K) of a step's teacher, of all processes alike; ``move`` takes them in."""
        self._seen = distributed.mean(logits.flatten(0, -2).to(self.mean.dtype).mean(dim=0))

    def move(self) -> None:
        """Move towards the mean of what was seen last; a step that saw nothing moves nothing."""
        if self._seen is not None:
            self.mean.lerp_(self._seen, 1 - self.momentum)
            self._seen = None


@full_precision
def sharpened(logits: Tensor, temperature: float, centre: Tensor | float = 0.0) -> Tensor:
    """Return the teacher's distribution softmax((logits - centre) / temperature), without gradient."""
    return ((logits.detach() - centre) / temperature).softmax(dim=-1)


@full_precision
def handed_on(target: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """Return the mean cross entropy H(a, b) = -sum a log b over all pairs of one's views, and over samples.

    Being linear in a and in log b, the mean over pairs is that of the means.

    Args:
        target: (B, p, K) distributions of a sample's p views.
        logits: (B, q, K) of the student's q views.
        temperature: of the student.
    """
    told = (logits / temperature).log_softmax(dim=-1)
    return -(target.mean(dim=1) * told.mean(dim=1)).sum(dim=-1).mean()


@torch.no_grad()
@full_precision
def information(target: Tensor) -> Tensor:
    """Return H(mean of a) - mean of H(a) in nats, over all rows (..., K) of all processes.

    How much the distribution tells of the view: 0 where every view gets the same one, be it flat or a single
    prototype, which an entropy alone would not show.
    """
    rows = distributed.gather(target.flatten(0, -2))
    return entropy(rows.mean(dim=0)) - entropy(rows).mean()


def entropy(p: Tensor) -> Tensor:
    """Return -sum p log p over the last axis, 0 log 0 being 0."""
    return -torch.xlogy(p, p).sum(dim=-1)
