"""What is measured of a case, against numbers counted by hand."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bench.data.facts import facts, named
from bench.dataset import Case
from bench.volumes.reading import read_label, read_volume


def of(tmp_path, image, label=None, spacing=(1.0, 1.0, 1.0)):
    affine = np.diag([*spacing, 1.0])
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "i.nii.gz")
    case = Case("a", "a", (tmp_path / "i.nii.gz",))
    if label is None:
        return facts(case, read_volume(case.images[0]), None)
    nib.save(nib.Nifti1Image(label, affine), tmp_path / "l.nii.gz")
    return facts(case, read_volume(case.images[0]), read_label(Path(tmp_path / "l.nii.gz")))


def test_size_spacing_greys_and_volumes(tmp_path):
    image = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    label = np.zeros((4, 5, 6), np.uint8)
    label[:2, :3, 2] = 1  # 6 voxels
    label[0, 0, 4] = 7
    found = of(tmp_path, image, label, (0.5, 2.0, 10.0))
    assert found.shape == (4, 5, 6) and found.spacing == (0.5, 2.0, 10.0)
    assert found.counts == {0: 113, 1: 6, 7: 1}
    assert found.ml(6) == pytest.approx(0.06)  # 6 x 10 mm^3
    ((low, few, middle, most, high),) = found.grey
    assert (low, middle, high) == (0, 59.5, 119)
    assert (few, most) == (pytest.approx(0.595), pytest.approx(118.405))  # 0.5 % of 119 steps


def test_a_sheared_voxel_has_the_volume_of_its_determinant(tmp_path):
    # edges of 1, 1, 2.5 mm
    affine = np.array([[1, 0, 0, 0], [0, 1, 1.5, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), affine), tmp_path / "i.nii.gz")
    case = Case("a", "a", (tmp_path / "i.nii.gz",))
    assert facts(case, read_volume(case.images[0]), None).ml(5) == pytest.approx(0.01)  # 5 x 2 mm^3


LEVELS = {  # (value, voxels, slice): the slice that shows most of every label
    "one label: its largest slice": ([(1, 3, 1), (1, 5, 4)], 4),
    "a small label counts as much as a large one": ([(1, 9, 1), (1, 8, 3), (2, 1, 3)], 3),
    "nothing labelled: the middle": ([], 3),
    "a value that no table holds": ([(70000, 2, 5), (1, 1, 5)], 5),
}


@pytest.mark.parametrize(("filled", "level"), LEVELS.values(), ids=LEVELS)
def test_the_slice_that_is_shown(tmp_path, filled, level):
    label = np.zeros((6, 6, 6), np.int32)
    for value, n, z in filled:
        plane = label[..., z].ravel()
        start = int((plane > 0).sum())
        plane[start : start + n] = value
        label[..., z] = plane.reshape(6, 6)
    found = of(tmp_path, np.ones((6, 6, 6), np.float32), label)
    assert found.level == level
    assert {v: n for v, n in found.counts.items() if v} == {
        value: sum(n for v, n, _ in filled if v == value) for value, _, _ in filled
    }


def test_without_a_label_map_the_middle_is_shown(tmp_path):
    found = of(tmp_path, np.ones((3, 3, 9), np.uint8))
    assert (found.counts, found.level) == (None, 4)


def test_raw_values_become_labels_and_strange_ones_stay():
    assert named({0: 9, 1: 2, 5: 3}, {1: "a"}, {}) == ({1: 2}, {5: 3})
    assert named({0: 9, 255: 2, 254: 4, 1: 3}, {1: "a"}, {255: 1, 254: 1}) == ({1: 6}, {1: 3})
