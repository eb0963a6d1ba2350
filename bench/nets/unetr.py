"""UNETR: MONAI's, cut between the ViT and the convolutions that read it.

The patch embedding is MONAI's "perceptron" (a Linear on flattened patches), as in masked
autoencoders: their targets are then the very vectors that the Linear reads.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from monai.networks.nets import UNETR
from monai.networks.nets.vit import ViT
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import BenchError
from bench.nets.base import Decoder, Encoder, TokenEncoder, Wanted
from bench.nets.sizes import UnetrSize
from bench.ranges import Triple

PATCH = 16  # the decoder's four transposed convolutions fix it


class UnetrEncoder(TokenEncoder):
    """A ViT that returns three intermediate maps and the final one, all on the patch grid."""

    input_weight = "vit.patch_embedding.patch_embeddings.1.weight"
    position = "vit.patch_embedding.position_embeddings"

    def __init__(self, vit: ViT, size: UnetrSize, crop: Triple) -> None:
        super().__init__()
        self.vit = vit
        self.crop, self.patch = crop, (PATCH, PATCH, PATCH)
        self.grid = (crop[0] // PATCH, crop[1] // PATCH, crop[2] // PATCH)
        self.dim, self.taps = size.hidden, size.taps
        self.widths = (size.hidden,) * 4

    def tokens(self, x: Tensor, rescale: bool = False, only: Tensor | None = None) -> Tensor:
        """Return embedded patches with their positions added, (B, N, dim), or those ``only`` (B, n, dim).

        Raises:
            BenchError: the input is not of the size the position embeddings are for.
        """
        if rescale and tuple(x.shape[2:]) != self.crop:
            places = self.positions(tuple(n // PATCH for n in x.shape[2:]))
        else:
            self._check(x)
            places = self.get_parameter(self.position)
        embed = cast(nn.Sequential, self.vit.patch_embedding.patch_embeddings)
        if only is None:
            return embed(x) + places
        voxels = torch.take_along_dim(self.patchify(x), only[..., None], dim=1)
        return embed[1](voxels) + places[0, only]

    def positions(self, grid: tuple[int, ...]) -> Tensor:
        """Return the position embeddings on another grid, (1, N, dim), trilinear between patches' centres."""
        positions = self._map(self.get_parameter(self.position))
        return (
            functional.interpolate(positions, grid, mode="trilinear", align_corners=False)
            .flatten(2)
            .mT
        )

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[2:]) != self.crop:
            raise BenchError(
                f"network 'unetr' was built for crops {self.crop} and was given "
                f"{tuple(x.shape[2:])}; build it with that crop, or cut the input to windows"
            )

    def run(self, tokens: Tensor, norm: bool = True) -> Tensor:
        """Pass any subset of tokens (B, n, dim) through all blocks, then the final norm."""
        for block in self.vit.blocks:
            tokens = block(tokens)
        return self.vit.norm(tokens) if norm else tokens

    def levels(self, tokens: Tensor) -> list[Tensor]:
        """Return the tapped blocks' outputs and the normed last one, each (B, n, dim)."""
        states = []
        for block in self.vit.blocks:
            tokens = block(tokens)
            states.append(tokens)
        return [*(states[i] for i in self.taps), self.vit.norm(tokens)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the tapped blocks' outputs and the normed last one, each (B, dim, gx, gy, gz)."""
        return [self._map(level) for level in self.levels(self.tokens(x))]

    def replaced(self, x: Tensor, hidden: Tensor, token: Tensor, norm: bool = True) -> Tensor:
        """Return the last map of an input whose ``hidden`` patches are embedded as ``token``."""
        self._check(x)
        seen = self.vit.patch_embedding.patch_embeddings(x)
        seen = torch.where(hidden.flatten(1)[..., None], token.to(seen.dtype), seen)
        return self._map(self.run(seen + self.get_parameter(self.position), norm))

    def _map(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).reshape(len(tokens), self.dim, *self.grid)


class UnetrDecoder(Decoder):
    """Convolutions on the image and on the ViT's maps, joined from coarse to fine."""

    def __init__(self, net: UNETR) -> None:
        super().__init__()
        self.encoder1, self.encoder2 = net.encoder1, net.encoder2
        self.encoder3, self.encoder4 = net.encoder3, net.encoder4
        self.decoder5, self.decoder4 = net.decoder5, net.decoder4
        self.decoder3, self.decoder2 = net.decoder3, net.decoder2
        self.out: nn.Module = net.out

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z)."""
        early, middle, late, last = features
        up = self.decoder5(last, self.encoder4(late))
        up = self.decoder4(up, self.encoder3(middle))
        up = self.decoder3(up, self.encoder2(early))
        return self.out(self.decoder2(up, self.encoder1(x)))


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; it reads inputs of exactly ``crop`` (its positions are learned)."""
    net, size = UNETR(**arguments(wanted)), wanted.size
    vit = net.vit
    vit.blocks = cast(nn.ModuleList, vit.blocks[: size.layers])  # MONAI's UNETR always makes 12
    for block in vit.blocks:
        # MONAI 1.6 builds this norm and never calls it: it would be counted, saved and decayed
        block.norm_cross_attn = nn.Identity()
    return UnetrEncoder(vit, size, wanted.crop), UnetrDecoder(net)


MONAI = UNETR


def arguments(wanted: Wanted) -> dict[str, Any]:
    """Return what MONAI's class is built with."""
    size = wanted.size
    return {
        "in_channels": wanted.in_channels,
        "out_channels": wanted.out_channels,
        "img_size": wanted.crop,
        "feature_size": size.feature,
        "hidden_size": size.hidden,
        "mlp_dim": size.mlp,
        "num_heads": size.heads,
        "proj_type": "perceptron",
    }
