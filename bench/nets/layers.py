"""Kinds of layers and stages of an encoder, by which weights from outside are judged."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

CONVOLUTIONS, NORMS, ATTENTION, LINEAR = "convolutions", "norms", "attention", "linear layers"


def sizes(encoder: nn.Module) -> dict[str, int]:
    """Return how many values each learnt tensor of an encoder has: parameters, and statistics of norms."""
    learnt = {name for name, _ in encoder.named_parameters()}
    tensors = encoder.state_dict().items()
    return {key: v.numel() for key, v in tensors if key in learnt or v.is_floating_point()}


def groups(encoder: nn.Module) -> dict[str, list[str]]:
    """Return the keys of an encoder's learnt tensors by kind of layer, and by stage.

    A stage is what the names have in common up to the first that is numbered: ``down_2``,
    ``swinViT.layers1``, ``vit.blocks.3``.
    """
    kinds, stages, by_kind = dict(_kinds(encoder)), dict[str, list[str]](), dict[str, list[str]]()
    for key in sizes(encoder):
        parts = key.split(".")
        if kind := kinds.get(".".join(parts[:-1])):
            by_kind.setdefault(kind, []).append(key)
        numbered = next((n for n, part in enumerate(parts[:-1], 1) if re.search(r"\d", part)), 1)
        stages.setdefault(".".join(parts[:numbered]), []).append(key)
    return by_kind | stages


def _kinds(encoder: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield each module that has tensors of its own, by name, with its kind; not one of no kind."""
    attending = tuple(
        f"{name}."
        for name, m in encoder.named_modules()
        if re.search("attention|sablock", _kind(m))
    )
    for name, module in encoder.named_modules():
        if f"{name}.".startswith(attending):
            yield name, ATTENTION
        elif "norm" in _kind(module):
            yield name, NORMS
        elif "conv" in _kind(module):
            yield name, CONVOLUTIONS
        elif isinstance(module, nn.Linear):
            yield name, LINEAR


def _kind(module: nn.Module) -> str:
    return type(module).__name__.lower()
