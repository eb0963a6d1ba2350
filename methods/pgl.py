"""PGL: predict a slow copy's features of the same places, in another view of the same scan."""

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import distributed
from bench.augment import flip
from bench.method import Batch, Figure, Method, Recipe, Triple
from bench.nets import Network
from bench.nets.catalog import cells
from bench.pretext import nuisance
from bench.pretext.align import chosen_map, overlap, roi_align
from bench.pretext.losses import full_precision, matched, spread, unit_distance
from bench.pretext.momentum import Buffers, SlowCopy, cosine_tau
from bench.pretext.pair import Pairing
from bench.pretext.volume_views import BothWays, VolumeViews
from bench.ranges import Count, Share
from bench.source import Source

PLACES = 1024  # of a map that the figure compares, at most; evenly spread


class PGL(Method):
    """Xie et al.'s local consistency: BYOL for every voxel of two aligned feature maps."""

    title = "PGL"
    paper = "pgl"
    version = 2  # 2: gamma keeps the range, chance by intensities
    source = Source(
        "Xie et al., PGL: Prior-Guided Local Self-supervised Learning for 3D Medical Image Segmentation, "
        "arXiv 2020",
        "https://arxiv.org/abs/2011.12640",
        "https://github.com/YtongXie/PGL",  # holds a README and no code
    )
    fidelity = "paper only, no code was released; loss and momentum as BYOL's code"
    figure = Figure("matched", "predictions nearest to their own place in the other view", "chance")
    any_dims = True  # slices have views and maps of one voxel along z

    @dataclass(frozen=True)
    class Params(BothWays):
        """Heads, momentum and alignment as printed; sections and equations are PGL's (Xie et al. 2020)."""

        hidden: Count = 4096  # 3.3
        out: Count = 256  # 3.3
        predictor: bool = True  # Eq. 8; off = BYOL's ablation
        tau: Share = 0.996  # 5.1, Eq. 10
        tau_cosine: bool = True  # 5.1, "increases from 0.996 to 1.000 [BYOL]"
        symmetric: bool = True  # Eq. 9; off = Eq. 8 alone
        use_flip: bool = True  # Tables 5-8; off = w/o F: neither flips nor FlipAlign
        # Tables 5-8; off = w/o CS; assumed: one crop, unscaled, for both views
        use_crop_scale: bool = True
        align_flip: bool = True  # Eq. 4; off = flips without FlipAlign, not in the paper
        align_crop: bool = True  # Eq. 5 and 6; off = crops without CSAlign, not in the paper
        # literal = Eq. 6, which forgets (1)'s resize
        coordinates: Literal["scaled", "literal"] = "scaled"
        # of the encoder's maps, -1 = last (3.3); None = last of several cells
        level: int | None = None
        # BYOL code; on = the target normalises by averages of the online side's
        ema_buffers: bool = False

        def boxes(self) -> Pairing:
            """Return PGL's boxes; w/o CS one for both views, as only it overlaps itself in full."""
            return super().boxes() if self.use_crop_scale else Pairing((1.0, 1.0), 1.0)

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse boxes that fill the volumes, but where one crop is both views anyway."""
            if self.use_crop_scale:
                super().check(crop, recipe)

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Augment both crops; where they lay and were mirrored stays with them."""
            return VolumeViews.views(
                self if self.use_flip else replace(self, flip=0.0), batch, crop, generator
            )

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p = params
        maps = cells(network.full_name, network.crop)
        self.level = chosen_map(maps, p.level, 2)
        self.cells = maps[self.level]
        if prod(self.cells) < 2:
            raise self.refusal(
                f"map {self.level} of network {network.name!r} on crop {network.crop} has a single cell, so "
                f"nothing can be aligned; use level {chosen_map(maps, None, 2)} or lower, or a larger crop"
            )
        self.projector = voxelwise(network.encoder.widths[self.level], p.hidden, p.out)
        self.predictor = voxelwise(p.out, p.hidden, p.out) if p.predictor else nn.Identity()
        self.slow = SlowCopy(encoder=self.encoder, projector=self.projector)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the distance of aligned predictions and targets, summed over both directions."""
        both = batch["views"].unbind(1)  # apart: batch statistics are per view, as in BYOL
        ways = self.params.ways
        maps = [self.projector(self.encoder(both[i])[self.level]) for i, _ in ways]
        predicted = [
            self.predictor(self.aligned(z, batch, i)) for z, (i, _) in zip(maps, ways, strict=True)
        ]
        if self.params.ema_buffers:
            self.slow.eval()
        with torch.no_grad():
            features = [
                self.slow.projector(self.slow.encoder(both[j])[self.level]) for _, j in ways
            ]
            slow = [self.aligned(z, batch, j) for z, (_, j) in zip(features, ways, strict=True)]
        total = torch.stack(
            [unit_distance(q, t) for q, t in zip(predicted, slow, strict=True)]
        ).sum()
        found = matched(_places(predicted[0].detach()), _places(slow[0]))
        rows = distributed.gather(maps[0].detach()).flatten(2).transpose(1, 2).flatten(0, 1)
        return {
            "total": total,
            "matched": found,
            "chance": self._guessed(batch),
            "std": spread(rows),
            "spatial": _spatial(maps[0].detach()),
        }

    def _guessed(self, batch: Batch) -> Tensor:
        """Return how often a place is found by its cell's intensities alone."""
        both = [nuisance.moments(view, self.cells) for view in batch["views"].unbind(1)]
        one, two = (_places(self.aligned(maps, batch, i)) for i, maps in enumerate(both))
        own = torch.arange(one.shape[1], device=one.device).expand(len(one), -1)
        return nuisance.guessed(torch.cdist(one, two, compute_mode=nuisance.EXACT), own)

    def aligned(self, maps: Tensor, batch: Batch, view: int) -> Tensor:
        """Return maps of view 0 or 1, unmirrored, of what both views show (FlipAlign, then CSAlign)."""
        p, start, size = self.params, batch["start"], batch["size"]
        if p.use_flip and p.align_flip:
            maps = flip(maps, batch["flipped"][:, view])
        if p.use_crop_scale and p.align_crop:
            box, other = ((start[:, i], size[:, i]) for i in (view, 1 - view))
            maps = roi_align(maps, *overlap(box, other, self.cells, self.crop, p.coordinates))
        return maps

    def after_step(self, progress: float) -> None:
        """Move the target towards the weights the optimiser has just made."""
        p = self.params
        buffers: Buffers = "average" if p.ema_buffers else "own"
        self.slow.follow(self, cosine_tau(p.tau, progress, p.tau_cosine), buffers)


def voxelwise(inside: int, hidden: int, out: int) -> nn.Sequential:
    """Return the paper's Conv-BN-ReLU-Conv of kernel 1, its projector and its predictor."""
    return nn.Sequential(
        nn.Conv3d(inside, hidden, 1), nn.BatchNorm3d(hidden), nn.ReLU(), nn.Conv3d(hidden, out, 1)
    )


def _places(maps: Tensor) -> Tensor:
    """Return (B, V, C): the features at evenly spread places of maps (B, C, X, Y, Z)."""
    flat = maps.flatten(2).transpose(1, 2)
    return flat[:, :: ceil(flat.shape[1] / PLACES)]


@full_precision
def _spatial(maps: Tensor) -> Tensor:
    """Return the std of unit vectors over the places of a map, averaged; 0 where a map is constant."""
    return functional.normalize(maps, dim=1).flatten(2).std(dim=2, correction=0).mean()
