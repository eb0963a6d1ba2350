"""U-Net in two and in three dimensions: MONAI's BasicUNet, cut between the encoder and the decoder.

Norm: group norm, where MONAI's default is instance norm. It does not depend on the batch, so batch 1
trains as batch 8 does, and it works on the single voxel that a crop of 16 leaves at the bottleneck.
Instance norm also takes each channel's mean away, which is what an averaged bottleneck is made of:
at initialisation embeddings of different inputs lie about twice as far apart (cosine distance)
under group norm. Both are close together then; the difference is measured in the tests.
"""

from __future__ import annotations

from typing import Any

from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, Wanted, alike, flat


class UNetEncoder(Encoder):
    """Five levels; each but the first halves every side by max pooling."""

    input_weight = "conv_0.conv_0.conv.weight"

    def __init__(self, net: BasicUNet, widths: tuple[int, ...], dims: int = 3) -> None:
        super().__init__()
        self.widths, self.dims = widths, dims
        self.conv_0 = net.conv_0
        self.down_1, self.down_2 = net.down_1, net.down_2
        self.down_3, self.down_4 = net.down_3, net.down_4

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8 and 1/16 of the input's resolution, of its rank."""
        maps = [self.conv_0(flat(x, self.dims))]
        for down in (self.down_1, self.down_2, self.down_3, self.down_4):
            maps.append(down(maps[-1]))
        return [alike(m, x) for m in maps]


class UNetDecoder(Decoder):
    """Four transposed convolutions, each joined with the encoder's map of its size."""

    output = "final_conv"

    def __init__(self, net: BasicUNet, dims: int = 3) -> None:
        super().__init__()
        self.dims = dims
        self.upcat_4, self.upcat_3 = net.upcat_4, net.upcat_3
        self.upcat_2, self.upcat_1 = net.upcat_2, net.upcat_1
        self.final_conv: nn.Module = net.final_conv

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; of ``x`` itself only the rank is read."""
        maps = [flat(m, self.dims) for m in features]
        up = maps[4]
        ups = (self.upcat_4, self.upcat_3, self.upcat_2, self.upcat_1)
        for block, skip in zip(ups, maps[3::-1], strict=True):
            up = block(up, skip)
        return alike(self.final_conv(up), x)


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 16 can be read."""
    net, dims = BasicUNet(**arguments(wanted)), wanted.dims
    return UNetEncoder(net, wanted.size.features[:5], dims), UNetDecoder(net, dims)


MONAI = BasicUNet


def arguments(wanted: Wanted) -> dict[str, Any]:
    """Return what MONAI's class is built with."""
    return {
        "spatial_dims": wanted.dims,
        "in_channels": wanted.in_channels,
        "out_channels": wanted.out_channels,
        "features": wanted.size.features,
        "norm": ("group", {"num_groups": wanted.size.groups}),
    }
