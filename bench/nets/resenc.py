"""nnU-Net's residual encoder U-Net, built by nnU-Net's own library and cut in two.

The library registers every convolution and norm twice (under its name and in ``all_modules``) and the
encoder a second time inside the decoder. Each parameter has one key here: the library's, under the
same ``encoder.`` and ``decoder.``. So of a file of nnU-Net or of nnssl every key fits as it is, after
those with ``.all_modules.`` in them and those that begin with ``decoder.encoder.`` are left out.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any, TypeVar

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, cat, nn

from bench.nets.base import Decoder, Encoder, Wanted

N = TypeVar("N", PlainConvUNet, ResidualEncoderUNet)
SLOPE = 0.01  # of LeakyReLU: nnU-Net's, and torch's default, which nnssl takes


class ResEncEncoder(Encoder):
    """A stem and stages of residual blocks; each stage but the first halves every side."""

    input_weight = "stem.convs.0.conv.weight"

    def __init__(self, net: ResidualEncoderUNet) -> None:
        super().__init__()
        self.stem: nn.Module = net.encoder.stem
        self.stages: nn.Sequential = net.encoder.stages
        self.widths = tuple(net.encoder.output_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4 and so on of the input's resolution."""
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class ResEncDecoder(Decoder):
    """One level less than the encoder, coarse to fine, each with a head of its own.

    ``forward`` uses the finest head alone, so without deep supervision the others (1x1
    convolutions) get no gradient and keep their initial values; nnU-Net builds them all the same.
    """

    output = "seg_layers"

    def __init__(self, net: ResidualEncoderUNet) -> None:
        super().__init__()
        self.stages: nn.ModuleList = net.decoder.stages
        self.transpconvs: nn.ModuleList = net.decoder.transpconvs
        self.seg_layers: nn.ModuleList = net.decoder.seg_layers

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z)."""
        return self.seg_layers[-1](self._levels(features)[-1])

    def scales(self, x: Tensor, features: list[Tensor]) -> list[Tensor]:
        """Return logits at 1, 1/2, 1/4 and so on of the input's resolution."""
        pairs = zip(self.seg_layers, self._levels(features), strict=True)
        return [head(level) for head, level in pairs][::-1]

    def _levels(self, features: list[Tensor]) -> list[Tensor]:
        *skips, up = features
        levels = []
        for transposed, stage, skip in zip(
            self.transpconvs, self.stages, reversed(skips), strict=True
        ):
            up = stage(cat([transposed(up), skip], 1))
            levels.append(up)
        return levels


def named_once(net: nn.Module) -> None:
    """Replace the library's blocks by plain sequences, under whose keys nothing stands twice."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvDropoutNormReLU):
                children = [(k, m) for k, m in child.named_children() if k != "all_modules"]
                setattr(parent, name, nn.Sequential(OrderedDict(children)))  # conv, norm, nonlin


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides its stages can halve can be read."""
    blocks = {"n_blocks_per_stage": list(wanted.size.blocks), "n_conv_per_stage_decoder": 1}
    net = built(ResidualEncoderUNet, wanted, **blocks)
    return ResEncEncoder(net), ResEncDecoder(net)


def built(kind: type[N], wanted: Wanted, **blocks: Any) -> N:
    """Return a network of nnU-Net's library with He's normal weights; last norms of residual blocks at zero."""
    size, stages = wanted.size, len(wanted.size.features)
    instance = partial(nn.InstanceNorm3d, affine=True)
    net = kind(
        input_channels=wanted.in_channels,
        n_stages=stages,
        features_per_stage=list(size.features),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1] + [2] * (stages - 1),
        num_classes=wanted.out_channels,
        **blocks,
        conv_bias=True,
        norm_op=partial(nn.GroupNorm, size.groups) if size.groups else instance,
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"negative_slope": SLOPE, "inplace": True},
    )
    net.apply(net.initialize)
    named_once(net)
    return net
