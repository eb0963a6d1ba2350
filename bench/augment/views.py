"""The augmentation of fine-tuning: one image and its label, moved alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.augment.affine import centred, draw_affine, in_plane, places, sampled
from bench.augment.draw import chance
from bench.augment.effects import intensities
from bench.augment.geometry import draw_turns, flip_rot90
from bench.augment.intensity import scale, shift
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
