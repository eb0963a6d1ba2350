"""Losses of label maps and classes, by a recipe's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.losses import DiceLoss
from monai.networks.utils import one_hot
from torch import Tensor
from torch.nn import functional

from bench import distributed

Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, K, X, Y, Z) and labels (B, X, Y, Z)


def of_maps(
    name: str,
    *,
    background: bool = True,
    batch: bool = False,
    ce_weight: float = 1.0,
    ignore: int | None = None,
) -> Loss:
    """Return a loss of a softmax over K classes.

    Args:
        name: ``dice_ce`` (Dice and cross-entropy), ``dice`` or ``cross_entropy``.
        background: does Dice count it?
        batch: one Dice over all samples of the batch, as if they were one volume.
        ce_weight: of cross-entropy beside Dice.
        ignore: label of voxels that nobody labelled: they are left out of all sums and means, at every scale.
    """
    if ignore is not None:
        return _of_labelled(
            name, DiceLoss(include_background=background, batch=batch), ce_weight, ignore
        )
    dice = DiceLoss(include_background=background, to_onehot_y=True, softmax=True, batch=batch)
    return _terms(
        name, lambda logits, label: dice(logits, label[:, None]), cross_entropy, ce_weight
    )


def of_regions(
    name: str,
    table: Tensor,
    *,
    batch: bool = False,
    ce_weight: float = 1.0,
    ignore: int | None = None,
) -> Loss:
    """Return a loss of one sigmoid per region, regions overlapping as they may.

    Args:
        name: as for ``of_maps``; cross-entropy is the binary one, averaged over regions.
        table: (labels, R), 1 where a label value lies in a region.
        batch: as for ``of_maps``.
        ce_weight: as for ``of_maps``.
        ignore: as for ``of_maps``.
    """
    if ignore is not None:
        return _of_labelled(name, DiceLoss(batch=batch), ce_weight, ignore, table)
    binary = functional.binary_cross_entropy_with_logits
    both = _terms(name, DiceLoss(sigmoid=True, batch=batch), binary, ce_weight)

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        return both(logits, _in_regions(table, logits, label))

    return loss


def _of_labelled(
    name: str, dice: DiceLoss, ce_weight: float, ignore: int, table: Tensor | None = None
) -> Loss:
    """Return the loss of the voxels whose label is not ``ignore``."""

    def overlap(logits: Tensor, label: Tensor) -> Tensor:
        labelled = (label != ignore)[:, None]
        if table is None:
            truth = one_hot(label[:, None] * labelled, logits.shape[1], dtype=logits.dtype)
            return dice(logits.softmax(1) * labelled, truth * labelled)
        return dice(logits.sigmoid() * labelled, _in_regions(table, logits, label) * labelled)

    def entropy(logits: Tensor, label: Tensor) -> Tensor:
        labelled = label != ignore
        if table is None:
            each = functional.cross_entropy(logits, label.long() * labelled, reduction="none")
        else:
            truth = _in_regions(table, logits, label)
            each = functional.binary_cross_entropy_with_logits(
                logits, truth, reduction="none"
            ).mean(1)
        count = distributed.mean(labelled.sum(dtype=torch.float64)).clamp(
            min=1 / distributed.size()
        )
        return (each * labelled).sum() / count.to(each.dtype)

    return _terms(name, overlap, entropy, ce_weight)


def _in_regions(table: Tensor, logits: Tensor, label: Tensor) -> Tensor:
    """Return for each region whether a voxel lies in it, (B, R, ...), of labels (B, ...)."""
    return table.to(logits.device)[label.long()].movedim(-1, 1)


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
    losses = []
    for weight, logits in zip(weights(len(outputs)), outputs, strict=False):
        seen = label
        if label.shape[1:] != logits.shape[2:]:
            small = functional.interpolate(
                label[:, None].float(), logits.shape[2:], mode="nearest-exact"
            )
            seen = small[:, 0].to(label.dtype)
        losses.append(weight * loss(logits.float(), seen))
    return torch.stack(losses).sum()
