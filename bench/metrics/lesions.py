"""Lesions of one target: connected components of both masks, matched by IoU. Scores as panoptica 2.1.7 has them.

Recognition, segmentation and panoptic quality are of Kirillov et al. 2019, Panoptic Segmentation, CVPR;
panoptica is Kofler et al. 2023, arXiv 2312.02608 (github.com/BrainLesion/panoptica).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bench.errors import BenchError
from bench.metrics.mask import Pair
from bench.metrics.request import Size, size_of

MATCHED = 0.5  # least IoU of a match


@dataclass(frozen=True, eq=False)
class Lesions:
    """What is known of R lesions of the reference and P of the prediction.

    Attributes:
        voxels: (R,) of each lesion of the reference.
        iou: (R,) with the predicted lesion that it is matched with, NaN where it is missed.
        dice: (R,) likewise.
        partners: (R,) how many predicted lesions share a voxel with it.
        covered: (P,) how many lesions of the reference a predicted one shares a voxel with.
    """

    voxels: np.ndarray
    iou: np.ndarray
    dice: np.ndarray
    partners: np.ndarray
    covered: np.ndarray

    @classmethod
    def of(cls, pair: Pair) -> Lesions:
        """Return the lesions of two masks.

        A match is one to one of itself: two partners at 0.5 would have to make up the whole lesion between
        them, and then would touch and be one.
        """
        prediction, predicted = components(pair.prediction)
        reference, true = components(pair.reference)
        sizes = np.bincount(prediction.ravel(), minlength=predicted + 1)[1:]
        voxels = np.bincount(reference.ravel(), minlength=true + 1)[1:]
        both = np.flatnonzero(pair.prediction & pair.reference)
        code = reference.ravel()[both].astype(np.int64) * predicted + prediction.ravel()[both] - 1
        overlapping, shared = np.unique(code - predicted, return_counts=True)
        r, p = np.divmod(overlapping, max(predicted, 1))
        iou = shared / (voxels[r] + sizes[p] - shared)
        dice = 2 * shared / (voxels[r] + sizes[p])
        chosen = iou >= MATCHED
        of_each = np.full((2, true), np.nan)
        of_each[:, r[chosen]] = iou[chosen], dice[chosen]
        partners, covered = np.bincount(r, minlength=true), np.bincount(p, minlength=predicted)
        return cls(voxels, of_each[0], of_each[1], partners, covered)

    def sized(self, size: Size | None, voxel: float | None) -> Lesions:
        """Return the same of those lesions of the reference alone that have a size.

        Args:
            size: in ml; None: any.
            voxel: volume of a voxel in mm3; None of a picture.

        Raises:
            BenchError: a size of a picture.
        """
        if size is None:
            return self
        if voxel is None:
            raise BenchError("lesions by size: a size in ml needs 3-D volumes; leave the size out")
        low, high = size
        # A lesion of 0.1 ml is one of 0.1-1 ml: a product of three lengths rounds.
        ml = np.round(self.voxels * voxel / 1000, 9)
        inside = (ml >= low) & (ml < high)
        voxels, iou, dice = self.voxels[inside], self.iou[inside], self.dice[inside]
        # predicted lesions have no size of the reference
        return Lesions(voxels, iou, dice, self.partners[inside], self.covered[:0])

    @property
    def matched(self) -> int:
        """Lesions of the reference that have a match."""
        return int(np.count_nonzero(~np.isnan(self.iou)))


def components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the connected components of a mask, int32 of its shape from 1 on, and their number.

    Neighbours touch by face, edge or corner (26 of them) in a volume and by an edge (4) in a picture, which
    is what panoptica takes by default.
    """
    axes = mask.ndim
    touching = ndimage.generate_binary_structure(axes, axes if axes > 2 else 1)
    labelled, count = ndimage.label(mask, touching)
    return labelled, int(count)


def _share(part: int, every: float) -> float | None:
    return part / every if every else None


def _recognition(lesions: Lesions) -> float | None:
    return _share(2 * lesions.matched, len(lesions.voxels) + len(lesions.covered))


def _mean(values: np.ndarray, lesions: Lesions) -> float | None:
    """Return the mean over matches; 0 where lesions are there and none has one."""
    if lesions.matched:
        return float(np.nanmean(values))
    return 0.0 if len(lesions.voxels) + len(lesions.covered) else None


def _panoptic(lesions: Lesions) -> float | None:
    recognition, quality = _recognition(lesions), _mean(lesions.iou, lesions)
    return None if recognition is None or quality is None else recognition * quality


VALUES: dict[str, Callable[[Lesions], float | None]] = {
    "lesion_reference": lambda a: len(a.voxels),
    "lesion_predicted": lambda a: len(a.covered),
    "lesion_matched": lambda a: a.matched,
    "lesion_missed": lambda a: len(a.voxels) - a.matched,
    "lesion_false": lambda a: len(a.covered) - a.matched,
    "lesion_split": lambda a: int(np.count_nonzero(a.partners > 1)),
    "lesion_merged": lambda a: int(np.count_nonzero(a.covered > 1)),
    "lesion_recall": lambda a: _share(a.matched, len(a.voxels)),
    "lesion_precision": lambda a: _share(a.matched, len(a.covered)),
    "lesion_rq": _recognition,
    "lesion_sq": lambda a: _mean(a.iou, a),
    "lesion_pq": _panoptic,
    "lesion_dice": lambda a: _mean(a.dice, a),
}


def value(metric: str, lesions: Lesions, voxel: float | None) -> float | None:
    """Return a metric of lesions, None where it is undefined; counts are whole numbers.

    Args:
        metric: a name of ``VALUES``, with a size or without.
        lesions: of both masks.
        voxel: volume of a voxel in mm3; None of a picture.

    Raises:
        BenchError: a size of a picture.
    """
    name, size = size_of(metric)
    number = VALUES[name](lesions.sized(size, voxel))
    return None if number is None else float(number)
