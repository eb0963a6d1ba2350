"""DenseNet for classifying slices and pictures: MONAI's, cut before its pooling; it has no decoder."""

from __future__ import annotations

from monai.networks.nets import DenseNet
from torch import Tensor, nn

from bench.nets.base import Encoder, Network, NoDecoder, alike, flat
from bench.nets.catalog import Triple, check_crop
from bench.nets.catalog import preset as find


class DenseNetEncoder(Encoder):
    """A strided stem and four dense blocks; each map is taken before what halves it."""

    input_weight = "features.conv0.weight"

    def __init__(self, net: DenseNet, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.features: nn.Sequential = net.features  # MONAI's name, so that public checkpoints fit
        self.act = nn.ReLU(inplace=True)  # MONAI keeps it with the pooling: it averages what comes after
        self.widths = widths

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's resolution, of its rank."""
        maps, y = [], flat(x, 2)
        for name, layer in self.features.named_children():
            if name == "pool0" or name.startswith("transition"):
                maps.append(y)
            y = layer(y)
        return [alike(m, x) for m in (*maps, self.act(y))]


def build(
    name: str, preset: str, in_channels: int, out_channels: int, crop: Triple | None = None
) -> Network:  # fmt: skip
    """Return the network; any input whose sides are multiples of 32 can be read.

    Raises:
        BenchError: unknown preset, or a crop side that is no multiple of 32.
    """
    crop = check_crop(name, preset, crop)
    size = find(name, preset).size
    net = DenseNet(2, in_channels, out_channels, size.stem, size.growth, size.blocks)
    encoder = DenseNetEncoder(net, size.widths)
    return Network(name, preset, crop, (in_channels, out_channels), encoder, NoDecoder())
