"""3D U-Net: MONAI's BasicUNet, cut between the encoder and the decoder.

Norm: group norm, where MONAI's default is instance norm. It does not depend on the batch, so batch 1
trains as batch 8 does, and it works on the single voxel that a 16^3 crop leaves at the bottleneck.
Instance norm also takes each channel's mean away, which is what an averaged bottleneck is made of:
at initialisation embeddings of different inputs lie about twice as far apart (cosine distance)
under group norm. Both are close together then; the difference is measured in the tests.
"""

from __future__ import annotations

from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, Network
from bench.nets.catalog import Triple, check_crop
from bench.nets.catalog import preset as find


class UNet3dEncoder(Encoder):
    """Five levels; each but the first halves every side by max pooling."""

    input_weight = "conv_0.conv_0.conv.weight"

    def __init__(self, net: BasicUNet, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths
        self.conv_0 = net.conv_0
        self.down_1, self.down_2 = net.down_1, net.down_2
        self.down_3, self.down_4 = net.down_3, net.down_4

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8 and 1/16 of the input's resolution."""
        maps = [self.conv_0(x)]
        for down in (self.down_1, self.down_2, self.down_3, self.down_4):
            maps.append(down(maps[-1]))
        return maps


class UNet3dDecoder(Decoder):
    """Four transposed convolutions, each joined with the encoder's map of its size."""

    def __init__(self, net: BasicUNet) -> None:
        super().__init__()
        self.upcat_4, self.upcat_3 = net.upcat_4, net.upcat_3
        self.upcat_2, self.upcat_1 = net.upcat_2, net.upcat_1
        self.final_conv: nn.Module = net.final_conv

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z); ``x`` itself is not read."""
        up = features[4]
        ups = (self.upcat_4, self.upcat_3, self.upcat_2, self.upcat_1)
        for block, skip in zip(ups, features[3::-1], strict=True):
            up = block(up, skip)
        return self.final_conv(up)


def build(preset: str, in_channels: int, out_channels: int, crop: Triple | None = None) -> Network:
    """Return the network; any input whose sides are multiples of 16 can be read.

    Raises:
        BenchError: unknown preset, or a crop side that is no multiple of 16.
    """
    crop = check_crop("unet3d", preset, crop)
    size = find("unet3d", preset).size
    net = BasicUNet(3, in_channels, out_channels, size.features, norm=("group", {"num_groups": size.groups}))
    encoder = UNet3dEncoder(net, size.features[:5])
    channels = (in_channels, out_channels)
    return Network("unet3d", preset, crop, channels, encoder, UNet3dDecoder(net))
