"""Anatomy of the synthetic brains and hearts: what lies in what, what grows and what shrinks."""

import functools

import numpy as np
import pytest
from scipy import ndimage

from bench.phantoms.brain import CORE, CSF, ENHANCING, GREY, OEDEMA, WHITE, Brain, brain
from bench.phantoms.heart import CAVITY, GROUPS, MYOCARDIUM, RIGHT, STRUCTURES, cine, whole_heart

HEAD = ((60, 60, 39), (4.0, 4.0, 4.0))
CINE = ((76, 72, 9), (3.0, 3.0, 10.0))
CHEST = ((54, 52, 40), (4.0, 4.0, 4.0))
PATIENTS = 12


@functools.cache
def head(index: int, enhancing: bool | None = True, skull: bool = False, seed: int = 0) -> Brain:
    return brain(*HEAD, seed, index, enhancing=enhancing, skull=skull)


@functools.cache
def beats(index: int, group: str = "NOR") -> tuple[np.ndarray, np.ndarray]:
    return cine(*CINE, 0, index, systole=(0.0, 1.0), group=group)


@functools.cache
def chest(index: int, modality: str) -> tuple[np.ndarray, np.ndarray]:
    return whole_heart(*CHEST, 0, index, modality=modality)


def around(label: np.ndarray, value: int) -> set[int]:
    """Values in the voxels that touch a structure."""
    mine = label == value
    return {int(v) for v in np.unique(label[ndimage.binary_dilation(mine) & ~mine])}


def mean(made: Brain, contrast: str, where: np.ndarray) -> float:
    return float(made.images[contrast][where].mean())


# --- brains ----------------------------------------------------------------------------------


def test_the_parts_of_a_tumour_lie_within_each_other():
    for index in range(PATIENTS):
        tumour = head(index).tumour
        sizes = np.bincount(tumour.ravel(), minlength=4)
        assert sizes[CORE] > 30
        assert sizes[OEDEMA] > sizes[ENHANCING] > sizes[CORE] / 2
        assert CORE not in around(tumour, 0) | around(tumour, OEDEMA)
        assert 0 not in around(tumour, CORE)
        whole, tissue = tumour > 0, head(index).tissue
        assert np.all(tissue[whole] > 0)
        assert ndimage.label(whole)[1] <= 3


def test_without_enhancement_the_core_is_solid_and_without_tumour_there_is_none():
    for index in range(PATIENTS):
        solid = head(index, False).tumour
        assert set(np.unique(solid)) == {0, CORE, OEDEMA}
        assert np.array_equal(solid > 0, head(index).tumour > 0)
    assert not head(0, None).tumour.any()


def test_the_four_contrasts_show_what_they_show_in_patients():
    for index in range(PATIENTS):
        made = head(index)
        part = {v: ndimage.binary_erosion(made.tumour == v) for v in (CORE, OEDEMA)}
        rim, healthy = made.tumour == ENHANCING, made.tumour == 0
        white, grey, fluid = (healthy & (made.tissue == t) for t in (WHITE, GREY, CSF))
        assert mean(made, "t1", white) > mean(made, "t1", grey) > mean(made, "t1", fluid)
        assert mean(made, "t2", fluid) > mean(made, "t2", grey) > mean(made, "t2", white)
        assert mean(made, "t1ce", rim) > 1.2 * mean(made, "t1ce", white)
        assert mean(made, "t1", rim) < mean(made, "t1", white)  # the contrast agent alone shows it
        assert mean(made, "flair", part[OEDEMA]) > 1.3 * mean(made, "flair", white)
        assert mean(made, "t1ce", part[CORE]) < mean(made, "t1ce", part[OEDEMA])


def test_a_stripped_skull_leaves_zero_and_a_head_has_a_scalp_around_it():
    stripped, whole = head(1), head(1, skull=True)
    for contrast, image in stripped.images.items():
        assert np.all(image[stripped.tissue == 0] == 0)
        assert np.mean(image > 0) == pytest.approx(np.mean(stripped.tissue > 0), abs=1e-3)
        outside = (whole.images[contrast] > 0) & (whole.tissue == 0)
        assert outside.sum() > 0.2 * (whole.tissue > 0).sum()


def test_tumours_lie_in_either_hemisphere():
    sides = [
        ndimage.center_of_mass(head(i).tumour > 0)[0] > HEAD[0][0] / 2 for i in range(PATIENTS)
    ]
    assert {True, False} == set(sides)


# --- hearts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_the_left_ventricle_is_larger_at_end_diastole_and_lies_in_its_wall(group):
    for index in range(PATIENTS):
        label = beats(index, group)[1]
        diastole, systole = (np.bincount(label[..., t].ravel(), minlength=4) for t in (0, 1))
        assert diastole[CAVITY] > 1.1 * systole[CAVITY] > 200
        assert diastole[RIGHT] > systole[RIGHT]
        for t in (0, 1):
            filled = np.flatnonzero((label[..., t] == CAVITY).any((0, 1)))
            assert len(filled) > 4
            for z in filled[:-2]:  # rings; the valves' plane may cut the last ones open
                assert around(label[:, :, z, t], CAVITY) == {MYOCARDIUM}


def test_the_groups_differ_as_their_diseases_do():
    def volumes(group: str, frame: int) -> np.ndarray:
        return np.mean(
            [np.bincount(beats(i, group)[1][..., frame].ravel()) for i in range(PATIENTS)], axis=0
        )

    ejected = {g: 1 - volumes(g, 1)[CAVITY] / volumes(g, 0)[CAVITY] for g in GROUPS}
    assert ejected["HCM"] > ejected["NOR"] > 0.4 > ejected["DCM"]
    assert volumes("DCM", 0)[CAVITY] > 1.3 * volumes("NOR", 0)[CAVITY]
    assert volumes("HCM", 0)[MYOCARDIUM] > 1.2 * volumes("NOR", 0)[MYOCARDIUM]
    assert volumes("RV", 0)[RIGHT] > 1.3 * volumes("NOR", 0)[RIGHT]


def test_the_two_ventricles_differ_in_place_alone():
    for index in range(PATIENTS):
        image, label = (a[..., 0] for a in beats(index))
        left, right = (ndimage.binary_erosion(label == v) for v in (CAVITY, RIGHT))
        assert abs(image[left].mean() / image[right].mean() - 1) < 0.35  # but for the bias field
        assert image[left].mean() > 1.8 * image[ndimage.binary_erosion(label == MYOCARDIUM)].mean()


def test_frames_of_a_patient_share_the_chest_and_not_the_noise():
    image, label = beats(0)
    outside = (label.max(axis=-1) == 0) & (image[..., 0] > image.max() / 10)
    first, second = image[outside].T
    assert np.corrcoef(first, second)[0, 1] > 0.9
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_whole_heart_has_its_seven_structures_in_their_places(modality):
    for index in range(PATIENTS):
        label = chest(index, modality)[1]
        assert np.bincount(label.ravel(), minlength=STRUCTURES + 1)[1:].min() > 150
        places = np.array(ndimage.center_of_mass(label > 0, label, range(1, STRUCTURES + 1)))
        _, la, lv, ra, rv, ao, pa = places
        assert lv[0] < rv[0] < ra[0] + 10  # +x is the patient's right
        assert la[1] < lv[1] < rv[1]  # the left atrium lies behind, the right ventricle in front
        assert min(ao[2], pa[2]) > lv[2]
        assert pa[0] < ao[0]
        assert around(label, 3) <= {1, 2, 4, 6, 7, 0, 5}
        wall = ndimage.binary_dilation(label == 3) & (label != 3)
        assert np.mean(label[wall] == 1) > 0.5


def test_a_heart_is_in_hounsfield_units_in_ct_and_without_units_in_mr():
    ct, label = chest(0, "CT")
    assert np.array_equal(ct, np.rint(ct))
    assert 250 < ct[label == 3].mean() < 450
    assert ct[:3, :3].mean() < -900
    scales = [np.median(chest(i, "MR")[0][chest(i, "MR")[1] == 3]) for i in range(PATIENTS)]
    assert max(scales) > 2 * min(scales)
