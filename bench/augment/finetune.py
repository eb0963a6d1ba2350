"""The augmentation of fine-tuning: one image and its label, moved alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.augment.draw import chance
from bench.augment.geometry import draw_turns, flip, rot90
from bench.augment.intensity import scale, shift

if TYPE_CHECKING:
    from bench.protocol.sections import Augment

AMOUNT = 0.1  # of intensity scale and shift, as the fine-tuning code of UNETR and VoCo draws them


def finetune_views(
    image: Tensor, label: Tensor, settings: Augment, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Flip, turn, scale and shift a labelled batch.

    Args:
        image: (B, C, X, Y, Z).
        label: (B, X, Y, Z), only moved, never interpolated; or a class each, (B,), which stays.
        settings: probabilities; quarter turns need a square x-y plane, else only half turns.
        generator: the only randomness, on the image's device. The draws do not depend on the
            probabilities, so switching one step off leaves the others as they were.
    """
    flipped = chance((len(image), 3), settings.flip, generator)
    turns = draw_turns(image, settings.rot90, generator)
    image = rot90(flip(image, flipped), turns)
    if label.ndim > 1:
        label = rot90(flip(label[:, None], flipped), turns)[:, 0]
    image = scale(image, settings.scale, AMOUNT, generator)
    return shift(image, settings.shift, AMOUNT, generator), label
