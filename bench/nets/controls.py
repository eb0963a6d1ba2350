"""Controls: weights that have everything a pretraining gives but what it learned."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def diluted(
    tensors: Mapping[str, Tensor], fresh: Mapping[str, Tensor], dose: float
) -> dict[str, Tensor]:
    """Return weights between fresh ones and pretrained ones, statistics of norm layers among them.

    Args:
        tensors: pretrained weights by name.
        fresh: of the network as it was initialised; a tensor of another shape, or that it lacks, stays.
        dose: 0 gives the fresh weights, 1 the pretrained ones.
    """
    mixed = dict(tensors)
    for name, value in tensors.items():
        start = fresh.get(name)
        if start is not None and start.shape == value.shape and value.is_floating_point():
            mixed[name] = torch.lerp(start.to(value), value, dose)
    return mixed


def shuffled(tensors: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return the same tensors, the values of each in another order.

    Each keeps its distribution (scale, sparsity, batch-norm statistics) and loses its structure: a gain
    that stays is one of initialisation scale, not of features. Integers stay in place: they are tables of
    the architecture (which relative position a pair of tokens has), which no training changes.

    Args:
        tensors: weights by name.
        seed: of the order, which depends on nothing else but the names.
    """
    generator = torch.Generator().manual_seed(seed)
    permuted = {}
    for name in sorted(tensors):
        value = tensors[name]
        order = torch.randperm(value.numel(), generator=generator)
        if not value.is_floating_point():
            order = torch.arange(value.numel())
        permuted[name] = value.flatten()[order].reshape(value.shape)
    return permuted
