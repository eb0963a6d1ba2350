"""The network of Tran 2016 (arXiv 1604.00494): fifteen convolutions, a label map from three of their resolutions.

By the author's Keras code (vuptran/cardiac-segmentation @7470359, fcn_model.py). The sides of a map are not those of
the crop divided: the image is padded by 5 pixels, and pools of 3 step by 2 without padding. A crop of 100 gives maps
of 110, 54, 26 and 12 pixels.
"""

import torch
from torch import Tensor, nn

from bench.nets.base import Decoder, Encoder, Wanted, alike, flat
from bench.nets.sizes import Entry, Preset, VggSize
from bench.source import Source

NETWORK = Entry(
    "tran_fcn",
    "Tran's FCN",
    __name__,
    Source(
        "Tran, A Fully Convolutional Neural Network for Cardiac Segmentation in Short-Axis MRI, arXiv 2016",
        "https://arxiv.org/abs/1604.00494",
    ),
    multiple=(20, 20, 1),  # of what the tests can build; any sides would do
    pyramid=((1, 1, 1), (2, 2, 1), (4, 4, 1), (8, 8, 1)),  # nearly, see above
    presets={
        "tiny": Preset(
            VggSize((8, 8, 16, 32), (3, 4, 4, 4)), (60, 60, 1), 50_424, 44_096, 8_554, 6_836
        ),
        "base": Preset(
            VggSize((64, 128, 256, 512), (3, 4, 4, 4)),
            (100, 100, 1),
            10_934_184,
            10_916_096,
            1_001_041,
            997_724,
        ),
    },
    dims=2,
)


class Standardised(nn.Module):
    """Give each channel of each picture mean 0 and standard deviation 1 ("MVN"); nothing is learned."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, X, Y), standardised; a constant channel becomes 0."""
        spread, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        # the bound changes no value that a channel with a spread has: the root of 0 has no gradient
        return (x - mean) / (spread.clamp_min(1e-12).sqrt() + 1e-6)


def keras(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Conv2d | nn.ConvTranspose2d:
    """Return a convolution with the first weights that Keras gives it."""
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def cropped(x: Tensor, like: Tensor) -> Tensor:
    """Return the middle of x, as large as ``like``; of an odd rest the larger half is cut at the end."""
    for axis in (2, 3):
        size = like.shape[axis]
        x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
    return x


class TranEncoder(Encoder):
    """Blocks of 3x3 convolutions, each followed by ReLU and standardisation, with pools between the blocks."""

    input_weight = "blocks.0.0.weight"

    def __init__(self, channels: int, size: VggSize) -> None:
        super().__init__()
        self.widths = size.widths
        self.blocks = nn.ModuleList()
        for width, convs in zip(size.widths, size.convs, strict=True):
            block = nn.Sequential()
            for _ in range(convs):
                conv = keras(nn.Conv2d(channels, width, 3, padding=1))
                block.extend([conv, nn.ReLU(), Standardised()])
                channels = width
            self.blocks.append(block)
        self.standardise, self.pad = Standardised(), nn.ZeroPad2d(5)
        self.pool, self.drop = nn.MaxPool2d(3, 2), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the last map of each block, before its pool, finest first."""
        y, maps = self.pad(self.standardise(flat(x, 2))), []
        for number, block in enumerate(self.blocks):
            if number:
                y = self.pool(y)
            if number == len(self.blocks) - 1:
                y = self.drop(y)
            maps.append(y := block(y))
        return [alike(m, x) for m in maps]


class TranDecoder(Decoder):
    """Scores of the three coarse maps, each enlarged and averaged with the next finer one."""

    output = "predictions"

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.scores = nn.ModuleList(keras(nn.Conv2d(w, classes, 1)) for w in widths[:0:-1])
        self.larger = nn.ModuleList(
            keras(nn.ConvTranspose2d(classes, classes, 3, 2, bias=False)) for _ in widths[1:]
        )
        self.predictions = keras(nn.Conv2d(classes, classes, 1))

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, classes, X, Y) of x (B, C, X, Y); the first map is not read, as in the code."""
        image = flat(x, 2)
        coarse = [flat(m, 2) for m in features[:0:-1]]
        y = self.scores[0](self.drop(coarse[0]))
        for finer, score, larger in zip(coarse[1:], self.scores[1:], self.larger[:-1], strict=True):
            y = larger(y)
            y = (y + cropped(score(finer), y)) / 2
        return alike(self.predictions(cropped(self.larger[-1](y), image)), x)


def build(wanted: Wanted) -> tuple[Encoder, Decoder]:
    """Return encoder and decoder; any sides of a crop can be read."""
    return TranEncoder(wanted.in_channels, wanted.size), TranDecoder(
        wanted.size.widths, wanted.out_channels
    )
