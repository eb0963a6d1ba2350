"""UniMiSS on volumes alone: one view's prototypes, told from the other by a student of a slow copy."""

from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor

from bench import augment, distributed
from bench.augment.draw import around_one, chance
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, MethodParams, Triple
from bench.nets import Network
from bench.pretext import nuisance
from bench.pretext.boxes import read_at
from bench.pretext.distil import Centre, entropy, handed_on, information, sharpened
from bench.pretext.heads import Prototypes
from bench.pretext.losses import matched
from bench.pretext.momentum import SlowCopy, cosine_tau
from bench.pretext.units import Scale, unit_of
from bench.random import randn
from bench.ranges import Amount, Amounts, Count, Factors, Positive, Share
from bench.source import Source


class UniMiSS(Method):
    """Xie et al. 2022, volumes to volumes: its slices and X-rays need a network that reads both."""

    title = "UniMiSS"
    source = Source(
        "Y. Xie et al., UniMiSS: Universal Medical Self-supervised Learning via Breaking Dimensionality "
        "Barrier, ECCV 2022",
        "https://arxiv.org/abs/2112.09356",
        "https://github.com/YtongXie/UniMiSS-code",
    )
    version = (
        2  # 2: noise by its standard deviation, exponents balanced, views inside a small place
    )
    figure = Figure("retrieval", "views whose nearest other view is of their own scan", "chance")
    fidelity = (
        "official code compared: head, loss, centre, slow copy of its volumes; not slices, network"
    )
    min_batch = 2  # one scan's views have nobody to be told from

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the code's (main.py, run.sh, data_loader3D.py); pairs are of view 1, view 2."""

        place: Factors = (1.4, 1.8)  # code: sides in plane of their place, over the crop's
        scale: Factors = (0.8, 1.2)  # code: sides in plane of a view's box over the crop's
        flip: Share = 0.8  # code, per axis
        # code, batchgenerators' default: it calls the number variance and takes it as standard deviation
        noise: Amounts = (0.0, 0.1)
        blur: tuple[Share, Share] = (0.64, 0.4)  # code: .8 x .8 and .8 x .5
        blur_sigma: Amounts = (0.1, 2.0)  # code
        brightness: tuple[Share, Share] = (0.8, 1.0)  # code
        brightness_factor: Factors = (0.75, 1.25)  # code
        shift: tuple[Share, Share] = (0.64, 0.4)  # code: .8 x .8 and .5 x .8
        shift_std: Amount = 0.4  # code
        contrast_factor: Factors = (0.75, 1.25)  # code, batchgenerators' default
        gamma: tuple[Share, Share] = (0.8, 1.0)  # code
        gamma_exponent: Factors = (0.7, 1.5)  # code
        intensity: Scale = "unit"  # code: Hounsfield units over 1024, neither cut nor moved
        out: Count = 65536  # code
        hidden: Count = 2048  # code
        bottleneck: Count = 256  # code
        head_norm: bool = False  # code, use_bn_in_head
        temperature: Positive = 0.1  # code, of the student
        teacher_temperature: Positive = 0.04  # code, without warm-up
        centre: Share = 0.9  # code
        tau: Share = 0.996  # code, to 1 along a half cosine
        still: Share = 0.005  # code: prototypes do not move in the first of 200 epochs

        crops_per_sample = 8 / 3  # two views, and the slow copy's forward passes

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read two boxes (2, C, *crop) of one place in plane, anywhere along z, resized."""
            shape, wanted = np.array(volume.shape), np.array(crop)
            sides = (wanted[:2] * rng.uniform(*self.place, 2)).astype(int)
            place = np.minimum(np.append(sides, shape[2]), shape)
            corner = rng.integers(0, shape - place + 1)
            made = []
            for _ in range(2):
                box = (wanted[:2] * rng.uniform(*self.scale, 2)).astype(int)
                box = np.append(np.where(box >= place[:2], wanted[:2], box), wanted[2])
                start = corner + rng.integers(0, np.maximum(place - box, 0) + 1)
                made.append(read_at(volume, start, box, crop))
            return {"pair": np.stack(made)}

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Mirror and change both views, each with its own probabilities: ``views`` (B, 2, C, *crop)."""
            zscored = batch.get("zscored")
            made = [self.changed(batch["pair"][:, i], i, zscored, generator) for i in range(2)]
            return {"views": torch.stack(made, dim=1)}

        def changed(
            self, x: Tensor, view: int, zscored: Tensor | None, g: torch.Generator
        ) -> Tensor:
            """Return one view of each sample, mirrored, with noise, blur, brightness, contrast and gamma."""
            x, _ = augment.random_flip(x, self.flip, g)
            one = unit_of(x, self.intensity, zscored)
            by = torch.ones(len(x), device=x.device) if one is None else one
            x = augment.gaussian_noise(x, 1.0, (self.noise[0] * by, self.noise[1] * by), g, "std")
            x = augment.gaussian_blur(x, self.blur[view], self.blur_sigma, g)
            x = augment.brightness(x, self.brightness[view], self.brightness_factor, g, clip=False)
            moved = chance(len(x), self.shift[view], g) * randn(len(x), g) * self.shift_std * by
            x = x + moved.view(-1, 1, 1, 1, 1)
            x = augment.contrast(x, 1.0, self.contrast_factor, g)
            exponent = around_one(len(x), self.gamma_exponent, g)  # as batchgenerators draws it
            return augment.gamma(x, self.gamma[view], (exponent, exponent), g, "moments")

    params: Params
    progress: Tensor

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p = params
        self.projector = Prototypes(
            network.encoder.widths[-1], p.hidden, p.bottleneck, p.out, p.head_norm
        )
        self.slow = SlowCopy(encoder=self.encoder, projector=self.projector)
        self.centre = Centre(p.out, p.centre)
        self.register_buffer("progress", torch.zeros(()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean of both cross entropies, each view's teacher against the other view's student."""
        p, x = self.params, batch["views"]
        flat, still = x.flatten(0, 1), bool(self.progress < p.still)
        z = self.encoder.embed(flat)
        told = self.projector(z, still).unflatten(0, (-1, 2))
        with torch.no_grad():
            logits = self.slow.projector(self.slow.encoder.embed(flat)).unflatten(0, (-1, 2))
        self.centre.see(logits)
        target = sharpened(logits, p.teacher_temperature, self.centre.mean)
        ways = [
            handed_on(target[:, i : i + 1], told[:, 1 - i : 2 - i], p.temperature) for i in range(2)
        ]
        one, two = (distributed.gather(half) for half in z.detach().unflatten(0, (-1, 2)).unbind(1))
        shown = nuisance.beside(matched(one, two), torch.cat([one, two]), batch)
        shown["information"], shown["entropy"] = (
            information(target),
            entropy(target).mean() / log(p.out),
        )
        return {"total": torch.stack(ways).mean(), **shown}

    def after_step(self, progress: float) -> None:
        """Move the slow copy and the centre."""
        self.progress.fill_(progress)
        self.slow.follow(self, cosine_tau(self.params.tau, progress))
        self.centre.move()
