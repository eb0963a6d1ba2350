"""Optimisers by name, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.protocol.sections import Optimiser, Schedule


@dataclass(frozen=True, eq=False)
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay."""

    parameters: tuple[nn.Parameter, ...]
    rate: Callable[[int], float]  # of a step, counted from 0
    decay: float


class Lars(torch.optim.SGD):
    """SGD on gradients g + d w scaled to ``trust`` times the weights' norm |w|: a rate for every layer.

    You et al., Large Batch Training of Convolutional Networks, 2017, https://arxiv.org/abs/1708.03888,
    as the released code of VICReg and of MoCo v3 has it. That code differs from the paper in two places:
    it divides by |g + d w| where the paper has |g| + d |w|, and momentum gathers adapted gradients
    without the learning rate (the code of SimCLR gathers them times the rate, as the paper).
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
        self, parameters: Iterable[Any], lr: float, momentum: float, decay: float, trust: float
    ) -> None:
        super().__init__(parameters, lr, momentum, weight_decay=decay)
        self.trust = trust
        for group in self.param_groups:  # SGD would decay biases, too
            group["decay"], group["weight_decay"] = group["weight_decay"], 0.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Scale the gradients in place and move the weights."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and weight.ndim > 1:
                    weight.grad.add_(weight, alpha=group["decay"])
                    size, change = weight.norm(), weight.grad.norm()
                    factor = self.trust * size / change
                    weight.grad.mul_(torch.where((size > 0) & (change > 0), factor, 1.0))
        return super().step(closure)


def optimiser(groups: Iterable[ParameterGroup], settings: Optimiser) -> torch.optim.Optimizer:
    """Return the optimiser a recipe names, over the parameters that train, group by group."""
    trained = [
        {"params": [p for p in group.parameters if p.requires_grad], "weight_decay": group.decay}
        for group in groups
    ]
    lr, decay = settings.lr, settings.weight_decay
    if settings.name == "sgd":
        return torch.optim.SGD(
            trained, lr, settings.momentum, weight_decay=decay, nesterov=settings.nesterov
        )
    if settings.name == "lars":
        return Lars(trained, lr, settings.momentum, decay, settings.trust)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(
        trained, lr, settings.betas, settings.eps, weight_decay=decay, amsgrad=settings.amsgrad
    )


def rate(step: int, steps: int, peak: float, schedule: Schedule, warm: int | None = None) -> float:
    """Return the learning rate of a step (counted from 0).

    Warm-up of n steps rises linearly. From ``first`` its step k has (k + 1) / n of the peak, so that it moves
    something at once and its last step has the peak; from ``zero``, as the codes of BYOL, SimCLR, MoCo v3 and
    MONAI have it, k / n: the first step moves nothing, and the step after the warm-up has the peak. The decay
    then runs over what is left, to ``end`` times the peak.

    Args:
        step: counted from 0.
        steps: of the whole run.
        peak: the highest rate.
        schedule: the warm-up and the decay.
        warm: steps of the warm-up, by default the schedule's share.
    """
    if warm is None:
        warm = round(schedule.warmup * steps)
    if step < warm:
        return peak * (step + (schedule.warmup_from != "zero")) / warm
    share = (step - warm) / max(1, steps - warm)
    if schedule.name == "constant":
        return peak
    if schedule.name == "poly":
        factor = (1 - share) ** schedule.power
    else:
        factor = 0.5 * (1 + math.cos(math.pi * share))
    return peak * (schedule.end + (1 - schedule.end) * factor)
