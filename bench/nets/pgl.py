"""PGL's segmentation network: a 3D ResNet-50, an ASPP and a light decoder.

The paper's D x H x W sizes are turned: its 16 x 96 x 96 is (96, 96, 16) here and its output stride
(8, 16, 16) is (16, 16, 8). Its authors published no code, and widths and kernels stand in its figure
6 alone, of which only the text was at hand. What the text does not say is marked "assumed", widths
outside the encoder too; together the assumptions give the printed counts: 48.54 million
parameters, 2.38 of them outside the encoder.
"""

from __future__ import annotations

from monai.networks.nets import ResNet
from torch import Tensor, cat, nn
from torch.nn.functional import relu

from bench.nets.base import Decoder, Encoder, Wanted
from bench.nets.interpolation import on_grid
from bench.nets.sizes import PglSize


class PglEncoder(Encoder):
    """MONAI's bottleneck ResNet without bias, conv1 with stride 1 along z, stage 4 without stride."""

    input_weight = "conv1.weight"

    def __init__(self, size: PglSize, in_channels: int) -> None:
        super().__init__()
        net = ResNet(
            "bottleneck",
            list(size.blocks),
            list(size.planes),
            n_input_channels=in_channels,
            conv1_t_size=7,  # assumed: of the usual stems the nearest to 48.54 - 2.38 million
            conv1_t_stride=(2, 2, 1),  # type: ignore[arg-type]  # MONAI means one number per axis
            feed_forward=False,
            bias_downsample=False,
        )
        for module in net.layer4.modules():
            if isinstance(module, nn.Conv3d):
                module.stride = (1, 1, 1)  # the map stays at 2 x 6 x 6; assumed: not dilated either
        self.conv1, self.bn1, self.act = net.conv1, net.bn1, net.act
        # assumed: stage 1 is coarser by a pool, not by a stride of its own
        self.maxpool = net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            net.layer1,
            net.layer2,
            net.layer3,
            net.layer4,
        )
        self.widths = (size.planes[0], *(4 * p for p in size.planes))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return conv1's map and those of stages 1 to 4; the last two have one resolution."""
        maps = [self.act(self.bn1(self.conv1(x)))]
        maps.append(self.layer1(self.maxpool(maps[0])))
        for stage in (self.layer2, self.layer3, self.layer4):
            maps.append(stage(maps[-1]))
        return maps


def conv(inside: int, outside: int) -> nn.Sequential:
    """Return the paper's "Conv" block of kernel 1: convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv3d(inside, outside, 1, bias=False), nn.BatchNorm3d(outside), nn.ReLU()
    )


def separable(width: int, rate: int = 1) -> nn.Sequential:
    """Return a 3^3 convolution per channel, one across channels, and (assumed: after both) a norm."""
    return nn.Sequential(
        nn.Conv3d(width, width, 3, padding=rate, dilation=rate, groups=width, bias=False),
        nn.Conv3d(width, width, 1, bias=False),
        nn.BatchNorm3d(width),
    )


class Aspp(nn.Module):
    """Kernel 1, image pooling and three dilated separable convolutions, side by side, then joined.

    "Three 1 x 1 convolutions" are assumed to be the reduction before, the branch and the one after.
    """

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.reduce, self.point, self.pooled = (
            conv(inside, width),
            conv(width, width),
            conv(width, width),
        )
        self.rates = nn.ModuleList(separable(width, rate) for rate in (2, 4, 8))
        self.join = conv(5 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, x, y, z)."""
        x = self.reduce(x)
        # Spread over the map before its batch norm, not after: the same values, and batch 1 trains.
        mean = x.mean((2, 3, 4), keepdim=True).expand_as(x)
        branches = [self.point(x), self.pooled(mean), *(relu(rate(x)) for rate in self.rates)]
        return self.join(cat(branches, 1))


class Rise(nn.Module):
    """Doubles every side, adds the encoder's map, and refines by a separable residual block."""

    def __init__(self, inside: int, skip: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(inside, width, 2, 2, bias=False)
        self.skip = conv(skip, width)  # assumed: a sum needs equal widths
        self.first, self.second = separable(width), separable(width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return (B, width, ...) on the grid of ``skip``."""
        x = self.up(x) + self.skip(skip)
        return relu(x + self.second(relu(self.first(x))))


class PglDecoder(Decoder):
    """ASPP on stage 4, then up past stage 2, stage 1 and conv1; logits are made there and upsampled."""

    output = "head"

    def __init__(self, size: PglSize, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        wide, middle, narrow = size.decoder
        self.aspp = Aspp(widths[4], size.aspp)
        self.rises = nn.ModuleList(
            [
                Rise(size.aspp, widths[2], wide),
                Rise(wide, widths[1], middle),
                Rise(middle, widths[0], narrow),
            ]
        )
        self.head = nn.Conv3d(narrow, out_channels, 1)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits on the input's grid; of ``x`` itself only the size is read."""
        up = self.aspp(features[4])
        for rise, skip in zip(self.rises, features[2::-1], strict=True):
            up = rise(up, skip)
        return on_grid(self.head(up), x.shape[2:])


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any input whose sides are multiples of (16, 16, 8) can be read."""
    encoder = PglEncoder(wanted.size, wanted.in_channels)
    decoder = PglDecoder(wanted.size, encoder.widths, wanted.out_channels)
    for module in (*encoder.modules(), *decoder.modules()):
        # as the paper draws what it does not pretrain
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return encoder, decoder
