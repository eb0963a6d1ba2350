"""VGG's convolutions under torchvision's names; without its fully connected layers it has no decoder."""

from __future__ import annotations

from itertools import chain

from torch import Tensor, nn

from bench.nets.base import Encoder, Network, NoDecoder, alike, flat
from bench.nets.catalog import Triple, check_crop
from bench.nets.catalog import preset as find
from bench.nets.sizes import VggSize


class VggEncoder(Encoder):
    """Blocks of 3x3 convolutions, each followed by a max pooling; there is no normalisation.

    A map is taken before each pooling, and one after the last: torchvision averages that one.
    """

    input_weight = "features.0.weight"

    def __init__(self, in_channels: int, size: VggSize) -> None:
        super().__init__()
        before = (in_channels, *size.widths)
        blocks = (_block(a, b, n) for a, b, n in zip(before, size.widths, size.convs, strict=False))
        self.features = nn.Sequential(*chain.from_iterable(blocks))
        self.widths = (*size.widths, size.widths[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at the input's resolution, 1/2, 1/4, 1/8, 1/16 and 1/32, of its rank."""
        maps, y = [], flat(x, 2)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(y)
            y = layer(y)
        return [alike(m, x) for m in (*maps, y)]


def _block(given: int, width: int, convs: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for number in range(convs):
        conv = nn.Conv2d(width if number else given, width, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
        layers += [conv, nn.ReLU(inplace=True)]
    return [*layers, nn.MaxPool2d(2)]


def build(
    name: str, preset: str, in_channels: int, out_channels: int, crop: Triple | None = None
) -> Network:  # fmt: skip
    """Return the network; any input whose sides are multiples of 32 can be read.

    Raises:
        BenchError: unknown preset, or a crop side that is no multiple of 32.
    """
    crop = check_crop(name, preset, crop)
    encoder = VggEncoder(in_channels, find(name, preset).size)
    return Network(name, preset, crop, (in_channels, out_channels), encoder, NoDecoder())
