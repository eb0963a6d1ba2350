"""What reads features of a frozen encoder, with tensors that are saved like those of any network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.nets.base import Encoder
from bench.probes import neighbours
from bench.probes.ridge import Linear
from bench.protocol.sections import Probe


class Probed(nn.Module):
    """What reads features: of a linear probe weight and bias, of nearest neighbours the samples that vote.

    Args:
        size: features of a sample.
        classes: scores of a sample; 1 of a regression.
        probe: what reads them.
    """

    weight: Tensor  # (K, size), and the bias (K,): of a linear probe
    bias: Tensor
    bank: Tensor  # (m, size) samples that vote, their classes (m,), how many they are
    labels: Tensor
    filled: Tensor
    mean: Tensor  # (size,) of the samples, and one over their deviation
    scale: Tensor

    def __init__(self, size: int, classes: int, probe: Probe) -> None:
        super().__init__()
        self.probe, self.classes, self.size = probe, classes, size
        for name, shape in self._tensors(size).items():
            self.register_buffer(name, torch.zeros(shape))

    @property
    def is_linear(self) -> bool:
        """Tell whether scores are a linear map of the features."""
        return self.probe.kind != "knn"

    def _tensors(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return what the probe itself keeps, by name and shape."""
        if self.probe.kind != "knn":
            return {"weight": (self.classes, size), "bias": (self.classes,)}
        bank = self.probe.samples
        return {
            "bank": (bank, size),
            "labels": (bank,),
            "mean": (size,),
            "scale": (size,),
            "filled": (),
        }

    def read_by(self, linear: Linear) -> None:
        """Let a linear map give the scores."""
        self.weight.copy_(torch.from_numpy(linear.weight.T))
        self.bias.copy_(torch.from_numpy(linear.bias))

    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Let these labelled samples vote, at most ``probe.samples``.

        Each feature is centred and divided by its deviation over them, so that no wide level decides alone.

        Args:
            features: (n, size).
            labels: (n,) classes.
        """
        mean, deviation = features.mean(0), features.std(0, correction=0)
        scale = torch.where(deviation > 0, 1 / deviation, 0)  # what never varies counts for nothing
        self.mean.copy_(mean), self.scale.copy_(scale), self.filled.fill_(len(features))
        self.bank[: len(features)] = (features - mean) * scale
        self.labels[: len(features)] = labels

    def read(self, features: Tensor) -> Tensor:
        """Return scores (n, classes) of features (n, size)."""
        if self.is_linear:
            return features @ self.weight.T + self.bias
        return self._votes(features)

    def _votes(self, features: Tensor) -> Tensor:
        """Return log shares of the neighbours' classes; one vote is spread over all, so that none is infinite.

        Of a regression the mean of the neighbours' numbers.
        """
        bank, labels = self.bank[: int(self.filled)], self.labels[: int(self.filled)]
        k = min(self.probe.k, len(bank))
        standardised = (features - self.mean) * self.scale
        shares = neighbours.shares(standardised, bank, labels, self.classes, k)
        if self.classes == 1:
            return shares
        return ((shares * k + 1 / self.classes) / (k + 1)).log()


def frozen(encoder: Encoder) -> Encoder:
    """Return an encoder that stays as it is: nothing trains, norm layers use the statistics they keep."""
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    return encoder.eval()
