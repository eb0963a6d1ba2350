"""Volume Fusion: mix two crops by a map of a few coefficients, and name each voxel's coefficient."""

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench import augment
from bench.augment.draw import chance, per_sample, uniform
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, MethodParams, Triple
from bench.pretext.boxes import read_at
from bench.pretext.deform import integers
from bench.pretext.losses import full_precision
from bench.random import rand, randint
from bench.ranges import Count, Factors, Pair, Share
from bench.source import Source

SMOOTH = 1e-5  # nnssl: smooth, above and below the line
DARK, BRIGHT = 0.1, 0.9  # code: where the two percentiles come to lie in [0, 1]


class VolumeFusion(Method):
    """Wang et al. 2023: a segmentation task without labels, so the decoder is pretrained, too."""

    title = "Volume Fusion"
    needs = "decoder"
    source = Source(
        "G. Wang et al., MIS-FM: 3D Medical Image Segmentation using Foundation Models Pretrained on a "
        "Large-Scale Unannotated Dataset, arXiv 2023",
        "https://arxiv.org/abs/2306.16925",
        "https://github.com/HiLab-git/PyMIC",
    )
    fidelity = "loss, patches and mixture compared with nnssl's code, views with the authors'"
    figure = Figure(
        "named",
        "voxels whose coefficient was predicted correctly, mean over coefficients",
        "chance",
    )
    across_batch = False
    version = 2  # 2: patches as the authors draw them

    @dataclass(frozen=True)
    class Params(MethodParams):
        """'code' is the authors' PyMIC @ 8bcebd6; the paper's numbers as nnssl @ 7044864 cites them.

        Patches are those of PyMIC's ``net_run/self_sup/util.py``, the grid that of ``transform/crop4vf.py``.
        """

        levels: Count = 4  # paper: K; the coefficients are 0, 1/K, ..., 1
        # paper: of the other half of the batch; code: a second crop of the same scan
        partner: Literal["another", "same"] = "another"
        # paper: patches over each other; code: a grid of equal blocks, of which some get a coefficient
        layout: Literal["patches", "grid"] = "patches"
        # code: classes 1 to K, centres anywhere, cut off at the border; nnssl: classes 0 to K, all inside
        patch_rule: Literal["authors", "nnssl"] = "authors"
        patches: tuple[Count, Count] = (
            10,
            40,
        )  # paper: M, of a crop; PyMIC_examples has these, too
        smallest: Count = 8  # paper and code: voxels, least side of a patch or block
        largest: Share = 0.625  # paper: 40 of 64 and 80 of 128 voxels, most of a crop's side
        largest_block: Count = 32  # code: voxels, most of a block of the grid
        mixed: Share = 0.7  # code: share of the grid's blocks whose coefficient is not 0
        scale: Factors = (0.7, 1.5)  # code: box that is read, in crops, each axis for itself
        flip: Share = 0.5  # code: each axis
        percentiles_low: Pair = (0.1, 2.0)  # code: what becomes a tenth of the range
        percentiles_high: Pair = (98.0, 99.9)  # code: and nine tenths
        contrast: Share = 1.0  # code: how often these are moved
        gamma: Share = 1.0  # code
        gamma_exponent: Factors = (0.7, 1.5)  # code
        inverted: Share = 0.25  # code: both crops, dark for bright
        transfer: Literal["all", "encoder"] = "all"  # paper: encoder and decoder

        def __post_init__(self) -> None:
            if self.patches[0] > self.patches[1]:
                raise self.refusal(
                    f"patches = {self.patches}; the second number must not be smaller than the "
                    "first"
                )

        def out_channels(self, in_channels: int, classes: int) -> int:
            """Return the number of coefficients."""
            return self.levels + 1

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read a box to mix in and one to mix into, resized to the crop: ``pair`` (2, C, X, Y, Z)."""
            other = volume.another(rng) if self.partner == "another" else volume
            return {"pair": np.stack([self.box(v, crop, rng) for v in (volume, other)])}

        def box(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> np.ndarray:
            """Read one box, no larger than the volume, resized to the crop, (C, X, Y, Z)."""
            wanted = (np.array(crop) * rng.uniform(*self.scale, size=3)).astype(int)
            size = np.clip(wanted, 1, volume.shape)
            return read_at(volume, volume.random_start(size.tolist(), rng), size, crop)

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Change both crops, draw where which coefficient lies, and mix.

            Returns:
                ``crop`` (B, C, X, Y, Z), the first crop where the class is ``levels``, the second where
                it is 0; ``label`` (B, X, Y, Z), the classes.
            """
            rows = len(batch["pair"])
            pair = self.changed(batch["pair"].flatten(0, 1), generator).unflatten(0, (rows, 2))
            draw = self.patched if self.layout == "patches" else self.gridded
            label = draw(rows, crop, generator)
            share = (label / self.levels).to(pair.dtype)[:, None]
            return {"crop": share * pair[:, 0] + (1 - share) * pair[:, 1], "label": label}

        def changed(self, x: Tensor, generator: torch.Generator) -> Tensor:
            """Mirror crops (2 B, C, X, Y, Z), and change their intensities within their own range."""
            x, _ = augment.random_flip(x, self.flip, generator)
            contrasted = chance(len(x), self.contrast, generator)
            low = uniform(len(x), self.percentiles_low, generator)
            high = uniform(len(x), self.percentiles_high, generator)
            x = torch.where(per_sample(contrasted), stretched(x, low / 100, high / 100), x)
            x = augment.gamma(x, self.gamma, self.gamma_exponent, generator)
            inverted = chance(len(x) // 2, self.inverted, generator).repeat_interleave(2)
            turned = x.amin((2, 3, 4), keepdim=True) + x.amax((2, 3, 4), keepdim=True) - x
            return torch.where(per_sample(inverted), turned, x)

        def patched(self, rows: int, crop: Triple, generator: torch.Generator) -> Tensor:
            """Draw classes (rows, X, Y, Z): patches of one class each, later ones over earlier ones."""
            few, most = self.patches
            count = randint(few, most + 1, rows, generator)
            cut = self.patch_rule == "authors"
            classes = randint(1 if cut else 0, self.levels + 1, (rows, most), generator)
            longest = [max(1, int(self.largest * n)) for n in crop]
            drawn = rand((rows, most, 3), generator).unbind(2)
            sides = [
                integers(min(n, self.smallest), n, u) for n, u in zip(longest, drawn, strict=True)
            ]
            side = torch.stack(sides, 2).long()
            drawn = rand((rows, most, 3), generator).unbind(2)
            starts = [
                integers(0, n - 1, u) - along // 2 if cut else integers(0, n - along, u)
                for n, along, u in zip(crop, side.unbind(2), drawn, strict=True)
            ]
            start = torch.stack(starts, 2).long()
            label = torch.zeros((rows, *crop), dtype=torch.long, device=side.device)
            for k in range(most):
                inside = boxed(start[:, k], side[:, k], crop) & (k < count)[:, None, None, None]
                label = torch.where(inside, classes[:, k, None, None, None], label)
            return label

        def gridded(self, rows: int, crop: Triple, generator: torch.Generator) -> Tensor:
            """Draw classes (rows, X, Y, Z): blocks of one size a sample, of which ``mixed`` are not 0."""
            extent = torch.tensor(crop, device=generator.device)
            least, most = extent.clamp(max=self.smallest), extent.clamp(max=self.largest_block)
            side = integers(least, most, rand((rows, 3), generator)).long()
            start = integers(
                torch.zeros_like(side), extent % side, rand((rows, 3), generator)
            ).long()
            cells = prod((extent // least).tolist())
            order, drawn = (
                rand((rows, cells), generator),
                randint(1, self.levels + 1, (rows, cells), generator),
            )
            label = torch.zeros((rows, *crop), dtype=torch.long, device=side.device)
            for row in range(rows):
                sides, corner = side[row].tolist(), start[row].tolist()
                grid = [n // s for n, s in zip(crop, sides, strict=True)]
                blocks = drawn[row, : prod(grid)].clone()
                blocks[order[row, : prod(grid)].argsort()[int(self.mixed * prod(grid)) :]] = 0
                blocks = blocks.view(*grid)
                for axis, n in enumerate(sides):
                    blocks = blocks.repeat_interleave(n, dim=axis)
                at = tuple(slice(a, a + n) for a, n in zip(corner, blocks.shape, strict=True))
                label[row][at] = blocks
            return label

    params: Params

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return Dice loss plus cross-entropy, and the share of correct voxels of each coefficient."""
        logits, label = self.decoder(batch["crop"], self.encoder(batch["crop"])), batch["label"]
        terms = {"dice": overlap(logits, label), "entropy": entropy(logits, label)}
        return {"total": terms["dice"] + terms["entropy"], **terms, **named(logits, label)}


def boxed(start: Tensor, side: Tensor, crop: Triple) -> Tensor:
    """Return which voxels (N, X, Y, Z) lie in a box of each row, by corners and sides (N, 3)."""
    along = []
    for axis, n in enumerate(crop):
        at = torch.arange(n, device=start.device)
        first, length = start[:, axis, None], side[:, axis, None]
        along.append((at >= first) & (at < first + length))
    x, y, z = along
    return x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]


@full_precision
def stretched(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Move two quantiles (N,) of each channel to ``DARK`` and ``BRIGHT`` of its range, linear between.

    Args:
        x: (N, C, X, Y, Z); its lowest and highest values stay.
        low: which quantile becomes dark, in [0, 1].
        high: which becomes bright.
    """
    ranked = x.flatten(2).sort(dim=2).values
    first, last = ranked[..., :1], ranked[..., -1:]
    dark, bright = (_quantile(ranked, q) for q in (low, high))
    span = (last - first).clamp_min(1e-12)
    flat = x.flatten(2)
    below = (flat - first) / (dark - first).clamp_min(1e-12) * DARK
    middle = DARK + (flat - dark) / (bright - dark).clamp_min(1e-12) * (BRIGHT - DARK)
    above = BRIGHT + (flat - bright) / (last - bright).clamp_min(1e-12) * (1 - BRIGHT)
    unit = torch.where(flat < dark, below, torch.where(flat > bright, above, middle))
    return (first + span * unit.clamp(0, 1)).reshape(x.shape)


def _quantile(ranked: Tensor, q: Tensor) -> Tensor:
    """Return a quantile of each row's sorted values (N, C, n), linear between two: (N, C, 1)."""
    at = (q * (ranked.shape[2] - 1))[:, None, None].expand(-1, ranked.shape[1], 1)
    low = at.long()
    high = (low + 1).clamp(max=ranked.shape[2] - 1)
    return ranked.gather(2, low).lerp(ranked.gather(2, high), (at - low).to(ranked.dtype))


@full_precision
def overlap(logits: Tensor, label: Tensor) -> Tensor:
    """Return 1 less the mean over samples and classes of Dice, the class 0 included."""
    from monai.losses import DiceLoss  # listing methods must not wait for MONAI

    dice = DiceLoss(to_onehot_y=True, softmax=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)
    loss: Tensor = dice(logits, label[:, None])
    return loss


@full_precision
def entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy over all voxels."""
    return functional.cross_entropy(logits, label)


@torch.no_grad()
def named(logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return ``named``, the mean over a sample's classes of the share of correct voxels, and ``chance``.

    Who guesses, by whatever frequencies, gets one in as many as a sample has; both are means over samples.
    """
    right = (logits.argmax(1) == label).flatten(1).float()
    none, names = right.new_zeros(len(label), logits.shape[1]), label.flatten(1)
    count, hits = (none.scatter_add(1, names, n) for n in (torch.ones_like(right), right))
    share, classes = hits / count.clamp_min(1), (count > 0).sum(1)
    return {"named": (share.sum(1) / classes).mean(), "chance": (1 / classes).mean()}
