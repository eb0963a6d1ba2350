"""SegResNet: MONAI's, cut between the encoder and the decoder (no variational branch)."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import SegResNet
from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, Wanted


class SegResNetEncoder(Encoder):
    """A convolution and four levels of residual blocks; each but the first halves every side."""

    input_weight = "convInit.conv.weight"

    def __init__(self, net: SegResNet, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths
        self.convInit: nn.Module = net.convInit  # MONAI's names, so that public checkpoints fit
        self.down_layers = net.down_layers

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4 and 1/8 of the input's resolution."""
        maps, at = [], self.convInit(x)
        for down in self.down_layers:
            at = down(at)
            maps.append(at)
        return maps


class SegResNetDecoder(Decoder):
    """Three steps up by trilinear interpolation, each added to the encoder's map of its size."""

    output = "conv_final"

    def __init__(self, net: SegResNet) -> None:
        super().__init__()
        self.up_samples, self.up_layers = net.up_samples, net.up_layers
        self.conv_final = net.conv_final

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; ``x`` itself is not read."""
        at = features[-1]
        for rise, layer, skip in zip(
            self.up_samples, self.up_layers, features[-2::-1], strict=True
        ):
            at = layer(rise(at) + skip)
        return self.conv_final(at)


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 8 can be read."""
    net = SegResNet(**arguments(wanted))
    encoder = SegResNetEncoder(net, tuple(wanted.size.filters * 2**level for level in range(4)))
    return encoder, SegResNetDecoder(net)


MONAI = SegResNet


def arguments(wanted: Wanted) -> dict[str, Any]:
    """Return what MONAI's class is built with."""
    size = wanted.size
    leaking = ("leakyrelu", {"negative_slope": size.slope, "inplace": True})
    return {
        "spatial_dims": 3,
        "init_filters": size.filters,
        "in_channels": wanted.in_channels,
        "out_channels": wanted.out_channels,
        "norm": ("group", {"num_groups": size.groups}),
        "blocks_down": size.blocks,
        "act": leaking if size.slope else ("relu", {"inplace": True}),
    }
