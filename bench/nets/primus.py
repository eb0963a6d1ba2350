"""Primus: a transformer on patches of 8 voxels a side that segments without convolutional skips.

The names are the authors' (nnssl, nnU-Net), under ``encoder.`` and ``decoder.``. Blocks are EVA-02's: rotary
positions, a gated MLP with a norm inside, a norm in front of the attention's projection, scaled residuals.
"""

from __future__ import annotations

from itertools import pairwise
from math import log2, prod

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from bench.errors import BenchError
from bench.nets.base import Decoder, Encoder, Wanted
from bench.nets.sizes import PrimusSize
from bench.ranges import Triple

PATCH = 8  # voxels a side
SCALE = 0.1  # of each residual at the start
TEMPERATURE = 10_000.0  # of the rotary positions
SLOPE = 0.01  # of He's initialisation
# Which axis turns each third of a head: the authors' arrays are (z, y, x), so a head of theirs means the same
# here. Their library is followed (dynamic-network-architectures 0.4.4); an older class in nnssl (03f2cb8)
# flattened the first two axes in the other order than its positions had.
TURNED_BY = (2, 1, 0)


class Rotary(nn.Module):
    """Rotary positions of patches on a grid (Su et al. 2021), a third of each head by each axis.

    Args:
        grid: patches along x, y, z.
        head: channels of a head, a multiple of 6.
    """

    def __init__(self, grid: Triple, head: int) -> None:
        super().__init__()
        bands = TEMPERATURE ** -(torch.arange(head // 6) / (head // 6))
        axes = torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")
        places = torch.stack([axes[axis] for axis in TURNED_BY], -1).reshape(-1, 3, 1)
        angles = (places * bands).flatten(1).repeat_interleave(2, -1)  # (N, head)
        self.sin: Tensor
        self.cos: Tensor
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.register_buffer("cos", angles.cos(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (B, heads, N, head), neighbouring channels as pairs."""
        swapped = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
        return (x * self.cos + swapped * self.sin).type_as(x)


class Attention(nn.Module):
    """Attention over all patches; keys have no bias."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """Return (B, N, dim)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = scaled_dot_product_attention(rotary(q), rotary(k), v)
        return self.proj(self.norm(mixed.transpose(1, 2).flatten(2)))


class GatedMLP(nn.Module):
    """SwiGLU with a norm before the last layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = int(dim * 8 / 3)
        self.fc1_g, self.fc1_x = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, dim)."""
        return self.fc2(self.norm(silu(self.fc1_g(x)) * self.fc1_x(x)))


class Block(nn.Module):
    """Attention and MLP, each a scaled residual; in training a sample may skip either.

    Args:
        dim: channels of a patch.
        heads: of the attention.
        skipped: share of the samples that skip (stochastic depth); the others are scaled up.
    """

    def __init__(self, dim: int, heads: int, skipped: float) -> None:
        super().__init__()
        self.skipped = skipped
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, heads)
        self.gamma_1 = nn.Parameter(SCALE * torch.ones(dim))
        self.norm2, self.mlp = nn.LayerNorm(dim), GatedMLP(dim)
        self.gamma_2 = nn.Parameter(SCALE * torch.ones(dim))

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """Return (B, N, dim)."""
        x = x + self._dropped(self.gamma_1 * self.attn(self.norm1(x), rotary))
        return x + self._dropped(self.gamma_2 * self.mlp(self.norm2(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        if not (self.training and self.skipped):
            return x
        stays = torch.rand(len(x), 1, 1, device=x.device) >= self.skipped
        return x * (stays / (1 - self.skipped)).to(x.dtype)


class Blocks(nn.Module):
    """What the authors call ``eva``: learned positions, the blocks, the last norm."""

    def __init__(self, size: PrimusSize, patches: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, patches, size.dim))
        last = max(size.depth - 1, 1)
        self.blocks = nn.ModuleList(
            Block(size.dim, size.heads, size.drop_path * number / last)
            for number in range(size.depth)
        )
        self.norm = nn.LayerNorm(size.dim)


class PrimusEncoder(Encoder):
    """Patches with learned positions, then blocks; four maps on the patch grid, the last one normed."""

    rotary_positions = True
    input_weight = "down_projection.proj.weight"
    position = "eva.pos_embed"

    def __init__(self, in_channels: int, size: PrimusSize, crop: Triple) -> None:
        super().__init__()
        self.crop, self.patch, self.dim = crop, (PATCH,) * 3, size.dim
        self.grid = (crop[0] // PATCH, crop[1] // PATCH, crop[2] // PATCH)
        self.widths = (size.dim,) * 4
        self.taps = [size.depth // 4 - 1, size.depth // 2 - 1, 3 * size.depth // 4 - 1]
        self.down_projection = nn.ModuleDict(
            {"proj": nn.Conv3d(in_channels, size.dim, PATCH, PATCH)}
        )
        self.rotary = Rotary(self.grid, size.dim // size.heads)
        self.eva = Blocks(size, prod(self.grid))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps of three blocks on the way and the last one, each (B, dim, gx, gy, gz).

        Raises:
            BenchError: the input is not of the size that the positions are for.
        """
        return self._maps(self._embedded(x))

    def replaced(self, x: Tensor, hidden: Tensor, token: Tensor, norm: bool = True) -> Tensor:
        """Return the last map of an input whose ``hidden`` patches are embedded as ``token``."""
        seen = self._embedded(x)
        mask = hidden.flatten(1)[..., None]
        return self._maps(torch.where(mask, token.to(seen.dtype), seen), norm)[-1]

    def _embedded(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != self.crop:
            raise BenchError(
                f"network 'primus' was built for crops {self.crop} and was given "
                f"{tuple(x.shape[2:])}; build it with that crop, or cut the input to windows"
            )
        return self.down_projection["proj"](x).flatten(2).mT

    def _maps(self, patches: Tensor, norm: bool = True) -> list[Tensor]:
        tokens, maps = patches + self.eva.pos_embed, []
        for number, block in enumerate(self.eva.blocks):
            tokens = block(tokens, self.rotary)
            if number in self.taps:
                maps.append(tokens)
        maps.append(self.eva.norm(tokens) if norm else tokens)
        return [m.mT.unflatten(2, self.grid) for m in maps]


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        scaled = (x - mean) / (variance + 1e-6).sqrt()
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return scaled * self.weight.view(shape) + self.bias.view(shape)


class PrimusDecoder(Decoder):
    """Three transposed convolutions from patches to voxels; it reads the last map alone.

    All of it is the output layer: its widths depend on the number of classes.
    """

    output = "up_projection"

    def __init__(self, dim: int, out_channels: int) -> None:
        super().__init__()
        widths = decoder_widths(dim, out_channels)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            up = nn.ConvTranspose3d(before, after, 2, 2)
            layers.append(nn.Sequential(up, ChannelNorm(after), nn.GELU()))
        layers.append(nn.ConvTranspose3d(widths[-2], widths[-1], 2, 2))
        self.up_projection = nn.ModuleDict({"decode": nn.Sequential(*layers)})

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z)."""
        return self.up_projection["decode"](features[-1])


def decoder_widths(dim: int, out_channels: int) -> list[int]:
    """Return the channels from patches to logits: a geometric row to twice the classes, by eights."""
    steps = int(log2(PATCH))
    factor = (dim / (2 * out_channels)) ** (1 / steps)
    between = [max(8, round((dim / factor**n + 1e-6) / 8) * 8) for n in range(1, steps)]
    return [dim, *between, out_channels]


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; it reads inputs of exactly ``crop`` (its positions are learned)."""
    encoder = PrimusEncoder(wanted.in_channels, wanted.size, wanted.crop)
    decoder = PrimusDecoder(wanted.size.dim, wanted.out_channels)
    for module in (*encoder.modules(), *decoder.modules()):
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(encoder.eva.pos_embed, std=0.02)
    for number, block in enumerate(encoder.eva.blocks, 1):
        assert isinstance(block, Block)
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.data.div_((2.0 * number) ** 0.5)
    return encoder, decoder
