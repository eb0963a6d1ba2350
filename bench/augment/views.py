"""The augmentation of fine-tuning: one image and its label, moved alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from bench.augment import values
from bench.augment.affine import centred, draw_affine, in_plane, places, sampled
from bench.augment.draw import Bounds, Shape, around_one, chance, per_sample, uniform
from bench.augment.geometry import draw_turns, flip_rot90
from bench.augment.intensity import scale, shift
from bench.random import randn
from bench.ranges import Triple

if TYPE_CHECKING:
    from bench.protocol.sections import Augment

AMOUNT = 0.1  # of intensity scale and shift, as the fine-tuning code of UNETR and VoCo draws them


def finetune_views(
    image: Tensor,
    label: Tensor,
    settings: Augment,
    generator: torch.Generator,
    out: Triple | None = None,
) -> tuple[Tensor, Tensor]:
    """Flip, turn, zoom and change the intensities of a labelled batch.

    Args:
        image: (B, C, X, Y, Z), float.
        label: (B, X, Y, Z), only moved, never interpolated; or a class each, (B,), which stays.
        settings: probabilities and ranges; quarter turns need a square x-y plane, else only half turns.
        generator: the only randomness, on the image's device. The draws do not depend on the
            probabilities, so switching one step off leaves the others as they were.
        out: voxels of the result, by default those of ``image``; what lies around them
            (``read_size``) is seen where a turn or a zoom reaches out of the crop, zeros beyond.
    """
    flipped = chance((len(image), 3), settings.flip, generator)
    turns = draw_turns(image, settings.rot90, generator)
    if settings.flip or settings.rot90:
        image = flip_rot90(image, flipped, turns)
        if label.ndim > 1:
            label = flip_rot90(label[:, None], flipped, turns)[:, 0]
    image = scale(image, settings.scale, AMOUNT, generator)
    image = shift(image, settings.shift, AMOUNT, generator)
    image, label = _turned_and_zoomed(image, label, settings, generator, out)
    return intensities(image, settings, generator), label


def _turned_and_zoomed(
    image: Tensor, label: Tensor, settings: Augment, generator: torch.Generator, out: Triple | None
) -> tuple[Tensor, Tensor]:
    """Move image and label alike; the image is read linearly, zeros around it, as nnU-Net does.

    The label takes its nearest voxel's, background around it. nnU-Net interpolates each label by
    itself and takes the largest: smoother by up to half a voxel, at a volume per label.
    """
    x, y, z = image.shape[2:]
    size = out or (x, y, z)
    matrix, moved = draw_affine(len(image), in_plane(size, settings), settings, generator)
    is_map = label.ndim > 1
    views, labels = centred(image, size), centred(label, size) if is_map else label
    if not (settings.rotate or settings.zoom) or not len(at := moved.nonzero()[:, 0]):
        return views, labels
    read = places(matrix[at], image.shape[2:], size)
    views = views.index_copy(0, at, sampled(image[at], read, "linear"))
    if is_map:
        labels = labels.index_copy(0, at, sampled(label[at][:, None], read, "nearest")[:, 0])
    return views, labels


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
