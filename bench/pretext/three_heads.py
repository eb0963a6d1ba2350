"""Heads for restoration, rotation and contrast on an encoder's last map (Tang et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from bench.method import EncoderMaps
from bench.nets.interpolation import on_grid
from bench.ranges import Triple

Up = Literal["vae", "deconv", "large"]
Pool = Literal["token", "mean"]


class Upsampler(nn.Module):
    """Brings a last map back to the voxels, without skips.

    ``vae``: convolution, instance norm without weights, leaky rectifier, trilinear doubling, as often as it
    takes; ``deconv``: transposed convolutions of stride 2; ``large``: a single one. Channels halve four times
    at most. All three are the code's.

    Args:
        width: channels of the map.
        stride: by what it is coarser than the image along each axis, powers of 2.
        out: channels of the image.
        kind: which of the code's three.
    """

    def __init__(self, width: int, stride: Sequence[int], out: int, kind: Up = "vae") -> None:
        super().__init__()
        self.kind = kind
        self.factors = doublings(stride)
        widths = [max(1, width // 2 ** min(i, 4)) for i in range(len(self.factors) + 1)]
        if kind == "large":
            x, y, z = stride
            self.steps = nn.ModuleList([nn.ConvTranspose3d(width, out, (x, y, z), (x, y, z))])
        elif kind == "deconv":
            widths[-1] = out
            self.steps = nn.ModuleList(
                nn.ConvTranspose3d(a, b, f, f)
                for (a, b), f in zip(pairwise(widths), self.factors, strict=True)
            )
        else:
            self.steps = nn.ModuleList(nn.Conv3d(a, b, 3, padding=1) for a, b in pairwise(widths))
            self.out = nn.Conv3d(widths[-1], out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, x, y, z) to (B, out, X, Y, Z)."""
        for step, factor in zip(self.steps, self.factors, strict=False):
            x = step(x)
            if self.kind == "vae":
                # one voxel has nothing to be normed by
                x = functional.instance_norm(x) if x[0, 0].numel() > 1 else x
                shape = [n * f for n, f in zip(x.shape[2:], factor, strict=True)]
                x = on_grid(functional.leaky_relu(x), shape)
        return self.out(x) if self.kind == "vae" else x


def doublings(stride: Sequence[int]) -> list[Triple]:
    """Return factors of 1 or 2 an axis whose product is the stride."""
    left, steps = list(stride), list[Triple]()
    while max(left) > 1:
        x, y, z = (min(n, 2) for n in left)
        steps.append((x, y, z))
        left = [max(1, n // 2) for n in left]
    return steps


def upsampling_flops(maps: EncoderMaps, kind: Up) -> float:
    """Return the operations of an ``Upsampler`` to one channel, per voxel of the image."""
    factors = doublings(maps.stride)
    if kind == "large":
        return 2.0 * maps.width
    widths = [max(1, maps.width // 2 ** min(i, 4)) for i in range(len(factors) + 1)]
    if kind == "deconv":
        widths[-1] = 1
    cells, total = 1 / prod(maps.stride), 0.0
    for (a, b), factor in zip(pairwise(widths), factors, strict=True):
        total += 2 * a * b * cells * (prod(factor) if kind == "deconv" else 27)
        cells *= prod(factor)
    return total + (2 * widths[-1] if kind == "vae" else 0)


class ThreeHeads(nn.Module):
    """Which of four turns, an embedding to contrast, and the image.

    Args:
        width: channels of the last map.
        stride: by what it is coarser than the image along each axis.
        channels: of the image.
        out: width of the embedding.
        pool: turn and embedding are read at the map's first and second cell, or from its mean.
        kind: of the way back to the image.
    """

    def __init__(
        self,
        width: int,
        stride: Sequence[int],
        channels: int,
        out: int,
        pool: Pool,
        kind: Up = "vae",
    ) -> None:
        super().__init__()
        self.pool = pool
        self.turn, self.embedding = nn.Linear(width, 4), nn.Linear(width, out)
        self.image = Upsampler(width, stride, channels, kind)

    def forward(self, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, 4), embeddings (B, out), images (B, C, X, Y, Z) of maps (B, width, x, y, z)."""
        cells = last.flatten(2)
        if self.pool == "mean":
            one = two = cells.mean(dim=2)
        else:
            one, two = cells[..., 0], cells[..., min(1, cells.shape[2] - 1)]
        return self.turn(one), self.embedding(two), self.image(last)
