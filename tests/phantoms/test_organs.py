"""What the phantoms promise: fixed relative places, and no shorter way to the answer."""

import functools

import numpy as np
import pytest
from likeness import best_window, dice
from scipy import ndimage

from bench.phantoms.organs import generator, organs

BODY = ((96, 96, 48), (3.0, 3.0, 6.0))
SMALL = ((32, 32, 24), (9.0, 9.0, 12.0))
CROP = ((40, 52, 36), (1.0, 1.0, 1.0))
PATIENTS = 20


@functools.cache
def patient(field: tuple, labels: int, index: int, modality: str) -> tuple[np.ndarray, np.ndarray]:
    return organs(*field, labels, 0, index, modality=modality)


@functools.cache
def centroids(field: tuple, labels: int, index: int, modality: str) -> np.ndarray:
    """(labels, 3) in voxels."""
    label = patient(field, labels, index, modality)[1]
    return np.array(ndimage.center_of_mass(label > 0, label, range(1, labels + 1)))


def probe(features: np.ndarray, truth: np.ndarray) -> float:
    """Five-fold cross-validated accuracy of a ridge-regularised linear classifier."""
    fold = np.arange(len(truth)) % 5
    right = 0
    for k in range(5):
        train, test = features[fold != k], features[fold == k]
        centre, spread = train.mean(0), train.std(0) + 1e-6
        train, test = (train - centre) / spread, (test - centre) / spread
        sign = np.where(truth[fold != k], 1.0, -1.0)
        gram = train @ train.T
        ridge = 0.1 * np.trace(gram) / len(gram) * np.eye(len(gram))
        weight = train.T @ np.linalg.solve(gram + ridge, sign - sign.mean())
        right += np.count_nonzero((test @ weight + sign.mean() > 0) == truth[fold == k])
    return right / len(truth)


def corners(image: np.ndarray, side: int = 4) -> np.ndarray:
    """Voxels of the eight corner blocks, (8 side^3,)."""
    ends = np.r_[:side, -side:0]
    return image[np.ix_(ends, ends, ends)].ravel()


@pytest.mark.parametrize(
    ("field", "labels", "modality", "fewest"),
    [(BODY, 13, "CT", 25), (BODY, 13, "MR", 25), (CROP, 2, "MR", 200)],
)
def test_every_label_is_in_every_patient(field, labels, modality, fewest):
    for index in range(PATIENTS):
        counts = np.bincount(patient(field, labels, index, modality)[1].ravel())
        assert counts.size == labels + 1
        assert counts.min() > fewest
        assert counts[1] > 500 or field == CROP


def test_the_stream_is_philox_keyed_by_sha256():
    # printf '5:phantom:9' | sha256sum, first 32 digits
    key = 0xE9D9E2C755BB8E33A04A0198519FDE92
    expected = np.random.Generator(np.random.Philox(key=key)).integers(0, 2**62, 3)
    assert np.array_equal(generator(5, 9).integers(0, 2**62, 3), expected)


def test_fewer_labels_leave_the_image_as_it_is():
    image, label = organs(*SMALL, 13, 0, 4)
    fewer, few = organs(*SMALL, 6, 0, 4)
    assert np.array_equal(image, fewer)
    assert np.array_equal(few, np.where(label <= 6, label, 0))


def test_a_patient_has_one_shape_at_every_resolution():
    fine = organs((64, 64, 48), (4, 4, 6), 13, 0, 2)[1]
    coarse = organs((32, 32, 24), (8, 8, 12), 13, 0, 2)[1]
    for organ in (1, 2, 6, 7):
        assert dice(fine[::2, ::2, ::2] == organ, coarse == organ) > 0.7


# (axis, organs in increasing coordinate): x to the right, y to the front, z to the head
ORDERS = {
    0: [(1, 8, 9, 2), (3, 8, 9, 2), (3, 13, 12, 6), (7, 6)],
    1: [(2, 11, 4), (8, 10, 4)],
    2: [(2, 12, 6), (3, 13, 5)],
}


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_organs_keep_their_order_in_every_patient(modality):
    for index in range(PATIENTS):
        places = centroids(BODY, 13, index, modality)
        for axis, order in ((axis, order) for axis, orders in ORDERS.items() for order in orders):
            assert np.all(np.diff(places[np.array(order) - 1, axis]) > 0), (index, order)


def test_the_parts_of_a_crop_keep_their_order_in_every_patient():
    for index in range(PATIENTS):
        anterior, posterior = centroids(CROP, 2, index, "MR")
        assert anterior[1] > posterior[1] + 5
        assert anterior[2] < posterior[2]


def test_place_in_the_body_is_steadier_than_place_in_the_grid():
    grid, body = [], []
    for index in range(PATIENTS):
        image, _ = patient(BODY, 13, index, "CT")
        inside = ndimage.gaussian_filter(image, 1) > -500
        places = centroids(BODY, 13, index, "CT")[[1, 2, 5, 7]]
        grid.append(places)
        body.append(places - ndimage.center_of_mass(inside))
    for axis in (0, 1):  # along z the body leaves the grid
        assert np.all(np.std(body, 0)[:, axis] < 0.75 * np.std(grid, 0)[:, axis])


def test_an_atlas_in_grid_coordinates_cannot_segment():
    labels = np.array([patient(BODY, 13, index, "CT")[1] for index in range(PATIENTS)])
    for organ in range(1, 14):
        masks = labels == organ
        majority = masks.mean(0) > 0.5
        assert np.mean([dice(majority, mask) for mask in masks]) < 0.8, organ


@pytest.mark.parametrize(("field", "labels", "modality"), [(BODY, 13, "CT"), (CROP, 2, "MR")])
def test_an_intensity_window_cannot_segment(field, labels, modality):
    for index in range(5):
        image, label = patient(field, labels, index, modality)
        for organ in range(1, labels + 1):
            assert best_window(image, label == organ) < 0.8, (index, organ)


@pytest.mark.parametrize(
    ("field", "labels", "modality"), [(SMALL, 13, "CT"), (((24, 32, 20), (1,) * 3), 3, "MR")]
)
def test_corner_voxels_say_nothing_about_parity_or_volumes(field, labels, modality):
    images, volumes = [], []
    for index in range(400):
        image, label = organs(*field, labels, 1, index, modality=modality)
        images.append(corners(image))
        volumes.append(np.bincount(label.ravel(), minlength=labels + 1)[1:])
    seen, sizes = np.array(images), np.array(volumes)
    targets = {"parity": np.arange(400) // 5 % 2 == 0}
    for organ in range(1, labels + 1):  # ranks, so that ties leave the halves equal
        targets[f"organ {organ}"] = np.argsort(np.argsort(sizes[:, organ - 1])) >= 200
    found = {name: probe(seen, truth) for name, truth in targets.items()}
    assert all(0.4 <= rate <= 0.6 for rate in found.values()), found  # 4 binomial deviations


def test_appearance_does_not_tell_twin_organs_but_place_does():
    seen, places = [], []
    for index in range(100):
        image, label = organs((64, 64, 40), (4, 4, 6), 3, 2, index)
        x, y, z = (
            np.array(a, float)
            for a in zip(*ndimage.center_of_mass(label > 0, label, (2, 3)), strict=True)
        )
        for organ in range(2):
            start = [round(float(a[organ])) - 2 for a in (x, y, z)]
            seen.append(image[tuple(slice(s, s + 4) for s in start)].ravel())
            places.append([x[organ] - x.mean()])
    right = np.arange(200) % 2 == 0
    order = np.random.default_rng(0).permutation(200)  # folds hold both twins of a patient or not
    assert 0.4 <= probe(np.array(seen)[order], right[order]) <= 0.6
    assert probe(np.array(places)[order], right[order]) == 1.0


def test_one_organ_is_small_and_faint():
    image, label = patient(BODY, 13, 0, "CT")
    around = ndimage.binary_dilation(label == 4, iterations=3) & (label == 0)
    noise = image[:8, :8].std()
    assert np.count_nonzero(label == 4) < 0.05 * np.count_nonzero(label == 6)
    assert abs(image[label == 4].mean() - image[around].mean()) < 4 * noise
    assert abs(image[label == 6].mean() - image[around].mean()) > 6 * noise


def test_organs_differ_in_grain():
    def likeness(organ: int) -> float:
        ahead, behind = [], []
        for index in range(4):
            image, label = patient(((128, 128, 96), (2.0, 2.0, 2.0)), 13, index, "CT")
            core = ndimage.binary_erosion(label == organ, iterations=2)
            both = core[2:] & core[:-2]
            centred = image - image[core].mean()
            ahead.append(centred[2:][both])
            behind.append(centred[:-2][both])
        return float(np.corrcoef(np.concatenate(ahead), np.concatenate(behind))[0, 1])

    assert likeness(7) > likeness(1) + 0.1  # correlation lengths 3.0 (stomach), 1.0 (spleen)


def test_ct_is_whole_hounsfield_units_with_air_around():
    noise = []
    for index in range(PATIENTS):
        image, _ = patient(BODY, 13, index, "CT")
        air = image[:, :6]
        assert np.array_equal(image, np.rint(image))
        assert abs(air.mean() + 1000) < 1
        noise.append(air.std())
    assert max(noise) > 1.5 * min(noise)


def test_mr_has_a_scale_of_its_own_and_zero_around():
    scales = []
    for index in range(PATIENTS):
        image, _ = patient(BODY, 13, index, "MR")
        assert image.min() == 0
        assert np.mean(image == 0) > 0.2
        scales.append(np.median(image[image > 0]))
    assert max(scales) > 4 * min(scales)
    assert patient(CROP, 2, 0, "MR")[0].min() > 0


def test_mr_is_brighter_on_one_side_than_the_other():
    drift = []
    for index in range(PATIENTS):
        image, _ = patient(CROP, 2, index, "MR")
        means = corners(image, 6).reshape(2, 6, 2, 6, 2, 6).mean((1, 3, 5))
        drift.append(means.std() / means.mean())
    assert np.mean(drift) > 0.05  # texture and noise alone leave 0.02


@pytest.mark.parametrize(
    ("labels", "modality", "words"),
    [
        (0, "CT", "labels must be 1 to 13"),
        (14, "MR", "labels must be 1 to 13"),
        (1, "US", "CT or MR"),
    ],
)
def test_what_is_beyond_the_atlas_is_refused(labels, modality, words):
    with pytest.raises(ValueError, match=words):
        organs(*SMALL, labels, 0, 0, modality=modality)
