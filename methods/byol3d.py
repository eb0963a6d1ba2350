"""BYOL on volumes, the global baseline of PGL: predict a slow copy's view of the same scan."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench import distributed, nets
from bench.method import Batch, Figure, Method
from bench.nets import Network
from bench.pretext import nuisance
from bench.pretext.heads import mlp
from bench.pretext.losses import matched, unit_distance
from bench.pretext.momentum import Buffers, SlowCopy, cosine_tau, siamese
from bench.pretext.volume_views import BothWays
from bench.ranges import Count, Share
from bench.source import Source
from bench.typed import sparse


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
    figure = Figure("retrieval", "predictions nearest to their own scan's projection", "chance")
    min_batch = 2  # the heads' batch statistics need two scans

    @dataclass(frozen=True)
    class Params(BothWays):
        """Heads and momentum as BYOL, views as PGL (Xie et al. 2020, Section 3.2)."""

        hidden: Count = 4096  # BYOL, Section 3.3
        out: Count = 256  # BYOL, Section 3.3
        tau: Share = 0.996  # BYOL, Section 3.3, to 1 by cosine; PGL, Section 3.3
        tau_cosine: bool = True  # BYOL, Section 3.3
        predictor: bool = True  # BYOL; off = its ablation
        symmetric: bool = True  # BYOL, Section 3.1; off = the first direction alone
        # assumed; BYOL code: random, from its own key
        init_target: Literal["copy", "random"] = sparse("copy")
        # BYOL code: the target takes its own batch's statistics. average: it normalises by averages of the
        # online side's running ones (EMAN, Cai et al., CVPR 2021); assumed: copy, by these themselves
        ema_buffers: Buffers = sparse("own")

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, width = params, network.encoder.widths[-1]
        self.projector = mlp([width, p.hidden, p.out], "batch")
        self.predictor = mlp([p.out, p.hidden, p.out], "batch") if p.predictor else nn.Identity()
        encoder, projector = self.encoder, self.projector
        if p.init_target == "random":
            encoder, projector = fresh(network).encoder, mlp([width, p.hidden, p.out], "batch")
        self.slow = SlowCopy(encoder=encoder, projector=projector)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the distance of prediction and slow projection, summed over both directions."""
        if self.params.ema_buffers != "own":
            self.slow.eval()
        fast, predicted, slow = siamese(self, batch["views"], self.params.ways)
        total = torch.stack(
            [unit_distance(q, t) for q, t in zip(predicted, slow, strict=True)]
        ).sum()
        found = matched(distributed.gather(predicted[0].detach()), distributed.gather(slow[0]))
        return {"total": total, **nuisance.beside(found, distributed.gather(fast[0]), batch)}

    def after_step(self, progress: float) -> None:
        """Move the slow copy towards the weights the optimiser has just made."""
        p = self.params
        self.slow.follow(self, cosine_tau(p.tau, progress, p.tau_cosine), p.ema_buffers)


def fresh(network: Network) -> Network:
    """Return another network of the same kind, initialised anew from torch's global generator."""
    channels = network.in_channels, network.out_channels
    return nets.network(network.name, network.preset, *channels, network.crop)
