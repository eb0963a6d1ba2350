"""Phantoms with a grey scale each: grey tells tissues apart in one patient, and not over patients."""

import functools

import numpy as np
import pytest
from likeness import best_window, dice

from bench.phantoms.tones import tones

SHAPE, PATIENTS = (16, 16, 16), 40
LEVELS = np.linspace(0, 1, 101)


@functools.cache
def patient(index: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return grey values from 0 to 1, as percentile scaling leaves them, and the label."""
    image, label = tones(SHAPE, seed, index)
    low, high = np.percentile(image, [0.5, 99.5])
    return ((image - low) / (high - low)).clip(0, 1), label


def pooled(indices: range) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*(patient(i) for i in indices), strict=True)
    return np.stack(images), np.stack(labels)


def test_both_labels_are_in_every_patient_and_neither_is_large():
    for index in range(PATIENTS):
        share = np.bincount(patient(index)[1].ravel(), minlength=3) / np.prod(SHAPE)
        assert len(share) == 3 and (share[1:] > 0.015).all() and share[1:].max() < 0.12


@pytest.mark.parametrize("label", [1, 2])
def test_grey_tells_a_label_within_a_patient_and_not_over_patients(label):
    own = [
        best_window(image, found == label, LEVELS) for image, found in map(patient, range(PATIENTS))
    ]
    images, labels = pooled(range(PATIENTS))
    assert min(own) > 0.8 and np.mean(own) > best_window(images, labels == label, LEVELS) + 0.15


@pytest.mark.parametrize("label", [1, 2])
def test_the_place_tells_a_label_badly(label):
    """The voxels where it lies oftenest in half of the patients, tried on the other half."""
    often = (pooled(range(0, PATIENTS, 2))[1] == label).mean(0)
    best = max(
        np.mean([dice(place, other == label) for other in others])
        for others in [pooled(range(1, PATIENTS, 2))[1]]
        for place in (often >= level for level in (0.2, 0.3, 0.4, 0.5))
        if place.any()
    )
    assert best < 0.65
