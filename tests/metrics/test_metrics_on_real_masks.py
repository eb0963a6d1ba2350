"""The same numbers as MedPy, MONAI and surface-distance on real label maps with three kinds of error.

Read from BENCH_DATA; each label is cut out with its surroundings first, so that the others take seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from originals import assert_scored_alike
from scipy.ndimage import binary_erosion

from bench.metrics import CONVENTIONS
from bench.volumes.reading import read_label

FILES = {  # data set: label files, how many cases and labels of each a quick test takes
    "msd04_hippocampus": ("labelsTr/[!.]*.nii.gz", 6, 2),
    "acdc": ("training/*/*_gt.nii.gz", 4, 3),
    "lasc": ("*/laendo.nrrd", 1, 1),
    "own_ct_multiorgan": ("labelsTr/[!.]*.nii.gz", 1, 6),
}
pytestmark = pytest.mark.usefixtures("real_data")
NEAR = {"medpy": 1e-6, "monai": 1e-4, "deepmind": 1e-6}
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


def shifted_map(truth: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.roll(truth, (1, -2), axis=(0, 1))


def thinned(truth: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Erode every label in its planes, so that those of few slices keep something."""
    cross = np.zeros((3, 3, 3), bool)
    cross[:, 1, 1] = cross[1, :, 1] = True
    remaining = [np.where(binary_erosion(truth == v, cross), v, 0) for v in np.unique(truth) if v]
    return np.sum(remaining, axis=0).astype(truth.dtype)


def of_another(truth: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the labels of another case where the grids meet; of a lone case its mirror image."""
    built = np.zeros_like(truth)
    shared = tuple(slice(min(a, b)) for a, b in zip(truth.shape, other.shape, strict=True))
    built[shared] = other[shared]
    return built


def pairs(name: str, how, every: bool = False) -> Iterator[Case]:
    """Yield prediction and reference as masks in their joint box, and the spacing."""
    result, quick = volumes(name)
    for k, volume in enumerate(result[:-1] or result):
        truth = volume.array
        other = result[k + 1].array if len(result) > 1 else truth[::-1]
        guess = how(truth, other)
        labels = np.unique(truth)[1:]
        picked = labels if every else labels[:: max(1, len(labels) // quick)]
        for label in picked:
            masks = guess == label, truth == label
            if masks[0].any():
                box = tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(masks[0] | masks[1]))
                yield masks[0][box], masks[1][box], volume.spacing


@pytest.mark.parametrize("how", [shifted_map, thinned, of_another])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_real_masks_score_as_the_originals_do(every, name, how, monkeypatch):
    if every:
        monkeypatch.setitem(FILES, name, (FILES[name][0], 10, 0))
    result = list(pairs(name, how, every))
    assert result
    for (p, r, spacing), convention in product(result, CONVENTIONS):
        assert_scored_alike(p, r, spacing, convention, NEAR[convention])
