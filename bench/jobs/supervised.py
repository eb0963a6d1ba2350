"""What fine-tuning trains: a network under the loss of its task, and who judges which weights are best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.nn import functional

from bench.augment import finetune_views
from bench.protocol.sections import Augment
from bench.train.loop import Batch, Objective

Loss = Callable[[Tensor, Tensor], Tensor]  # of logits and labels


class Judge:
    """Keeps the weights that score best on held-out cases (``best_val``, ``best_test``).

    Args:
        recipe: the spec's ``finetune``; how often is looked.
        score: network -> a number of which more is better.
        tell: takes (step, score).
    """

    def __init__(
        self, recipe: dict[str, Any], score: Callable[[nn.Module], float], tell: Callable[[int, float], None]
    ) -> None:
        self._score, self._tell = score, tell
        self._every = max(1, round(recipe["val_every"] * recipe["steps"]))
        self._last = recipe["steps"]
        self.best, self.weights = -1.0, dict[str, Tensor]()

    def at(self, step: int, network: nn.Module) -> None:
        """Validate every so often; ties keep the earlier weights."""
        if step % self._every and step != self._last:
            return
        score = self._score(network)
        self._tell(step, score)
        if score > self.best:
            self.best = score
            self.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"best": self.best, "weights": self.weights}

    def load(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` gave."""
        self.best, self.weights = state["best"], state["weights"]


class Supervised(Objective):
    """A network under a loss of labels, on augmented crops."""

    def __init__(self, network: nn.Module, augment: Augment, loss: Loss, judge: Judge | None) -> None:
        super().__init__()
        self.network = network
        self._augment, self._loss, self._judge = augment, loss, judge

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the loss of augmented crops."""
        image, label = finetune_views(batch["image"], batch["label"], self._augment, generator)
        return {"total": self._loss(self.network(image).float(), label)}

    def at(self, step: int) -> None:
        """Score the validation cases where a selection asks for it."""
        if self._judge is not None:
            self._judge.at(step, self.network)

    def extra_state(self) -> dict[str, Any]:
        """Return the best weights so far."""
        return self._judge.state() if self._judge is not None else {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the best weights so far."""
        if self._judge is not None:
            self._judge.load(state)


def dice_ce(background: bool) -> Loss:
    """Return Dice + cross-entropy of logits (B, K, X, Y, Z) and labels (B, X, Y, Z).

    Args:
        background: does Dice count it?
    """
    loss = DiceCELoss(include_background=background, to_onehot_y=True, softmax=True)
    return lambda logits, label: loss(logits, label[:, None])


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, K) and classes (B,)."""
    return functional.cross_entropy(logits, label)
