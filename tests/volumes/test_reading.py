"""Volumes: RAS+ whatever the file's axes, labels on the grid of their image."""

import gzip
import pickle
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import AFFINE, SHAPE, VALUES, kind_of, patch
from samples import nifti as save

from bench.volumes.header import Stated, VolumeError
from bench.volumes.reading import (
    join_channels,
    read_as_stored,
    read_header,
    read_label,
    read_volume,
)


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
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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
@pytest.mark.parametrize(("slope", "inter"), [(1, 0), (np.nan, np.nan), (np.nan, 7), (-np.inf, 0)])
def test_versions_byte_orders_and_slopes_that_are_none(tmp_path, kind, order, suffix, slope, inter):
    path = tmp_path / f"a{suffix}"
    header = kind.header_class(endianness=order)
    nib.save(kind(VALUES, np.eye(4), header), path)
    at, form = (112, "2f") if kind is nib.Nifti1Image else (176, "2d")
    for read in (read_volume, read_label):
        volume = read(patch(path, at, order + form, slope, inter))
        array = np.asarray(nib.load(path).dataobj)
        np.testing.assert_array_equal(volume.array.reshape(SHAPE), array)
        np.testing.assert_array_equal(array, VALUES)
        assert volume.array.dtype.isnative
        kinds = [kind for kind, _ in volume.stored.stated.remarks]
        assert kinds == ([] if slope == 1 else ["nonfinite"])


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


@pytest.mark.parametrize("unit", ["mm", "microns", "m"])
def test_an_nrrds_units_are_not_looked_at_as_in_itk(tmp_path, unit):
    path = save_nrrd(tmp_path / "a.nrrd", **LPS, **{"space units": [unit] * 3})
    assert read_volume(path).spacing == sitk.ReadImage(str(path)).GetSpacing() == (1, 2, 3)


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
    assert not volume.stored.stated.axes and volume.stored.stated.spacing


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


TURNED_AWAY = np.diag([-1.5, -2.0, 2.5, 1.0])  # the directions of AFFINE, at another place


@pytest.mark.parametrize("affine", [TURNED_AWAY, None], ids=["another place", "states nothing"])
def test_a_label_with_its_images_directions_or_none_is_stored_like_its_image(tmp_path, affine):
    image = read_volume(save(tmp_path / "image.nii.gz"))
    label = read_label(save(tmp_path / "label.nii.gz", affine=affine), image)
    np.testing.assert_array_equal(label.array, image.array[0])
    np.testing.assert_array_equal(label.affine, image.affine)


def test_a_label_with_other_directions_that_does_not_lie_on_its_image_is_refused(tmp_path):
    image = read_volume(save(tmp_path / "image.nii.gz"))
    path = save(tmp_path / "label.nii.gz", affine=np.eye(4))
    np.testing.assert_array_equal(read_label(path).array, VALUES)
    np.testing.assert_array_equal(read_as_stored(path).array, VALUES)
    assert kind_of(path, lambda path: read_label(path, image)) == "orientation"


@pytest.mark.parametrize("image_states", [True, False])
def test_a_label_beside_an_image_one_of_which_states_no_directions_is_not_turned(
    tmp_path, image_states
):
    stated, vague = save(tmp_path / "a.nii", VALUES % 7), save_nrrd(tmp_path / "b.nrrd", VALUES % 7)
    image, label = (stated, vague) if image_states else (vague, stated)
    volume = read_volume(image)
    np.testing.assert_array_equal(read_label(label, volume).array, volume.array[0])
    joined = join_channels([volume, read_volume(label)])
    np.testing.assert_array_equal(joined.array[0], joined.array[1])
    np.testing.assert_array_equal(joined.affine, read_volume(stated).affine)


def both_forms(
    path: Path, sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...] = SHAPE
) -> Path:
    image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), sform)
    image.set_sform(sform, 1)
    image.set_qform(qform, 1)
    nib.save(image, path)
    return path


MIRRORED = np.diag([-1.0, 1, 1, 1]) @ AFFINE
SHEARED = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0.4, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
ROUNDED = AFFINE + np.outer([0.2, 0.2, 0.2, 0], [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("qform", "conflict", "place"),
    [
        (AFFINE, False, True),
        (ROUNDED, False, True),
        (MIRRORED, True, True),
        (TURNED_AWAY, False, False),
    ],
    ids=["equal", "rounded", "mirrored", "elsewhere"],
)
def test_two_statements_of_one_header_are_compared(tmp_path, qform, conflict, place):
    stored = read_volume(both_forms(tmp_path / "a.nii", AFFINE, qform)).stored
    assert bool(stored.stated.conflict) == conflict
    assert stored.stated.place == place == (not stored.stated.doubt)


TILT = np.deg2rad(20)  # of a gantry: slices are shifted, their distance is that of planes
TILTED = AFFINE @ np.array(
    [[1, 0, 0, 0], [0, 1, np.tan(TILT) * 2.5 / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
)


@pytest.mark.parametrize(
    ("sform", "spacing", "conflict"),
    [
        (np.diag([-1.0, -1, 1, 1]), (1.5, 2, 2.5), False),  # a placeholder
        (AFFINE @ np.diag([1, 1, 2.0, 1]), (1.5, 2, 5), True),
        (AFFINE @ np.diag([1, 1, 1.02, 1]), (1.5, 2, 2.55), False),
        (TILTED, (1.5, 2, 2.5 / np.cos(TILT)), False),
    ],
    ids=["unit", "other size", "rounded", "tilt"],
)
def test_which_of_two_sizes_of_a_voxel_counts(tmp_path, sform, spacing, conflict):
    """Most files of ACDC: sform diag(-1, -1, 1), the true size in qform and pixdim (nnU-Net issue 2741)."""
    volume = read_volume(both_forms(tmp_path / "a.nii", sform, AFFINE))
    assert volume.spacing == pytest.approx(spacing, rel=1e-4)
    assert bool(volume.stored.stated.conflict) == conflict
    said = volume.stored.stated.doubt or volume.stored.stated.conflict
    assert ("qform and pixdim 1.5 x 2 x 2.5" in said) == (conflict or spacing == (1.5, 2, 2.5))


def test_a_label_is_stored_like_its_image_where_the_data_set_says_so(tmp_path):
    """Headers of LiTS volume-53 and its label (nnU-Net issue 2751)."""
    image, label = (nib.Nifti1Image(VALUES, affine) for affine in (MIRRORED, np.eye(4)))
    for file, name in ((image, "image.nii"), (label, "label.nii")):
        nib.save(file, tmp_path / name)
    volume = read_volume(tmp_path / "image.nii")
    with pytest.raises(VolumeError, match="its axes are stored"):
        read_label(tmp_path / "label.nii", volume)
    laid = read_label(tmp_path / "label.nii", volume, as_stored=True)
    np.testing.assert_array_equal(laid.array, volume.array[0])


def test_a_shear_that_no_qform_holds_stays_in_the_affine_and_is_no_conflict(tmp_path):
    volume = read_volume(both_forms(tmp_path / "a.nii", SHEARED, SHEARED))
    assert not volume.stored.stated.conflict
    assert abs(np.linalg.det(volume.affine)) == pytest.approx(1.5 * 2 * 2.5)
    assert np.prod(volume.spacing) > 1.04 * 1.5 * 2 * 2.5


@pytest.mark.parametrize(
    ("lost", *("at", "form", "values")),
    [
        ("sform is no possible grid", 280, "<12f", [0] * 12),
        ("sform holds NaN", 300, "<f", [np.nan]),
        ("qform is no possible grid", 256, "<3f", [2] * 3),
        ("qform holds NaN", 256, "<f", [np.nan]),
        ("qform holds NaN", 268, "<f", [np.inf]),
    ],
)
def test_of_two_statements_of_which_one_is_none_the_other_counts(tmp_path, lost, at, form, values):
    path = both_forms(tmp_path / "a.nii", AFFINE, AFFINE)
    volume = read_volume(patch(path, at, form, *values))
    np.testing.assert_allclose(
        volume.affine, read_volume(save(tmp_path / "b.nii")).affine, atol=1e-5
    )
    stated = volume.stored.stated
    assert stated == Stated(unit=stated.unit, remarks=stated.remarks)
    ((kind, text),) = stated.remarks
    assert kind == "affine" and f"its {lost}" in text


@pytest.mark.parametrize("much", [1 + 1e-6, 1.0004])
def test_a_quaternion_that_was_rounded_above_one_is_scaled(tmp_path, much):
    path = both_forms(tmp_path / "a.nii", AFFINE, AFFINE)
    patch(patch(path, 254, "<h", 0), 256, "<3f", 0, 0, much)  # half a turn about z
    np.testing.assert_allclose(np.diag(read_volume(path).affine)[:3], [1.5, 2, 2.5], rtol=1e-5)
    assert sitk.ReadImage(str(path)).GetDirection()[::4] == pytest.approx((1, 1, 1), abs=1e-3)


@pytest.mark.parametrize("z", [0.0, 999.0, 5.0])
def test_an_axis_of_one_voxel_may_have_any_length(tmp_path, z):
    path = both_forms(
        tmp_path / "a.nii", np.diag([1.0, 2, 5, 1]), np.diag([1.0, 2, 5, 1]), (5, 6, 1)
    )
    volume = read_volume(patch(patch(path, 88, "<f", z), 320, "<f", z))
    assert volume.spacing == (1, 2, 5 if z == 5 else 1)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"])
def test_two_axes_as_itk_writes_them_are_a_slice(tmp_path, suffix):
    image = sitk.GetImageFromArray(VALUES[:, :, 0].T)
    image.SetSpacing((0.5, 0.0039))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    label = read_as_stored(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(label.array, VALUES[:, :, :1])
    assert label.spacing == pytest.approx((0.5, 0.0039, 1))


def test_what_is_no_volume_says_what_to_do(tmp_path):
    dicom = b"\0" * 128 + b"DICM" + b"\0" * 400
    for name, words in (
        ("a.dcm", "dcm2niix"),
        ("IM0001", "dcm2niix"),
        ("b.nii", "dcm2niix"),
        ("a.hdr", "convert it to .nii"),
        ("b.nii.gz", "dcm2niix"),
        ("b.nrrd", "dcm2niix"),
        ("b.mha", "dcm2niix"),
        ("scan/IM1", "dcm2niix"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(dicom)
        with pytest.raises(VolumeError, match=words):
            read_volume(path.parent if "/" in name else path)


@pytest.mark.parametrize(
    ("off", "kept"), [(0, True), (0.01, True), (0.4, True), (1.0, False), (3.0, False)]
)
def test_a_label_along_other_axes_keeps_its_place_where_its_affine_is_rounded(tmp_path, off, kept):
    image = read_volume(save(tmp_path / "image.nii.gz"))  # voxels of 1.5 mm and more
    array = image.array[0]
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = array.shape[0] - 1
    affine = image.affine @ flip
    affine[:3, 3] += off / 2
    assert read_volume(image.path).original_axes != "LAS" and array.shape == VALUES.shape
    path = save(tmp_path / "label.nii.gz", array[::-1], affine)
    if kept:
        np.testing.assert_array_equal(read_label(path, image).array, array)
    else:
        assert kind_of(path, lambda path: read_label(path, image)) == "orientation"


# --- whole images ----------------------------------------------------------------------------


def test_channels_in_files_are_joined_in_their_order(tmp_path):
    a, b = (read_volume(save(tmp_path / "a.nii", VALUES + n)) for n in (0, 1))
    np.testing.assert_array_equal(join_channels([a, b]).array, [a.array[0], b.array[0]])


def test_an_error_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(VolumeError(Path("a.nii"), "shape", "wrong")))
    assert (error.kind, str(error)) == ("shape", "a.nii: wrong")
