"""Metrics: label maps or scores of classes in, numbers out.

``score`` judges label maps, ``classes.score_classes`` judges classes. Overlaps, accuracy and AUC are
0 to 1, never percent; distances are in mm, volumes in ml. Importing this package needs neither SciPy
nor torch, so that the metrics can be listed quickly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CONVENTIONS = ("medpy", "monai", "deepmind")
EMPTY = ("default", "brats", "skip")
DEFAULT_METRICS = ("dice", "iou", "hd", "hd95")


@dataclass(frozen=True)
class Metric:
    """What a metric is called, what it is measured in, and which way is better."""

    unit: str
    title: str
    higher_is_better: bool
    task: str = "segmentation"  # what it judges: that, classification, or the network itself
    # of label maps: one number for each target over all cases, none of a case by itself
    pooled: bool = False
    # as a loop that validates does: on the grid that the network sees, and of each case's targets first
    looped: bool = False
    signed: bool = False  # best at 0: what is ranked is the size, the sign says which way it errs
    neutral: bool = False  # counts what is there: nothing is ranked by it
    # what predicting nothing gets, or the same for every case; None: it depends on the data, or nobody knows
    chance: float | None = None
    version: int = 1  # raised by hand when its numbers change on purpose


METRICS: dict[str, Metric] = {
    "dice": Metric("1", "Dice similarity coefficient", True, chance=0.0),
    "iou": Metric("1", "Intersection over union (Jaccard index)", True, chance=0.0),
    "hd": Metric("mm", "Hausdorff distance", False, version=2),
    "hd95": Metric("mm", "95th percentile Hausdorff distance", False, version=2),
    "assd": Metric("mm", "Average symmetric surface distance", False, version=2),
    "asd": Metric("mm", "Average surface distance, prediction to reference", False, version=2),
    "nsd@1mm": Metric(
        "1", "Normalised surface Dice at a tolerance (any: nsd@2.5mm)", True, version=2, chance=0.0
    ),
    "volume_error": Metric("ml", "Absolute difference of the volumes", False, version=2),
    "relative_volume_error": Metric(
        "1", "Volume of the prediction over that of the reference, less 1", False, signed=True
    ),
    "dice_pooled": Metric(
        "1", "Dice over the voxels of all test cases at once", True, pooled=True, chance=0.0
    ),
    "dice_monai": Metric(
        "1",
        "Dice as MONAI's validation loops take it: case first, prepared grid",
        True,
        looped=True,
        chance=0.0,
    ),
    "lesion_reference": Metric("count", "Lesions of the reference", True, neutral=True),
    "lesion_predicted": Metric("count", "Lesions of the prediction", True, neutral=True),
    "lesion_matched": Metric("count", "Lesions with a match of IoU 0.5 or more (TP)", True),
    "lesion_missed": Metric("count", "Lesions of the reference without a match (FN)", False),
    "lesion_false": Metric("count", "Lesions of the prediction without a match (FP)", False),
    "lesion_split": Metric(
        "count", "Lesions of the reference that several predicted ones overlap", False
    ),
    "lesion_merged": Metric("count", "Predicted lesions that overlap several true ones", False),
    "lesion_recall": Metric(
        "1",
        "Share of the reference's lesions with a match (of a size: lesion_recall@0.1-1ml)",
        True,
    ),
    "lesion_precision": Metric("1", "Share of the prediction's lesions with a match", True),
    "lesion_rq": Metric("1", "Recognition quality of lesions (F1)", True),
    "lesion_sq": Metric("1", "Segmentation quality: mean IoU of matched lesions", True),
    "lesion_pq": Metric("1", "Panoptic quality of lesions: RQ times SQ", True),
    "lesion_dice": Metric("1", "Mean Dice of matched lesions", True),
    "accuracy": Metric("1", "Share of cases whose class was found", True, "classification"),
    "auc": Metric(
        "1",
        "Area under the ROC curve, each class against the rest",
        True,
        "classification",
        chance=0.5,
    ),
    "qwk": Metric("1", "Quadratic weighted kappa", True, "classification", chance=0.0),
    "mae": Metric("value", "Mean absolute error of a value", False, "regression", version=2),
    "r2": Metric(
        "1",
        "Share of the values' variance that is predicted (R2)",
        True,
        "regression",
        version=2,
        chance=0.0,
    ),
    "spearman": Metric(
        "1", "Spearman's rank correlation", True, "regression", version=2, chance=0.0
    ),
    "latency": Metric("s", "Seconds of one forward pass of one crop, batch 1", False, "network"),
}


@dataclass(frozen=True)
class Score:
    """One number: ``value`` is None where the metric is undefined; ``status`` says why."""

    target: str
    metric: str
    value: float | None
    unit: str
    status: str  # ok | empty_reference | empty_prediction | both_empty


def score(  # noqa: PLR0913 - the contract fixes the first five
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: tuple[float, ...],
    metrics: Iterable[str] = DEFAULT_METRICS,
    convention: str = "medpy",
    *,
    labels: Iterable[int] | None = None,
    regions: Mapping[str, tuple[int, ...]] | None = None,
    empty: str = "default",
    ignore: int | None = None,
    affine: np.ndarray | None = None,
) -> list[Score]:
    """Score a label map against its reference, every label in one pass.

    The surface of a mask is its voxels with at least one of the 6 face neighbours outside the
    mask or outside the volume (``mask ^ binary_erosion(mask)``, MedPy's and MONAI's definition).

    Convention (overlaps and volumes are the same in all three):
        ``medpy``: HD = the larger directed maximum; HD95 = the 95th percentile of both directed
            sets pooled; ASSD = mean of the pooled sets (MedPy 0.5.2), not of the directed means.
        ``monai``: as ``medpy``, but HD95 = the larger of the two directed percentiles.
        ``deepmind``: surface elements between voxels, weighted by their area, as the package
            surface-distance 0.1; HD and HD95 = the larger directed percentile (100, 95),
            ASSD = mean of the two directed means. Up to 3 axes.
        MedPy has no NSD; there it is MONAI's: the share of surface voxels, of both surfaces,
        that lie within the tolerance of the other. ASD is directed, prediction to reference.

    Axes: along one of length 1 nothing is surface and nothing is far, so it is dropped with its spacing;
    (X, Y, 1) has the distances of (X, Y). "Within t mm" allows for the rounding of headers: a distance counts
    up to ``t * 1.0001``. Where ``affine`` has axes that are not at right angles (a tilted gantry), distances
    and volumes are those of the sheared voxels.

    Void: voxels whose reference is ``ignore`` are background in both maps. So they count nowhere, and where
    both masks reach the void their surfaces end alike, 0 mm apart.

    Volumes: ``volume_error`` is ``abs(P - R)`` in ml, P and R the volumes of the two masks (3-D only);
    ``relative_volume_error`` is ``P / R - 1``, 0.1 where 10 % too much was segmented (Heimann et al.
    2009, doi:10.1109/TMI.2009.2013851; MedPy's ``ravd``). Neither asks where the voxels lie.

    Lesions: the ``lesion_`` metrics take connected components as instances (26 neighbours in a volume, 4 in a
    picture) and match them at an IoU of 0.5 or more, one to one, as panoptica 2.1.7 does by default. Those of the
    reference alone may be of one size: ``lesion_recall@0.1-1ml``, from 0.1 ml to below 1 ml, or
    ``lesion_recall@10+ml``; undefined where the reference has none of that size.

    Empty masks (BRATS' penalty 373.13 mm is the diagonal of its 240 x 240 x 155 mm volume):
        ==================  =======================  =========================  =========
        ``empty``           both empty               one empty                  ``status``
        ==================  =======================  =========================  =========
        ``default``         all undefined            reference: overlaps 0,     says which
                                                     distances undefined;
                                                     prediction: overlaps 0,
                                                     distances the diagonal
        ``brats``           overlaps 1, distances 0  overlaps 0, 373.13 mm      says which
        ``skip``            all undefined            all undefined              says which
        ==================  =======================  =========================  =========
        The diagonal is that of the whole grid, ``sqrt(sum((n_i * s_i)**2))`` in mm, over the axes of
        more than one voxel. NSD counts as an overlap here. Volume errors need no penalty: where one mask
        is empty they are what they are (``skip``: undefined), the relative one undefined where the
        reference is empty; where both are, undefined as the rest (``brats``: 0), or labels that nobody
        has would flatter the mean. Counts of lesions are what they are, 0 where there is none (``skip``:
        undefined); where one mask is empty, RQ, SQ, PQ and the lesions' Dice are 0, recall or precision over
        no lesion is undefined.

    Args:
        prediction: label map, (X, Y, Z) integers or booleans (2-D works too), values 0 to 65535.
        reference: label map of the same shape.
        spacing: edge lengths of a voxel in mm, one per axis.
        metrics: names from ``METRICS``; ``nsd@<number>mm`` takes any tolerance.
        convention: ``medpy``, ``monai`` or ``deepmind``.
        labels: label values to score; default, where no regions are given either: every
            non-zero value of either array.
        regions: name -> label values that make it up; regions may overlap.
        empty: ``default``, ``brats`` or ``skip``.
        ignore: the value of voxels of the reference that nobody labelled; it is no target.
        affine: (3, 3) or (4, 4), voxels to mm, of three axes; ``spacing`` counts where it is at right angles.

    Returns:
        One Score per target and metric: labels in their order (default: ascending), then regions.

    Raises:
        BenchError: unknown metric or convention, one over all cases at once, unequal shapes, values that
            are no labels, or a metric that needs three axes on two.
    """
    import numpy as np

    from bench.errors import BenchError
    from bench.metrics.grid import Grid, blanked
    from bench.metrics.request import Request, Wanted, of_each
    from bench.metrics.volume import compare

    request = Request.checked(tuple(metrics), convention, empty)
    if len(of_each(request.metrics)) < len(request.metrics):
        other = next(m for m in request.metrics if m not in of_each(request.metrics))
        raise BenchError(
            f"{other}: {METRICS[other].title}; this metric has no value for one volume, use dice"
        )
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    grid = Grid.of(reference.shape, spacing, affine)
    if prediction.shape == reference.shape:  # else `compare` says so
        prediction, reference = blanked(prediction, reference, ignore)
    (scores,) = compare(prediction, reference, grid, (request,), Wanted(labels, regions, ignore))
    return scores
