"""BYOL on volumes, the global baseline of PGL: predict a slow copy's view of the same scan."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import augment, world
from bench.data.reader import Volume
from bench.method import Batch, Figure, Method
from bench.nets import Network
from bench.pretext.heads import mlp
from bench.pretext.losses import matched, spread, unit_distance
from bench.pretext.momentum import cosine_tau, follow, frozen_copy
from bench.pretext.pair import Pairing, read_pair
from bench.source import Source


class BYOL3D(Method):
    """Grill et al.'s objective on PGL's views: PGL without its aligner, pooled to one vector."""

    title = "BYOL"
    source = Source(
        "Grill et al., Bootstrap Your Own Latent, NeurIPS 2020; Xie et al., PGL, 2020",
        "https://arxiv.org/abs/2006.07733",
        "https://github.com/google-deepmind/deepmind-research/tree/master/byol",
    )
    fidelity = "loss and momentum compared with BYOL's code; PGL's views from its paper only"
    figure = Figure("retrieval", "predictions nearest to their own scan's projection", chance="chance")
    min_batch = 2  # the heads' batch statistics need two scans

    @dataclass(frozen=True)
    class Params:
        """Heads and momentum as BYOL, views as PGL (Xie et al. 2020, Section 3.2)."""

        hidden: int = 4096  # BYOL, Section 3.3
        out: int = 256  # BYOL, Section 3.3
        tau: float = 0.996  # BYOL, Section 3.3, to 1 by cosine; PGL, Section 3.3
        tau_cosine: bool = True  # BYOL, Section 3.3
        predictor: bool = True  # BYOL; off = its ablation
        crop_scale: tuple[float, float] = (1.1, 1.4)  # PGL (1), size of crop over view
        isotropic: bool = False  # assumed: PGL does not say whether axes share the scale
        overlap: float = 0.1  # PGL (1); assumed: of the smaller crop's volume
        flip: float = 0.5  # PGL (2), per axis
        noise: float = 0.1  # PGL (3), probability
        noise_variance: tuple[float, float] = (0.0, 0.1)  # PGL (3)
        blur: float = 0.2  # PGL (4)
        blur_sigma: tuple[float, float] = (0.5, 1.0)  # PGL (4), in voxels of the view
        brightness: float = 0.5  # PGL (5)
        brightness_factor: tuple[float, float] = (0.75, 1.25)  # PGL (5)
        gamma: float = 0.5  # PGL (6)
        gamma_exponent: tuple[float, float] = (0.7, 1.5)  # PGL (6)

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
    def crops_per_sample(cls, params: Any) -> int:
        """Two views forward and backward; the teacher's two cost about one more."""
        return 3

    @classmethod
    def read(
        cls, volume: Volume, crop: tuple[int, int, int], params: Any, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Read two crops of 1.1 to 1.4 times the view that overlap by a tenth."""
        rule = Pairing(params.crop_scale, params.overlap, isotropic=params.isotropic)
        return read_pair(volume, crop, rule, rng)

    def views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Resize and augment both crops, in PGL's order: (B, 2, C, X, Y, Z)."""
        p, g = self.params, generator
        x, size = batch["pair"].flatten(0, 1), batch["size"].flatten(0, 1)
        x = augment.resize_box(x, torch.zeros_like(size), size, self.crop)
        x, _ = augment.random_flip(x, p.flip, g)
        x = augment.gaussian_noise(x, p.noise, p.noise_variance, g)
        x = augment.gaussian_blur(x, p.blur, p.blur_sigma, g)
        x = augment.brightness(x, p.brightness, p.brightness_factor, g)
        x = augment.gamma(x, p.gamma, p.gamma_exponent, g, keep="unit")
        return {"views": x.unflatten(0, (-1, 2))}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the distance of prediction and slow projection, summed over both directions."""
        one, two = batch["views"].unbind(1)  # apart: batch statistics are per view, as in BYOL
        z1, z2 = (self.projector(self.encoder.embed(v)) for v in (one, two))
        with torch.no_grad():
            t1, t2 = (self.slow_projector(self.slow_encoder.embed(v)) for v in (one, two))
        q1, q2 = self.predictor(z1), self.predictor(z2)
        total = unit_distance(q1, t2) + unit_distance(q2, t1)
        found, chance = matched(world.gather(q1.detach()), world.gather(t2))
        return {
            "total": total,
            "retrieval": found,
            "chance": chance,
            "std": spread(world.gather(z1.detach())),
        }

    def after_step(self, progress: float) -> None:
        """Move the slow copy towards the weights the optimiser has just made."""
        tau = self.params.tau
        tau = cosine_tau(tau, progress) if self.params.tau_cosine else tau
        follow(self.slow_encoder, self.encoder, tau)
        follow(self.slow_projector, self.projector, tau)
