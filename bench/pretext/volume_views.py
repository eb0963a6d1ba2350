"""Two views of a volume as PGL makes them (Xie et al. 2020, Section 3.2), and where each of them lies.

Works on slices, too: a crop of one voxel along z keeps both boxes on one slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench import augment
from bench.augment.draw import chance
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, MethodParams, Recipe, Triple
from bench.pretext.momentum import Ways, both_ways
from bench.pretext.pair import Pairing, read_pair
from bench.pretext.units import Scale, amounts, twice
from bench.ranges import Amounts, Factors, Share


@dataclass(frozen=True)
class VolumeViews(MethodParams):
    """How both views are cut and changed. A method's ``Params`` inherits these, with defaults of its own."""

    crop_scale: Factors = (1.1, 1.4)  # PGL (1), size of crop over view
    isotropic: bool = False  # assumed: PGL does not say whether axes share the scale
    overlap: Share = 0.1  # PGL (1); assumed: of the smaller crop's volume
    flip: Share = 0.5  # PGL (2), per axis
    noise: Share = 0.1  # PGL (3), probability
    noise_variance: Amounts = (0.0, 0.1)  # PGL (3), on the scale of ``intensity``
    # PGL (3); std = as batchgenerators takes the draw
    noise_unit: Literal["variance", "std"] = "variance"
    blur: Share = 0.2  # PGL (4)
    blur_sigma: Amounts = (0.5, 1.0)  # PGL (4), in voxels of the view
    brightness: Share = 0.5  # PGL (5)
    brightness_factor: Factors = (0.75, 1.25)  # PGL (5)
    gamma: Share = 0.5  # PGL (6)
    gamma_exponent: Factors = (0.7, 1.5)  # PGL (6)
    # assumed: a view gets its own range back, so that all are on one scale; unit = PGL (6) to the letter,
    # which leaves the half that is changed in [0, 1] beside z-scores
    gamma_keep: Literal["unit", "range", "moments"] = "range"
    intensity: Scale = "zscore"  # PGL, Section 5.1: what the noise is stated for

    @property
    def crops_per_sample(self) -> float:
        """Two views."""
        return 2

    def boxes(self) -> Pairing:
        """Return how the two boxes lie to each other."""
        return Pairing(self.crop_scale, self.overlap, isotropic=self.isotropic)

    def check(self, crop: Triple, recipe: Recipe) -> None:
        """Refuse boxes that fill every prepared volume: both views would show the same place."""
        axes = [i for i in range(3) if crop[i] > 1]
        least = [round(self.boxes().scale[0] * crop[i]) for i in axes]
        resize = recipe.resize
        if resize and all(0 < resize[i] <= n for i, n in zip(axes, least, strict=True)):
            raise BenchError(
                f"boxes of {self.crop_scale[0]:g} times the crop {tuple(crop)} fill volumes of "
                f"{tuple(resize)}, so that both views show the same; use a lower crop_scale, a smaller crop "
                "or a larger resize"
            )

    def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
        """Read two overlapping boxes: ``pair``, ``start`` and ``size``, as ``read_pair`` has them."""
        return read_pair(volume, crop, self.boxes(), rng)

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Resize both boxes of each sample to the crop and change them, in PGL's order.

        Returns:
            ``views`` (B, 2, C, *crop); ``flipped`` (B, 2, 3), along which axes each was mirrored; ``start``
            and ``size`` (B, 2, 3) of the boxes, as they were read.
        """
        x, size = batch["pair"].flatten(0, 1), batch["size"].flatten(0, 1)
        flipped = chance((len(x), 3), self.flip, generator)
        # a box of negative size is read backwards: resized and mirrored at once
        x = augment.resize_box(
            x, torch.where(flipped, size, 0), torch.where(flipped, -size, size), crop
        )
        x = self.changed(x, twice(batch.get("zscored")), generator)
        both = {"views": x.unflatten(0, (-1, 2)), "flipped": flipped.unflatten(0, (-1, 2))}
        return {**both, "start": batch["start"], "size": batch["size"]}

    def changed(self, x: Tensor, zscored: Tensor | None, generator: torch.Generator) -> Tensor:
        """Change the intensities of views (N, C, X, Y, Z), in place where that can be; ``zscored`` (N,)."""
        p, g = self, generator
        power = 2 if p.noise_unit == "variance" else 1
        noise = amounts(p.noise_variance, x, p.intensity, zscored, power)
        x = augment.gaussian_noise(x, p.noise, noise, g, p.noise_unit, inplace=True)
        x = augment.gaussian_blur(x, p.blur, p.blur_sigma, g, inplace=True)
        x = augment.brightness(x, p.brightness, p.brightness_factor, g, inplace=True)
        return augment.gamma(x, p.gamma, p.gamma_exponent, g, p.gamma_keep, inplace=True)


@dataclass(frozen=True)
class BothWays(VolumeViews):
    """Of a method whose views predict a slow copy of each other."""

    symmetric: bool = True  # off = the first view predicts the second, and not the other way round

    @property
    def ways(self) -> Ways:
        """Which view predicts which."""
        return both_ways(self.symmetric)

    @property
    def crops_per_sample(self) -> float:
        """A view forward and backward, and the other one's way forward in the slow copy, each way."""
        return len(self.ways) * 4 / 3
