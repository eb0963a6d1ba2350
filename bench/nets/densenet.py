"""DenseNet for classifying slices and pictures: MONAI's, cut before its pooling; it has no decoder."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import DenseNet
from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, NoDecoder, Wanted, alike, flat


class DenseNetEncoder(Encoder):
    """A strided stem and four dense blocks; each map is taken before what halves it."""

    input_weight = "features.conv0.weight"

    def __init__(self, net: DenseNet, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.features: nn.Sequential = net.features  # MONAI's name, so that public checkpoints fit
        # MONAI keeps it with the pooling: it averages what comes after
        self.act = nn.ReLU(inplace=True)
        self.widths = widths

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's resolution, of its rank."""
        maps, y = [], flat(x, 2)
        for name, layer in self.features.named_children():
            if name == "pool0" or name.startswith("transition"):
                maps.append(y)
            y = layer(y)
        return [alike(m, x) for m in (*maps, self.act(y))]


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 32 can be read."""
    return DenseNetEncoder(DenseNet(**arguments(wanted)), wanted.size.widths), NoDecoder()


MONAI = DenseNet


def arguments(wanted: Wanted) -> dict[str, Any]:
    """Return what MONAI's class is built with."""
    return {
        "spatial_dims": 2,
        "in_channels": wanted.in_channels,
        "out_channels": wanted.out_channels,
        "init_features": wanted.size.stem,
        "growth_rate": wanted.size.growth,
        "block_config": wanted.size.blocks,
    }
