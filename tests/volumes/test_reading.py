"""Volumes: RAS+ whatever the file's axes, labels on the grid of their image."""

import gzip
import pickle
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import SHAPE, VALUES, patch
from samples import nifti as save

from bench.volumes.reading import VolumeError, join_channels, read_header, read_label, read_volume


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_an_lps_file_is_turned_to_ras(tmp_path, name):
    volume = read_volume(save(tmp_path / name))
    assert volume.original_axes == "LPS"
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    np.testing.assert_array_equal(volume.array[0], VALUES[::-1, ::-1])
    # The first RAS voxel is the last stored one along x and y: 10 - 1.5 * 4 and 20 - 2 * 5.
    np.testing.assert_allclose(volume.affine[:3, 3], [4, 10, -30])
    np.testing.assert_allclose(np.diag(volume.affine), [1.5, 2, 2.5, 1])
    assert volume.spacing == (1.5, 2, 2.5)


@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3), st.floats(-0.2, 0.2))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_axes_agree_with_nibabel(tmp_path, order, signs, tilt):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, order] * signs * [1.0, 2.0, 3.0]
    affine[:3, :3] = np.array([[1, -tilt, 0], [tilt, 1, 0], [0, 0, 1]]) @ affine[:3, :3]
    path = save(tmp_path / "a.nii", affine=affine)
    expected = nib.as_closest_canonical(nib.load(path))
    volume, header = read_volume(path), read_header(path)
    np.testing.assert_array_equal(volume.array[0], expected.get_fdata())
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-5)
    assert header.shape == volume.array.shape[1:]
    np.testing.assert_array_equal(header.affine, volume.affine)


def test_channels_come_first_and_a_fourth_axis_of_one_is_none(tmp_path):
    array = np.stack([VALUES, VALUES + 1], axis=-1)
    volume = read_volume(save(tmp_path / "a.nii.gz", array, np.eye(4)))
    np.testing.assert_array_equal(volume.array[1], VALUES + 1)
    assert read_header(tmp_path / "a.nii.gz").channels == 2
    assert read_volume(save(tmp_path / "b.nii.gz", VALUES[..., None])).array.shape == (1, *SHAPE)


UNITS = [(0, 1), (1, 1000), (2, 1), (3, 0.001), (2 + 8, 1), (3 + 8, 0.001), (5, 1)]


@pytest.mark.parametrize(("code", "mm"), UNITS)  # as SimpleITK 2.5.7 reads these files
def test_spacing_and_place_are_in_mm_whatever_the_unit(tmp_path, code, mm):
    affine = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -40], [0, 0, 2.5, 5], [0, 0, 0, 1]])
    stated = np.diag([1 / mm, 1 / mm, 1 / mm, 1]) @ affine
    header = read_header(patch(save(tmp_path / "a.nii", affine=stated), 123, "<B", code))
    same = read_header(save(tmp_path / "b.nii", affine=affine))
    np.testing.assert_allclose(header.spacing, same.spacing, rtol=1e-6)
    np.testing.assert_allclose(header.affine, same.affine, rtol=1e-6)


def test_slope_and_intercept_are_applied_unless_the_slope_is_zero(tmp_path):
    path = save(tmp_path / "a.nii", affine=np.eye(4))
    volume = read_volume(patch(path, 112, "<2f", 2, -1024))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], VALUES * 2.0 - 1024)
    assert read_volume(patch(path, 112, "<2f", 0, float("nan"))).array.dtype == np.int16


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_both_versions_and_byte_orders_are_read(tmp_path, kind, order, suffix):
    path = tmp_path / f"a{suffix}"
    header = kind.header_class(endianness=order)
    nib.save(kind(VALUES, np.eye(4), header), path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], VALUES)
    assert volume.array.dtype.isnative


def test_several_gzip_members_are_one_stream(tmp_path):
    raw = save(tmp_path / "a.nii", affine=np.eye(4)).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(raw[:300]) + gzip.compress(raw[300:]))
    np.testing.assert_array_equal(read_volume(path).array[0], VALUES)


def test_a_folder_named_like_its_file_is_opened(tmp_path):
    folder = tmp_path / "img.nii.gz"
    folder.mkdir()
    save(folder / "img.nii")
    (folder / "._img.nii").write_bytes(b"litter")
    assert read_volume(folder).array.shape == (1, *SHAPE)


# --- NRRD ------------------------------------------------------------------------------------


def save_nrrd(path: Path, array: np.ndarray = VALUES, **header) -> Path:
    nrrd.write(str(path), array, header)
    return path


LPS = {
    "space": "left-posterior-superior",
    "space directions": np.diag([1.0, 2.0, 3.0]),
    "space origin": np.array([4.0, 5.0, 6.0]),
}


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_an_nrrd_in_lps_is_turned_to_ras(tmp_path, encoding):
    volume = read_volume(save_nrrd(tmp_path / "a.nrrd", **LPS, encoding=encoding))
    np.testing.assert_array_equal(volume.array[0], VALUES[::-1, ::-1])
    # The origin (4, 5) left, posterior is (-4, -5); the grid ends 4 and 10 mm further.
    np.testing.assert_allclose(volume.affine[:3, 3], [-8, -15, 6])
    assert volume.spacing == (1, 2, 3)
    assert volume.original_axes == "LPS"


def test_an_nrrd_without_space_takes_its_spacings(tmp_path):
    volume = read_volume(save_nrrd(tmp_path / "a.nrrd", spacings=[0.5, 1.0, 2.0]))
    np.testing.assert_array_equal(volume.array[0], VALUES)
    assert volume.spacing == (0.5, 1, 2)
    assert not volume.stored.oriented


def test_an_nrrd_channel_axis_is_the_one_without_direction(tmp_path):
    array = np.stack([VALUES, VALUES + 1])
    rows = np.vstack([np.full(3, np.nan), np.eye(3)])
    header = {"space": "right-anterior-superior", "space directions": rows}
    header["kinds"] = ["list", "domain", "domain", "domain"]
    volume = read_volume(save_nrrd(tmp_path / "a.nrrd", array, **header))
    np.testing.assert_array_equal(volume.array, array)


# --- labels ----------------------------------------------------------------------------------


def test_float_labels_are_rounded_not_cut(tmp_path):
    array = np.where(VALUES % 2, 0.9999999, 2.0000001).astype(np.float64)
    label = read_label(save(tmp_path / "a.nii.gz", array, np.eye(4)))
    assert label.array.dtype.kind == "i"
    np.testing.assert_array_equal(label.array, np.where(VALUES % 2, 1, 2))


def test_where_only_the_affine_differs_the_image_decides(tmp_path):
    image = read_volume(save(tmp_path / "image.nii.gz"))
    path = save(tmp_path / "label.nii.gz", affine=np.eye(4))
    np.testing.assert_array_equal(read_label(path).array, VALUES)
    label = read_label(path, image)
    np.testing.assert_array_equal(label.array, image.array[0])
    np.testing.assert_array_equal(label.affine, image.affine)


def test_a_label_stored_along_other_axes_keeps_its_place(tmp_path):
    image = read_volume(save(tmp_path / "image.nii.gz"))
    path = save(tmp_path / "label.nii.gz", image.array[0], image.affine)
    np.testing.assert_array_equal(read_label(path, image).array, image.array[0])


@pytest.mark.parametrize(("off", "kept"), [(0.01, True), (0.4, True), (3.0, False)])
def test_a_label_along_other_axes_keeps_its_place_where_its_affine_is_rounded(tmp_path, off, kept):
    image = read_volume(save(tmp_path / "image.nii.gz"))  # voxels of 1.5 mm and more
    array = image.array[0]
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = array.shape[0] - 1
    affine = image.affine @ flip
    affine[:3, 3] += off / 2
    assert read_volume(image.path).original_axes != "LAS" and array.shape == VALUES.shape
    label = read_label(save(tmp_path / "label.nii.gz", array[::-1], affine), image)
    assert np.array_equal(label.array, array) == kept


# --- whole images ----------------------------------------------------------------------------


def test_channels_in_files_are_joined_in_their_order(tmp_path):
    a, b = (read_volume(save(tmp_path / "a.nii", VALUES + n)) for n in (0, 1))
    np.testing.assert_array_equal(join_channels([a, b]).array, [a.array[0], b.array[0]])


def test_an_error_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(VolumeError(Path("a.nii"), "shape", "wrong")))
    assert (error.kind, str(error)) == ("shape", "a.nii: wrong")
