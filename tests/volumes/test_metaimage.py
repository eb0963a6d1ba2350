"""MetaImage files agree with SimpleITK; headers are refused before anything is opened or allocated."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data.roots import Contents
from bench.dataset import Case
from bench.phantoms.organs import write_metaimage
from bench.volumes import header
from bench.volumes.reading import VolumeError, read_header, read_label, read_volume

SHAPE = (5, 6, 7)
VALUES = np.arange(210, dtype=np.int16).reshape(SHAPE)
HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 10 20 30
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 1.5 2 2.5
DimSize = 5 6 7
ElementType = MET_SHORT
ElementDataFile = a.raw
"""


def save(folder: Path, old: str = "", new: str = "", name: str = "a.mhd") -> Path:
    """Write the header, one part of it replaced, and its voxels."""
    assert old in HEADER
    (folder / "a.raw").write_bytes(VALUES.tobytes(order="F"))
    (folder / name).write_text(HEADER.replace(old, new, 1))
    return folder / name


def kind_of(path: Path, read=read_volume) -> str:
    with pytest.raises(VolumeError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)
    return caught.value.kind


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
@pytest.mark.parametrize("name", ["a.mhd", "a.mha"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_what_itk_writes_is_read_as_itk_reads_it(tmp_path, dtype, name, packed):
    path = written(tmp_path / name, VALUES.astype(dtype), packed=packed)
    assert_agrees(path)
    assert read_volume(path).spacing == (0.5, 0.75, 2.0)


@given(
    order=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    angle=st.floats(-0.5, 0.5),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_directions_agree_with_itk(tmp_path, order, signs, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
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
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", ""),
        ("ElementSpacing = 1.5 2 2.5\n", ""),
        ("BinaryData = True\n", ""),
        ("a.raw\n", "a.raw"),
    ],
)
def test_spellings_and_defaults_are_itks(tmp_path, old, new):
    assert_agrees(save(tmp_path, old, new))


def test_windows_line_ends_are_read(tmp_path):
    path = save(tmp_path)
    path.write_bytes(HEADER.replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(read_volume(path).array[0], VALUES[::-1, ::-1])


def test_a_file_without_directions_says_so(tmp_path):
    assert read_header(save(tmp_path)).oriented
    assert not read_header(save(tmp_path, "TransformMatrix = 1 0 0 0 1 0 0 0 1\n")).oriented


@pytest.mark.parametrize("format", [zlib.compress, lambda raw: zlib.compress(raw, wbits=31)])
def test_zlib_and_gzip_are_both_compressed_data(tmp_path, format):
    path = save(tmp_path, "CompressedData = False", "CompressedData = True\nCompressedDataSize = 1")
    (tmp_path / "a.raw").write_bytes(format(VALUES.tobytes(order="F")))
    np.testing.assert_array_equal(read_volume(path).array[0], VALUES[::-1, ::-1])


@pytest.mark.parametrize(("axes", "packed"), [("LPS", False), ("RAS", True), ("PIL", False), ("AIR", True)])
def test_the_phantoms_writer_agrees_with_itk(tmp_path, axes, packed):
    array = np.random.default_rng(0).integers(-1000, 1000, SHAPE)
    for dtype in ("int16", "uint8"):
        path = tmp_path / dtype / "a.mhd"
        write_metaimage(path, array, (1.0, 2.0, 3.0), dtype, axes, packed)
        assert_agrees(path)
        assert read_volume(path).original_axes == axes
        assert read_volume(path).spacing == (1, 2, 3)
    np.testing.assert_array_equal(read_volume(tmp_path / "int16/a.mhd").array[0], array)


def test_a_mask_is_read_as_a_label(tmp_path):
    path = written(tmp_path / "a.mhd", VALUES.astype(np.uint8), packed=True)
    assert read_label(path).array.dtype == np.uint8


# --- damaged headers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("ObjectType = Image", "ObjectType = Mesh", "unreadable"),
        ("NDims = 3", "NDims = 4", "shape"),
        ("NDims = 3", "no field here", "unreadable"),
        ("NDims = 3", "NDims = 3\nHeaderSize = -1", "unreadable"),
        ("BinaryData = True", "BinaryData = False", "unreadable"),
        ("BinaryData = True", "BinaryData = perhaps", "unreadable"),
        ("MSB = False", "MSB = False\nElementByteOrderMSB = True", "unreadable"),
        ("CompressedData = False", "CompressedData = True", "unreadable"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0", "affine"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 nan", "affine"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 1e200", "affine"),
        ("1 0 0 0 1 0 0 0 1", "0 0 0 0 0 0 0 0 0", "affine"),
        ("1 0 0 0 1 0 0 0 1", "1 0.1 0 0 1 0 0 0 1", "affine"),
        ("1 0 0 0 1 0 0 0 1", "1.01 0 0 0 1 0 0 0 1", "affine"),
        ("10 20 30", "10 20", "affine"),
        ("10 20 30", "10 20 inf", "affine"),
        ("1.5 2 2.5", "0 2 2.5", "spacing"),
        ("1.5 2 2.5", "-1.5 2 2.5", "spacing"),
        ("1.5 2 2.5", "nan 2 2.5", "spacing"),
        ("1.5 2 2.5", "1,5 2 2.5", "spacing"),
        ("1.5 2 2.5", "1e9 2 2.5", "spacing"),
        ("5 6 7", "5 6", "shape"),
        ("5 6 7", "5 6 7 1", "shape"),
        ("5 6 7", "5 0 7", "shape"),
        ("5 6 7", "5 -6 7", "shape"),
        ("5 6 7", "5 6 7.0", "shape"),
        ("5 6 7", "5 6 " + "9" * 5000, "shape"),
        ("5 6 7", "99999 99999 99999", "shape"),
        ("DimSize = 5 6 7\n", "", "shape"),
        ("DimSize = 5 6 7", "DimSize = 5 6 7\nDimSize = 5 6 6", "unreadable"),
        ("DimSize = 5 6 7", "DimSize = 5 6 7\nElementNumberOfChannels = 0", "shape"),
        ("DimSize = 5 6 7", "DimSize = 5 6 7\nElementNumberOfChannels = 2", "truncated"),
        ("5 6 7", "5 6 8", "truncated"),
        ("MET_SHORT", "MET_INT", "truncated"),
        ("MET_SHORT", "MET_LONG", "unreadable"),
        ("MET_SHORT", "MET_STRING", "unreadable"),
        ("ElementType = MET_SHORT\n", "", "unreadable"),
        ("ElementDataFile = a.raw\n", "", "truncated"),
        ("a.raw", "b.raw", "missing"),
        ("a.raw", "a.mhd", "unreadable"),
        ("a.raw", "LOCAL", "unreadable"),
        ("a.raw", "LIST", "unreadable"),
        ("a.raw", "a%03d.raw 1 7 1", "unreadable"),
        ("a.raw", "", "unreadable"),
        ("a.raw", "..", "unreadable"),
        ("a.raw", ".", "unreadable"),
        ("a.raw", "./a.raw", "unreadable"),
        ("a.raw", "../a.raw", "unreadable"),
        ("a.raw", "/etc/passwd", "unreadable"),
        ("a.raw", "sub\\a.raw", "unreadable"),
        ("a.raw", "a\0.raw", "unreadable"),
        ("a.raw", "x" * 300, "unreadable"),
    ],
)
def test_a_damaged_header_is_refused_by_kind(tmp_path, old, new, kind):
    assert read_volume(save(tmp_path)).array.shape == (1, *SHAPE)
    path = save(tmp_path, old, new)
    assert kind_of(path) == kind
    if "CompressedData" not in old:  # what a stream holds is known only once it is inflated
        assert kind_of(path, read_header) == kind


def test_no_file_of_another_folder_is_opened(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    save(tmp_path)
    opened = []
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self) or plain(self, *a, **k))
    for name in ("../a.raw", str(tmp_path / "a.raw"), "/etc/passwd", "in/../../a.raw"):
        (tmp_path / "in/a.mhd").write_text(HEADER.replace("a.raw", name))
        assert kind_of(tmp_path / "in/a.mhd") == "unreadable"
    assert set(opened) == {tmp_path / "in/a.mhd"}


def test_an_mha_holds_its_own_data(tmp_path):
    assert kind_of(save(tmp_path, name="a.mha")) == "unreadable"


def test_a_fifo_or_a_device_is_not_waited_for(tmp_path):
    path = save(tmp_path)
    (tmp_path / "a.raw").unlink()
    os.mkfifo(tmp_path / "a.raw")
    assert kind_of(path) == "unreadable"
    (tmp_path / "a.raw").unlink()
    (tmp_path / "a.raw").symlink_to("/dev/zero")
    assert kind_of(path) == "unreadable"


def test_nothing_is_allocated_for_a_bomb(tmp_path, monkeypatch):
    path = save(tmp_path, "CompressedData = False", "CompressedData = True")
    (tmp_path / "a.raw").write_bytes(zlib.compress(bytes(64 << 20)))
    sizes = []
    plain = np.empty
    monkeypatch.setattr(np, "empty", lambda size, *a: sizes.append(size) or plain(size, *a))
    assert kind_of(path) == "unreadable"  # 64 MiB follow 420 bytes
    assert max(s for s in sizes if isinstance(s, int)) == 420
    path.write_text(path.read_text().replace("5 6 7", "2000 2000 12"))  # 96 MB: more than zlib can
    (tmp_path / "a.raw").write_bytes(zlib.compress(bytes(1 << 20)))
    assert kind_of(path) == "truncated"


@pytest.mark.parametrize("keep", [0, 1, 20, -1])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["a.mhd", "a.mha"])
def test_truncated_voxels_are_refused(tmp_path, name, packed, keep):
    path = written(tmp_path / name, np.random.default_rng(0).random(SHAPE), packed=packed)
    data = path if name == "a.mha" else next(p for p in tmp_path.iterdir() if p != path)
    raw = data.read_bytes()
    start = raw.index(b"LOCAL\n") + 6 if data == path else 0
    data.write_bytes(raw[:start] + raw[start:][:keep])
    assert kind_of(path) == "truncated"


def test_a_damaged_stream_is_refused(tmp_path):
    path = written(tmp_path / "a.mhd", np.random.default_rng(0).random(SHAPE), packed=True)
    data = bytearray((tmp_path / "a.zraw").read_bytes())
    data[-2] ^= 0xFF  # checksum
    (tmp_path / "a.zraw").write_bytes(data)
    assert kind_of(path) == "unreadable"


@given(
    at=st.integers(0, len(HEADER) - 1),
    noise=st.binary(min_size=1, max_size=8),
    cut=st.one_of(st.none(), st.integers(0, len(HEADER))),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage_raises_nothing_but_volume_errors(tmp_path, at, noise, cut):
    path = save(tmp_path)
    data = bytearray(HEADER.encode())
    data[at : at + len(noise)] = noise
    path.write_bytes(bytes(data)[:cut])
    try:
        volume = read_volume(path)
    except VolumeError as error:
        assert error.kind in header.KINDS
    else:
        assert volume.array.nbytes <= VALUES.nbytes
        assert np.isfinite(volume.affine).all()


def test_changed_voxels_change_the_digest_of_the_data(tmp_path):
    path = save(tmp_path)
    cases = [Case("a", "a", (path,))]
    before = Contents(None).digest(cases)
    assert Contents(None).digest(cases) == before
    (tmp_path / "a.raw").write_bytes(VALUES[::-1].tobytes(order="F"))
    assert Contents(None).digest(cases) != before
    (tmp_path / "a.raw").unlink()
    assert Contents(None).digest(cases) != before
    path.write_text("damaged")
    assert Contents(None).digest(cases) != before
