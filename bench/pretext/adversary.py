"""A network that learns to tell restored images from real ones, and what deceiving it costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from bench.pretext.losses import full_precision


def judging_flops(widths: Sequence[int], voxels: float, dims: int = 3) -> float:
    """Return a third of the operations of an adversary's step on an image of one channel.

    It judges a restored image, for what that costs the restoration, and both images for its own sake.
    """
    total = 0.0
    for i, (a, b) in enumerate(pairwise([1, *widths]), start=1):
        ways = 2 if i == 1 else 8 / 3  # no gradient goes to images that are judged
        total += ways * 2 * 4**dims * a * b * voxels / 2 ** (dims * i)
    return total


class Adversary(nn.Module):
    """Strided convolutions down to a map of judgements (Goodfellow et al., NeurIPS 2014, non-saturating).

    One optimiser moves it together with what it judges, a step each. It takes no statistics over the batch.

    Args:
        channels: of the images.
        widths: of its layers, each halving every side.
        dims: 2 for slices (B, C, X, Y, 1), 3 for volumes.
    """

    def __init__(self, channels: int, widths: list[int], dims: int = 3) -> None:
        super().__init__()
        kernel, stride, padding = ((4, 4, 1), (2, 2, 1), (1, 1, 0)) if dims == 2 else (4, 2, 1)
        layers: list[nn.Module] = []
        for a, b in pairwise([channels, *widths]):
            layers += [nn.Conv3d(a, b, kernel, stride, padding), nn.LeakyReLU(0.2)]
        self.judge = nn.Sequential(*layers, nn.Conv3d(widths[-1], 1, 1))

    def forward(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return what deceiving costs, which moves what made the images alone, and what judging costs.

        The first is the mean of -log D(made), the second the mean of -log D(real) and -log(1 - D(made)): that
        moves the adversary alone. Both are ln 2 where it knows nothing.
        """
        fixed = {name: p.detach() for name, p in self.judge.named_parameters()}
        deceived = functional_call(self.judge, fixed, (made,))
        judged = self.judge(torch.cat([real, made.detach()]))
        known, found = entropy(judged[: len(real)], True), entropy(judged[len(real) :], False)
        return entropy(deceived, True), (known + found) / 2


@full_precision
def entropy(logits: Tensor, real: bool) -> Tensor:
    """Return the mean cross-entropy of judgements where all are real, or none is."""
    target = torch.full_like(logits, float(real))
    return functional.binary_cross_entropy_with_logits(logits, target)
