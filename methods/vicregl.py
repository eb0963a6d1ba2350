"""VICRegL: variance, invariance and covariance of whole views, and of cells matched between their maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from bench import distributed
from bench.errors import BenchError
from bench.method import Batch, Figure, Method, Triple
from bench.nets import Network
from bench.nets.catalog import cells
from bench.pretext import nuisance, variance
from bench.pretext.align import centres
from bench.pretext.losses import matched
from bench.pretext.volume_views import VolumeViews
from bench.ranges import Count, Share
from bench.source import Source

MOST_CELLS = 4096  # of a map: distances of all its cells to all of another are held in memory


class VICRegL(Method):
    """Bardes, Ponce & LeCun 2022 with two views of a scan, or of a slice."""

    title = "VICRegL"
    version = 2  # 2: gamma keeps the range, chance by data set
    source = Source(
        "Bardes, Ponce & LeCun, VICRegL: Self-Supervised Learning of Local Visual Features, NeurIPS 2022",
        "https://arxiv.org/abs/2210.01571",
        "https://github.com/facebookresearch/VICRegL",
    )
    fidelity = "both losses and their gradients compared with the official code; views of volumes assumed"
    figure = Figure("retrieval", "views whose nearest other view is of their own scan", chance="chance")
    any_dims = True
    min_batch = 3  # of two samples all channels are fully correlated, whatever the embeddings

    @dataclass(frozen=True)
    class Params(VolumeViews):
        """'code' is main_vicregl.py of the authors; the views are PGL's, theirs are of photographs."""

        alpha: Share = 0.75  # code, README: weight of the global criterion; 1 is VICReg, 0 local alone
        weights: tuple[float, float, float] = (25.0, 25.0, 1.0)  # code: invariance, variance, covariance
        num_matches: tuple[int, int] = (20, 4)  # code: closest pairs that count, there and back
        l2_all_matches: bool = False  # paper: the closest pairs by features, too; code: all of them
        no_flip_grid: bool = False  # paper: cells lie where they are; code: as if no view were mirrored
        pool: bool = False  # code: statistics apart for each place; True pools them, for small batches
        level: int | None = None  # paper: the last map; None = the deepest with num_matches cells
        hidden: Count = 8192  # code (mlp)
        out: Count = 8192  # code (mlp)
        local_hidden: Count = 512  # code (maps_mlp)
        local_out: Count = 512  # code (maps_mlp)
        norm: Literal["batch", "layer"] = "batch"  # code: batch for ResNet, layer for ConvNeXt

        def __post_init__(self) -> None:
            if min(self.weights) < 0:
                raise BenchError(f"method 'vicregl': weights = {self.weights}; take 0 or more")
            if min(self.num_matches) < 1:
                raise BenchError(f"method 'vicregl': num_matches = {self.num_matches}; take 1 or more")

        def head_flops(self, crop: Triple) -> float:
            """The expander's, on both views; its first layer and the local one are small beside it."""
            return 4.0 * self.hidden * (self.hidden + self.out) if self.alpha > 0 else 0.0

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, widths = params, network.encoder.widths
        self.level, self.cells = local_map(cells(network.name, self.crop), p.num_matches, p.level)
        self.expander: nn.Module | None = None
        self.local_expander: nn.Module | None = None
        if p.alpha > 0:
            self.expander = expander([widths[-1], p.hidden, p.hidden, p.out], p.norm)
        if p.alpha < 1:
            self.local_expander = expander(
                [widths[self.level], p.local_hidden, p.local_hidden, p.local_out], p.norm
            )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the global and the local criterion, and ``retrieval`` between the views' embeddings."""
        p = self.params
        pyramids = [self.encoder(view) for view in batch["views"].unbind(1)]  # batch statistics per view
        pooled = [maps[-1].flatten(2).mean(2) for maps in pyramids]
        one, two = (z if self.expander is None else self.expander(z) for z in pooled)
        total, terms = torch.zeros((), device=one.device), dict[str, Tensor]()
        if self.expander is not None:
            found = variance.criterion(one, two)
            total = total + p.alpha * found.total(p.weights)
            terms |= {"inv": found.invariance, "var": found.variance, "cov": found.covariance}
        if self.local_expander is not None:
            here, there = (self._cells(maps[self.level]) for maps in pyramids)
            at = (self.places(batch, 0), self.places(batch, 1))
            found = variance.local(here, there, at, p.num_matches, p.l2_all_matches, p.pool)
            total = total + (1 - p.alpha) * found.total(p.weights)
            terms |= {
                "local_inv": found.invariance,
                "local_var": found.variance,
                "local_cov": found.covariance,
            }
        one, two = (distributed.gather(z.detach()) for z in (one, two))
        return {"total": total, **terms, **nuisance.beside(matched(one, two), one, batch)}

    def places(self, batch: Batch, view: int) -> Tensor:
        """Return the voxels of the volume at which the cells of a view's map lie, (B, n, 3)."""
        start, size, flipped = (batch[name][:, view] for name in ("start", "size", "flipped"))
        mirrored = torch.zeros_like(flipped) if self.params.no_flip_grid else flipped
        return centres(start, size, mirrored, self.cells).flatten(1, 3)

    def _cells(self, maps: Tensor) -> Tensor:
        """Return the embedded cells of maps (B, C, x, y, z), (B, n, local_out)."""
        assert self.local_expander is not None
        rows = maps.flatten(2).transpose(1, 2)
        return self.local_expander(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])


def expander(widths: Sequence[int], norm: Literal["batch", "layer"]) -> nn.Sequential:
    """Return Linear - norm - ReLU blocks ending in a Linear without bias, through ``widths``."""
    kind = nn.BatchNorm1d if norm == "batch" else nn.LayerNorm
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers += [nn.Linear(a, b), kind(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False))


def local_map(
    grids: Sequence[Triple], num_matches: tuple[int, int], level: int | None
) -> tuple[int, Triple]:  # fmt: skip
    """Return which map of a pyramid the cells are taken from, and its cells along x, y, z.

    Args:
        grids: cells of each map, finest first.
        num_matches: pairs that are to be kept; fewer are where no map has as many cells.
        level: the map that is asked for; by default the deepest with enough cells, else with the most.

    Raises:
        BenchError: no such map, or one of too many cells.
    """
    counts = [math.prod(grid) for grid in grids]
    if level is None:
        enough = min(max(num_matches), max(counts))
        level = max(i for i, count in enumerate(counts) if count >= enough)
    if not -len(grids) <= level < len(grids):
        raise BenchError(f"method 'vicregl': level = {level}; the network has maps 0 to {len(grids) - 1}")
    if counts[level] > MOST_CELLS:
        raise BenchError(
            f"method 'vicregl': map {level} has {counts[level]} cells, each of which is compared with all of "
            f"the other view's; take a level with at most {MOST_CELLS}"
        )
    return level % len(grids), grids[level]
