"""Optimisers by name, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from bench.protocol.sections import Optimiser, Schedule
from bench.train.lars import Lars


def optimiser(parameters: Iterable[nn.Parameter], settings: Optimiser) -> torch.optim.Optimizer:
    """Return the optimiser a recipe names, over the parameters that train."""
    trained = [p for p in parameters if p.requires_grad]
    lr, decay = settings.lr, settings.weight_decay
    if settings.name == "sgd":
        return torch.optim.SGD(trained, lr, settings.momentum, weight_decay=decay, nesterov=settings.nesterov)
    if settings.name == "lars":
        return Lars(trained, lr, settings.momentum, decay, settings.trust)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(trained, lr, settings.betas, settings.eps, weight_decay=decay, amsgrad=settings.amsgrad)


def rate(step: int, steps: int, peak: float, schedule: Schedule) -> float:
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
    """
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
