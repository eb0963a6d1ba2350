"""Synthetic chests and knees: parts where they belong, and no shorter way to the answer."""

import functools
import time

import numpy as np
import pytest
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


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def best_window(image: np.ndarray, mask: np.ndarray) -> float:
    """Dice of the best range of intensities."""
    edges = np.unique(np.quantile(image, np.linspace(0, 1, 200)))
    level = np.digitize(image, edges).ravel()
    everything, hits = (
        np.r_[0, np.cumsum(np.bincount(found, minlength=edges.size + 1))]
        for found in (level, level[mask.ravel()])
    )
    inside = np.maximum(everything[None] - everything[:, None], 0)
    return float(np.max(2 * (hits[None] - hits[:, None]) / (inside + hits[-1])))


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
            (FEMORAL_CARTILAGE, FEMUR, TIBIA), (TIBIAL_CARTILAGE, TIBIA, FEMUR),
        ):  # fmt: skip
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


# --- both ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "index"), [(0, 1), (1, 0)])
def test_a_patient_is_its_seed_and_index_alone(seed, index):
    for make in (lambda s, i: chest(SHAPE, SPACING, s, i).image, lambda s, i: knee(KNEE, s, i)[0]):
        first = make(0, 0)
        other = make(seed, index)
        assert np.array_equal(first, make(0, 0))
        assert not np.array_equal(first, other)


def test_they_take_a_fraction_of_a_second():
    for make in (lambda i: chest(SHAPE, SPACING, 1, i), lambda i: knee(KNEE, 1, i)):
        times = []
        for index in range(3):
            start = time.process_time()
            make(index)
            times.append(time.process_time() - start)
        assert min(times) < 0.5
