"""What MedPy, MONAI and DeepMind's surface-distance say of two masks, by our names of the metrics."""

from __future__ import annotations

import numpy as np
import pytest

from bench.metrics import score

Scores = dict[str, float]


def medpy(p: np.ndarray, r: np.ndarray, spacing: tuple[float, ...]) -> Scores:
    from medpy.metric import binary

    counts = {
        "dice": binary.dc(p, r),
        "iou": binary.jc(p, r),
        "relative_volume_error": binary.ravd(p, r),
    }
    return counts | {m: getattr(binary, m)(p, r, spacing) for m in ("hd", "hd95", "assd", "asd")}


def monai(p: np.ndarray, r: np.ndarray, spacing: tuple[float, ...]) -> Scores:
    import torch
    from monai import metrics

    first, two = (torch.from_numpy(v)[None, None] for v in (p, r))
    given = {"include_background": True, "spacing": spacing}
    result = {
        "hd": metrics.compute_hausdorff_distance(first, two, **given),
        "hd95": metrics.compute_hausdorff_distance(first, two, percentile=95, **given),
        "assd": metrics.compute_average_surface_distance(first, two, symmetric=True, **given),
        "asd": metrics.compute_average_surface_distance(first, two, **given),
        "nsd@2mm": metrics.compute_surface_dice(first, two, class_thresholds=[2.0], **given),
    }
    return {metric: float(value) for metric, value in result.items()}


def deepmind(p: np.ndarray, r: np.ndarray, spacing: tuple[float, ...]) -> Scores:
    package = pytest.importorskip("surface_distance")
    result = package.compute_surface_distances(r, p, spacing)
    backward, forward = package.compute_average_surface_distance(result)
    return {
        "hd": package.compute_robust_hausdorff(result, 100),
        "hd95": package.compute_robust_hausdorff(result, 95),
        "assd": (forward + backward) / 2,
        "asd": forward,
        "nsd@2mm": package.compute_surface_dice_at_tolerance(result, 2),
    }


ORIGINALS = {"medpy": medpy, "monai": monai, "deepmind": deepmind}


def assert_scored_alike(p, r, spacing, convention: str, near: float) -> None:
    """Compare every number of two masks, neither empty, with those of the convention's origin."""
    expected = ORIGINALS[convention](p, r, spacing)
    for result in score(p, r, spacing, tuple(expected), convention, labels=[1]):
        assert result.value == pytest.approx(expected[result.metric], abs=near, rel=near), (
            convention,
            result,
        )
