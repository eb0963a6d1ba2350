"""Patches of a grid, each shaken within its cell: what two tasks of Taleb et al. 2020 share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import MethodParams, Recipe, Triple
from bench.nets import catalog
from bench.nets.base import Encoder
from bench.pretext.heads import Classifier, kept
from bench.ranges import Count, Part, Whole

Place = Literal["random", "corner"]  # of the grid: anywhere in the volume, or from its first voxel
Pool = Literal["mean", "max"]  # of the encoder's last map


@dataclass(frozen=True)
class Patches(MethodParams):
    """The parameters that the tasks share. Defaults are the paper's; where it is silent, the code's.

    The crop is what the grid covers: ``n`` cells along each axis of more than one voxel (a slice has one
    along z), each of ``crop // n`` voxels; the remainder is not read. A patch is smaller than its cell by
    ``jitter`` and lies anywhere in it.
    """

    n: Count = 3  # paper, Figure 1 and 3.3; puzzles of 2 are what it compares with
    jitter: Whole = 3  # code, of volumes: cells of 42 voxels, patches of 39
    place: Place = "random"  # paper, 3.2; code: the whole image from its corner
    pool: Pool = "mean"  # code: one cell, which needs none; DenseNet: max
    hidden: tuple[Count, ...] = (2048, 1024)  # code (big_fully)
    norm: bool = True  # code, behind ReLU
    dropout: Part = 0.5  # code, behind batch norm

    def grid(self, crop: Triple) -> Triple:
        """Return the cells along x, y, z."""
        x, y, z = (self.n if side > 1 else 1 for side in crop)
        return x, y, z

    def gaps(self, crop: Triple) -> Triple:
        """Return by how much a patch is smaller than its cell along x, y, z."""
        x, y, z = (self.jitter if side > 1 else 0 for side in crop)
        return x, y, z

    def patch(self, crop: Triple) -> Triple:
        """Return the size of a patch in voxels."""
        x, y, z = (
            s // g - j for s, g, j in zip(crop, self.grid(crop), self.gaps(crop), strict=True)
        )
        return x, y, z

    def check(self, crop: Triple, recipe: Recipe) -> None:
        """Refuse cells that the jitter eats up, and volumes that the grid does not fit."""
        message = f"a grid of {self.grid(crop)} cells in crops of {tuple(crop)}"
        if min(self.patch(crop)) < 1:
            raise BenchError(
                f"{message}, jitter {self.jitter}: no voxel is left of a patch; use larger crops"
            )
        sides = [(r, c) for r, c in zip(recipe.resize or (0, 0, 0), crop, strict=True) if c > 1]
        if self.place == "corner" and any(r != c for r, c in sides):
            raise BenchError(
                f"{message}, place 'corner': it covers the whole volume, so the recipe must resize to the crop"
            )
        if any(0 < r < c // self.n * self.n for r, c in sides):
            volumes = tuple(recipe.resize or ())
            raise BenchError(f"{message} does not fit into volumes of {volumes}; use smaller crops")

    def check_batch(self, network: str, crop: Triple, rows: int, processes: int) -> None:
        """Refuse networks that cannot read the patches."""
        message = f"patches of crops of {tuple(crop)} (n {self.n}, jitter {self.jitter})"
        catalog.check_view(network, self.patch(crop), message)

    def start(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Triple:
        """Return the corner of the grid: anywhere, or the volume's own; which slice is always drawn."""
        grid, patch, gaps = self.grid(crop), self.patch(crop), self.gaps(crop)
        whole = [g * (p + j) for g, p, j in zip(grid, patch, gaps, strict=True)]
        x, y, z = volume.random_start(whole, rng)
        if self.place == "corner":
            x, y, z = (0 if side > 1 else at for side, at in zip(crop, (x, y, z), strict=True))
        return x, y, z

    def kept(self, rows: int, times: int, generator: torch.Generator) -> Tensor:
        """Draw what the head's dropout keeps, (rows, times, hidden units), scaled."""
        return kept(rows * times, self.hidden, self.dropout, generator).unflatten(0, (rows, times))

    def head(self, width: int, classes: int) -> Classifier:
        """Return what names the class of ``width`` joined features."""
        return Classifier(width, self.hidden, classes, self.norm)

    def head_flops_of(self, rows: int, classes: int) -> float:
        """Return the head's operations without its first layer, whose width is the network's."""
        widths = [*self.hidden, classes]
        return 2.0 * rows * sum(a * b for a, b in pairwise(widths))

    def pooled(self, encoder: Encoder, patches: Tensor) -> Tensor:
        """Return one vector for each patch: (B, m, C, *patch) gives (B, m, width)."""
        x = patches.flatten(0, 1)
        seen = encoder.embed(x) if self.pool == "mean" else encoder(x)[-1].flatten(2).amax(2)
        return seen.unflatten(0, patches.shape[:2])
