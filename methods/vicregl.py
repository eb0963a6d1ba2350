"""VICRegL: variance, invariance and covariance of whole views, and of cells matched between their maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import augment, distributed
from bench.augment.draw import chance
from bench.constants import constant
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, EncoderMaps, Figure, Method, Triple
from bench.nets import Network
from bench.nets.catalog import cells, check_crop, network_facts
from bench.pretext import nuisance
from bench.pretext.align import centres, chosen_map
from bench.pretext.boxes import read_at
from bench.pretext.losses import full_precision, matched
from bench.pretext.mask import take
from bench.pretext.volume_views import VolumeViews
from bench.ranges import Count, Share, Shares, Whole
from bench.source import Source
from bench.typed import sparse

MOST_CELLS = 4096  # of a map: distances of all its cells to all of another are held in memory
TERMS = ("inv", "var", "cov")  # invariance, variance, covariance
EPS = 1e-4  # under the root: its gradient stays finite where all samples are alike
SMALLER = 96 / 224  # code: sides of local over global views


class VICRegL(Method):
    """Bardes, Ponce & LeCun 2022 with two views of a scan, or of a slice."""

    title = "VICRegL"
    version = 2  # 2: gamma keeps the range, chance by data set
    source = Source(
        "Bardes, Ponce & LeCun, VICRegL: Self-Supervised Learning of Local Visual Features, NeurIPS 2022",
        "https://arxiv.org/abs/2210.01571",
        "https://github.com/facebookresearch/VICRegL",
    )
    fidelity = (
        "both losses and their gradients compared with the official code; views of volumes assumed"
    )
    figure = Figure("retrieval", "views whose nearest other view is of their own scan", "chance")
    any_dims = True
    min_batch = 3  # of two samples all channels are fully correlated, whatever the embeddings

    @dataclass(frozen=True)
    class Params(VolumeViews):
        """'code' is main_vicregl.py of the authors; the views are PGL's, theirs are of photographs."""

        # code, README: weight of the global criterion; 1 is VICReg, 0 local alone
        alpha: Share = 0.75
        # code: invariance, variance, covariance
        weights: tuple[float, float, float] = (25.0, 25.0, 1.0)
        num_matches: tuple[int, int] = (20, 4)  # code: closest pairs that count, there and back
        l2_all_matches: bool = False  # paper: the closest pairs by features, too; code: all of them
        # paper: cells lie where they are; code: as if no view were mirrored
        no_flip_grid: bool = False
        # code: statistics apart for each place; True pools them, for small batches
        pool: bool = False
        level: int | None = None  # paper: the last map; None = the deepest with num_matches cells
        hidden: Count = 8192  # code (mlp)
        out: Count = 8192  # code (mlp)
        local_hidden: Count = 512  # code (maps_mlp)
        local_out: Count = 512  # code (maps_mlp)
        norm: Literal["batch", "layer"] = "batch"  # code: batch for ResNet, layer for ConvNeXt
        locals: Whole = sparse(0)  # code: 6 small views with ConvNeXt, none with ResNet
        # code: 96 where global views are 224; None = that ratio
        local_crop: Triple | None = sparse(None)
        # code, README: of the photograph; assumed: of a box
        local_share: Shares = sparse((0.08, 0.4))

        def __post_init__(self) -> None:
            if min(self.weights) < 0:
                raise self.refusal(f"weights = {self.weights}; use 0 or more")
            if min(self.num_matches) < 1:
                raise self.refusal(f"num_matches = {self.num_matches}; use 1 or more")

        def voxels_per_sample(self, crop: Triple) -> float:
            """Two views, and small ones."""
            return 2 * math.prod(crop) + self.locals * math.prod(self.small(crop))

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Both expanders', on all views; the local one reads each cell of its map."""
            x, y, z = crop
            grids = [(x // a, y // b, z // c) for a, b, c in maps.strides]
            level = chosen_map(grids, self.level, max(self.num_matches))
            cells = self.voxels_per_sample(crop) / math.prod(maps.strides[level])
            h, k = self.hidden, self.local_hidden
            vectors = (2 + self.locals) * h * (maps.width + h + self.out)
            of_cells = cells * k * (maps.widths[level] + k + self.local_out)
            return 2.0 * (vectors * (self.alpha > 0) + of_cells * (self.alpha < 1))

        def small(self, crop: Triple) -> Triple:
            """Return the size of local views where global ones are ``crop``: multiples of 16, or one."""
            x, y, z = (n if n == 1 else max(16, round(n * SMALLER / 16) * 16) for n in crop)
            return self.local_crop or (x, y, z)

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read two overlapping boxes, and smaller ones from where these are, resized to local views.

            Returns:
                Beside what ``read_pair`` gives ``locals`` (K, C, *small), and ``local_start`` and
                ``local_size`` (K, 3) of their boxes in voxels of the volume.
            """
            made = super().read(volume, crop, rng)
            if self.locals:
                start, size = self.small_boxes(made["start"], made["size"], crop, rng)
                views = [
                    read_at(volume, a, n, self.small(crop))
                    for a, n in zip(start, size, strict=True)
                ]
                made |= {"locals": np.stack(views), "local_start": start, "local_size": size}
            return made

        def small_boxes(
            self, start: np.ndarray, size: np.ndarray, crop: Triple, rng: np.random.Generator
        ) -> tuple[np.ndarray, np.ndarray]:
            """Draw starts and sizes (K, 3) of boxes within the smallest box that holds both global ones.

            Box k has a share of the volume of global box k % 2, and its shape; one voxel where it has one.
            """
            deep = np.asarray(crop) > 1
            share = rng.uniform(*self.local_share, size=(self.locals, 1)) ** (1 / deep.sum())
            whole = size[np.arange(self.locals) % 2]
            small = np.where(deep, np.maximum(np.rint(share * whole), 1), 1).astype(np.int64)
            low, high = start.min(0), (start + size).max(0)
            return rng.integers(low, high - small + 1), small

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Make both views, and small ones (B, K, C, *small) mirrored and changed as those are."""
            made = super().views(batch, crop, generator)
            if self.locals:
                x, zscored = batch["locals"].flatten(0, 1), batch.get("zscored")
                flipped = chance((len(x), 3), self.flip, generator)
                zscored = None if zscored is None else zscored.repeat_interleave(self.locals)
                x = self.changed(augment.flip(x, flipped), zscored, generator)
                made |= {"locals": x.unflatten(0, (-1, self.locals))}
                made |= {"local_flipped": flipped.unflatten(0, (-1, self.locals))}
                made |= {name: batch[name] for name in ("local_start", "local_size")}
            return made

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, widths = params, network.encoder.widths
        maps = cells(network.full_name, self.crop)
        self.level = chosen_map(maps, p.level, max(p.num_matches))
        self.cells = maps[self.level]
        self.small_cells = self.cells
        if p.locals:
            small = p.small(self.crop)
            refused(network, small)
            self.small_cells = cells(network.full_name, small)[self.level]
        if math.prod(self.cells) > MOST_CELLS:
            raise self.refusal(
                f"map {self.level} has {math.prod(self.cells)} cells, too many to compare each with all "
                f"cells of the other view; use a level with at most {MOST_CELLS}"
            )
        self.expander: nn.Module | None = None
        self.local_expander: nn.Module | None = None
        if p.alpha > 0:
            self.expander = expander([widths[-1], p.hidden, p.hidden, p.out], p.norm)
        if p.alpha < 1:
            self.local_expander = expander(
                [widths[self.level], p.local_hidden, p.local_hidden, p.local_out], p.norm
            )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the global and the local criterion, and ``retrieval`` between both views' embeddings."""
        p, found = self.params, dict[str, Tensor]()
        views = [*batch["views"].unbind(1), *(batch["locals"].unbind(1) if p.locals else ())]
        pyramids = [self.encoder(view) for view in views]  # batch statistics per view
        vectors = [maps[-1].flatten(2).mean(2) for maps in pyramids]
        if self.expander is not None:
            vectors = [self.expander(vector) for vector in vectors]
            found[""] = criterion(*vectors)
        if self.local_expander is not None:
            every = [self._cells(maps[self.level]) for maps in pyramids]
            places = [self.places(batch, view) for view in range(len(views))]
            found["local_"] = local(every, places, p.num_matches, p.l2_all_matches, p.pool)
        share = {"": p.alpha, "local_": 1 - p.alpha}
        parts = [
            share[k] * (terms * constant(p.weights, terms.device, terms.dtype)).sum()
            for k, terms in found.items()
        ]
        named = {k + n: t for k, terms in found.items() for n, t in zip(TERMS, terms, strict=True)}
        one, two = (distributed.gather(z.detach()) for z in vectors[:2])
        shown = nuisance.beside(matched(one, two), one, batch)
        return {"total": torch.stack(parts).sum(), **named, **shown}

    def places(self, batch: Batch, view: int) -> Tensor:
        """Return the voxels of the volume at which the cells of a view's map lie, (B, n, 3).

        Views 0 and 1 are the global ones, local ones come after them.
        """
        kind, number, shape = (
            ("", view, self.cells) if view < 2 else ("local_", view - 2, self.small_cells)
        )
        start, size, flipped = (
            batch[kind + name][:, number] for name in ("start", "size", "flipped")
        )
        mirrored = torch.zeros_like(flipped) if self.params.no_flip_grid else flipped
        return centres(start, size, mirrored, shape).flatten(1, 3)

    def _cells(self, maps: Tensor) -> Tensor:
        """Return the embedded cells of maps (B, C, x, y, z), (B, n, local_out)."""
        assert self.local_expander is not None
        rows = maps.flatten(2).transpose(1, 2)
        return self.local_expander(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])


def refused(network: Network, small: Triple) -> None:
    """Refuse a network that cannot read local views beside its crop.

    Raises:
        BenchError: it reads crops of one size, or none of that size.
    """
    facts = network_facts(network.name)
    if facts.tokens or facts.views == "crops":
        raise BenchError(
            f"method 'vicregl': network {network.name!r} reads crops of one size only; set locals: 0"
        )
    try:
        check_crop(network.name, network.preset, small)
    except BenchError as error:
        raise BenchError(
            f"method 'vicregl': local views: {error}; set local_crop, or locals: 0"
        ) from None


def expander(widths: Sequence[int], norm: Literal["batch", "layer"]) -> nn.Sequential:
    """Return Linear - norm - ReLU blocks ending in a Linear without bias, through ``widths``."""
    kind = nn.BatchNorm1d if norm == "batch" else nn.LayerNorm
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers += [nn.Linear(a, b), kind(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False))


@full_precision
def variance(z: Tensor) -> Tensor:
    """Return the mean over places and channels of max(0, 1 - sqrt(var + EPS)), unbiased variance.

    Args:
        z: (N, ..., C) embeddings of N samples, 2 or more.
    """
    return functional.relu(1 - (z.var(dim=0) + EPS).sqrt()).mean()


@full_precision
def covariance(z: Tensor) -> Tensor:
    """Return the mean over places of the sum of squared covariances of different channels, over C.

    With fewer samples than channels by way of the N x N products, which hold the same sum of squares:
    the C x C matrix of a wide embedding is never made.

    Args:
        z: (N, ..., C) embeddings of N samples, 2 or more.
    """
    n, c = len(z), z.shape[-1]
    centred = (z - z.mean(dim=0)).reshape(n, -1, c).transpose(0, 1)  # places, samples, channels
    if n < c:
        products, own = centred @ centred.mT, centred.square().sum(1)
    else:
        products = centred.mT @ centred
        own = products.diagonal(dim1=1, dim2=2)
    off = products.square().sum((1, 2)) - own.square().sum(1)
    return off.mean() / ((n - 1) ** 2 * c)


@full_precision
def criterion(*views: Tensor) -> Tensor:
    """Compare embeddings (N, ..., C) of views: MSE, and the mean of all views' other ``TERMS``, (3,).

    VICReg, Eqs. 1 to 5. Statistics are over the samples of all processes, of a map for each place apart.
    The mean squared error is this process's own; means of it over processes are the whole batch's. It is
    the mean over ordered pairs of one of the first two views and any other.
    """
    one, two, *others = views
    told = [distributed.gather(view) for view in views]
    spread = [variance(view) for view in told]
    error = 2 * [functional.mse_loss(one, two)]  # a pair in both orders
    error += [functional.mse_loss(whole, other) for other in others for whole in (one, two)]
    terms = (error, spread, [covariance(view) for view in told])
    return torch.stack([torch.stack(term).mean() for term in terms])


@torch.no_grad()
@full_precision
def nearest(source: Tensor, candidates: Tensor, keep: int | None = None) -> tuple[Tensor, Tensor]:
    """Find the nearest candidate of every source cell, and keep the closest of these pairs.

    Euclidean distance; several cells may share a candidate, and ties go to the lower index.

    Args:
        source: (B, n, D) coordinates or features of n cells.
        candidates: (B, m, D).
        keep: pairs per sample, all if None or more than n.

    Returns:
        Indices (B, k) of the source cells, ascending, and of their candidates.
    """
    distance, candidate = torch.cdist(source, candidates, compute_mode=nuisance.EXACT).min(dim=2)
    order = distance.argsort(dim=1, stable=True)
    kept = order[:, :keep].sort(dim=1).values
    return kept, candidate.gather(1, kept)


def local(
    maps: Sequence[Tensor],
    places: Sequence[Tensor],
    keep: tuple[int, int],
    all_features: bool = False,
    pool: bool = False,
) -> Tensor:
    """Return the local criterion: matches in space plus matches in features, both ways, in all pairs' mean.

    Pairs are ordered, of one of the first two views and any other.

    Args:
        maps: (B, n, C) embedded cells of each view, the two global ones first; n may differ between views.
        places: where they lie, (B, n, D) each.
        keep: pairs that count from the first view of an ordered pair to the second, and back. Rank among the
            kept, in the map's order, is the place whose statistics are taken, as in the authors' code.
        all_features: do all matches by features count?
        pool: take one statistic over all pairs of all samples instead.
    """
    there, back = keep
    # each way in both orders of the pair
    ways = [(0, 1, there), (0, 1, back), (1, 0, there), (1, 0, back)]
    ways += [
        way for j in range(2, len(maps)) for i in (0, 1) for way in ((i, j, there), (j, i, back))
    ]
    found = []
    for one, two, count in ways:
        for by, kept in ((places, count), (maps, None if all_features else count)):
            i, j = nearest(by[one], by[two], kept)
            a, b = take(maps[one], i), take(maps[two], j)
            found.append(criterion(a.flatten(0, 1), b.flatten(0, 1)) if pool else criterion(a, b))
    return torch.stack(found).sum(0) / len(ways)
