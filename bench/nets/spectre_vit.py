"""SPECTRE's ViT: flat patches of 16 x 16 x 8 voxels, a class token, rotary positions of any grid.

The names are the authors' (cclaess/SPECTRE, ``src/spectre/models``) under ``encoder.``. The decoder is ours: the
authors segment through another library.
"""

from __future__ import annotations

from itertools import pairwise
from math import pi

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from bench.nets.base import Decoder, Encoder, Wanted
from bench.nets.primus import ChannelNorm
from bench.nets.sizes import SpectreSize
from bench.ranges import Triple

PATCH: Triple = (16, 16, 8)  # voxels along x, y, z
BASE = 1000.0  # of the periods of the rotary positions
UPS: tuple[Triple, ...] = ((2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))  # from a patch to its voxels


class Rotary(nn.Module):
    """Rotary positions: places from -1 to 1 along each axis, whatever the grid; halves of a head as pairs."""

    def __init__(self, head: int) -> None:
        super().__init__()
        bands = torch.arange(head // 6)
        self.periods: Tensor
        self.register_buffer("periods", BASE ** (2 * bands / (head // 3)))

    def forward(self, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return sine and cosine of each patch's angles, (N, head), in single precision."""
        periods = self.periods.float()
        centres = [(torch.arange(n, device=periods.device) + 0.5) / n for n in grid]
        places = torch.stack(torch.meshgrid(*centres, indexing="ij"), -1).reshape(-1, 3, 1)
        angles = (2 * pi * (2 * places - 1) / periods).flatten(1).tile(2)
        return angles.sin(), angles.cos()


def turned(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the patches of (B, heads, 1 + N, head) and leave the class token."""
    sin, cos = rotary
    token, patches = x[:, :, :1], x[:, :, 1:].to(torch.promote_types(x.dtype, torch.float32))
    first, second = patches.chunk(2, -1)
    patches = patches * cos + torch.cat((-second, first), -1) * sin
    return torch.cat((token, patches.to(x.dtype)), 2)


class Attention(nn.Module):
    """Attention over the class token and all patches."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Return (B, 1 + N, dim)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(x), *self.kv(x).chunk(2, -1))
        )
        mixed = scaled_dot_product_attention(turned(q, rotary), turned(k, rotary), v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Scale(nn.Module):
    """A weight for each channel of a residual; 1 at the start, as the authors load their weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return x * self.gamma


class Block(nn.Module):
    """Attention and MLP, each a scaled residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(dim), Attention(dim, heads), Scale(dim)
        self.norm2, self.ls2 = nn.LayerNorm(dim), Scale(dim)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Return (B, 1 + N, dim)."""
        x = x + self.ls1(self.attn(self.norm1(x), rotary))
        return x + self.ls2(self.mlp["fc2"](gelu(self.mlp["fc1"](self.norm2(x)))))


class SpectreEncoder(Encoder):
    """Patches and a class token through blocks; four maps on the patch grid, the last one normed."""

    rotary_positions = True
    input_weight = "patch_embed.proj.weight"

    def __init__(self, in_channels: int, size: SpectreSize) -> None:
        super().__init__()
        self.patch, self.dim, self.widths = PATCH, size.dim, (size.dim,) * 4
        self.taps = [size.depth // 4 - 1, size.depth // 2 - 1, 3 * size.depth // 4 - 1]
        embedding = nn.Conv3d(in_channels, size.dim, PATCH, PATCH)
        self.patch_embed = nn.ModuleDict({"proj": embedding})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.dim))
        self.rope = Rotary(size.dim // size.heads)
        self.blocks = nn.ModuleList(Block(size.dim, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.dim)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps of three blocks on the way and the last one, each (B, dim, gx, gy, gz)."""
        return self._maps(self.patch_embed["proj"](x))

    def replaced(self, x: Tensor, hidden: Tensor, token: Tensor, norm: bool = True) -> Tensor:
        """Return the last map of an input whose ``hidden`` patches are embedded as ``token``."""
        seen = self.patch_embed["proj"](x)
        token = token.to(seen.dtype).view(1, -1, 1, 1, 1)
        return self._maps(torch.where(hidden[:, None], token, seen), norm)[-1]

    def _maps(self, embedded: Tensor, norm: bool = True) -> list[Tensor]:
        grid = tuple(embedded.shape[2:])
        token = self.cls_token.expand(len(embedded), -1, -1).to(embedded.dtype)
        tokens, rotary = torch.cat((token, embedded.flatten(2).mT), 1), self.rope(grid)
        maps = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, rotary)
            if number in self.taps:
                maps.append(tokens)
        maps.append(self.norm(tokens) if norm else tokens)
        return [m[:, 1:].mT.unflatten(2, grid) for m in maps]


class SpectreDecoder(Decoder):
    """Transposed convolutions from patches to voxels; they read the last map alone."""

    def __init__(self, size: SpectreSize, out_channels: int) -> None:
        super().__init__()
        widths = (size.dim, *(size.feature * n for n in (8, 4, 2, 1)))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose3d(before, after, by, by), ChannelNorm(after), nn.GELU())
            for (before, after), by in zip(pairwise(widths), UPS, strict=True)
        )
        self.out = nn.Conv3d(size.feature, out_channels, 3, 1, 1)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z)."""
        at = features[-1]
        for up in self.ups:
            at = up(at)
        return self.out(at)


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input can be read: what is less than a patch at an end is left out."""
    encoder = SpectreEncoder(wanted.in_channels, wanted.size)
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    nn.init.normal_(encoder.cls_token, std=1e-6)
    return encoder, SpectreDecoder(wanted.size, wanted.out_channels)
