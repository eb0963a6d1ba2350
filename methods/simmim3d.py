"""SimMIM: replace embedded patches by one learned token, and predict their voxels by one linear layer."""

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from bench.method import Batch, EncoderMaps, Figure, Method, MethodParams, Recipe, Triple
from bench.nets import Network, catalog
from bench.nets.base import patchify, unpatchify
from bench.pretext.heads import init_linear
from bench.pretext.losses import reconstructed
from bench.pretext.mask import marked, random_split, take
from bench.ranges import Count, Share
from bench.source import Source


class SimMIM3D(Method):
    """Xie et al. 2022 on volumes, as Chen et al. released it for a ViT, and for Swin as printed."""

    title = "SimMIM"
    source = Source(
        "Z. Xie et al., SimMIM, CVPR 2022; in 3D: Z. Chen et al., "
        "Masked Image Modeling Advances 3D Medical Image Analysis, WACV 2023",
        "https://arxiv.org/abs/2204.11716",
        "https://github.com/ZEKAICHEN/MIM-Med3D",
    )
    needs = "patches"
    figure = Figure("total", "error on hidden voxels", "flat", rises=False)
    across_batch = False
    fidelity = (
        "official code compared: mask, token, prediction and loss of the ViT; Swin from the text"
    )

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the released BTCV configuration (vitsimmim_base_m0.75.yaml)."""

        # released config; the 2D paper .6; the count rounds down (models/simmim.py)
        mask_ratio: Share = 0.75
        # released config, voxels a side hidden together; 2D paper: the encoder's stride
        unit: Count = 16
        loss: Literal["l1", "mse"] = "l1"  # released trainer and 2D paper
        # released model skips the ViT's last LayerNorm; the 2D code has it
        encoder_norm: bool = False
        # released model: every Linear trunc. normal .02, zero bias, the encoder's too
        init: bool = False

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return those of the layer that gives every voxel."""
            return 2.0 * maps.width * prod(crop)

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse units that do not fill the crop."""
            if any(n % self.unit for n in crop):
                raise self.refusal(
                    f"crops of {tuple(crop)} cannot be divided into units of {self.unit} voxels"
                )

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        encoder, unit = self.encoder, params.unit
        if unit % max(encoder.patch):
            raise self.refusal(f"units of {unit} voxels cut through patches of {encoder.patch}")
        self.units = tuple(n // unit for n in network.crop)
        self.stride = catalog.network_facts(network.full_name).pyramid[-1]
        self.mask_token = nn.Parameter(torch.randn(encoder.dim))
        self.to_voxels = nn.Linear(encoder.widths[-1], prod(self.stride) * network.in_channels)
        if params.init:
            self.apply(init_linear)

    def views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Draw which units of each crop are hidden, (B, m) indices; nothing else changes (as released)."""
        count = len(batch["crop"])
        hidden, _ = random_split(count, prod(self.units), self.params.mask_ratio, generator)
        return {"crop": batch["crop"], "hidden": hidden}

    def predict(self, batch: Batch) -> Tensor:
        """Return the predicted voxels of the hidden units, (B, m, voxels)."""
        x, unit = batch["crop"], self.params.unit
        hidden = marked(batch["hidden"], prod(self.units)).unflatten(1, self.units)
        for axis, side in enumerate(self.encoder.patch, 1):
            hidden = hidden.repeat_interleave(unit // side, dim=axis)
        last = self.encoder.replaced(x, hidden, self.mask_token, self.params.encoder_norm)
        voxels = self.to_voxels(last.movedim(1, -1)).flatten(1, 3)
        return take(
            patchify(unpatchify(voxels, self.stride, x.shape), (unit,) * 3), batch["hidden"]
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error on hidden voxels, and what predicting each unit's mean would get."""
        target = take(patchify(batch["crop"], (self.params.unit,) * 3), batch["hidden"])
        return reconstructed(self.predict(batch), target, self.params.loss)
