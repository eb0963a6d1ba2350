"""Noise, blur, brightness, contrast, low resolution and gamma of fine-tuning, in nnU-Net's order.

Every sample is drawn by itself; within a sample that has an effect, every channel has its own
amount, ranges and means, and noise alone has one level for all. Only the rows at hand are worked on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from bench.augment import values
from bench.augment.affine import in_plane
from bench.augment.draw import Bounds, Shape, around_one, chance, per_sample, uniform
from bench.random import randn

if TYPE_CHECKING:
    from bench.protocol.sections import Augment


class _Effect(NamedTuple):
    p: float  # per sample
    bounds: Bounds
    act: Callable[[Tensor, Tensor], Tensor]  # rows (N, 1, X, Y, Z), amounts (N, 3) -> rows
    channel: float = 1.0  # probability per channel of a sample that has the effect
    draw: Callable[[Shape, Bounds, torch.Generator], Tensor] = uniform


def intensities(image: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    """Change intensities of ``image`` (B, C, X, Y, Z).

    The numbers drawn depend neither on the probabilities nor on the other samples. The field of
    the noise comes last, so it is drawn only where a sample has noise.
    """
    count, channels = image.shape[:2]
    effects = _effects(settings, in_plane(image.shape[2:], settings))
    noisy = chance(count, settings.noise, generator)
    level = uniform(count, settings.noise_range, generator)
    drawn = []
    for effect in effects:
        samples = chance(count, effect.p, generator)
        own = samples[:, None] & chance((count, channels), effect.channel, generator)
        amounts = effect.draw((count, channels, 3), effect.bounds, generator)
        drawn.append((own.flatten(), amounts.flatten(0, 1)))
    if settings.noise and bool(noisy.any()):
        std = level.sqrt() if settings.noise_unit == "variance" else level
        noise = randn(image.shape, generator, image.dtype)
        image = torch.where(per_sample(noisy), image + per_sample(std) * noise, image)
    rows = image.flatten(0, 1)[:, None]
    for effect, (own, amounts) in zip(effects, drawn, strict=True):
        if effect.p and len(at := own.nonzero()[:, 0]):
            rows = rows.index_copy(0, at, effect.act(rows[at], amounts[at]))
    return rows.view_as(image)


def _effects(s: Augment, plane: bool) -> tuple[_Effect, ...]:
    draw = around_one if s.balanced else uniform
    radius, axes = int(4 * s.blur_sigma[1] + 0.5), (0, 1) if plane else (0, 1, 2)

    def brightness(x: Tensor, amount: Tensor) -> Tensor:
        return values.multiply(x, amount[:, 0], s.brightness_clip)

    def contrast(x: Tensor, amount: Tensor) -> Tensor:
        return values.stretch(x, amount[:, 0])

    def lowres(x: Tensor, amount: Tensor) -> Tensor:
        return values.coarsen(x, amount[:, 0], axes)

    def gamma(x: Tensor, amount: Tensor) -> Tensor:
        return values.power(x, amount[:, 0], s.gamma_keep)

    return (
        _Effect(s.blur, s.blur_sigma, partial(values.blur, radius=radius), s.channel),
        _Effect(s.brightness, s.brightness_range, brightness, draw=draw),
        _Effect(s.contrast, s.contrast_range, contrast, draw=draw),
        _Effect(s.lowres, s.lowres_range, lowres, s.channel),
        _Effect(s.gamma_inverted, s.gamma_range, lambda x, amount: -gamma(-x, amount), draw=draw),
        _Effect(s.gamma, s.gamma_range, gamma, draw=draw),
    )
