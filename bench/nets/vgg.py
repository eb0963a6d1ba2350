"""VGG's convolutions under torchvision's names; without its fully connected layers it has no decoder."""

from __future__ import annotations

from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, NoDecoder, Wanted, alike, flat
from bench.nets.sizes import VggSize


class VggEncoder(Encoder):
    """Blocks of 3x3 convolutions, each followed by a max pooling; there is no normalisation.

    A map is taken before each pooling, and one after the last: torchvision averages that one.
    """

    input_weight = "features.0.weight"

    def __init__(self, in_channels: int, size: VggSize) -> None:
        super().__init__()
        self.features = nn.Sequential()
        for width, convs in zip(size.widths, size.convs, strict=True):
            for _ in range(convs):
                conv = nn.Conv2d(in_channels, width, 3, padding=1)
                # as torchvision
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
                self.features.extend([conv, nn.ReLU(inplace=True)])
                in_channels = width
            self.features.append(nn.MaxPool2d(2))
        self.widths = (*size.widths, size.widths[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at the input's resolution, 1/2, 1/4, 1/8, 1/16 and 1/32, of its rank."""
        maps, y = [], flat(x, 2)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(y)
            y = layer(y)
        return [alike(m, x) for m in (*maps, y)]


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 32 can be read."""
    return VggEncoder(wanted.in_channels, wanted.size), NoDecoder()
