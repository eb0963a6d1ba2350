"""An encoder that does not train, for a while or at all."""

from __future__ import annotations

from torch import nn


class Frozen:
    """Keeps a network's encoder from training for the first steps.

    The norm layers of a frozen encoder that keep statistics are in evaluation mode: they use the ones they
    came with and leave them as they are. Dropout stays on. So does Keras where a layer does not train, in
    which Taleb et al.'s warm-up runs; and the optimiser starts anew when the encoder is let go.

    Args:
        encoder: of the network.
        steps: how many steps it stays frozen; None for all.
    """

    def __init__(self, encoder: nn.Module, steps: int | None) -> None:
        self._encoder, self._steps = encoder, steps
        self._norms = [m for m in encoder.modules() if getattr(m, "track_running_stats", False)]

    def begin(self, step: int) -> bool:
        """Set the encoder to what step ``step``, counted from 0, asks for; tell whether it was let go now."""
        trains = self._steps is not None and step >= self._steps
        for norm in self._norms:
            norm.train(trains)
        for parameter in self._encoder.parameters():
            parameter.requires_grad_(trains)
        return step == self._steps
