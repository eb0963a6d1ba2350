"""MAE3D: hide most patches of a crop, rebuild their voxels from the rest."""

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from bench.method import Batch, EncoderMaps, Figure, Method, MethodParams, Triple
from bench.nets import Network, TokenEncoder
from bench.pretext.heads import DecoderSize, MaskedDecoder, decoder_flops, init_linear
from bench.pretext.losses import reconstructed, standardise
from bench.pretext.mask import random_split, take
from bench.ranges import Count, Share
from bench.source import Source


class MAE3D(Method):
    """He et al.'s masked autoencoder on volumes, as Chen et al. released it."""

    title = "MAE3D"
    source = Source(
        "Z. Chen et al., Masked Image Modeling Advances 3D Medical Image Analysis, WACV 2023",
        "https://arxiv.org/abs/2204.11716",
        "https://github.com/ZEKAICHEN/MIM-Med3D",
    )
    needs = "tokens"
    figure = Figure("total", "error on hidden voxels", "flat", rises=False)
    across_batch = False
    fidelity = "official code compared: masks, decoder, prediction and loss, see docs/methods"

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the released BTCV configuration (vitmae_base_m0.75.yaml)."""

        mask_ratio: Share = 0.75  # released config; the count rounds down (models/mae.py)
        decoder_dim: Count = 512  # released config
        decoder_depth: Count = 8  # released config
        decoder_heads: Count = 8  # released config
        loss: Literal["l1", "mse"] = "l1"  # released trainer; the 2D paper squares
        norm_pix: bool = False  # released trainer; the 2D paper's better variant standardises
        encoder_norm: bool = False  # released model skips the encoder's last LayerNorm
        init_encoder: bool = False  # released model: every Linear trunc. normal .02, zero bias

        @property
        def crops_per_sample(self) -> float:
            """The visible patches."""
            return 1 - self.mask_ratio

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the decoder's operations, for patches of 16^3 voxels."""
            size = DecoderSize(self.decoder_dim, self.decoder_depth, self.decoder_heads)
            tokens = prod(crop) / 16**3
            return decoder_flops(size, tokens, self.mask_ratio, maps.width, 16**3)

    params: Params
    encoder: TokenEncoder

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        encoder = self.encoder
        self.patches = prod(encoder.grid)
        size = DecoderSize(params.decoder_dim, params.decoder_depth, params.decoder_heads)
        voxels = prod(encoder.patch) * network.in_channels
        self.decoder = MaskedDecoder(encoder.dim, size, self.patches, voxels)
        if params.init_encoder:
            encoder.apply(init_linear)

    def views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Draw which patches of each crop are hidden; nothing else changes (as released)."""
        count = len(batch["crop"])
        hidden, visible = random_split(count, self.patches, self.params.mask_ratio, generator)
        return {"crop": batch["crop"], "hidden": hidden, "visible": visible}

    def predict(self, batch: Batch) -> Tensor:
        """Return the predicted voxels of the hidden patches, (B, hidden, voxels)."""
        seen = self.encoder.tokens(batch["crop"], only=batch["visible"])
        encoded = self.encoder.run(seen, norm=self.params.encoder_norm)
        return self.decoder(
            encoded, batch["visible"], batch["hidden"], asked=batch["hidden"].shape[1]
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error on hidden voxels, and what predicting each patch's mean would get."""
        target = take(self.encoder.patchify(batch["crop"]), batch["hidden"])
        if self.params.norm_pix:
            target = standardise(target)
        return reconstructed(self.predict(batch), target, self.params.loss)
