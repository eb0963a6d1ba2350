"""MoCo v3 on volumes: a query predicts the slow copy's key of the other view, among the batch's keys."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from bench import distributed
from bench.method import Batch, Figure, Method
from bench.nets import Network
from bench.nets.catalog import network_facts
from bench.pretext import nuisance
from bench.pretext.contrast import batch_contrast
from bench.pretext.momentum import SlowCopy, cosine_tau, siamese
from bench.pretext.volume_views import BothWays
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
    figure = Figure("retrieval", "queries nearest to their own scan's key", "chance")
    min_batch = 4  # one scan has no negatives; batch norm of two or three leaves little that rounding does not move

    @dataclass(frozen=True)
    class Params(BothWays):
        """The official commands for ViTs, which VoCo's tables use it on; views of PGL."""

        temperature: Positive = 0.2  # code, ViT commands; ResNet commands and default: 1.0
        momentum: Share = 0.99  # code; ResNet's 1000 epochs: 0.996
        momentum_cosine: bool = True  # code, all commands: to 1 by a half cosine
        # code: projector of 3 layers, predictor ends in a BN; 2, not
        heads: Literal["vit", "resnet"] = "vit"
        hidden: Count = 4096  # code
        out: Count = 256  # code
        predictor: bool = True  # paper, Section 3; off = its ablation
        symmetric: bool = True  # paper, Algorithm 1
        # paper, Section 4.2 and ViT commands; patch encoders only
        stop_grad_patch_embed: bool = True
        overlap: Share = 0.5  # assumed: nnssl's half, here of the smaller crop's volume

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, width, vit = params, network.encoder.widths[-1], params.heads == "vit"
        self.projector = head([width, *[p.hidden] * (2 if vit else 1), p.out])
        self.predictor = head([p.out, p.hidden, p.out], vit) if p.predictor else nn.Identity()
        if p.stop_grad_patch_embed and network_facts(network.name).patches:
            layer = self.encoder.input_weight.rpartition(".")[0]
            self.encoder.get_submodule(layer).requires_grad_(False)
        self.slow = SlowCopy(encoder=self.encoder, projector=self.projector)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return 2 t InfoNCE, summed over both directions; negatives are the other scans of the batch."""
        _, queries, keys = siamese(self, batch["views"], self.params.ways)
        pairs = [
            (distributed.gather(q), distributed.gather(k))
            for q, k in zip(queries, keys, strict=True)
        ]
        losses, nearest = zip(
            *(batch_contrast(q, k, self.params.temperature) for q, k in pairs), strict=True
        )
        shown = nuisance.beside(torch.stack(nearest).mean(), pairs[0][0], batch)
        return {"total": torch.stack(losses).sum(), **shown}

    def after_step(self, progress: float) -> None:
        """Move the slow copy towards the weights the optimiser has just made."""
        self.slow.follow(
            self, cosine_tau(self.params.momentum, progress, self.params.momentum_cosine)
        )


def head(widths: list[int], last: bool = True) -> nn.Sequential:
    """Return Linear - BN - ReLU blocks through ``widths``, no biases, the last (if ``last``) a plain BN."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=False))
    return nn.Sequential(*layers, *[nn.BatchNorm1d(widths[-1], affine=False)] * last)
