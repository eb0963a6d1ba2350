"""Small networks on top of an encoder that pretraining throws away."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


def mlp(widths: list[int], norm: Literal["none", "batch", "batch_plain"]) -> nn.Sequential:
    """Return Linear - norm - ReLU blocks ending in a bare Linear, through ``widths``.

    ``batch`` is BatchNorm1d as usual; ``batch_plain`` has neither weights nor running statistics
    and so always normalises by the batch it sees, also in evaluation.
    """
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers.append(nn.Linear(a, b))
        if norm == "batch":
            layers.append(nn.BatchNorm1d(b))
        elif norm == "batch_plain":
            layers.append(nn.BatchNorm1d(b, affine=False, track_running_stats=False))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


class Block(nn.Module):
    """A pre-norm transformer block: attention without bias on q, k, v, then an MLP of 4 x."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm2(x))


class MaskedDecoder(nn.Module):
    """Fills in hidden patches from the encoded visible ones; positions are learned.

    Args:
        width_in: of the encoder's tokens.
        width: of the decoder, a multiple of ``heads``.
        depth: number of blocks.
        heads: attention heads.
        tokens: patches in a full crop.
        out: voxels times channels of one patch.
    """

    def __init__(
        self, width_in: int, width: int, depth: int, heads: int, tokens: int, out: int
    ) -> None:  # fmt: skip
        super().__init__()
        self.enter = nn.Linear(width_in, width) if width_in != width else nn.Identity()
        self.mask_token = nn.Parameter(torch.randn(width))
        self.position = nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, out)
        self.apply(init_linear)

    def forward(self, encoded: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return the voxels of the hidden patches, (B, hidden, out).

        Args:
            encoded: (B, n, width_in) tokens of the patches that ``visible`` (B, n) indexes.
            visible: their indices.
            hidden: (B, m) indices of the patches to predict.
        """
        seen = self.enter(encoded) + self.position(visible)
        x = torch.cat([self.mask_token + self.position(hidden), seen], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x)[:, : hidden.shape[1]])


def init_linear(module: nn.Module) -> None:
    """Draw a linear layer's weights from a truncated normal of std .02, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
