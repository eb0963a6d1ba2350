"""A frozen encoder and what reads its features, as one network: it is saved and predicts like any other."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from bench.nets.base import Encoder
from bench.probes import neighbours
from bench.probes.features import CaseFeatures, VoxelFeatures, on_grid
from bench.probes.ridge import Linear
from bench.protocol.sections import Probe


class Readable(Protocol):
    """What a probe reads of a network."""

    @property
    def encoder(self) -> Encoder:
        """Return what gives the features."""

    @property
    def in_channels(self) -> int:
        """Return the channels of an image."""

    @property
    def out_channels(self) -> int:
        """Return the number of classes."""


class Probed(nn.Module):
    """Scores of each class from features of a frozen encoder.

    Args:
        network: whose encoder is read; its decoder or head is left behind.
        probe: which features, and what reads them.
        voxels: are there scores of each voxel, or of each window?
    """

    weight: Tensor  # (K, size), and the bias (K,): of a linear probe
    bias: Tensor
    bank: Tensor  # (m, size) samples that vote, their classes (m,), how many they are
    labels: Tensor
    filled: Tensor
    mean: Tensor  # (size,) of the samples, and one over their deviation
    scale: Tensor

    def __init__(self, network: Readable, probe: Probe, voxels: bool) -> None:
        super().__init__()
        self.probe, self.classes = probe, network.out_channels
        self.features: VoxelFeatures | CaseFeatures = (
            VoxelFeatures(network.encoder, probe.levels, probe.intensity, network.in_channels)
            if voxels
            else CaseFeatures(network.encoder, probe.levels)
        )
        size = self.features.size
        for name, shape in self._tensors(size).items():
            self.register_buffer(name, torch.zeros(shape))

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

    def forward(self, image: Tensor) -> Tensor:
        """Return scores (B, classes, X, Y, Z), or (B, classes) of a window, for images (B, C, X, Y, Z)."""
        if self.probe.kind == "knn":
            return self._votes(self.features(image))
        if isinstance(self.features, CaseFeatures):
            return self.features(image) @ self.weight.T + self.bias
        maps = self.features.maps(
            image
        )  # a linear map may come before the interpolation, which is cheaper
        parts = zip(maps, self.weight.split(self.features.widths, 1), strict=True)
        scores = [on_grid(torch.einsum("kc,bc...->bk...", w, m), image.shape[2:]) for m, w in parts]
        return torch.stack(scores).sum(0) + self.bias.view(-1, *[1] * (image.ndim - 2))

    def _votes(self, features: Tensor) -> Tensor:
        """Return log shares of the neighbours' classes; one vote is spread over all, so that none is infinite."""
        rows = features.movedim(1, -1)
        flat = (rows.reshape(-1, rows.shape[-1]) - self.mean) * self.scale
        bank, labels = self.bank[: int(self.filled)], self.labels[: int(self.filled)].long()
        k = min(self.probe.k, len(bank))
        shares = neighbours.shares(flat, bank, labels, self.classes, k)
        smooth = (shares * k + 1 / self.classes) / (k + 1)
        return smooth.log().reshape(*rows.shape[:-1], -1).movedim(-1, 1)


def frozen(encoder: Encoder) -> Encoder:
    """Return an encoder that stays as it is: nothing trains, norm layers use the statistics they keep."""
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    return encoder.eval()
