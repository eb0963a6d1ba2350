"""ResNet-34 with a light decoder, for slices: MONAI's ResNet in torchvision's names, our DeConv layers.

The paper has a ResNet-34 encoder, "sequential DeConv layers" and 22.07 million parameters; its layer
list is in a supplement that we have not seen. The encoder leaves 0.79 million for the decoder, which
rules out concatenated skips (about 10 million). The decoder here is one that has that size: five 2x2
transposed convolutions with added skips, two 3x3 convolutions at half resolution, a 1x1 head.
"""

from __future__ import annotations

from itertools import pairwise

from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, Wanted, alike, flat


class ResNetEncoder(Encoder):
    """A ResNet of basic blocks: its stem before the max pooling, then its four stages."""

    input_weight = "conv1.weight"

    def __init__(self, net: ResNet, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act, self.maxpool = net.conv1, net.bn1, net.act, net.maxpool
        self.layer1, self.layer2 = net.layer1, net.layer2
        self.layer3, self.layer4 = net.layer3, net.layer4
        self.widths = (width, width, 2 * width, 4 * width, 8 * width)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's resolution, of its rank."""
        stem = self.act(self.bn1(self.conv1(flat(x, 2))))
        maps = [stem, self.layer1(self.maxpool(stem))]
        for stage in (self.layer2, self.layer3, self.layer4):
            maps.append(stage(maps[-1]))
        return [alike(m, x) for m in maps]


class DeConvDecoder(Decoder):
    """Five transposed convolutions; after each but the last the encoder's map of its size is added."""

    output = "head"

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        widths = (8 * width, 4 * width, 2 * width, width, width, width // 2)
        self.ups = nn.ModuleList(
            normed(nn.ConvTranspose2d(a, b, 2, 2)) for a, b in pairwise(widths)
        )
        self.refine = nn.Sequential(
            *(normed(nn.Conv2d(width, width, 3, padding=1)) for _ in range(2))
        )
        self.head = nn.Conv2d(widths[-1], out_channels, 1)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; of ``x`` itself only the rank is read."""
        *skips, up = [flat(m, 2) for m in features]
        *ups, last = self.ups
        for block, skip in zip(ups, reversed(skips), strict=True):
            up = block(up) + skip
        return alike(self.head(last(self.refine(up))), x)


def normed(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """Return a convolution, batch norm and ReLU."""
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True))


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of 32 can be read."""
    size = wanted.size
    net = ResNet(
        "basic",
        list(size.blocks),
        [size.width * f for f in (1, 2, 4, 8)],
        spatial_dims=2,
        n_input_channels=wanted.in_channels,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,  # as in the original; MONAI's default has biases before a batch norm
    )
    return ResNetEncoder(net, size.width), DeConvDecoder(size.width, wanted.out_channels)
