"""Which weights of a fine-tuned network train at which step, and how fast: what is new, what was loaded.

The load receipt divides a network's parameters: ``loaded`` are those that came from a pretraining or a file,
``new`` are those that it left at random. From scratch every parameter is ``new``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial

from torch import nn

from bench.nets.base import Model
from bench.protocol.sections import Group, Tuning
from bench.train.optimise import ParameterGroup, rate

ENCODER = "encoder."
NUMBERED = re.compile(r"(.*?\.\d+)\.")


NEVER = 1 << 62  # a step that no training reaches


class Phases:
    """Holds parts of a network still for the first steps, and gives each part its learning rate.

    Norm layers that keep statistics (batch norm) are in evaluation mode while the encoder or a loaded part
    that they belong to stands still, and throughout with ``norm: kept`` where they were loaded: they use the
    statistics that they came with and leave them as they are. Dropout stays on. When ``frozen`` lets the
    encoder go, the optimiser starts anew, as in Keras, where Taleb et al. froze it.

    Args:
        network: what is fine-tuned.
        loaded: names of the tensors that the load receipt matched; empty from scratch.
        tuning: the recipe; its steps are known.
    """

    def __init__(self, network: Model, loaded: Collection[str], tuning: Tuning) -> None:
        self._network, self._loaded, self._tuning = network, frozenset(loaded), tuning
        self._steps = tuning.steps or 0
        never = tuning.evaluation == "linear"
        # the first step that trains it
        self._encoder = NEVER if never else round(tuning.frozen * self._steps)
        self._parameters = dict(network.named_parameters())
        self._divided = 0 < len(self._loaded & self._parameters.keys()) < len(self._parameters)
        self._starts = [(p, self._start(name)) for name, p in self._parameters.items()]
        self._norms = [
            (module, self._norm_start(name))
            for name, module in network.named_modules()
            if getattr(module, "track_running_stats", False)
        ]

    def begin(self, step: int) -> bool:
        """Set the network for a step, counted from 0; tell whether the optimiser begins anew."""
        for norm, start in self._norms:
            norm.train(step >= start)
        for parameter, start in self._starts:
            parameter.requires_grad_(step >= start)
        return 0 < step == self._encoder

    def groups(self) -> list[ParameterGroup]:
        """Return the parameters by group (and, with ``layer_decay``, by layer), each with rate and decay."""
        tuning, new = self._tuning, [n for n in self._parameters if n not in self._loaded]
        groups = [self._group(new, tuning.new, tuning.loaded, 1.0)]
        for names, share in self._layers():
            groups.append(self._group(names, tuning.loaded, tuning.new, share))
        return [group for group in groups if group.parameters]

    def _group(self, names: list[str], group: Group, other: Group, share: float) -> ParameterGroup:
        optimiser, schedule = self._tuning.optimiser, self._tuning.schedule
        warm, warm_other = self._warmup(group), self._warmup(other)
        peak = (group.rate if group.rate is not None else optimiser.lr) * share
        after = partial(rate, peak=peak, schedule=schedule)
        start, joined = self._frozen(group), self._frozen(other) if group.restart else 0

        def at(step: int) -> float:
            if step < start:
                return 0.0
            if step < joined:
                return after(step, joined, warm=min(warm, joined))
            first = max(start, joined)
            return after(step - first, self._steps - first, warm=warm_other if joined else warm)

        decay = group.decay if group.decay is not None else optimiser.weight_decay
        return ParameterGroup(tuple(self._parameters[name] for name in names), at, decay)

    def _layers(self) -> list[tuple[list[str], float]]:
        """Return the loaded parameters, each list with the share of the group's rate that it has."""
        loaded = [name for name in self._parameters if name in self._loaded]
        decay = self._tuning.loaded.layer_decay
        if decay == 1:
            return [(loaded, 1.0)]
        layers = [
            [f"{ENCODER}{name}" for name in names] for names in layers_of(self._network.encoder)
        ]
        inside = [
            ([name for name in names if name in self._loaded], decay ** (len(layers) - 1 - i))
            for i, names in enumerate(layers)
        ]
        return [*inside, ([name for name in loaded if not name.startswith(ENCODER)], 1.0)]

    def _warmup(self, group: Group) -> int:
        """Return the steps of a group's warm-up."""
        share = self._tuning.schedule.warmup if group.warmup is None else group.warmup
        return round(share * self._steps)

    def _frozen(self, group: Group) -> int:
        """Return the first step in which a group trains; where there is no other, nothing stands still."""
        return round(group.frozen * self._steps) if self._divided else 0

    def _start(self, name: str) -> int:
        """Return the first step in which a parameter trains."""
        group = self._tuning.loaded if name in self._loaded else self._tuning.new
        return max(self._frozen(group), self._encoder if name.startswith(ENCODER) else 0)

    def _norm_start(self, name: str) -> int:
        """Return the first step in which a norm layer reads the statistics of its batch."""
        encoder = self._encoder if name.startswith(ENCODER) else 0
        if f"{name}.running_mean" not in self._loaded:
            return encoder
        return (
            NEVER
            if self._tuning.norm == "kept"
            else max(self._frozen(self._tuning.loaded), encoder)
        )


def layers_of(encoder: nn.Module) -> list[list[str]]:
    """Return the names of an encoder's parameters by layer, the first layer first.

    A layer is a numbered block (``blocks.3``); outside of these, a module of the encoder's.
    """
    layers: dict[str, list[str]] = {}
    for name, _ in encoder.named_parameters():
        block = NUMBERED.match(name)
        layers.setdefault(block[1] if block else name.rpartition(".")[0], []).append(name)
    return list(layers.values())
