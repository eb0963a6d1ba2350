"""SuPreM's networks with the head that they were trained with: a small network for each class, made of its text.

A Swin UNETR or the U-Net of Models Genesis, without its last layer. Of each class the head has a text's embedding
(Liu et al., CLIP-Driven Universal Model, ICCV 2023); from it and from the averaged bottleneck a linear layer makes
the weights of three convolutions of kernel 1, which give the class its logit. The keys below ``head`` are the
authors', whose embeddings come with their files; fresh ones are random. Their U-Net normalises by what it is given
even when it predicts, window by window.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, relu

from bench.nets import genesis, swin_unetr
from bench.nets.base import Decoder, Encoder, Wanted
from bench.nets.sizes import GenesisSize

GROUPS = 16  # of the head's norms, where they divide the channels
TEXT = 512  # channels of a text's embedding
CODE = 256  # of what the head makes of it, and of the bottleneck
INNER = 8  # channels of a class's convolutions
# of the three convolutions: their weights, then their biases
PARTS = (INNER * INNER, INNER * INNER, INNER, INNER, INNER, 1)


def _normed(width: int, *after: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(gcd(GROUPS, width), width), nn.ReLU(), *after)


class TextHead(nn.Module):
    """Logits by a network of three convolutions for each class, whose weights depend on class and image."""

    organ_embedding: Tensor

    def __init__(self, width: int, bottleneck: int, classes: int) -> None:
        super().__init__()
        self.precls_conv = _normed(width, nn.Conv3d(width, INNER, 1))
        self.GAP = _normed(bottleneck, nn.AdaptiveAvgPool3d(1), nn.Conv3d(bottleneck, CODE, 1))
        self.controller = nn.Conv3d(2 * CODE, sum(PARTS), 1)
        self.register_buffer("organ_embedding", torch.randn(classes, TEXT))
        self.text_to_vision = nn.Linear(TEXT, CODE)

    def forward(self, x: Tensor, bottleneck: Tensor) -> Tensor:
        """Return (B, classes, X, Y, Z) of the last map (B, width, X, Y, Z) and the coarsest one."""
        texts = relu(self.text_to_vision(self.organ_embedding))
        maps, images = self.precls_conv(x), self.GAP(bottleneck).flatten(1)
        samples = zip(maps, images, strict=True)
        return torch.stack([self._logits(*sample, texts) for sample in samples])

    def _logits(self, x: Tensor, image: Tensor, texts: Tensor) -> Tensor:
        """Return (classes, X, Y, Z) of one sample; class by class, so that it fits into memory."""
        codes = torch.cat([image.expand(len(texts), -1), texts], 1)
        predicted = self.controller(codes[..., None, None, None]).flatten(1)
        return torch.cat([_network(x, *row.split(PARTS)) for row in predicted])


def _network(x: Tensor, a: Tensor, b: Tensor, c: Tensor, *biases: Tensor) -> Tensor:
    """Return (1, X, Y, Z): three convolutions of (8, X, Y, Z) with these weights, rectified in between."""
    x = relu(conv3d(x, a.view(INNER, INNER, 1, 1, 1), biases[0]))
    x = relu(conv3d(x, b.view(INNER, INNER, 1, 1, 1), biases[1]))
    return conv3d(x, c.view(1, INNER, 1, 1, 1), biases[2])


class WindowNorm(nn.BatchNorm3d):
    """Batch norm that predicts with the statistics of each window; it keeps running ones and never reads them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a batch normalised: in training by its own statistics, else each sample by its own."""
        if self.training:
            return super().forward(x)
        return torch.instance_norm(
            x, self.weight, self.bias, None, None, True, 0.0, self.eps, torch.backends.cudnn.enabled
        )


def _by_window(net: nn.Module) -> None:
    """Replace a fresh network's batch norms."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm3d):
                setattr(parent, name, WindowNorm(child.num_features))


class SupremUNetDecoder(genesis.GenesisDecoder):
    """Models Genesis' decoder with this head."""

    output = "head"

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__(width, out_channels)
        self.out_tr = nn.Sequential()
        self.head = TextHead(2 * width, 16 * width, out_channels)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; ``x`` itself is not read."""
        return self.head(super().forward(x, features), features[-1])


class SupremSwinDecoder(swin_unetr.SwinUnetrDecoder):
    """Swin UNETR's decoder with this head."""

    output = "head"

    def __init__(self, decoder: Decoder, widths: tuple[int, ...], out_channels: int) -> None:
        nn.Module.__init__(self)
        for name, child in decoder.named_children():
            setattr(self, name, child)
        self.out = nn.Sequential()
        self.head = TextHead(widths[0], widths[-1], out_channels)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z)."""
        return self.head(super().forward(x, features), self.encoder10(features[-1]))


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder: of ``GenesisSize`` the U-Net, else the Swin UNETR."""
    if not isinstance(wanted.size, GenesisSize):
        swin, decoder = swin_unetr.build(wanted)
        return swin, SupremSwinDecoder(decoder, swin.widths, wanted.out_channels)
    encoder = genesis.GenesisEncoder(wanted.in_channels, wanted.size.width)
    unet = SupremUNetDecoder(wanted.size.width, wanted.out_channels)
    _by_window(encoder)
    _by_window(unet)
    return encoder, unet
