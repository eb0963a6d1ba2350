"""nnU-Net's plain U-Net, built by nnU-Net's own library and cut in two as ``bench.nets.resenc`` does."""

from __future__ import annotations

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, Wanted
from bench.nets.resenc import ResEncDecoder, built


class PlainEncoder(Encoder):
    """Six stages of two convolutions; each stage but the first halves every side by its first one."""

    input_weight = "stages.0.0.convs.0.conv.weight"

    def __init__(self, net: PlainConvUNet) -> None:
        super().__init__()
        self.stages: nn.Sequential = net.encoder.stages
        self.widths = tuple(net.encoder.output_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's resolution."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 32 can be read."""
    net = built(PlainConvUNet, wanted, n_conv_per_stage=2, n_conv_per_stage_decoder=2)
    return PlainEncoder(net), ResEncDecoder(net)
