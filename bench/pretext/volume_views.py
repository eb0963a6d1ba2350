"""Two views of a volume as PGL makes them (Xie et al. 2020, Section 3.2), and where each of them lies.

Works on slices, too: a crop of one voxel along z keeps both boxes on one slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench import augment
from bench.augment.draw import chance
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.pretext.pair import Pairing, read_pair
from bench.pretext.units import Scale, amounts, twice
from bench.ranges import Amounts, Factors, Share

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class VolumeViews:
    """How both views are cut and changed. A method's ``Params`` inherits these, with defaults of its own."""

    crop_scale: Factors = (1.1, 1.4)  # PGL (1), size of crop over view
    isotropic: bool = False  # assumed: PGL does not say whether axes share the scale
    overlap: Share = 0.1  # PGL (1); assumed: of the smaller crop's volume
    flip: Share = 0.5  # PGL (2), per axis
    noise: Share = 0.1  # PGL (3), probability
    noise_variance: Amounts = (0.0, 0.1)  # PGL (3), on the scale of ``intensity``
    noise_unit: Literal["variance", "std"] = "variance"  # PGL (3); std = as batchgenerators takes the draw
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


def check(crop: Triple, views: VolumeViews, resize: Sequence[int] | None) -> None:
    """Refuse boxes that fill every prepared volume: both views would show the same place.

    Args:
        crop: size of a view in voxels.
        views: how large the boxes are.
        resize: of the recipe, voxels with 0 for an axis that stays; None where sizes differ.

    Raises:
        BenchError: says what to take.
    """
    axes = [i for i in range(3) if crop[i] > 1]
    least = [round(views.crop_scale[0] * crop[i]) for i in axes]
    if resize and all(0 < resize[i] <= n for i, n in zip(axes, least, strict=True)):
        raise BenchError(
            f"boxes of {views.crop_scale[0]:g} times the crop {tuple(crop)} fill volumes of {tuple(resize)}, "
            "so that both views show the same; take a lower crop_scale, a smaller crop or a larger resize"
        )


def read(
    volume: Volume, crop: Triple, views: VolumeViews, rng: np.random.Generator
) -> dict[str, np.ndarray]:  # fmt: skip
    """Read two overlapping boxes of a volume: ``pair``, ``start`` and ``size``, as ``read_pair`` has them."""
    rule = Pairing(views.crop_scale, views.overlap, isotropic=views.isotropic)
    return read_pair(volume, crop, rule, rng)


def paired_views(
    batch: dict[str, Tensor], crop: Triple, views: VolumeViews, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Resize both boxes of each sample to the crop and change them, in PGL's order.

    Args:
        batch: what ``read`` gave, stacked; its ``start`` and ``size`` (B, 2, 3) stay true of the views.
            ``zscored`` (B,), where it is there: which samples' recipe leaves z-scores.
        crop: size of a view in voxels.
        views: probabilities and ranges.
        generator: the only randomness.

    Returns:
        Views (B, 2, C, *crop), and along which axes each was mirrored, (B, 2, 3) booleans.
    """
    v, g = views, generator
    x, size = batch["pair"].flatten(0, 1), batch["size"].flatten(0, 1)
    flipped = chance((len(x), 3), v.flip, g)
    # a box of negative size is read backwards: resized and mirrored at once
    x = augment.resize_box(x, torch.where(flipped, size, 0), torch.where(flipped, -size, size), crop)
    power = 2 if v.noise_unit == "variance" else 1
    noise = amounts(v.noise_variance, x, v.intensity, twice(batch.get("zscored")), power)
    x = augment.gaussian_noise(x, v.noise, noise, g, v.noise_unit, inplace=True)
    x = augment.gaussian_blur(x, v.blur, v.blur_sigma, g, inplace=True)
    x = augment.brightness(x, v.brightness, v.brightness_factor, g, inplace=True)
    x = augment.gamma(x, v.gamma, v.gamma_exponent, g, v.gamma_keep, inplace=True)
    return x.unflatten(0, (-1, 2)), flipped.unflatten(0, (-1, 2))
