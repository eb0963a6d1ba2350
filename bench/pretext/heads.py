"""Small networks on top of an encoder that pretraining throws away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.nets import Encoder, Network, catalog
from bench.random import rand

Norm = Literal["none", "batch", "batch_plain", "layer_plain"]
# of the last map: every cell's channels one after the other, or their mean
Pool = Literal["flatten", "mean"]


def mlp(widths: list[int], norm: Norm) -> nn.Sequential:
    """Return Linear - norm - ReLU blocks ending in a bare Linear, through ``widths``.

    ``batch`` is BatchNorm1d as usual; ``batch_plain`` has neither weights nor running statistics
    and so always normalises by the batch it sees, also in evaluation. ``layer_plain`` normalises each row by
    itself, without weights.
    """
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers.append(nn.Linear(a, b))
        if norm == "batch":
            layers.append(nn.BatchNorm1d(b))
        elif norm == "batch_plain":
            layers.append(nn.BatchNorm1d(b, affine=False, track_running_stats=False))
        elif norm == "layer_plain":
            layers.append(nn.LayerNorm(b, elementwise_affine=False))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def width_of(network: Network, pool: Pool) -> int:
    """Return the length of the vectors that ``vectors`` makes of a network's crops."""
    cells = catalog.cells(network.full_name, network.crop)[-1] if pool == "flatten" else ()
    return network.encoder.widths[-1] * prod(cells)


def vectors(encoder: Encoder, x: Tensor, pool: Pool) -> Tensor:
    """Return a vector of each crop (B, C, X, Y, Z): the last map, flattened or averaged over space."""
    return encoder(x)[-1].flatten(1) if pool == "flatten" else encoder.embed(x)


class Classifier(nn.Module):
    """Linear - ReLU - batch norm - dropout blocks, then a bare Linear: the classifier of Taleb et al. 2020.

    What the dropout keeps is given (``kept``), so that a loss stays a pure function of its batch, and
    processes that share one drop what a single one would. Batch norm uses the batch that it sees and keeps
    no statistics. Weights begin as Keras', Glorot's uniform.

    Args:
        width: of the vectors that come in.
        hidden: of each block; the released code has 2048 and 1024.
        classes: of the logits.
        norm: is there batch norm?
    """

    def __init__(self, width: int, hidden: Sequence[int], classes: int, norm: bool = True) -> None:
        super().__init__()
        self.hidden = list(hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.ReLU(), *_norm(b, norm))
            for a, b in pairwise((width, *hidden))
        )
        self.leave = nn.Linear([width, *hidden][-1], classes)
        self.apply(xavier)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return logits (N, classes) of vectors (N, width); ``kept`` (N, sum of hidden), by default all."""
        masks = [None] * len(self.hidden) if kept is None else kept.split(self.hidden, dim=1)
        for block, mask in zip(self.blocks, masks, strict=True):
            x = block(x)
            x = x if mask is None else x * mask
        return self.leave(x)


def _norm(width: int, asked: bool) -> list[nn.Module]:
    """Return batch norm with the epsilon of Keras, or nothing."""
    return [nn.BatchNorm1d(width, eps=1e-3, track_running_stats=False)] if asked else []


def kept(rows: int, hidden: Sequence[int], dropout: float, generator: torch.Generator) -> Tensor:
    """Draw what a ``Classifier`` keeps: (rows, sum of hidden), 0 or 1 / (1 - ``dropout``).

    Args:
        rows: vectors, k for each sample of this part of the batch.
        hidden: widths of its blocks.
        dropout: the share that is dropped, below 1.
        generator: the only randomness.
    """
    return (rand((rows, sum(hidden)), generator) >= dropout) / (1 - dropout)


class Block(nn.Module):
    """A pre-norm transformer block: attention, with ``bias`` on q, k, v or without, then an MLP of 4 x."""

    def __init__(self, width: int, heads: int, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def attended(self, x: Tensor) -> Tensor:
        """Return (B, N, width) with its attention to itself added."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(mixed)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        x = self.attended(x)
        return x + self.mlp(self.norm2(x))


class CrossBlock(Block):
    """A pre-norm transformer block that also attends to something else: itself, that, then the MLP."""

    def __init__(self, width: int, heads: int, bias: bool = False) -> None:
        super().__init__(width, heads, bias)
        self.norm_cross = nn.LayerNorm(width)
        self.query, self.key_value = (nn.Linear(width, n * width, bias=bias) for n in (1, 2))
        self.out_cross = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Map (B, N, width) to the same shape, asking ``other`` (B, M, width), as it comes."""
        x = self.attended(x)
        if other is not None:
            q = self.query(self.norm_cross(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            k, v = self.key_value(other).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = x + self.out_cross(mixed)
        return x + self.mlp(self.norm2(x))


@dataclass(frozen=True)
class DecoderSize:
    """Width (a multiple of ``heads``), blocks and attention heads; have queries, keys, values biases?"""

    width: int
    depth: int
    heads: int
    bias: bool = False


def decoder_flops(
    size: DecoderSize, tokens: float, mask_ratio: float, width: int, out: int
) -> float:
    """Return the operations of a ``MaskedDecoder`` that gives the hidden patches of one crop.

    24 width^2 + 4 tokens width per token and block, and the layers into it and out of it.

    Args:
        size: of its blocks.
        tokens: patches of the crop.
        mask_ratio: share of them that is hidden.
        width: of the encoder's tokens.
        out: voxels of a patch.
    """
    dim = size.width
    blocks = size.depth * (24 * dim**2 + 4 * tokens * dim)
    return tokens * (blocks + 2 * dim * ((1 - mask_ratio) * width + mask_ratio * out))


class MaskedDecoder(nn.Module):
    """Fills in hidden patches from the encoded visible ones.

    Args:
        width_in: of the encoder's tokens.
        size: of its blocks.
        tokens: patches in a full crop, whose positions are learned; 0: each call is told positions.
        out: voxels times channels of one patch.
    """

    def __init__(self, width_in: int, size: DecoderSize, tokens: int, out: int) -> None:
        super().__init__()
        width = size.width
        self.enter = nn.Linear(width_in, width) if width_in != width else nn.Identity()
        self.mask_token = nn.Parameter(torch.randn(width))
        self.position = nn.Embedding(tokens, width) if tokens else None
        self.blocks = nn.ModuleList(Block(width, size.heads, size.bias) for _ in range(size.depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, out)
        self.apply(init_linear)

    def forward(
        self,
        encoded: Tensor,
        visible: Tensor,
        hidden: Tensor,
        places: Tensor | None = None,
        asked: int | None = None,
    ) -> Tensor:
        """Return the voxels of the hidden patches and behind them those of the visible ones, (B, m + n, out).

        Args:
            encoded: (B, k + n, width_in): k tokens that have no place, then those of the visible patches.
            visible: (B, n) their indices.
            hidden: (B, m) indices of the patches to predict.
            places: (N, width) positions of all patches; the learned ones by default.
            asked: how many of these patches are wanted, from the first on; all m + n by default.
        """
        if places is None:
            assert self.position is not None
            places = self.position.weight
        k = encoded.shape[1] - visible.shape[1]
        placeless, seen = self.enter(encoded).split([k, visible.shape[1]], dim=1)
        x = torch.cat([self.mask_token + places[hidden], seen + places[visible], placeless], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x[:, : x.shape[1] - k if asked is None else asked]))


def projection(widths: list[int], normed: bool = False) -> nn.Sequential:
    """Return Linear (- batch norm) - GELU blocks through ``widths``, ending in a bare Linear."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if normed else []), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


class Prototypes(nn.Module):
    """DINO's head: an MLP, a unit vector, and its cosines with unit prototypes (Caron et al., ICCV 2021).

    The MLP has two hidden layers, and batch norm where ``normed``; the vector has ``bottleneck`` numbers. With
    ``gain`` each prototype learns its length, 1 at first, and has the first weights of a linear layer (DINOv2).
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        bottleneck: int,
        out: int,
        normed: bool = False,
        gain: bool = False,
    ) -> None:
        super().__init__()
        self.mlp = projection([width, hidden, hidden, bottleneck], normed)
        self.mlp.apply(init_linear)
        self.gain = nn.Parameter(torch.ones(out, 1)) if gain else None
        if gain:
            self.weight = nn.Linear(bottleneck, out, bias=False).weight
        else:
            self.weight = nn.Parameter(functional.normalize(torch.randn(out, bottleneck), dim=1))

    def forward(self, x: Tensor, still: bool = False) -> Tensor:
        """Return cosines (B, out), times the gain; prototypes that are ``still`` get no gradient."""
        prototypes = functional.normalize(self.weight, dim=1)
        if self.gain is not None:
            prototypes = self.gain * prototypes
        unit = functional.normalize(self.mlp(x), dim=1)
        return unit @ (prototypes.detach() if still else prototypes).T


def xavier(module: nn.Module) -> None:
    """Draw a linear layer's weights Xavier-uniformly, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_linear(module: nn.Module) -> None:
    """Draw a linear layer's weights from a truncated normal of std .02, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
