"""What a network is here: an encoder that pretraining trains, a decoder that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.errors import BenchError
from bench.ranges import Triple


def triple(sizes: Sequence[int]) -> Triple:
    """Return three sizes (x, y, z) of a list as a tuple."""
    x, y, z = sizes
    return (x, y, z)


@dataclass(frozen=True)
class Wanted:
    """What the module of a network is to build."""

    size: Any  # of the preset: one of the classes in ``bench.nets.sizes``
    dims: int
    crop: Triple
    in_channels: int
    out_channels: int


class Encoder(nn.Module):
    """Turns (B, C, X, Y, Z) into feature maps, finest first; the last is the bottleneck.

    Of two dimensions it takes (B, C, X, Y) and (B, C, X, Y, 1) alike, and its maps have the rank of
    what it was given: the harness keeps three axes everywhere, so slices need no path of their own.
    """

    is_tokens: ClassVar[bool] = False
    rotary_positions: ClassVar[bool] = False  # it turns queries and keys by their place
    input_weight: ClassVar[str] = ""  # key of the weight that reads image channels (its axis 1)
    widths: tuple[int, ...]  # channels of each map that ``forward`` returns
    patch: Triple  # voxels that it embeds at once, where it does so
    dim: int  # channels of an embedded patch
    position: ClassVar[str] = ""  # key of learned positions of the patches, (1, N, dim), if any
    grid: Triple  # patches along x, y, z; token index = (i * gy + j) * gz + k

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the pyramid, finest first: tensors (B, widths[i], x, y, z)."""
        raise NotImplementedError

    def embed(self, x: Tensor) -> Tensor:
        """Return one vector per sample, (B, widths[-1]): the bottleneck, averaged over space."""
        last = self.forward(x)[-1]
        return last.mean(dim=tuple(range(2, last.ndim)))

    def replaced(self, x: Tensor, hidden: Tensor, token: Tensor, norm: bool = True) -> Tensor:
        """Return the bottleneck (B, widths[-1], x, y, z) of an input whose ``hidden`` patches are one token.

        Args:
            x: (B, C, X, Y, Z).
            hidden: (B, X / px, Y / py, Z / pz) booleans, one for each patch that is embedded.
            token: (dim,) what stands for them; a position that the encoder knows is added to it.
            norm: does the map pass the encoder's last norm?
        """
        raise NotImplementedError


class TokenEncoder(Encoder):
    """An encoder over patches that can also read a subset of them (masked autoencoders)."""

    is_tokens = True

    def tokens(self, x: Tensor, rescale: bool = False, only: Tensor | None = None) -> Tensor:
        """Return embedded patches with their positions added, (B, N, dim), or those ``only`` (B, n, dim).

        Args:
            x: of the size that the positions are for, or, with ``rescale``, of any whole number of patches:
                positions are then interpolated, so that they say where in the view a patch lies.
            rescale: see above.
            only: (B, n) indices of the patches that are embedded, by default all in order.
        """
        raise NotImplementedError

    def run(self, tokens: Tensor, norm: bool = True) -> Tensor:
        """Pass any subset of tokens (B, n, dim) through all blocks, then the final norm."""
        raise NotImplementedError

    def levels(self, tokens: Tensor) -> list[Tensor]:
        """Pass any subset of tokens (B, n, dim) through all blocks; return what a pyramid is made of.

        As many as ``forward`` returns maps, the earliest first; the last is that of ``run``.
        """
        raise NotImplementedError

    def patchify(self, x: Tensor) -> Tensor:
        """Return raw voxels per patch, (B, N, px*py*pz*C): x, y, z in C order, channel last."""
        return patchify(x, self.patch)


def patchify(x: Tensor, patch: Triple) -> Tensor:
    """Return the voxels of each patch of (B, C, X, Y, Z), (B, N, px*py*pz*C): C order, channel last."""
    b, c = x.shape[:2]
    px, py, pz = patch
    gx, gy, gz = (n // p for n, p in zip(x.shape[2:], patch, strict=True))
    x = x.reshape(b, c, gx, px, gy, py, gz, pz)
    return x.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(b, gx * gy * gz, px * py * pz * c)


def unpatchify(voxels: Tensor, patch: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return the image of ``shape`` (B, C, X, Y, Z) whose patches have these voxels: undoes ``patchify``."""
    b, c, *sides = shape
    grid = [n // p for n, p in zip(sides, patch, strict=True)]
    return voxels.reshape(b, *grid, *patch, c).permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(b, c, *sides)


class Decoder(nn.Module):
    """Turns the input and the encoder's pyramid into logits on the input's grid."""

    output: ClassVar[str] = "out"  # the layer whose channels are the classes

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return (B, out_channels, X, Y, Z)."""
        raise NotImplementedError

    def scales(self, x: Tensor, features: list[Tensor]) -> list[Tensor]:
        """Return logits at every resolution that has a head, the input's first (deep supervision)."""
        return [self.forward(x, features)]


class NoDecoder(Decoder):
    """Stands where a network has an encoder alone and so gives no label maps."""

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Refuse.

        Raises:
            BenchError: always.
        """
        raise BenchError("this network has no decoder; classify with it, or use one that segments")


def flat(x: Tensor, dims: int) -> Tensor:
    """Return a batch as a network of ``dims`` dimensions reads it: (B, C, X, Y, 1) as (B, C, X, Y).

    Raises:
        BenchError: several slices for a network of two dimensions.
    """
    if dims == 3 or x.ndim == 4:
        return x
    if x.shape[-1] != 1:
        raise BenchError(
            f"a 2D network was given {tuple(x.shape[2:])} voxels; cut the volume to slices (x, y, 1)"
        )
    return x[..., 0]


def alike(y: Tensor, x: Tensor) -> Tensor:
    """Return what a network of two dimensions made of ``x`` with as many axes as ``x`` has."""
    return y if y.ndim == x.ndim else y[..., None]


class Model(nn.Module):
    """An encoder and what reads it, with the facts a checkpoint's manifest needs."""

    version: int = 1  # of the architecture and its initialisation, from the catalog
    output: str  # how the keys of the output layer begin: its classes are those of one data set

    def __init__(
        self, name: str, preset: str, crop: Triple, channels: tuple[int, int], encoder: Encoder
    ) -> None:
        super().__init__()
        self.name, self.preset, self.crop = name, preset, crop
        self.full_name = f"{name}/{preset}"
        self.in_channels, self.out_channels = channels
        self.encoder = encoder


class Network(Model):
    """Encoder and decoder: one label per voxel."""

    def __init__(
        self,
        name: str,
        preset: str,
        crop: Triple,
        channels: tuple[int, int],
        encoder: Encoder,
        decoder: Decoder,
    ) -> None:
        super().__init__(name, preset, crop, channels, encoder)
        self.decoder = decoder
        self.output = f"decoder.{decoder.output}."

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, out_channels, X, Y, Z)."""
        return self.decoder(x, self.encoder(x))

    def scales(self, x: Tensor) -> list[Tensor]:
        """Return logits at every resolution that the decoder has a head for, the input's first."""
        return self.decoder.scales(x, self.encoder(x))


class Classifier(Model):
    """Encoder and one linear layer on its averaged bottleneck: one class per crop.

    Args:
        network: whose encoder and facts are taken; its decoder is left behind.
        classes: number of classes.
        hidden: units of a layer between the two, with ReLU, batch norm and dropout of a half; 0: none.
    """

    output = "head."

    def __init__(self, network: Network, classes: int, hidden: int = 0) -> None:
        channels = (network.in_channels, classes)
        super().__init__(network.name, network.preset, network.crop, channels, network.encoder)
        self.version = network.version
        width = network.encoder.widths[-1]
        self.head: nn.Module = nn.Linear(hidden or width, classes)
        if hidden:
            layers = nn.Linear(width, hidden), nn.ReLU(), nn.BatchNorm1d(hidden), nn.Dropout(0.5)
            self.head = nn.Sequential(*layers, self.head)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        return self.head(self.encoder.embed(x))
