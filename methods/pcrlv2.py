"""PCRLv2: restore a spoilt crop without skips, and agree with views that overlap it, scale by scale."""

from dataclasses import dataclass
from math import pi, prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import augment, distributed
from bench.augment.draw import uniform
from bench.constants import constant
from bench.data.reader import Volume
from bench.method import Arrays, Batch, EncoderMaps, Figure, Method, MethodParams, Triple
from bench.nets import Network, catalog
from bench.nets.interpolation import on_grid
from bench.pretext.boxes import overlapping, read_at
from bench.pretext.heads import mlp
from bench.pretext.losses import full_precision, mean_squared, spread
from bench.pretext.moves import Moves, reach
from bench.pretext.three_heads import doublings
from bench.random import rand
from bench.ranges import Amount, Amounts, Share, Whole
from bench.source import Source

Scales = list[tuple[Tensor, Tensor]]


class PCRLv2(Method):
    """Zhou et al. 2023, by their code: SimSiam's agreement at a random scale of a decoder without skips."""

    title = "PCRLv2"
    source = Source(
        "H.-Y. Zhou et al., A Unified Visual Information Preservation Framework for Self-supervised "
        "Pre-training in Medical Image Analysis, TPAMI 2023",
        "https://arxiv.org/abs/2301.00772",
        "https://github.com/RL4M/PCRLv2",
    )
    figure = Figure("restored", "restoration error", "flat", rises=False)
    fidelity = (
        "official code compared: steps of its training loop; views by torchio's documented defaults"
    )
    min_batch = 2  # batch norm of pooled features

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the code's, of crops of 64 x 64 x 32 (luna_preprocess.py, data.py, train_3d.py)."""

        # code, voxels
        sizes: tuple[Triple, ...] = ((96, 96, 64), (96, 96, 96), (112, 112, 64), (64, 64, 32))
        iou: Share = 0.3  # code: two boxes overlap by more
        locals: Whole = 6  # code, local views; 0 leaves them out
        # code
        local_sizes: tuple[Triple, ...] = ((32, 32, 16), (16, 16, 16), (32, 32, 32), (8, 8, 8))
        local_crop: Triple = (16, 16, 16)  # code
        local_margin: Whole = 3  # code: corners lie in the union's box, or so far outside
        flip: Share = 0.5  # code: torchio's default, along x
        degrees: Amount = 10.0  # code: torchio's default, about each axis
        zoom: Share = 0.1  # code: torchio's default, each axis on its own
        blur_sigma: Amounts = (0.0, 2.0)  # code: torchio's default
        noise_std: Amounts = (0.0, 0.25)  # code: torchio's default, of intensities in [0, 1]
        log_gamma: Amount = 0.3  # code: torchio's default
        swap: Triple = (8, 4, 4)  # code
        swaps: Whole = 100  # code: torchio's default
        # code: one scale of the decoder at each comparison
        scale: Literal["random", "all"] = "random"
        restore_weight: Amount = 1.0  # code
        global_weight: Amount = 1.0  # code
        local_weight: Amount = 1.0  # code
        middle_weight: Amount = 1.0  # code: falls to 0 along a half cosine over the run

        def check_batch(self, network: str, crop: Triple, rows: int, processes: int) -> None:
            """Refuse networks that cannot read the local views."""
            entry = catalog.network_facts(network)
            if self.locals and (
                entry.tokens
                or entry.views == "crops"
                or any(n % m for n, m in zip(self.local_crop, entry.multiple, strict=True))
            ):
                raise self.refusal(
                    f"network {network!r} cannot read local views of {self.local_crop}; use a network that reads "
                    f"any multiples of {entry.multiple} with such a local_crop, or set locals: 0"
                )

        def voxels_per_sample(self, crop: Triple) -> float:
            """Two global views, and the local ones."""
            return 2 * prod(crop) + self.locals * prod(self.local_crop)

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the decoder's operations.

            Without ``scale: all`` a way back begins at the scales that are drawn: of stage i (0: the coarsest)
            there is one where any of the draws that read a view is i or finer. The first view is restored.
            """
            factors, share = (
                doublings(maps.stride),
                self.locals * prod(self.local_crop) / prod(crop),
            )
            widths = [max(8, maps.width // 2**i) for i in range(len(factors) + 1)]
            cells, total = prod(crop) / prod(maps.stride), 2.0 * widths[-1] * prod(crop)
            for i, (a, b, factor) in enumerate(zip(widths, widths[1:], factors, strict=False)):
                cells *= prod(factor)
                draws = {"second": 1 + self.locals, "local": 2}
                back = {
                    k: 1 - (self.scale != "all") * (i / len(factors)) ** n for k, n in draws.items()
                }
                ways = 1 + (1 + 2 * back["second"]) / 3 + share * (1 + 2 * back["local"]) / 3
                picture = 1 if self.scale == "all" else (1 + 2 / len(factors)) / 3
                total += 2 * cells * (ways * (a * a + 27 * (a * b + b * b)) + picture * 27 * b)
            return total

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read ``pair`` (2, C, *crop) and ``locals`` (K, C, *local_crop), boxes resized."""
            start, size = overlapping(volume.shape, self.sizes, self.iou, rng)
            pair = np.stack([read_at(volume, a, s, crop) for a, s in zip(start, size, strict=True)])
            made = {"pair": pair}
            if self.locals:
                low, high = (
                    start.min(0) - self.local_margin,
                    (start + size).max(0) + self.local_margin,
                )
                own = np.array(self.local_sizes)[
                    rng.integers(len(self.local_sizes), size=self.locals)
                ]
                drawn = rng.integers(low, high, size=(self.locals, 3))
                corner = np.clip(drawn, 0, np.array(volume.shape) - 1)
                made["locals"] = np.stack(
                    [
                        read_at(volume, a, s, self.local_crop)
                        for a, s in zip(corner, own, strict=True)
                    ]
                )
            return made

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Move every view, keep the first global one as the target, and spoil them all.

            Returns:
                ``pair`` (B, 2, C, *crop) z-scored, ``locals``, ``target`` (B, C, *crop) in [0, 1], and
                ``scale`` (B, 1 + 2 K), alike in all rows: in [0, 1), at which scale each comparison is made.
            """
            pair = batch["pair"]
            low, span = reach(pair)
            moves = Moves(self.flip, self.degrees, self.zoom)
            moved = moves.applied(((pair - low) / span).flatten(0, 1), generator)
            made = {"target": moved[::2]}
            made["pair"] = znormed(
                swapped(self.spoilt(moved, generator), self.swap, self.swaps, generator)
            )
            if self.locals:
                small = moves.applied(((batch["locals"] - low) / span).flatten(0, 1), generator)
                made["locals"] = znormed(self.spoilt(small, generator)).unflatten(
                    0, (-1, self.locals)
                )
            made["pair"] = made["pair"].unflatten(0, (-1, 2))
            # not from bench.random, which gives each part of a batch its own
            key = torch.rand(1 + 2 * self.locals, generator=generator, device=pair.device)
            return {**made, "scale": key.expand(len(pair), -1)}

        def spoilt(self, x: Tensor, generator: torch.Generator) -> Tensor:
            """Blur, add noise, and change gamma, in torchio's order."""
            x = augment.gaussian_blur(x, 1.0, self.blur_sigma, generator)
            x = augment.gaussian_noise(x, 1.0, self.noise_std, generator, unit="std")
            power = uniform(len(x), (-self.log_gamma, self.log_gamma), generator).exp()
            return x.sign() * x.abs() ** power.view(-1, 1, 1, 1, 1)

    params: Params
    progress: Tensor

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        factors = doublings(catalog.network_facts(network.full_name).pyramid[-1])
        width, channels = network.encoder.widths[-1], network.in_channels
        widths = [max(8, width // 2**i) for i in range(len(factors) + 1)]
        self.stages = nn.ModuleList(
            Stage(a, b, f, channels) for a, b, f in zip(widths, widths[1:], factors, strict=False)
        )
        self.out = nn.Conv3d(widths[-1], channels, 1)
        self.register_buffer("progress", torch.zeros(()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the restoration's and the agreement's terms; each view has its own batch statistics."""
        p, target = self.params, batch["target"]
        last, first, maps = self.seen(batch["pair"][:, 0])
        _, second, _ = self.seen(batch["pair"][:, 1])
        at = (batch["scale"][0] * len(self.stages)).long().tolist()
        restored = mean_squared(self.out(last).sigmoid(), target)
        agree = self.agreement(first, second, at[0])
        shape = target.shape[2:]
        drawn = (
            stage.get_submodule("picture")(x) for stage, x in zip(self.stages, maps, strict=True)
        )
        pictures = [mean_squared(on_grid(picture.sigmoid(), shape), target) for picture in drawn]
        # from a list: what is not drawn has no gradient, as in the code; one of 0 would let momentum go on
        middle = torch.stack(pictures).mean() if p.scale == "all" else pictures[at[0]]
        fading = 0.5 * (1 + torch.cos(pi * self.progress))
        total = (
            p.restore_weight * restored
            + p.global_weight * agree
            + p.middle_weight * fading * middle
        )
        terms = {"restored": restored, "agree": agree, "middle": middle}
        if p.locals:
            _, small, _ = self.seen(batch["locals"].flatten(0, 1))
            each = (
                [(z[k :: p.locals], q[k :: p.locals]) for z, q in small] for k in range(p.locals)
            )
            pairs = [(view, local) for local in each for view in (first, second)]
            found = [
                self.agreement(*pair, scale) for pair, scale in zip(pairs, at[1:], strict=True)
            ]
            terms["local"] = torch.stack(found).mean()
            total = total + p.local_weight * terms["local"]
        flat = mean_squared(target.mean(dim=(2, 3, 4), keepdim=True).expand_as(target), target)
        told = distributed.gather(first[0][0].detach())
        return {"total": total, **terms, "flat": flat, "std": spread(told)}

    def seen(self, x: Tensor) -> tuple[Tensor, Scales, list[Tensor]]:
        """Return the finest map, and of each scale, coarsest first, features and prediction, and its map."""
        x, found, maps = self.encoder(x)[-1], [], []
        for stage in self.stages:
            x, z, q = stage(x)
            found.append((z, q))
            maps.append(x)
        return x, found, maps

    def agreement(self, one: Scales, two: Scales, at: int) -> Tensor:
        """Return minus the cosine of either's prediction and the other's features, at a scale or at all."""
        scales = range(len(one)) if self.params.scale == "all" else [at]
        return torch.stack([disagreement(*one[i], *two[i]) for i in scales]).mean()

    def after_step(self, progress: float) -> None:
        """Note how far the run is: the middle pictures count less and less."""
        self.progress.fill_(progress)


class Stage(nn.Module):
    """A doubling of the decoder without skips: two convolutions, features, their prediction, a picture.

    Args:
        width: channels that come in.
        out: channels that go out.
        factor: of each axis, 1 or 2.
        channels: of the image.
    """

    def __init__(self, width: int, out: int, factor: Triple, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(width, width, factor, factor)
        self.convs = nn.Sequential(*normed(width, out), *normed(out, out))
        self.norm = nn.BatchNorm1d(out)
        self.predict = mlp([out, 2 * out, out], "batch")
        self.picture = nn.Sequential(
            nn.Conv3d(out, channels, 3, padding=1), nn.BatchNorm3d(channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the map (B, out, ...), its features (B, out), and what is predicted from them."""
        x = self.convs(self.up(x))
        z, q = self.told(x)
        return x, z, q

    @full_precision
    def told(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and prediction; of few samples batch norm would make much of 16 bits' rounding."""
        z = self.norm(x.mean(dim=(2, 3, 4)))
        return z, self.predict(z)


def normed(width: int, out: int) -> list[nn.Module]:
    """Return a convolution, batch norm and rectifier."""
    return [nn.Conv3d(width, out, 3, padding=1), nn.BatchNorm3d(out), nn.ReLU()]


@full_precision
def disagreement(z1: Tensor, q1: Tensor, z2: Tensor, q2: Tensor) -> Tensor:
    """Return -(cos(q1, z2) + cos(q2, z1)) / 2, features z without gradient (Chen & He, CVPR 2021, Eq. 2)."""
    there, back = (functional.cosine_similarity(q, z.detach()) for q, z in ((q1, z2), (q2, z1)))
    return -(there.mean() + back.mean()) / 2


def znormed(x: Tensor) -> Tensor:
    """Return each row (B, C, X, Y, Z) with mean 0 and standard deviation 1, over all its channels."""
    dims = tuple(range(1, x.ndim))
    spread_of = x.std(dim=dims, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return (x - x.mean(dim=dims, keepdim=True)) / spread_of


def swapped(x: Tensor, side: Triple, times: int, generator: torch.Generator) -> Tensor:
    """Exchange two boxes of each row so many times; where they overlap nothing is exchanged.

    Each exchange is one step over the whole batch, on an index of voxels: boxes move what earlier ones left.
    """
    shape = x.shape[2:]
    side = (min(side[0], shape[0]), min(side[1], shape[1]), min(side[2], shape[2]))
    room = constant([n - s + 1 for n, s in zip(shape, side, strict=True)], x.device)
    corner = (rand((len(x), times, 2, 3), generator) * room).long()
    step = constant([shape[1] * shape[2], shape[2], 1], x.device)
    # sums of products, not @: a GPU has no matrix product of integers
    inside = (torch.cartesian_prod(*(torch.arange(s, device=x.device) for s in side)) * step).sum(
        -1
    )
    apart = ((corner[:, :, 0] - corner[:, :, 1]).abs() >= constant(side, x.device)).any(dim=2)
    places = (corner * step).sum(-1, keepdim=True) + inside  # (B, times, 2, voxels of a box)
    index = torch.arange(shape.numel(), device=x.device).repeat(len(x), 1)
    for k in range(times):
        a, b = places[:, k].unbind(1)
        b = torch.where(apart[:, k, None], b, a)
        held = index.gather(1, a)
        index = index.scatter(1, a, index.gather(1, b)).scatter(1, b, held)
    return x.flatten(2).gather(2, index[:, None].expand(-1, x.shape[1], -1)).view_as(x)
