"""The same numbers as MedPy, MONAI and surface-distance on real label maps with three kinds of error.

Read from BENCH_DATA; each label is cut out with its surroundings first, so that the others take seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from bench.metrics import CONVENTIONS, score
from bench.volumes.reading import read_label

FILES = {  # data set: label files, how many cases and labels of each a quick test takes
    "msd04_hippocampus": ("labelsTr/[!.]*.nii.gz", 6, 2),
    "acdc": ("training/*/*_gt.nii.gz", 4, 3),
    "lasc": ("*/laendo.nrrd", 1, 1),
    "own_ct_multiorgan": ("labelsTr/[!.]*.nii.gz", 1, 6),
}
MEDPY = ("dice", "iou", "hd", "hd95", "assd", "asd", "relative_volume_error")
SURFACES = ("hd", "hd95", "assd", "asd", "nsd@2mm")
Case = tuple[np.ndarray, np.ndarray, tuple[float, ...]]


def volumes(name: str) -> tuple[list, int]:
    """Return the first label maps of a data set, one more than are scored, and the labels of each to take."""
    root = os.environ.get("BENCH_DATA")
    if not root:
        pytest.skip("BENCH_DATA is not set: real label maps are read from there")
    pattern, cases, labels = FILES[name]
    files = sorted((Path(root) / name).glob(pattern))[: cases + 1]
    if not files:
        pytest.skip(f"{root} holds no {name}")
    return [read_label(file) for file in files], labels


def moved(truth: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.roll(truth, (1, -2), axis=(0, 1))


def thinned(truth: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Erode every label in its planes, so that those of few slices keep something."""
    cross = np.zeros((3, 3, 3), bool)
    cross[:, 1, 1] = cross[1, :, 1] = True
    kept = [np.where(binary_erosion(truth == v, cross), v, 0) for v in np.unique(truth) if v]
    return np.sum(kept, axis=0).astype(truth.dtype)


def of_another(truth: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the labels of another case where the grids meet; of a lone case its mirror image."""
    made = np.zeros_like(truth)
    shared = tuple(slice(min(a, b)) for a, b in zip(truth.shape, other.shape, strict=True))
    made[shared] = other[shared]
    return made


def pairs(name: str, how, every: bool = False) -> Iterator[tuple[str, Case]]:
    """Yield (label, prediction and reference as masks in their joint box, spacing)."""
    found, quick = volumes(name)
    for k, volume in enumerate(found[:-1] or found):
        truth = volume.array
        other = found[k + 1].array if len(found) > 1 else truth[::-1]
        guess = how(truth, other)
        labels = np.unique(truth)[1:]
        picked = labels if every else labels[:: max(1, len(labels) // quick)]
        for label in picked:
            masks = guess == label, truth == label
            if masks[0].any():
                box = tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(masks[0] | masks[1]))
                yield (
                    f"{name} {volume.path.name} label {label}",
                    (masks[0][box], masks[1][box], volume.spacing),
                )


def medpy(p: np.ndarray, r: np.ndarray, spacing: tuple[float, ...]) -> dict[str, float]:
    from medpy.metric import binary

    counts = {"dice": binary.dc(p, r), "iou": binary.jc(p, r), "relative_volume_error": binary.ravd(p, r)}
    return counts | {m: getattr(binary, m)(p, r, spacing) for m in ("hd", "hd95", "assd", "asd")}


def monai(p: np.ndarray, r: np.ndarray, spacing: tuple[float, ...]) -> dict[str, float]:
    import torch
    from monai import metrics

    one, two = (torch.from_numpy(v)[None, None] for v in (p, r))
    given = {"include_background": True, "spacing": spacing}
    found = {
        "hd": metrics.compute_hausdorff_distance(one, two, **given),
        "hd95": metrics.compute_hausdorff_distance(one, two, percentile=95, **given),
        "assd": metrics.compute_average_surface_distance(one, two, symmetric=True, **given),
        "asd": metrics.compute_average_surface_distance(one, two, **given),
        "nsd@2mm": metrics.compute_surface_dice(one, two, class_thresholds=[2.0], **given),
    }
    return {metric: float(value) for metric, value in found.items()}


def deepmind(p: np.ndarray, r: np.ndarray, spacing: tuple[float, ...]) -> dict[str, float]:
    package = pytest.importorskip("surface_distance")
    found = package.compute_surface_distances(r, p, spacing)
    backward, forward = package.compute_average_surface_distance(found)
    return {
        "hd": package.compute_robust_hausdorff(found, 100),
        "hd95": package.compute_robust_hausdorff(found, 95),
        "assd": (forward + backward) / 2,
        "asd": forward,
        "nsd@2mm": package.compute_surface_dice_at_tolerance(found, 2),
    }


THEIRS = {
    "medpy": (medpy, MEDPY, 1e-6),
    "monai": (monai, SURFACES, 1e-4),  # its percentiles are float32
    "deepmind": (deepmind, SURFACES, 1e-6),
}


def assert_equal(name: str, how, every: bool = False) -> None:
    checked = 0
    for where, (p, r, spacing) in pairs(name, how, every):
        for convention in CONVENTIONS:
            theirs, metrics, near = THEIRS[convention]
            expected = theirs(p, r, spacing)
            for found in score(p, r, spacing, metrics, convention, labels=[1]):
                wanted = pytest.approx(expected[found.metric], abs=near, rel=near)
                assert found.value == wanted, (where, convention, found.metric)
            checked += 1
    assert checked >= 3


@pytest.mark.parametrize("how", [moved, thinned, of_another])
@pytest.mark.parametrize("name", FILES)
def test_real_masks_score_as_the_originals_do(name, how):
    assert_equal(name, how)


@pytest.mark.slow
@pytest.mark.parametrize("how", [moved, thinned, of_another])
@pytest.mark.parametrize("name", FILES)
def test_every_label_of_real_masks_scores_as_the_originals_do(name, how, monkeypatch):
    monkeypatch.setitem(FILES, name, (FILES[name][0], 10, 0))
    assert_equal(name, how, every=True)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_cutting_a_real_organ_out_changes_nothing(convention):
    """What lets the tests above look at boxes: every label of the whole volume scores as its box alone."""
    found, _ = volumes("own_ct_multiorgan")
    truth, spacing = found[0].array, found[0].spacing
    whole = score(moved(truth, truth), truth, spacing, ("hd95", "assd"), convention)
    alone = [
        (one.metric, one.value)
        for _, (p, r, _) in pairs("own_ct_multiorgan", moved, every=True)
        for one in score(p, r, spacing, ("hd95", "assd"), convention, labels=[1])
    ]
    assert len(alone) > 40
    assert [(s.metric, pytest.approx(s.value, abs=1e-12)) for s in whole] == alone
