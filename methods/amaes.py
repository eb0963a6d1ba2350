"""AMAES: spoil a crop as scanners do, hide most of it, and rebuild it as it was, without skips."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.augment import values
from bench.augment.draw import around_one, chance, fields, per_sample, seeds, uniform
from bench.augment.intensity import gaussian_blur, gaussian_noise
from bench.augment.rows import change
from bench.augment.scanner import bias_field, ghosting, ringing, within
from bench.method import Batch, Figure, Method, Triple
from bench.pretext.block_mask import HidesBlocks, grid, hidden_voxels
from bench.pretext.losses import full_precision
from bench.pretext.units import amounts
from bench.random import rand, randint
from bench.ranges import Amounts, Count, Factors, Share, Shares
from bench.source import Source

LEAST_SIGMA = 0.01  # voxels; code: 0, at which a Gaussian is not defined


class AMAES(Method):
    """Munk et al. 2024: masked image modelling and reversal of intensity augmentations at once."""

    title = "AMAES"
    needs = "decoder"
    version = 2  # 2: ringing rounds an odd count up, and may keep all
    source = Source(
        "A. Munk et al., AMAES: Augmented Masked Autoencoder Pretraining on Public Brain MRI Data for "
        "3D-Native Segmentation, ADSMI at MICCAI 2024",
        "https://arxiv.org/abs/2408.00640",
        "https://github.com/asbjrnmunk/amaes",
    )
    fidelity = "official code compared: mask, loss, bias field, ghosting, ringing; our decoder"
    figure = Figure("hidden", "error on hidden voxels", "flat", rises=False)
    across_batch = False

    @dataclass(frozen=True)
    class Params(HidesBlocks):
        """'code' is asbjrnmunk/amaes @ a51df88, preset 'all'; 'newer' is Sllambias/asparagus @ 338450b."""

        mask_ratio: Share = 0.6  # code and newer
        block: Count = 4  # code and newer: token_size
        masked_only: bool = False  # code and newer: the error is of all voxels
        skips: bool = False  # code and newer: none in pretraining
        noise: Share = (
            0.2  # code; newer: .1 each of noise, blur, product, ghosting, ringing, lowres
        )
        noise_std: Amounts = (1e-4, 1e-3)  # code and newer, of intensities in [0, 1]
        blur: Share = 0.1  # code: .2 of the scans, .5 of their channels
        blur_sigma: Factors = (LEAST_SIGMA, 1.0)  # code, voxels; newer: .5 to 1
        product: Share = 0.2  # code: times 1 + noise
        product_std: Amounts = (1e-4, 1e-3)  # code and newer
        ghosting: Share = 0.2  # code
        ghosting_strength: Shares = (0.85, 0.95)  # code and newer
        ghosting_every: tuple[Count, Count] = (2, 10)  # code, planes; newer: 2 to 4
        ringing: Share = 0.2  # code
        ringing_kept: Shares = (0.75, 1.0)  # code and newer: 96 to 128 of 128 frequencies
        lowres: Share = 0.1  # code: .2 of the scans, .5 of their channels
        lowres_axis: Share = 0.33  # code: of an axis, where it is done
        lowres_share: Shares = (0.5, 1.0)  # code and newer
        bias: Share = 0.33  # code; newer: .2
        gamma: Share = 0.2  # code and newer
        gamma_exponent: Factors = (0.5, 2.0)  # code and newer; as often below 1 as above
        gamma_negative: Share = 0.05  # code and newer: of the negative, where it is done
        transfer: Literal["all", "encoder"] = "encoder"  # code: the light decoder is thrown away

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Spoil every crop: ``spoilt`` beside ``crop``, both (B, C, X, Y, Z), and ``hidden`` (B, m)."""
            x = batch["crop"]
            spoilt = self.spoilt(x, batch.get("zscored"), generator)
            return {**super().views(batch, crop, generator), "spoilt": spoilt}

        def spoilt(self, x: Tensor, zscored: Tensor | None, generator: torch.Generator) -> Tensor:
            """Change intensities in the code's order, each within the range that a row had before it."""
            p, g, rows = self, generator, len(x)
            noise = amounts(p.noise_std, x, "unit", zscored)
            x = within(gaussian_noise(x, p.noise, noise, g, "std"), x)
            x = within(gaussian_blur(x, p.blur, p.blur_sigma, g), x)
            std, seed = uniform(rows, p.product_std, g), seeds(rows, g)
            x = self.sometimes(
                x, p.product, g, lambda y, at: y * (1 + per_sample(std[at]) * fields(y, seed[at]))
            )
            strength, axis = uniform(rows, p.ghosting_strength, g), randint(0, 3, rows, g)
            every = randint(p.ghosting_every[0], p.ghosting_every[1] + 1, rows, g)
            x = self.sometimes(
                x, p.ghosting, g, lambda y, at: ghosting(y, strength[at], every[at], axis[at])
            )
            along = randint(0, 3, rows, g)
            sides = torch.stack([strength.new_full((), n) for n in x.shape[2:]])
            low, high = ((bound * sides[along]).round() for bound in p.ringing_kept)
            frequencies = uniform(rows, (low, high + 1), g).floor()
            x = self.sometimes(
                x, p.ringing, g, lambda y, at: ringing(y, frequencies[at], along[at])
            )
            thinned = torch.where(
                chance((rows, 3), p.lowres_axis, g), uniform((rows, 1), p.lowres_share, g), 1.0
            )
            x = self.sometimes(x, p.lowres, g, lambda y, at: coarser(y, thinned[at]))
            centre = (rand((rows, 3), g) * sides).floor()
            x = self.sometimes(x, p.bias, g, lambda y, at: bias_field(y, centre[at]))
            exponent = around_one(rows, p.gamma_exponent, g)
            sign = 1 - 2 * chance(rows, p.gamma_negative, g).to(x.dtype)
            return self.sometimes(x, p.gamma, g, lambda y, at: powered(y, exponent[at], sign[at]))

        def sometimes(
            self,
            x: Tensor,
            p: float,
            generator: torch.Generator,
            act: Callable[[Tensor, Tensor], Tensor],
        ) -> Tensor:
            """Change rows with probability ``p``: ``act`` is given them, and which of the batch they are."""
            chosen = chance(len(x), p, generator)
            return change(x, chosen, lambda y, at: y.copy_(within(act(y, at), y)), inplace=False)

    params: Params

    def predict(self, batch: Batch) -> Tensor:
        """Return the image that is made of the visible voxels of the spoilt one, (B, C, X, Y, Z)."""
        x = batch["spoilt"]
        seen = x.masked_fill(hidden_voxels(batch["hidden"], self.params.block, x.shape[2:]), 0.0)
        maps = self.encoder(seen)
        if not self.params.skips:  # a decoder reads zeros where a skip would be
            seen, maps = torch.zeros_like(seen), [*map(torch.zeros_like, maps[:-1]), maps[-1]]
        return self.decoder(seen, maps)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error of all voxels, and that of hidden ones beside what needs no learning.

        ``flat`` is the mean of what is visible of each crop, ``filled`` the mean of the visible blocks around.
        """
        p, y = self.params, batch["crop"]
        hidden = hidden_voxels(batch["hidden"], p.block, y.shape[2:])
        image = self.predict(batch)
        flat, filled = guesses(batch["spoilt"], hidden, p.block)
        shown = {"hidden": image.detach(), "flat": flat, "filled": filled}
        terms = {name: error(guess, y, hidden) for name, guess in shown.items()}
        counted = hidden if p.masked_only else torch.ones_like(hidden)
        return {"total": error(image, y, counted), **terms}


@full_precision
def error(image: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return the mean squared error of the voxels (B, 1, X, Y, Z) that count, as many in every sample."""
    square = (image - target).square()
    return (square * counted).sum() / (counted.sum() * target.shape[1])


def coarser(x: Tensor, share: Tensor) -> Tensor:
    """Sample rows on a share (N, 3) of the voxels along each axis, and go back."""
    for axis in range(3):
        x = values.coarsen(x, share[:, axis], (axis,))
    return x


def powered(x: Tensor, exponent: Tensor, sign: Tensor) -> Tensor:
    """Raise rows, or their negatives where ``sign`` is -1, to powers within their range."""
    signed = per_sample(sign)
    return values.power(x * signed, exponent, keep="range", quick=True) * signed


@torch.no_grad()
@full_precision
def guesses(x: Tensor, hidden: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Return each crop's mean visible voxel, and that of the visible among the 27 blocks around each."""
    seen = (~hidden).to(x.dtype)
    flat = (x * seen).sum((2, 3, 4), keepdim=True) / seen.sum((2, 3, 4), keepdim=True)
    shape = grid(x.shape[2:], block)
    total = functional.adaptive_avg_pool3d(x * seen, shape)
    share = functional.adaptive_avg_pool3d(seen, shape)
    padded = [functional.pad(part, (1,) * 6) for part in (total, share)]
    total, share = (functional.avg_pool3d(part, 3, 1) for part in padded)
    blocks = torch.where(share > 0, total / share.clamp_min(1e-6), flat)
    return flat.expand_as(x), functional.interpolate(blocks, x.shape[2:], mode="nearest")
