"""Losses of label maps and classes, by a recipe's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, K, X, Y, Z) and labels (B, X, Y, Z)


def of_maps(name: str, *, background: bool = True, batch: bool = False, ce_weight: float = 1.0) -> Loss:
    """Return a loss of a softmax over K classes.

    Args:
        name: ``dice_ce`` (Dice and cross-entropy), ``dice`` or ``cross_entropy``.
        background: does Dice count it?
        batch: one Dice over all samples of the batch, as if they were one volume.
        ce_weight: of cross-entropy beside Dice.
    """
    dice = DiceLoss(include_background=background, to_onehot_y=True, softmax=True, batch=batch)
    return _terms(name, lambda logits, label: dice(logits, label[:, None]), cross_entropy, ce_weight)


def of_regions(name: str, table: Tensor, *, batch: bool = False, ce_weight: float = 1.0) -> Loss:
    """Return a loss of one sigmoid per region, regions overlapping as they may.

    Args:
        name: as for ``of_maps``; cross-entropy is the binary one, averaged over regions.
        table: (labels, R), 1 where a label value lies in a region.
        batch: as for ``of_maps``.
        ce_weight: as for ``of_maps``.
    """
    binary = functional.binary_cross_entropy_with_logits
    both = _terms(name, DiceLoss(sigmoid=True, batch=batch), binary, ce_weight)

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        return both(logits, table.to(logits.device)[label.long()].movedim(-1, 1))

    return loss


def _terms(name: str, dice: Loss, entropy: Loss, ce_weight: float) -> Loss:
    if name == "dice":
        return dice
    if name == "cross_entropy":
        return entropy
    return lambda logits, label: dice(logits, label) + ce_weight * entropy(logits, label)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, K, ...) and classes (B, ...)."""
    return functional.cross_entropy(logits, label.long())


def weights(scales: int) -> list[float]:
    """Return what each scale's loss counts, finest first: halved from one to the next, summing to 1.

    As nnU-Net, which leaves the coarsest one out (``nnUNetTrainer._build_loss``).
    """
    halved = [0.5**i for i in range(max(1, scales - 1))]
    return [w / sum(halved) for w in halved]


def over_scales(loss: Loss, outputs: Sequence[Tensor], label: Tensor) -> Tensor:
    """Return the loss of logits at several scales, the label brought to each by its nearest voxel.

    Args:
        loss: of one scale.
        outputs: (B, K, x, y, z) each, the finest first.
        label: (B, X, Y, Z).
    """
    found = []
    for weight, logits in zip(weights(len(outputs)), outputs, strict=False):
        seen = label
        if label.shape[1:] != logits.shape[2:]:
            small = functional.interpolate(label[:, None].float(), logits.shape[2:], mode="nearest-exact")
            seen = small[:, 0].to(label.dtype)
        found.append(weight * loss(logits.float(), seen))
    return torch.stack(found).sum()
