"""Hi-End-MAE: hidden patches are rebuilt by a decoder that asks the encoder's levels, the deepest first."""

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import augment
from bench.method import Batch, EncoderMaps, Figure, Method, MethodParams, Triple
from bench.nets import Network, TokenEncoder
from bench.pretext.heads import Block, CrossBlock, xavier
from bench.pretext.losses import full_precision, reconstructed
from bench.pretext.mask import random_split, take
from bench.pretext.positions import sines
from bench.pretext.units import Scale, unit_of
from bench.ranges import Amount, Count, Share, Whole
from bench.source import Source

EPS = 1e-6  # code: of every norm, and under the root of a patch's variance


class HiEndMAE(Method):
    """Tang et al. 2025: a masked autoencoder whose decoder queries the encoder at several depths."""

    title = "Hi-End-MAE"
    source = Source(
        "F. Tang et al., Hi-End-MAE: Hierarchical Encoder-driven Masked Autoencoders are Stronger Vision "
        "Learners for Medical Image Segmentation, 2025",
        "https://arxiv.org/abs/2502.08347",
        "https://github.com/FengheTan9/Hi-End-MAE",
    )
    needs = "tokens"
    version = 2  # 2: crops are mirrored, turned, scaled and shifted
    figure = Figure("total", "error on hidden voxels", "flat", rises=False)
    across_batch = False
    fidelity = "official code compared: decoder, loss and their gradients, see docs/methods"

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the released ViT-B of patches of 16^3 (networks/vit.py, main.py, dataloader/)."""

        mask_ratio: Share = 0.75  # code; the count of visible patches rounds down
        decoder_dim: Count = 384  # code; 528 beside ViT-L
        decoder_depth: Whole = 2  # code: blocks that ask nobody, before those that do
        decoder_heads: Count = 12  # code; 16 beside ViT-L
        flip: Share = 0.5  # code, per axis
        rot90: Share = 0.3  # code: by 1 to 3 quarter turns in the x-y plane
        scale: Share = 0.1  # code
        scale_by: Share = 0.1  # code: times .9 to 1.1
        shift: Share = 0.1  # code
        shift_by: Amount = 0.1  # code
        intensity: Scale = (
            "unit"  # of shift_by; assumed: the code reads files that are prepared already
        )
        loss: Literal["l1", "mse"] = "mse"  # code
        norm_pix: bool = True  # code
        # code ("perceptron"): of the encoder; its default are fixed sines, which not every network has
        positions: Literal["learned", "sines"] = "learned"
        class_token: bool = True  # code; it is not handed over
        # code: the decoder asks the encoder's levels from the deepest to the first; "last" is a plain
        # masked autoencoder with as many blocks
        ask: Literal["levels", "last"] = "levels"

        def __post_init__(self) -> None:
            if self.decoder_dim % self.decoder_heads:
                raise self.refusal(
                    f"decoder_dim = {self.decoder_dim} must be divisible by decoder_heads = "
                    f"{self.decoder_heads}"
                )

        @property
        def crops_per_sample(self) -> float:
            """The visible patches."""
            return 1 - self.mask_ratio

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the decoder's operations, for patches of 16^3 voxels.

            A token and block: 24 width^2 + 4 tokens width; to ask, 4 width^2 more, and as much a visible one.
            """
            patches, width, levels = prod(crop) / 16**3, self.decoder_dim, len(maps.widths)
            tokens = patches + self.class_token
            visible = (1 - self.mask_ratio) * patches + self.class_token
            block = tokens * (24 * width**2 + 4 * tokens * width)
            asking = block + 4 * (tokens + visible) * width**2 + 4 * visible * tokens * width
            enter = visible * levels * 2 * maps.width * width
            leave = self.mask_ratio * patches * 2 * width * 16**3
            return self.decoder_depth * block + (levels - 1) * asking + enter + leave

    params: Params
    encoder: TokenEncoder
    places: Tensor

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, encoder = params, self.encoder
        self.patches = prod(encoder.grid)
        levels, voxels = len(encoder.widths), prod(encoder.patch) * network.in_channels
        self.token = nn.Embedding(1, encoder.dim) if p.class_token else None
        self.mask = nn.Embedding(1, p.decoder_dim)
        width, heads = p.decoder_dim, p.decoder_heads
        readers = levels if p.ask == "levels" else 1
        self.enter = nn.ModuleList(nn.Linear(encoder.dim, width) for _ in range(readers))
        self.blocks = nn.ModuleList(Block(width, heads, bias=True) for _ in range(p.decoder_depth))
        self.asking = nn.ModuleList(CrossBlock(width, heads, bias=True) for _ in range(levels - 1))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, voxels))
        for part in (self.enter, self.blocks, self.asking, self.leave):
            part.apply(prepared)
        for token in (self.token, self.mask):
            if token is not None:
                nn.init.normal_(token.weight, std=0.02)
        if p.positions == "sines":
            position = encoder.get_parameter(encoder.position)
            position.data.copy_(sines(encoder.grid, encoder.dim)[None])
            position.requires_grad_(False)
        self.register_buffer("places", sines(encoder.grid, width), persistent=False)

    def views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Mirror, turn, scale and shift each crop; draw which of its patches are visible."""
        p, x, g = self.params, batch["crop"], generator
        visible, hidden = random_split(len(x), self.patches, 1 - p.mask_ratio, g)
        x, *_ = augment.random_flip_rot90(x, p.flip, p.rot90, g)
        x = augment.scale(x, p.scale, p.scale_by, g)
        one = unit_of(x, p.intensity, batch.get("zscored"))
        x = augment.shift(x, p.shift, p.shift_by if one is None else p.shift_by * one, g)
        return {"crop": x, "hidden": hidden, "visible": visible}

    def predict(self, batch: Batch) -> Tensor:
        """Return the predicted voxels of the hidden patches, (B, hidden, voxels)."""
        seen = self.encoder.tokens(batch["crop"], only=batch["visible"])
        if self.token is not None:
            first = self.token.weight.expand(len(seen), 1, -1).to(seen.dtype)
            seen = torch.cat([first, seen], dim=1)
        *earlier, last = self.encoder.levels(seen)
        x = self.enter[-1](last)
        placeless = x.shape[1] - batch["visible"].shape[1]
        order = torch.cat([batch["visible"], batch["hidden"]], dim=1)
        hidden = self.mask.weight.expand(*batch["hidden"].shape, -1).to(x.dtype)
        x = torch.cat([x, hidden], dim=1)
        x = x + functional.pad(self.places[order], (0, 0, placeless, 0)).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        if self.params.ask == "last":
            for block in self.asking:
                x = block(x)
        else:
            for block, enter, level in zip(
                self.asking, reversed(self.enter[:-1]), reversed(earlier), strict=True
            ):
                x = block(x, enter(level))
        voxels: Tensor = self.leave(x[:, -batch["hidden"].shape[1] :])
        return voxels

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error on hidden voxels, and what predicting each patch's mean would get."""
        target = take(self.encoder.patchify(batch["crop"]), batch["hidden"])
        if self.params.norm_pix:
            target = normalised(target)
        return reconstructed(self.predict(batch), target, self.params.loss)


@full_precision
def normalised(patches: Tensor) -> Tensor:
    """Return each patch (last axis) with mean 0 and, by the biased variance, standard deviation 1."""
    return functional.layer_norm(patches, patches.shape[-1:], eps=EPS)


def prepared(module: nn.Module) -> None:
    """Draw a linear layer's weights Xavier-uniformly, biases zero; give a norm the code's epsilon."""
    xavier(module)
    if isinstance(module, nn.LayerNorm):
        module.eps = EPS
