"""vox2vec: a voxel's vectors from all levels of a pyramid, alike in two crops that hold it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import distributed
from bench.augment import values
from bench.augment.draw import Each, chance, fields, per_sample, seeds, uniform
from bench.augment.rows import change
from bench.data.reader import Volume
from bench.method import Arrays, Batch, EncoderMaps, Figure, Method, MethodParams, Recipe, Triple
from bench.nets import Network
from bench.pretext import nuisance
from bench.pretext.heads import mlp
from bench.pretext.losses import nt_xent, spread
from bench.pretext.pair import TRIES, Pairing, draw_pair
from bench.pretext.units import amounts, twice
from bench.ranges import Amounts, Count, Factors, Positive, Share, Shares
from bench.source import Source

FLAT = 1e-3  # voxels, a sigma along z that changes nothing: filters are of the axial plane
ONE = (1, 1, 1)
REACH = 4  # sigmas, SciPy's, at which a Gaussian is cut off


class Vox2Vec(Method):
    """Goncharov et al. 2023: InfoNCE between voxels, whose vectors are read at every level of a pyramid."""

    title = "vox2vec"
    source = Source(
        "M. Goncharov et al., vox2vec: A Framework for Self-supervised Contrastive Learning of Voxel-Level "
        "Representations in Medical Images, MICCAI 2023",
        "https://arxiv.org/abs/2307.14725",
        "https://github.com/mishgon/vox2vec",
    )
    version = 2  # 2: both crops hold one drawn voxel, as in the code
    fidelity = (
        "official code compared: vectors from the pyramid, top-down path, head, loss, gradients"
    )
    figure = Figure(
        "retrieval", "voxels whose nearest vector is their own in the other crop", "chance"
    )

    @dataclass(frozen=True)
    class Params(MethodParams):
        """'code' is mishgon/vox2vec @ 734e757; Hounsfield units as shares of its window, -1350 to 1000."""

        # code: both crops hold one voxel, drawn first; overlap: anywhere, if they share enough
        pair: Literal["anchor", "overlap"] = "anchor"
        voxels: Count = 1024  # code: of a pair of crops, at most there
        temperature: Positive = 0.1  # code
        out: Count = 128  # code: proj_dim
        top_down: bool = True  # paper: a feature pyramid network; off = the encoder's own maps
        blocks: Count = 2  # code: residual blocks a level of the top-down path
        # code: voxels of the body, from -500 HU on (.362); None = any
        body: float | None = None
        filtered: Share = 0.5  # code: blurred or sharpened, one as often as the other
        blur_sigma: Factors = (0.25, 1.5)  # code, voxels, in the plane
        sharpen_sigma: Factors = (0.5, 1.0)  # code, of what is sharpened
        sharpen_less: Positive = 0.5  # code: sigma of what is taken away
        sharpen_weight: Amounts = (10.0, 30.0)  # code: alpha
        noise: Share = 0.5  # code
        noise_std: Amounts = (0.0, 30 / 2350)  # code: 0 to 30 HU
        window: Share = 0.8  # code
        window_low: Amounts = (0.0, 350 / 2350)  # code: -1350 to -1000 HU
        window_high: Shares = (1650 / 2350, 1.0)  # code: 300 to 1000 HU

        crops_per_sample = 2  # two crops

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the operations of the top-down path on both crops, and of the head on its voxels."""
            cells = [prod(crop) / prod(stride) for stride in maps.strides]
            total = 0.0
            for level, width in enumerate(maps.widths[:-1] if self.top_down else ()):
                total += cells[level] * 2 * width**2 * (1 + 2 * 27 * self.blocks)
                total += cells[level + 1] * 2 * width * maps.widths[level + 1]
            wide = sum(maps.widths)
            head = self.voxels * 2 * (2 * wide**2 + wide * self.out)
            return 2 * (total + head)

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse more voxels than a crop has."""
            if self.voxels > prod(crop):
                raise self.refusal(
                    f"voxels = {self.voxels} but crops of {tuple(crop)} have {prod(crop)}; use fewer voxels"
                )

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read two crops that share ``voxels`` voxels at least, and draw so many of these.

            Returns:
                ``pair`` (2, C, X, Y, Z); ``voxel`` (2, n, 3), where each lies in either crop.
            """
            start = self.starts(volume, crop, rng)
            pair = np.stack([volume.crop(corner.tolist(), crop) for corner in start])
            low, high = start.max(0), start.min(0) + crop
            # of a scan that is shorter than the crop, voxels of its padding only where others are too few
            real = np.maximum(low, 0), np.minimum(high, volume.shape)
            if prod((real[1] - real[0]).clip(0)) >= self.voxels:
                low, high = real
            chosen = self.chosen(pair[0][0], low - start[0], high - low, rng)
            voxel = np.stack(np.unravel_index(chosen, high - low), axis=1)
            return {"pair": pair, "voxel": voxel + (low - start)[:, None]}

        def starts(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> np.ndarray:
            """Draw where both crops start, (2, 3); along axes shorter than the crop they are centred."""
            if self.pair == "overlap":
                share = self.voxels / prod(crop)
                return draw_pair(volume.shape, crop, Pairing(overlap=share), rng)[0]
            room, side = np.subtract(volume.shape, crop), np.minimum(volume.shape, crop)
            for _ in range(TRIES):
                anchor = rng.integers(volume.shape)
                first = np.maximum(anchor - crop + 1, 0)
                drawn = rng.integers(first, np.minimum(anchor, room.clip(0)) + 1, (2, 3))
                start = np.where(room < 0, room // 2, drawn)
                enough = prod(side - abs(start[0] - start[1])) >= min(self.voxels, prod(side))
                if enough and (
                    self.body is None or volume.crop(anchor.tolist(), ONE)[0].item() >= self.body
                ):
                    return start
            return start[[0, 0]]

        def chosen(
            self, image: np.ndarray, corner: np.ndarray, size: np.ndarray, rng: np.random.Generator
        ) -> np.ndarray:
            """Draw voxels of a box of an image (X, Y, Z), none twice, (n,): of the body as long as there are."""
            inside = np.ones(prod(size), bool)
            if self.body is not None:
                box = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
                inside = (image[box] >= self.body).ravel()
            body, rest = np.flatnonzero(inside), np.flatnonzero(~inside)
            count = min(self.voxels, len(body))
            first = rng.choice(body, count, replace=False)
            return np.concatenate([first, rng.choice(rest, self.voxels - count, replace=False)])

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Change the intensities of both crops: ``views`` (B, 2, C, X, Y, Z)."""
            x = self.changed(batch["pair"].flatten(0, 1), twice(batch.get("zscored")), generator)
            return {"views": x.unflatten(0, (-1, 2)), "voxel": batch["voxel"].long()}

        def changed(self, x: Tensor, zscored: Tensor | None, g: torch.Generator) -> Tensor:
            """Filter, add noise, and look through another window, in the code's order; rows (N, C, X, Y, Z)."""
            rows, p = len(x), self
            bounds = amounts(p.noise_std, x, "unit", zscored)
            low, high = reach(x, zscored)
            filtered, blurred = chance(rows, p.filtered, g), chance(rows, 0.5, g)
            sigma, weight = uniform(rows, p.blur_sigma, g), uniform(rows, p.sharpen_weight, g)
            sharp = uniform(rows, p.sharpen_sigma, g)
            x = change(
                x,
                filtered & blurred,
                lambda y, at: y.copy_(in_plane(y, sigma[at], p.blur_sigma[1])),
                False,
            )
            x = change(
                x,
                filtered & ~blurred,
                lambda y, at: y.copy_(
                    sharpened(y, sharp[at], p.sharpen_sigma[1], p.sharpen_less, weight[at])
                ),
                True,
            )
            noisy, std, seed = chance(rows, p.noise, g), uniform(rows, bounds, g), seeds(rows, g)
            x = change(
                x,
                noisy,
                lambda y, at: y.add_(per_sample(std[at]).to(y) * fields(y, seed[at])),
                True,
            )
            seen = [low + (high - low) * per_sample(n) for n in self.windows(rows, g)]
            return windowed(x, (low, high), (seen[0], seen[1]))

        def windows(self, rows: int, g: torch.Generator) -> Each:
            """Draw windows (N,) each, as shares of the range: all of it where there is none."""
            other = chance(rows, self.window, g)
            low, high = uniform(rows, self.window_low, g), uniform(rows, self.window_high, g)
            return low * other, torch.where(other, high, 1.0)

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        widths = network.encoder.widths
        self.path: nn.Module = TopDown(widths, params.blocks) if params.top_down else nn.Identity()
        total = sum(widths)
        self.projector = mlp([total, total, total, params.out], "batch")

    def vectors(self, view: Tensor, voxel: Tensor) -> Tensor:
        """Return the embedded voxels (B, n, 3) of a view, (B n, out)."""
        pyramid = self.path(self.encoder(view))
        return self.projector(read_voxels(pyramid, voxel, view.shape[2:]).flatten(0, 1))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return InfoNCE over the voxels of all crops, and how often a voxel finds itself."""
        both = [
            self.vectors(view, voxel)
            for view, voxel in zip(batch["views"].unbind(1), batch["voxel"].unbind(1), strict=True)
        ]
        first, second = (distributed.gather(z) for z in both)
        total, retrieval = nt_xent(first, second, self.params.temperature)
        return {
            "total": total,
            "retrieval": retrieval,
            "chance": guessed(batch["views"], batch["voxel"]),
            "std": spread(torch.cat([first, second]).detach()),
        }


class TopDown(nn.Module):
    """The path down a feature pyramid network: coarse maps are added to finer ones, level by level.

    Args:
        widths: channels of an encoder's maps, finest first, which this path's maps have, too.
        blocks: residual blocks a level.
    """

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        fine, coarse = widths[:-1], widths[1:]
        self.up = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in zip(fine, coarse, strict=True))
        self.skip = nn.ModuleList(nn.Conv3d(width, width, 1) for width in fine)
        self.blocks = nn.ModuleList(
            nn.Sequential(*[Residual(width) for _ in range(blocks)]) for width in fine
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return maps of the sizes given, finest first."""
        pyramid = [maps[-1]]
        levels = zip(self.up, self.skip, self.blocks, maps[:-1], strict=True)
        for up, skip, blocks, x in reversed(list(levels)):
            coarse = functional.interpolate(up(pyramid[0]), x.shape[2:], mode="nearest")
            pyramid.insert(0, blocks(coarse + skip(x)))
        return pyramid


class Residual(nn.Module):
    """Two convolutions of 3 x 3 x 3, norm and ReLU before each, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = [nn.BatchNorm3d(width), nn.ReLU(), nn.Conv3d(width, width, 3, padding=1)]
        other = [nn.BatchNorm3d(width), nn.ReLU(), nn.Conv3d(width, width, 3, padding=1)]
        self.layers = nn.Sequential(*half, *other)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map like ``x``."""
        return x + self.layers(x)


def read_voxels(pyramid: Sequence[Tensor], voxel: Tensor, crop: Sequence[int]) -> Tensor:
    """Return what the maps of a pyramid hold at voxels, one after the other: (B, n, sum of channels).

    Args:
        pyramid: maps (B, C, x, y, z) of any sizes.
        voxel: (B, n, 3) whole numbers.
        crop: voxels that the maps are of.
    """
    levels = []
    for level in pyramid:
        sides = zip(voxel.unbind(2), level.shape[2:], crop, strict=True)
        x, y, z = (at * cells // n for at, cells, n in sides)
        offset = (x * level.shape[3] + y) * level.shape[4] + z
        index = offset[:, None].expand(-1, level.shape[1], -1)
        levels.append(level.flatten(2).gather(2, index))
    return torch.cat(levels, 1).transpose(1, 2)


@torch.no_grad()
def guessed(views: Tensor, voxel: Tensor) -> Tensor:
    """Return how often a voxel is found by who knows its scan and its own intensities, and sees nothing else.

    The larger of one in all other voxels of the pair, and of the nearest in intensity among these.

    Args:
        views: (B, 2, C, X, Y, Z).
        voxel: (B, 2, n, 3).
    """
    rows = read_voxels([views.flatten(0, 1)], voxel.flatten(0, 1), views.shape[3:])
    both = rows.float().unflatten(0, (-1, 2)).flatten(1, 2)  # (B, 2 n, C)
    count = both.shape[1]
    allowed = ~torch.eye(count, dtype=torch.bool, device=both.device).expand(len(both), -1, -1)
    partner = torch.arange(count, device=both.device).roll(count // 2).expand(len(both), -1)
    distance = torch.cdist(both, both, compute_mode=nuisance.EXACT)
    return nuisance.guessed(distance, partner, allowed)


def reach(x: Tensor, zscored: Tensor | None) -> Each:
    """Return the lowest and the highest value that a row's window shows, (N, 1, 1, 1, 1).

    0 and 1 where the recipe leaves [0, 1], or nobody says; else the row's own extremes.
    """
    flat = x.flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    unit = torch.ones_like(low, dtype=torch.bool) if zscored is None else ~zscored
    return per_sample(low.masked_fill(unit, 0.0)), per_sample(high.masked_fill(unit, 1.0))


def windowed(x: Tensor, shown: Each, seen: Each) -> Tensor:
    """Stretch what lies within ``seen`` over ``shown``, and cut off the rest."""
    (low, high), (dark, bright) = shown, seen
    share = (x - dark) / (bright - dark).clamp_min(1e-6)
    return low + share.clamp(0, 1) * (high - low)


def in_plane(x: Tensor, sigma: Tensor, most: float) -> Tensor:
    """Blur rows along x and y by a Gaussian of ``sigma`` (N,) voxels, at ``most`` so many."""
    radius = int(REACH * most + 0.5)
    return values.blur(x, torch.stack([sigma, sigma, torch.full_like(sigma, FLAT)], 1), radius)


def sharpened(x: Tensor, sigma: Tensor, most: float, less: float, weight: Tensor) -> Tensor:
    """Blur rows, and add ``weight`` (N,) times what a second blur of sigma ``less`` takes away."""
    soft = in_plane(x, sigma, most)
    return soft + per_sample(weight) * (soft - in_plane(soft, torch.full_like(sigma, less), less))
