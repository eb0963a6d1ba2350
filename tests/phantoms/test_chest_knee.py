"""Synthetic chests and knees: parts where they belong, and no shorter way to the answer."""

import functools

import numpy as np
import pytest
from likeness import best_window, dice
from scipy import ndimage

from bench.phantoms.chest import Chest, chest
from bench.phantoms.knee import FEMORAL_CARTILAGE, FEMUR, TIBIA, TIBIAL_CARTILAGE, knee

SHAPE, SPACING = (64, 52, 44), (5.0, 5.0, 7.0)
KNEE = (36, 48, 46)
PATIENTS = 12


@functools.cache
def patient(index: int, nodules: bool) -> Chest:
    return chest(SHAPE, SPACING, 0, index, nodules=nodules)


@functools.cache
def joint(index: int) -> tuple[np.ndarray, np.ndarray]:
    return knee(KNEE, 0, index)


# --- chest -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nodules", [False, True])
def test_lesions_lie_in_the_lungs_of_every_patient(nodules):
    for index in range(PATIENTS):
        made = patient(index, nodules)
        assert np.isin(made.lungs[made.lesions > 0], (1, 2)).all()
        assert np.count_nonzero(made.lesions) > (5 if nodules else 60)
        counts = np.bincount(made.lungs.ravel())
        assert min(counts[1:3]) > 4000 and counts[3] > 50


def test_the_airway_is_between_the_lungs_and_left_is_left():
    for index in range(PATIENTS):
        places = ndimage.center_of_mass(made := patient(index, False).lungs, made, (1, 3, 2))
        assert np.all(np.diff([x for x, _, _ in places]) > 5)  # x grows to the right


def test_infiltrates_are_denser_than_lung_and_thinner_than_the_body():
    for index in range(PATIENTS):
        made = patient(index, False)
        inside = ndimage.binary_erosion(made.lesions > 0)
        if not inside.any():
            continue
        lung = ndimage.binary_erosion((made.lungs == 1) & (made.lesions == 0), iterations=2)
        assert np.median(made.image[lung]) + 100 < np.median(made.image[inside]) < -50


def test_fractures_are_gaps_in_the_ribs_and_some_patients_have_none():
    numbers = [int(patient(index, False).fractures.max()) for index in range(PATIENTS)]
    assert min(numbers) == 0 and max(numbers) >= 2
    for index in range(PATIENTS):
        made = patient(index, False)
        assert not (made.fractures[made.lungs > 0]).any()
        if made.fractures.any():
            near = ndimage.binary_dilation(made.fractures > 0, iterations=4) & (made.fractures == 0)
            assert made.image[near].max() > 200


@pytest.mark.parametrize("nodules", [False, True])
def test_neither_a_window_nor_an_atlas_segments_lesions(nodules):
    masks = [patient(index, nodules).lesions > 0 for index in range(PATIENTS)]
    for index in range(PATIENTS):
        assert best_window(patient(index, nodules).image, masks[index]) < 0.8
    often = np.mean(masks, 0) >= 0.25
    assert np.mean([dice(often, mask) for mask in masks]) < 0.6


def test_ct_is_whole_hounsfield_units_with_air_around():
    image = patient(0, False).image
    assert image.dtype == np.float32
    assert np.array_equal(image, np.rint(image))
    assert abs(image[:, :3].mean() + 1000) < 3


# --- knee ------------------------------------------------------------------------------------


def test_the_femur_is_above_the_tibia_and_cartilage_between_in_every_knee():
    for index in range(PATIENTS):
        image, label = joint(index)
        heights = [z for _, _, z in ndimage.center_of_mass(image > 0, label, (3, 4, 2, 1))]
        assert np.all(np.diff(heights) > 0), index
        assert np.bincount(label.ravel(), minlength=5).min() > 150


def test_each_cartilage_covers_its_own_bone():
    for index in range(PATIENTS):
        label = joint(index)[1]
        for cartilage, own, other in (
            (FEMORAL_CARTILAGE, FEMUR, TIBIA),
            (TIBIAL_CARTILAGE, TIBIA, FEMUR),
        ):
            reached = ndimage.binary_dilation(label == own) & (label == cartilage)
            wrong = ndimage.binary_dilation(label == other) & (label == cartilage)
            assert np.count_nonzero(reached) > 4 * np.count_nonzero(wrong)


def test_intensity_tells_neither_the_bones_nor_the_cartilages_apart():
    for first, second in ((FEMUR, TIBIA), (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE)):
        darker = 0
        for index in range(PATIENTS):
            image, label = joint(index)
            darker += np.median(image[label == first]) < np.median(image[label == second])
            assert best_window(image, label == first) < 0.85
            assert best_window(image, label == second) < 0.85
        assert 1 <= darker <= PATIENTS - 1


def test_an_atlas_in_grid_coordinates_cannot_segment_cartilage():
    labels = np.array([joint(index)[1] for index in range(PATIENTS)])
    for cartilage in (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE):
        masks = labels == cartilage
        often = masks.mean(0) > 0.4
        assert np.mean([dice(often, mask) for mask in masks]) < 0.7


def test_left_and_right_knees_occur():
    ratios = []
    for index in range(PATIENTS):
        image, label = joint(index)
        x, y, _ = (round(c) for c in ndimage.center_of_mass(label[:, :, 1:6] == TIBIA))
        # The fibula lies behind the tibia's shaft, half a half-width to one side.
        left, right = (image[x + d - 1 : x + d + 2, y - 7 : y - 4, 1:6].mean() for d in (-8, 8))
        ratios.append(left / right)
    assert sum(r > 1.3 for r in ratios) >= 2
    assert sum(r < 1 / 1.3 for r in ratios) >= 2


def test_mr_has_a_scale_of_its_own():
    scales = [float(np.median(joint(index)[0])) for index in range(PATIENTS)]
    assert min(scales) > 0
    assert max(scales) > 2.5 * min(scales)
