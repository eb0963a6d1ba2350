"""LARS: a learning rate of its own for every layer, so that large batches train.

You et al., Large Batch Training of Convolutional Networks, 2017, https://arxiv.org/abs/1708.03888,
as the released code of VICReg and of MoCo v3 has it. That code differs from the paper in two places:
it divides by |g + d w| where the paper has |g| + d |w|, and momentum gathers adapted gradients
without the learning rate (the code of SimCLR gathers them times the rate, as the paper).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class Lars(torch.optim.SGD):
    """SGD on gradients g + d w scaled to ``trust`` times the weights' norm |w|.

    Biases and norms (tensors of at most one axis) get neither scale nor decay; a norm of 0 leaves a
    layer's gradient as it is.

    Args:
        parameters: to move.
        lr: learning rate.
        momentum: of the scaled gradients.
        decay: d.
        trust: the paper's coefficient eta.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, decay: float, trust: float
    ) -> None:
        super().__init__(parameters, lr, momentum)
        self.decay, self.trust = decay, trust

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Scale the gradients in place and move the weights."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and weight.ndim > 1:
                    self._adapt(weight, weight.grad)
        return super().step(closure)

    def _adapt(self, weight: torch.Tensor, gradient: torch.Tensor) -> None:
        gradient.add_(weight, alpha=self.decay)
        size, change = weight.norm(), gradient.norm()
        factor = self.trust * size / change
        gradient.mul_(torch.where((size > 0) & (change > 0), factor, 1.0))
