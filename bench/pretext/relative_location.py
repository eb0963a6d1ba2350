"""Where a patch lies, seen from the one in its grid's middle (Doersch et al. 2015; Taleb et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from bench import distributed
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, EncoderMaps, Figure, Method, Triple
from bench.nets import Network
from bench.pretext.cells import cell_corners
from bench.pretext.losses import classified
from bench.pretext.patches import Patches
from bench.ranges import Count
from bench.source import Source


@dataclass(frozen=True)
class LocationParams(Patches):
    """The grid's middle cell is looked at, and ``queries_per_image`` different ones of the others.

    The class of a query is its cell's number in raster order, (i n + j) n + k, less one behind the middle.
    """

    queries_per_image: Count = 1  # code; paper, Eq. 2: K of all samples

    def __post_init__(self) -> None:
        if self.n % 2 == 0 or self.n < 3:
            raise BenchError(
                f"n = {self.n}: a grid of {self.n} cells a side has no middle cell; use 3"
            )

    def classes(self, crop: Triple) -> int:
        """Return how many cells lie around the middle one."""
        return prod(self.grid(crop)) - 1

    def check_batch(self, network: str, crop: Triple, rows: int, processes: int) -> None:
        """Refuse patches that the network cannot read, and more queries than there are cells."""
        super().check_batch(network, crop, rows, processes)
        if self.queries_per_image > self.classes(crop):
            raise BenchError(
                f"queries_per_image = {self.queries_per_image}: only {self.classes(crop)} cells lie around the middle"
            )

    def voxels_per_sample(self, crop: Triple) -> int:
        """The patch in the middle and the queries."""
        return (1 + self.queries_per_image) * prod(self.patch(crop))

    def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
        """On every query; the first layer, whose width is the network's, is small beside the encoder."""
        return self.head_flops_of(self.queries_per_image, self.classes(crop))

    def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
        """Read ``patches`` (1 + K, C, *patch), the middle one first, and the queries' ``label`` (K,)."""
        patch, classes = self.patch(crop), self.classes(crop)
        corners = self.start(volume, crop, rng) + cell_corners(
            patch, self.grid(crop), self.gaps(crop), rng
        )
        label = rng.permutation(classes)[: self.queries_per_image]
        middle = classes // 2
        shown = corners[[middle, *(label + (label >= middle))]]
        return {
            "patches": np.stack([volume.crop(at, patch) for at in shown.tolist()]),
            "label": label,
        }

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Add which of the head's units are ``kept`` for each query, (B, K, units)."""
        kept = self.kept(len(batch["patches"]), self.queries_per_image, generator)
        return {"patches": batch["patches"], "label": batch["label"], "kept": kept}


class RelativeLocation(Method):
    """Names the cell of a query patch from the features of the middle patch and, behind them, its own."""

    paper = "taleb"
    source = Source(
        "A. Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = "official code compared: cells, patches, classes; head and loss by its text (Keras)"
    figure = Figure("accuracy", "patches whose position was predicted correctly", "chance")
    min_batch = 2  # the head's batch norm

    params: LocationParams

    def __init__(self, network: Network, params: LocationParams) -> None:
        super().__init__(network, params)
        self.classes = params.classes(network.crop)
        self.head = params.head(2 * network.encoder.widths[-1], self.classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over all queries, and how often their position was predicted correctly.

        ``alone`` is how often that is so beside the middle patch of another scan of the same origin: as often as
        with its own where the query alone tells its position.
        """
        seen, label = self.params.pooled(self.encoder, batch["patches"]), batch["label"].flatten()
        total, accuracy = classified(self.told(seen[:, 0], seen[:, 1:], batch["kept"]), label)
        with torch.no_grad():
            other = another(seen[:, 0], batch.get("origin"))
            _, alone = classified(self.told(other, seen[:, 1:], batch["kept"]), label)
        chance = accuracy.new_full((), 1 / self.classes)
        return {"total": total, "accuracy": accuracy, "chance": chance, "alone": alone}

    def told(self, middle: Tensor, queries: Tensor, kept: Tensor) -> Tensor:
        """Return logits (B * K, classes) of middles (B, width) and queries (B, K, width)."""
        pair = torch.cat([middle[:, None].expand_as(queries), queries], dim=2)
        return self.head(pair.flatten(0, 1), kept.flatten(0, 1))


def another(middle: Tensor, origin: Tensor | None) -> Tensor:
    """Return for each row (B, width) that of the next sample of its origin, of all processes, or its own."""
    every = distributed.gather(middle.detach())
    n, rows = len(every), len(middle)
    at = torch.arange(n, device=middle.device)
    ahead = (at - at[:, None] - 1) % n  # 0 for the next sample, n - 1 for the same one
    if origin is not None:
        origin = distributed.gather(origin)
        ahead = ahead.masked_fill(origin[:, None] != origin, n)
    first = distributed.rank() * rows % n
    return every[ahead.argmin(1)[first : first + rows]]
