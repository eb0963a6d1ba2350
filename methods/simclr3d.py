"""SimCLR on volumes: two augmented crops of one scan attract, those of other scans repel."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench import augment
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, MethodParams, Owned, Triple
from bench.nets import Network
from bench.pretext.contrast import view_contrast
from bench.pretext.heads import mlp
from bench.pretext.pair import Pairing, read_pair
from bench.pretext.units import Scale, amounts, twice
from bench.ranges import Amounts, Count, Factors, Positive, Share
from bench.source import Source


class SimCLR3D(Method):
    """Chen et al.'s objective; views after nnssl, as no volume version has been released."""

    title = "SimCLR"
    version = 3  # 2: noise and blur drawn and cut off anew; 3: noise in the views' units, chance by data set
    source = Source(
        "T. Chen et al., A Simple Framework for Contrastive Learning, ICML 2020",
        "https://arxiv.org/abs/2002.05709",
        "https://github.com/MIC-DKFZ/nnssl",
    )
    fidelity = "loss compared with nnssl's code; views after nnssl, without its low resolution"
    figure = Figure("retrieval", "anchors whose nearest view is their positive", "chance")
    min_batch = 2  # one scan has no negatives: the loss is 0

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Constants of nnssl are from simclr_transform.py and SimCLRTrainer."""

        temperature: Positive = 0.5  # nnssl; also MIM-Med3D
        hidden: Count | None = None  # paper, Section 4.2: the encoder's width
        out: Count = 128  # paper, Section 4.2
        batch_norm: bool = True  # the authors' 2D code; the paper's formula of g omits it
        scale: Factors = (1.0, 1.0)  # nnssl: crops are not resized
        overlap: Share = 0.5  # nnssl: least overlap of the two crops along each axis
        flip: Share = 0.5  # nnssl, per axis
        rot90: Share = 0.3  # nnssl (batchgenerators' default)
        noise: Share = 0.1  # nnssl, probability
        noise_std: Amounts = (0.0, 0.1)  # nnssl (batchgenerators' default)
        intensity: Scale = "zscore"  # nnssl: what the noise is stated for
        blur: Share = 0.2  # nnssl
        blur_sigma: Amounts = (0.5, 1.0)  # nnssl
        brightness: Share = 0.15  # nnssl
        brightness_factor: Factors = (0.75, 1.25)  # nnssl
        contrast: Share = 0.15  # nnssl
        contrast_factor: Factors = (0.75, 1.25)  # nnssl (batchgenerators' default)
        gamma: Share = 0.3  # nnssl
        gamma_exponent: Factors = (0.7, 1.5)  # nnssl

        crops_per_sample = 2  # two views

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read two crops that overlap by ``overlap`` along every axis."""
            return read_pair(
                volume, crop, Pairing(scale=self.scale, axis_overlap=self.overlap), rng
            )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Augment both crops independently: (B, 2, C, X, Y, Z)."""
            p, g = self, generator
            x, size = batch["pair"].flatten(0, 1), batch["size"].flatten(0, 1)
            mine = isinstance(batch, Owned)
            if p.scale != (1.0, 1.0):
                x, mine = augment.resize_box(x, torch.zeros_like(size), size, crop), True
            std = amounts(p.noise_std, x, p.intensity, twice(batch.get("zscored")))
            x = augment.gaussian_noise(x, p.noise, std, g, unit="std", inplace=mine)
            x = augment.gaussian_blur(x, p.blur, p.blur_sigma, g, inplace=True)
            x = augment.brightness(
                x, p.brightness, p.brightness_factor, g, clip=False, inplace=True
            )
            x = augment.contrast(x, p.contrast, p.contrast_factor, g, inplace=True)
            x = augment.gamma(x, p.gamma, p.gamma_exponent, g, inplace=True)
            x, *_ = augment.random_flip_rot90(x, p.flip, p.rot90, g, inplace=True)
            return {"views": x.unflatten(0, (-1, 2))}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        width = network.encoder.widths[-1]
        head = [width, params.hidden or width, params.out]
        self.projector = mlp(head, "batch" if params.batch_norm else "none")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return NT-Xent and the share of anchors whose nearest neighbour is their partner."""
        z = self.projector(self.encoder.embed(batch["views"].flatten(0, 1)))
        total, shown = view_contrast(z, batch, self.params.temperature)
        return {"total": total, **shown}
