"""One augmented view of each slice: the transformations of Zheng et al. (HSSL, 2021), batched on the device.

They name random crop, resize, blur and noise and print no parameters; those here are the usual ones of
contrastive learning on images. A view's geometry is a box, so that coordinates in it can be taken back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench import augment
from bench.augment.draw import Bounds, chance, uniform
from bench.constants import constant
from bench.errors import BenchError
from bench.method import Batch, MethodParams, Triple
from bench.pretext.units import Scale, amounts, twice
from bench.random import rand
from bench.ranges import Amounts, Factors, Share, Shares

TRIES = 10  # sizes drawn before the largest box of an allowed aspect is taken, as torchvision's


@dataclass(frozen=True)
class SliceViews(MethodParams):
    """The parameters of a view; a method's ``Params`` inherit them. Two views of each slice, by default."""

    area: Shares = (0.2, 1.0)  # assumed: share of the slice (HSSL, Section 2.2: no number)
    aspect: Factors = (3 / 4, 4 / 3)  # assumed: torchvision's, of x over y
    flip: Share = 0.0  # HSSL, Section 2.2 lists none; probability per axis
    brightness: Share = 0.0  # HSSL, Section 2.2 lists none; probability
    brightness_factor: Factors = (0.6, 1.4)  # assumed
    contrast: Share = 0.0  # HSSL, Section 2.2 lists none; probability
    contrast_factor: Factors = (0.6, 1.4)  # assumed
    blur: Share = 0.5  # HSSL, Section 2.2; probability assumed
    blur_sigma: Amounts = (0.1, 2.0)  # assumed: SimCLR's, in pixels of the view
    noise: Share = 0.5  # HSSL, Section 2.2; probability assumed
    noise_std: Amounts = (0.0, 0.1)  # assumed, on the scale of ``intensity``
    intensity: Scale = "zscore"  # assumed: what the noise is stated for

    @property
    def crops_per_sample(self) -> float:
        """Two views."""
        return 2

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Make two views of each slice: (B, 2, C, X, Y, 1), with start and size (B, 2, 3) of their boxes."""
        rows, zscored = batch["crop"].repeat_interleave(2, dim=0), twice(batch.get("zscored"))
        drawn = slice_views(rows, crop, self, generator, zscored)
        return dict(
            zip(("views", "start", "size"), (x.unflatten(0, (-1, 2)) for x in drawn), strict=True)
        )


def slice_views(
    x: Tensor,
    crop: Triple,
    views: SliceViews,
    generator: torch.Generator,
    zscored: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one augmented view of each row, and the box that it shows.

    Args:
        x: (B, C, X, Y, 1) slices.
        crop: size of a view in pixels, ``crop[2] == 1``.
        views: what is done, and how likely.
        generator: the only randomness.
        zscored: (B,) which rows' recipe leaves z-scores, where that is known.

    Returns:
        Views (B, C, *crop), and start and size (B, 3) of their boxes in pixels of ``x``: pixel j of a view
        reads index ``start + (j + .5) size / crop - .5`` of its row. Along a mirrored axis ``start`` is the
        box's far edge and ``size`` negative, so that the same line holds.

    Raises:
        BenchError: ``x`` or ``crop`` has several slices.
    """
    if x.shape[-1] != 1 or crop[2] != 1:
        raise BenchError(
            f"views of slices need a crop of one slice, but the crop is {(*x.shape[2:],)} to {crop}; use (x, y, 1)"
        )
    start, size = draw_box(len(x), (x.shape[2], x.shape[3]), views.area, views.aspect, generator)
    if views.flip:
        mirrored = chance((len(x), 2), views.flip, generator)
        mirrored = torch.cat([mirrored, torch.zeros_like(mirrored[:, :1])], dim=1)
        start, size = torch.where(mirrored, start + size, start), torch.where(mirrored, -size, size)
    view = augment.resize_box(x, start, size, crop)
    g = generator  # each effect changes the fresh view in place
    if views.brightness:
        view = augment.brightness(view, views.brightness, views.brightness_factor, g, inplace=True)
    if views.contrast:
        view = augment.contrast(view, views.contrast, views.contrast_factor, g, inplace=True)
    if views.blur:
        view = augment.gaussian_blur(view, views.blur, views.blur_sigma, g, inplace=True)
    if views.noise:
        std = amounts(views.noise_std, view, views.intensity, zscored)
        view = augment.gaussian_noise(view, views.noise, std, g, unit="std", inplace=True)
    return view, start, size


def draw_box(
    count: int, shape: tuple[int, int], area: Bounds, aspect: Bounds, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw boxes of random area and aspect on whole pixels, uniform over where they fit.

    Szegedy et al. 2015 as torchvision has it: area uniform, aspect log-uniform; the first of ten draws
    that fits counts, and where none does, the largest centred box whose aspect is allowed.

    Args:
        count: how many.
        shape: pixels along x and y.
        area: bounds of a box's share of the slice.
        aspect: bounds of its side along x over that along y.
        generator: the only randomness.

    Returns:
        Start and size (count, 3), float32 with whole numbers; along z 0 and 1.
    """
    whole = constant(shape, generator.device, torch.float32)
    pixels = uniform((count, TRIES), area, generator) * whole.prod()
    low, high = constant(aspect, generator.device).log().unbind()
    ratio = (low + (high - low) * rand((count, TRIES), generator)).exp()
    tried = torch.stack([(pixels * ratio).sqrt(), (pixels / ratio).sqrt()], dim=-1).round()
    fits = ((tried > 0) & (tried <= whole)).all(-1)
    first = fits.to(torch.uint8).argmax(1)
    drawn = tried[torch.arange(count, device=whole.device), first]
    possible = fits.any(1, keepdim=True)
    size = torch.where(possible, drawn, _largest(whole, aspect))
    place = (rand((count, 2), generator) * (whole - size + 1)).floor()
    start = torch.where(possible, torch.minimum(place, whole - size), ((whole - size) / 2).floor())
    flat = torch.zeros_like(start[:, :1])
    return torch.cat([start, flat], dim=1), torch.cat([size, flat + 1], dim=1)


def _largest(whole: Tensor, aspect: Bounds) -> Tensor:
    """Return the largest sides (2,) in ``whole`` whose aspect lies within bounds."""
    x, y = whole
    return torch.stack([torch.minimum(x, y * aspect[1]), torch.minimum(y, x / aspect[0])]).round()
