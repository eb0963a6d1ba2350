"""What fine-tuning trains: a network under the loss of its task, and who judges which weights are best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bench.augment import finetune_views
from bench.jobs.finetune.tracking import Curve
from bench.nets import Model, Network
from bench.protocol.sections import Augment, Training, Tuning
from bench.train.adapters import merged
from bench.train.label_losses import Loss, over_scales
from bench.train.loop import Batch, Objective
from bench.train.optimise import ParameterGroup
from bench.train.phases import Phases


class Judge:
    """Keeps the weights that score best on held-out cases (``best_val``, ``best_test``).

    Args:
        tuning: how often is looked, and how long without a better score.
        score: step, network -> a number of which more is better.
        tell: takes (step, score).
    """

    def __init__(
        self,
        tuning: Tuning,
        score: Callable[[int, nn.Module], float],
        tell: Callable[[int, float], None],
    ) -> None:
        self._score, self._tell = score, tell
        # are the weights as they came among the choices?
        self.from_start = tuning.output == "loaded"
        self._last = tuning.steps or 0
        self._every = max(1, round(tuning.val_every * self._last))
        self._patience = float("inf") if tuning.patience is None else tuning.patience * self._last
        self.best, self.weights = -1.0, dict[str, Tensor]()
        self.best_at = self._looked_at = 0

    def at(self, step: int, network: nn.Module) -> None:
        """Validate every so often; ties keep the earlier weights."""
        if step % self._every and step != self._last:
            return
        score, self._looked_at = self._score(step, network), step
        self._tell(step, score)
        if score > self.best:
            self.best, self.best_at = score, step
            self.weights = {k: v.detach().clone() for k, v in merged(network).items()}

    def gives_up(self) -> bool:
        """Tell whether the validation has not risen for as long as the recipe waits."""
        return self._looked_at - self.best_at >= self._patience

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"best": self.best, "weights": self.weights, "at": self.best_at}

    def load(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` gave."""
        self.best, self.weights, self.best_at = state["best"], state["weights"], state["at"]


@dataclass(frozen=True)
class LossConfig:
    """How crops become a loss."""

    loss: Loss  # of one scale
    augment: Augment
    crop: tuple[int, int, int]  # what the network reads; a batch may hold more around it
    deep: bool = False  # the loss at every scale of the decoder


def averaged(network: nn.Module, momentum: float) -> AveragedModel:
    """Return a running mean of a network's weights; its buffers are the network's of the last step.

    After n steps the momentum is at most (1 + n) / (10 + n), so that a short run forgets where it began, as
    TensorFlow's ExponentialMovingAverage with ``num_updates``.
    """

    def move(averages: Any, weights: Any, seen: Tensor | int) -> None:
        steps = int(seen)
        share = 1 - min(momentum, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(averages, weights, share)

    return AveragedModel(network, multi_avg_fn=move).requires_grad_(False)


class Supervised(Objective):
    """A network under a loss of labels, on augmented crops; ``ema`` is the momentum of its mean weights."""

    def __init__(
        self,
        network: Model,
        config: LossConfig,
        judge: Judge | None,
        phases: Phases | None = None,
        curve: Curve | None = None,
        ema: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.average = averaged(network, ema) if ema else None
        self._config, self._judge, self._phases, self._curve = config, judge, phases, curve

    def begin(self, step: int) -> bool:
        """Hold still what does not train yet, let go what does; before the first step, judge what came."""
        if step == 0 and self._judge is not None and self._judge.from_start:
            self._judge.at(0, self.network)
        return self._phases is not None and self._phases.begin(step)

    def groups(self, training: Training) -> list[ParameterGroup]:
        """Return new and loaded parameters apart."""
        return super().groups(training) if self._phases is None else self._phases.groups()

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the loss of augmented crops."""
        config = self._config
        image, label = finetune_views(
            batch["image"], batch["label"], config.augment, generator, config.crop
        )
        if config.deep and isinstance(self.network, Network):
            outputs = self.network.scales(image)
        else:
            outputs = [self.network(image)]
        return {"total": over_scales(config.loss, outputs, label)}

    @property
    def scored(self) -> nn.Module:
        """Return what is validated, kept and scored: the network, or the mean of its weights."""
        return self.network if self.average is None else self.average.module

    def after_step(self, progress: float) -> None:
        """Move the mean of the weights."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def at(self, step: int) -> None:
        """Score held-out cases where a selection or a curve asks for it."""
        if self._judge is not None:
            self._judge.at(step, self.scored)
        if self._curve is not None:
            self._curve.at(step, self.scored, self.finished())

    def finished(self) -> bool:
        """Tell whether validation has given up."""
        return self._judge is not None and self._judge.gives_up()

    def extra_state(self) -> dict[str, Any]:
        """Return the best weights and the curve so far."""
        judged = self._judge.state() if self._judge is not None else {}
        return judged | ({"curve": self._curve.points} if self._curve is not None else {})

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the best weights and the curve so far."""
        if self._judge is not None:
            self._judge.load(state)
        if self._curve is not None:
            self._curve.points = state["curve"]
