"""MoCo v3 on volumes: a query predicts the slow copy's key of the other view, among the batch's keys."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench import world
from bench.data.reader import Volume
from bench.method import Batch, Figure, Method, Recipe
from bench.nets import Network
from bench.pretext import nuisance, volume_views
from bench.pretext.contrast import batch_contrast
from bench.pretext.losses import spread
from bench.pretext.momentum import cosine_tau, follow, frozen_copy
from bench.pretext.volume_views import VolumeViews, paired_views
from bench.ranges import Count, Positive, Share
from bench.source import Source


class MoCoV3(Method):
    """Chen, Xie & He's objective; volumes and their views are ours, as VoCo's authors print none."""

    title = "MoCo v3"
    version = 2  # 2: gamma keeps the range, chance by data set
    source = Source(
        "X. Chen, Xie & He, An Empirical Study of Training Self-Supervised Vision Transformers, ICCV 2021",
        "https://arxiv.org/abs/2104.02057",
        "https://github.com/facebookresearch/moco-v3",
    )
    any_dims = True
    fidelity = "loss, momentum and heads compared with the official code; views of volumes assumed"
    figure = Figure("retrieval", "queries nearest to their own scan's key", chance="chance")
    min_batch = (
        4  # one scan has no negatives; batch norm of two or three leaves little that rounding does not move
    )

    @dataclass(frozen=True)
    class Params(VolumeViews):
        """The official commands for ViTs, which VoCo's tables use it on; views of PGL."""

        temperature: Positive = 0.2  # code, ViT commands; ResNet commands and default: 1.0
        momentum: Share = 0.99  # code; ResNet's 1000 epochs: 0.996
        momentum_cosine: bool = True  # code, all commands: to 1 by a half cosine
        heads: Literal["vit", "resnet"] = "vit"  # code: projector of 3 layers, predictor ends in a BN; 2, not
        hidden: Count = 4096  # code
        out: Count = 256  # code
        predictor: bool = True  # paper, Section 3; off = its ablation
        symmetric: bool = True  # paper, Algorithm 1
        stop_grad_patch_embed: bool = True  # paper, Section 4.2 and ViT commands; patch encoders only
        overlap: Share = 0.5  # assumed: nnssl's half, here of the smaller crop's volume

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, width = params, network.encoder.widths[-1]
        self.crop, vit = network.crop, params.heads == "vit"
        self.projector = head([width, *[p.hidden] * (2 if vit else 1), p.out])
        self.predictor = head([p.out, p.hidden, p.out], vit) if p.predictor else nn.Identity()
        if p.stop_grad_patch_embed and self.encoder.is_tokens:
            layer = self.encoder.input_weight.rpartition(".")[0]
            self.encoder.get_submodule(layer).requires_grad_(False)
        self.slow_encoder = frozen_copy(self.encoder)
        self.slow_projector = frozen_copy(self.projector)

    @classmethod
    def check(cls, params: Any, crop: tuple[int, int, int], recipe: Recipe) -> None:
        """Refuse boxes that fill the volumes."""
        volume_views.check(crop, params, recipe.resize)

    @classmethod
    def crops_per_sample(cls, params: Any) -> int:
        """Two views forward and backward; the slow copy's two cost about one more."""
        return 3 if params.symmetric else 2

    @classmethod
    def read(
        cls, volume: Volume, crop: tuple[int, int, int], params: Any, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Read two crops that overlap by ``params.overlap``."""
        return volume_views.read(volume, crop, params, rng)

    def views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Resize and augment both crops: (B, 2, C, X, Y, Z)."""
        made, _ = paired_views(batch, self.crop, self.params, generator)
        return {"views": made}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return 2 t InfoNCE, summed over both directions; negatives are the other scans of the batch."""
        one, two = batch["views"].unbind(1)  # apart: batch statistics are per view, as in the code
        ways = [(one, two), (two, one)] if self.params.symmetric else [(one, two)]
        queries = [
            world.gather(self.predictor(self.projector(self.encoder.embed(asked)))) for asked, _ in ways
        ]
        with torch.no_grad():
            keys = [world.gather(self.slow_projector(self.slow_encoder.embed(kept))) for _, kept in ways]
        pairs = zip(queries, keys, strict=True)
        losses, nearest = zip(*(batch_contrast(q, k, self.params.temperature) for q, k in pairs), strict=True)
        total = torch.stack(losses).sum()
        return {
            "total": total,
            "retrieval": torch.stack(nearest).mean(),
            "chance": nuisance.among_pairs(batch["views"], batch.get("origin")),
            "std": spread(queries[0].detach()),
        }

    def after_step(self, progress: float) -> None:
        """Move the slow copy towards the weights the optimiser has just made."""
        m = self.params.momentum
        m = cosine_tau(m, progress) if self.params.momentum_cosine else m
        follow(self.slow_encoder, self.encoder, m)
        follow(self.slow_projector, self.projector, m)


def head(widths: list[int], last: bool = True) -> nn.Sequential:
    """Return Linear - BN - ReLU blocks through ``widths``, no biases, the last (if ``last``) a plain BN."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=False))
    return nn.Sequential(*layers, *[nn.BatchNorm1d(widths[-1], affine=False)] * last)
