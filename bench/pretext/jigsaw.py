"""By which permutation a grid's patches were shuffled (Noroozi & Favaro 2016; Taleb et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, prod

import numpy as np
import torch
from torch import Tensor

from bench.constants import constant
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, EncoderMaps, Figure, Method, Recipe, Triple
from bench.nets import Network
from bench.pretext.cells import Far, far_orders, read_cells
from bench.pretext.losses import classified
from bench.pretext.patches import Patches
from bench.random import randint
from bench.ranges import Count, Whole
from bench.source import Source


@dataclass(frozen=True)
class JigsawParams(Patches):
    """All cells of the grid are looked at, in one of ``permutations`` orders.

    What a label means follows from ``n`` and the permutations' number, mode and seed, on every machine.
    """

    permutations: Count = 100  # code (P)
    perm_mode: Far = "mean"  # paper, 3.3: Noroozi & Favaro's; code: in 2D that, in 3D random
    perm_seed: Whole = 0  # ours

    def __post_init__(self) -> None:
        if self.n < 2:
            raise BenchError("n = 1: a single patch cannot be shuffled; use 2 or 3")

    def orders(self, crop: Triple) -> np.ndarray:
        """Return the permutations (P, m): at place s of puzzle p lies the patch ``orders[p, s]`` of the grid.

        Raises:
            BenchError: there are not so many.
        """
        return far_orders(self._counted(crop), self.permutations, self.perm_seed, self.perm_mode)

    def _counted(self, crop: Triple) -> int:
        """Return how many patches there are, if they have so many orders."""
        patches = prod(self.grid(crop))
        if self.permutations > factorial(patches):
            raise BenchError(
                f"permutations = {self.permutations}: {patches} patches have only {factorial(patches)} orders"
            )
        return patches

    def check(self, crop: Triple, recipe: Recipe) -> None:
        """Refuse grids that do not fit, or have fewer permutations."""
        super().check(crop, recipe)
        self._counted(crop)

    def voxels_per_sample(self, crop: Triple) -> int:
        """All patches."""
        return prod(self.grid(crop)) * prod(self.patch(crop))

    def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
        """Once a puzzle; the first layer, whose width is the network's, is small beside the encoder."""
        return self.head_flops_of(1, self.permutations)

    def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
        """Read the patches of a grid, (m, C, *patch) in raster order."""
        start = self.start(volume, crop, rng)
        return {
            "patches": read_cells(
                volume, self.patch(crop), self.grid(crop), self.gaps(crop), rng, start
            )
        }

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Shuffle each grid's patches.

        Returns:
            ``patches`` (B, m, C, *patch), ``label`` (B,) the permutation's number, and which of the head's
            units are ``kept``, (B, units).
        """
        x = batch["patches"]
        label = randint(0, self.permutations, len(x), generator)
        order = constant(self.orders(crop), x.device)[label]
        shuffled = x[torch.arange(len(x), device=x.device)[:, None], order]
        return {"patches": shuffled, "label": label, "kept": self.kept(len(x), 1, generator)[:, 0]}


class Jigsaw(Method):
    """Names the permutation from the features of all patches, joined in the order in which they lie."""

    paper = "taleb"
    source = Source(
        "A. Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = (
        "official code compared: cells, patches, shuffling; head and loss by its text (Keras)"
    )
    figure = Figure("accuracy", "puzzles whose permutation was predicted correctly", "chance")
    min_batch = 2  # the head's batch norm

    params: JigsawParams

    def __init__(self, network: Network, params: JigsawParams) -> None:
        super().__init__(network, params)
        patches, classes = params.orders(network.crop).T.shape
        self.head = params.head(patches * network.encoder.widths[-1], classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy, and how often the permutation was predicted correctly."""
        seen = self.params.pooled(self.encoder, batch["patches"]).flatten(1)
        total, accuracy = classified(self.head(seen, batch["kept"]), batch["label"])
        chance = accuracy.new_full((), 1 / self.params.permutations)
        return {"total": total, "accuracy": accuracy, "chance": chance}
