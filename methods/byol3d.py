"""BYOL on volumes, the global baseline of PGL: predict a slow copy's view of the same scan."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import world
from bench.data.reader import Volume
from bench.method import Batch, Figure, Method, Recipe
from bench.nets import Network
from bench.pretext import nuisance, volume_views
from bench.pretext.heads import mlp
from bench.pretext.losses import matched, spread, unit_distance
from bench.pretext.momentum import cosine_tau, follow, frozen_copy
from bench.pretext.volume_views import VolumeViews, paired_views
from bench.ranges import Count, Share
from bench.source import Source


class BYOL3D(Method):
    """Grill et al.'s objective on PGL's views: PGL without its aligner, pooled to one vector."""

    title = "BYOL"
    version = 3  # 2: views drawn and made otherwise; 3: gamma keeps the range, chance by data set
    source = Source(
        "Grill et al., Bootstrap Your Own Latent, NeurIPS 2020; Xie et al., PGL, 2020",
        "https://arxiv.org/abs/2006.07733",
        "https://github.com/google-deepmind/deepmind-research/tree/master/byol",
    )
    fidelity = "loss and momentum compared with BYOL's code; PGL's views from its paper only"
    figure = Figure("retrieval", "predictions nearest to their own scan's projection", chance="chance")
    min_batch = 2  # the heads' batch statistics need two scans

    @dataclass(frozen=True)
    class Params(VolumeViews):
        """Heads and momentum as BYOL, views as PGL (Xie et al. 2020, Section 3.2)."""

        hidden: Count = 4096  # BYOL, Section 3.3
        out: Count = 256  # BYOL, Section 3.3
        tau: Share = 0.996  # BYOL, Section 3.3, to 1 by cosine; PGL, Section 3.3
        tau_cosine: bool = True  # BYOL, Section 3.3
        predictor: bool = True  # BYOL; off = its ablation
        symmetric: bool = True  # BYOL, Section 3.1; off = the first direction alone

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, width = params, network.encoder.widths[-1]
        self.crop = network.crop
        self.projector = mlp([width, p.hidden, p.out], "batch")
        head = mlp([p.out, p.hidden, p.out], "batch") if p.predictor else nn.Identity()
        self.predictor = head
        self.slow_encoder = frozen_copy(self.encoder)
        self.slow_projector = frozen_copy(self.projector)

    @classmethod
    def check(cls, params: Any, crop: tuple[int, int, int], recipe: Recipe) -> None:
        """Refuse boxes that fill the volumes."""
        volume_views.check(crop, params, recipe.resize)

    @classmethod
    def crops_per_sample(cls, params: Any) -> int:
        """Two views forward and backward, or one; the slow copy's forward passes cost about one more."""
        return 3 if params.symmetric else 2

    @classmethod
    def read(
        cls, volume: Volume, crop: tuple[int, int, int], params: Any, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Read two crops of 1.1 to 1.4 times the view that overlap by a tenth."""
        return volume_views.read(volume, crop, params, rng)

    def views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Resize and augment both crops, in PGL's order: (B, 2, C, X, Y, Z)."""
        views, _ = paired_views(batch, self.crop, self.params, generator)
        return {"views": views}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the distance of prediction and slow projection, summed over both directions."""
        views = batch["views"].unbind(1)  # apart: batch statistics are per view, as in BYOL
        ways = ((0, 1), (1, 0)) if self.params.symmetric else ((0, 1),)
        fast = [self.projector(self.encoder.embed(views[i])) for i, _ in ways]
        with torch.no_grad():
            slow = [self.slow_projector(self.slow_encoder.embed(views[j])) for _, j in ways]
        predicted = [self.predictor(z) for z in fast]
        total = torch.stack([unit_distance(q, t) for q, t in zip(predicted, slow, strict=True)]).sum()
        found = matched(world.gather(predicted[0].detach()), world.gather(slow[0]))
        return {
            "total": total,
            "retrieval": found,
            "chance": nuisance.among_pairs(batch["views"], batch.get("origin")),
            "std": spread(world.gather(fast[0].detach())),
        }

    def after_step(self, progress: float) -> None:
        """Move the slow copy towards the weights the optimiser has just made."""
        tau = self.params.tau
        tau = cosine_tau(tau, progress) if self.params.tau_cosine else tau
        follow(self.slow_encoder, self.encoder, tau)
        follow(self.slow_projector, self.projector, tau)
