"""MetaImage files, and NRRD with a header of its own, agree with SimpleITK."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import SHAPE, VALUES, nhdr, nifti
from samples import metaimage as save

from bench.data.roots import Contents
from bench.dataset import Case
from bench.phantoms.organs import write_metaimage
from bench.volumes.reading import read_header, read_volume


def oracle(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return SimpleITK's array (x, y, z), or (c, x, y, z), and affine, both in RAS+."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    array = sitk.GetArrayFromImage(image)
    channels = array.T if array.ndim == 4 else array.T[None]
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    to_ras = np.diag([-1.0, -1, 1, 1]) @ affine
    ends = np.array([channels.shape[1] - 1, channels.shape[2] - 1, 0])
    ras = to_ras @ np.diag([-1.0, -1, 1, 1])
    ras[:3, 3] = (to_ras @ [*ends, 1])[:3]
    return channels[:, ::-1, ::-1], ras


def assert_agrees(path: Path) -> None:
    array, affine = oracle(path)
    volume, header = read_volume(path), read_header(path)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    assert volume.array.dtype == array.dtype
    assert (header.channels, *header.shape) == volume.array.shape
    np.testing.assert_allclose(header.affine, affine, atol=1e-5)


def written(path: Path, array: np.ndarray, vector: bool = False, packed: bool = False) -> Path:
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-12.5, 3.25, 7))
    sitk.WriteImage(image, str(path), packed)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["a.mhd", "a.mha", "a.nhdr"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_what_itk_writes_is_read_as_itk_reads_it(tmp_path, dtype, name, packed):
    path = written(tmp_path / name, VALUES.astype(dtype), packed=packed)
    assert_agrees(path)
    assert read_volume(path).spacing == (0.5, 0.75, 2.0)


@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3), st.floats(-0.5, 0.5))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_directions_agree_with_itk(tmp_path, order, signs, angle):
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    rows = turn @ (np.eye(3)[:, order] * signs)
    text = " ".join(f"{v:.8f}" for v in rows.ravel())
    path = save(tmp_path, "1 0 0 0 1 0 0 0 1", text)
    image, volume = sitk.ReadImage(str(path)), read_volume(path)
    # Any voxel of ours lies where ITK says that the same value lies.
    for index in ((0, 0, 0), (4, 1, 2), (3, 5, 6)):
        value = image.GetPixel(*index)
        at = volume.affine @ [*np.argwhere(volume.array[0] == value)[0], 1]
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(at[:3], [-x, -y, z], atol=1e-4)


@pytest.mark.parametrize("name", ["a.mhd", "a.mha"])
def test_channels_are_the_fastest_axis(tmp_path, name):
    array = np.random.default_rng(0).random((7, 6, 5, 3), np.float32)
    path = written(tmp_path / name, array, vector=True)
    assert read_volume(path).array.shape == (3, 5, 6, 7)
    assert_agrees(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Offset =", "Position ="),
        ("Offset =", "Origin="),
        ("TransformMatrix = 1 0 0 0 1 0", "Rotation = 0 1 0 -1 0 0"),
        ("TransformMatrix = 1 0 0 0 1 0", "Orientation = 0 1 0 -1 0 0"),
        ("BinaryDataByteOrderMSB = False", "ElementByteOrderMSB = True"),
        ("ElementSpacing = ", "ElementSize = "),
        ("ElementSpacing = ", "ElementSpacing:"),
        ("ElementSpacing = ", "ElementSize = 9 9 9\nElementSpacing = "),
        ("ElementSpacing = 1.5 2 2.5\n", ""),
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", ""),
        ("BinaryData = True\n", ""),
        ("a.raw\n", "a.raw"),
    ],
)
def test_spellings_and_defaults_are_itks(tmp_path, old, new):
    assert_agrees(save(tmp_path, old, new))
    assert read_header(tmp_path / "a.mhd").stated.axes == (new != "" or "Transform" not in old)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_what_itk_knows_of_a_nifti_or_a_dicom_file_is_a_remark(tmp_path, name):
    image = sitk.ReadImage(str(nifti(tmp_path / "a.nii")))
    for key, value in (("0008|0060", "CT"), ("0008|0030", "12:30:05"), ("Offset of table", "1 2")):
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / name))
    assert_agrees(tmp_path / name)


def test_fields_come_in_any_order_and_comments_are_none(tmp_path):
    path = save(tmp_path)
    *fields, last = path.read_text().splitlines()
    plain = read_volume(path)
    path.write_text("\n".join(["# a comment", "Comment = x = y", *fields[::-1], last, ""]))
    np.testing.assert_array_equal(read_volume(path).affine, plain.affine)
    np.testing.assert_array_equal(read_volume(path).array, plain.array)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("wbits", [zlib.MAX_WBITS, 31])
def test_zlib_and_gzip_are_both_compressed_data_and_lines_may_end_as_on_windows(
    tmp_path, ends, wbits
):
    path = save(tmp_path, "CompressedData = False", "CompressedData = True\nCompressedDataSize = 1")
    path.write_bytes(path.read_text().replace("\n", ends).encode())
    (tmp_path / "a.raw").write_bytes(zlib.compress(VALUES.tobytes(order="F"), wbits=wbits))
    np.testing.assert_array_equal(read_volume(path).array[0], VALUES[::-1, ::-1])


@pytest.mark.parametrize(
    ("axes", "packed"), [("LPS", False), ("RAS", True), ("PIL", False), ("AIR", True)]
)
def test_the_phantoms_writer_agrees_with_itk(tmp_path, axes, packed):
    array = np.random.default_rng(0).integers(-1000, 1000, SHAPE)
    for dtype in ("int16", "uint8"):
        path = tmp_path / dtype / "a.mhd"
        write_metaimage(path, array, (1.0, 2.0, 3.0), dtype, axes, packed)
        assert_agrees(path)
        assert read_volume(path).original_axes == axes
        assert read_volume(path).spacing == (1, 2, 3)
    np.testing.assert_array_equal(read_volume(tmp_path / "int16/a.mhd").array[0], array)


@pytest.mark.parametrize("write", [save, nhdr])
@pytest.mark.parametrize("linked", [False, True])
def test_changed_or_lost_voxels_and_a_damaged_header_change_the_digest(tmp_path, write, linked):
    path = write(tmp_path)
    if linked:  # as 'bench init --image' links to headers, under other names and in another folder
        (tmp_path / "links").mkdir()
        link = tmp_path / f"links/case{path.suffix.upper()}"
        link.symlink_to(path)
        path = link
    assert read_volume(path).array.shape == (1, *SHAPE)
    cases = [Case("a", "a", (path,))]
    before = Contents(None).digest(cases)
    assert Contents(None).digest(cases) == before
    (tmp_path / "a.raw").write_bytes(VALUES[::-1].tobytes(order="F"))
    assert Contents(None).digest(cases) != before
    (tmp_path / "a.raw").unlink()
    assert Contents(None).digest(cases) != before
    path.write_text("damaged")
    assert Contents(None).digest(cases) != before
