"""Low-rank adapters beside the linear layers of a transformer (Hu et al., LoRA, ICLR 2022)."""

from __future__ import annotations

from collections.abc import Collection
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.errors import BenchError
from bench.nets.base import Model
from bench.protocol.sections import Lora

ENCODER = "encoder."
ATTENTION = ("attn", "self_attn")  # what modules of attention are called
ORIGINAL = ".parametrizations.weight.original"  # what torch calls a weight that is adapted


class LowRank(nn.Module):
    """Adds ``scale`` times the product of two narrow matrices to a weight (out, in); 0 at first.

    Args:
        weight: (out, in).
        rank: of the product.
        scale: alpha / rank in the paper.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        out, width = weight.shape
        self.down = nn.Parameter(torch.empty(rank, width, device=weight.device))
        self.up = nn.Parameter(torch.zeros(out, rank, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=sqrt(5))  # as the released code, and as nn.Linear
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight (out, in)."""
        return weight + self.scale * (self.up @ self.down)


def attach(network: Model, loaded: Collection[str], lora: Lora) -> Collection[str]:
    """Give the encoder's loaded linear layers adapters; return the names of loaded tensors as they are now.

    From scratch, where nothing was loaded, nothing is adapted.

    Args:
        network: changed in place; what it computes stays.
        loaded: names of the tensors that came with the weights.
        lora: rank 0 for none.

    Raises:
        BenchError: weights were loaded, and none of a layer that could have an adapter.
    """
    if not (lora.rank and loaded):
        return loaded
    layers = _layers(network, loaded, lora)
    if not layers:
        raise BenchError(
            "finetune.lora: the weights hold no linear layer of the encoder's attention; leave lora out"
        )
    for layer in layers.values():
        low_rank = LowRank(layer.weight, lora.rank, lora.alpha / lora.rank)
        parametrize.register_parametrization(layer, "weight", low_rank, unsafe=True)
    renamed = {f"{name}.weight": name + ORIGINAL for name in layers}
    return frozenset(renamed.get(name, name) for name in loaded)


def _layers(network: nn.Module, loaded: Collection[str], lora: Lora) -> dict[str, nn.Linear]:
    """Return the encoder's loaded linear layers that are to have adapters, by their names."""
    linear = {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear)}
    fit = [name for name in linear if name.startswith(ENCODER) and f"{name}.weight" in loaded]
    if lora.layers == "attention":
        fit = [name for name in fit if not set(ATTENTION).isdisjoint(name.split("."))]
    return {name: linear[name] for name in fit}


def merged(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights under their usual names, adapters multiplied out."""
    weights: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        layer, _, rest = name.partition(".parametrizations.")
        if not rest:
            weights[name] = value
        elif name.endswith(ORIGINAL):
            linear = network.get_submodule(layer)
            assert isinstance(linear, nn.Linear)
            weights[f"{layer}.weight"] = linear.weight.detach()
    return weights
