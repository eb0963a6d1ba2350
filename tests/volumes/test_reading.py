"""Volumes: RAS+ whatever the file's axes, and headers refused before memory is allocated."""

import gzip
import pickle
import struct
import zlib
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.volumes import header
from bench.volumes.archive import Limits
from bench.volumes.reading import (
    VolumeError,
    check_finite,
    join_channels,
    read_header,
    read_label,
    read_volume,
    stem,
)

SHAPE = (5, 6, 7)
AFFINE = np.array([[-1.5, 0, 0, 10], [0, -2.0, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1]])
VALUES = np.arange(210, dtype=np.int16).reshape(SHAPE)


def save(path: Path, array: np.ndarray = VALUES, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def kind_of(path: Path, read=read_volume) -> str:
    with pytest.raises(VolumeError) as caught:
        read(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return caught.value.kind


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


@given(
    order=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    tilt=st.floats(-0.2, 0.2),
)
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


def test_channels_come_first(tmp_path):
    array = np.stack([VALUES, VALUES + 1], axis=-1)
    volume = read_volume(save(tmp_path / "a.nii.gz", array, np.eye(4)))
    np.testing.assert_array_equal(volume.array[1], VALUES + 1)
    assert read_header(tmp_path / "a.nii.gz").channels == 2


def test_a_fourth_axis_of_one_is_no_channel_axis(tmp_path):
    volume = read_volume(save(tmp_path / "a.nii.gz", VALUES[..., None], np.eye(4)))
    assert volume.array.shape == (1, *SHAPE)


def test_slope_and_intercept_are_applied(tmp_path):
    path = save(tmp_path / "a.nii", affine=np.eye(4))
    patch(path, 112, "<2f", 2, -1024)
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], VALUES * 2.0 - 1024)


def test_a_slope_of_zero_means_unscaled(tmp_path):
    path = save(tmp_path / "a.nii")
    patch(path, 112, "<2f", 0, float("nan"))
    assert read_volume(path).array.dtype == np.int16


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


def test_the_header_is_read_without_the_voxels(tmp_path):
    path = save(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[400:] = b"\xff" * (len(data) - 400)
    path.write_bytes(data)
    header = read_header(path)
    assert (header.shape, header.channels, header.nbytes) == (SHAPE, 1, 420)
    assert header.spacing == (1.5, 2.0, 2.5)


def test_the_suffix_of_a_volume_counts_as_one():
    assert [stem(Path(n)) for n in ("a.b.nii.gz", "a.nii", "a.nrrd")] == ["a.b", "a", "a"]


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


NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 5 6 7
space directions: (1,0,0) (0,1,0) (0,0,1)
endian: little
encoding: raw
space origin: (0,0,0)

"""


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("NRRD0004", "NRRX0004", "unreadable"),
        ("encoding: raw", "encoding: zebra", "unreadable"),
        ("encoding: raw", "encoding: gzip", "unreadable"),
        ("type: short", "type: block", "unreadable"),
        ("endian: little", "endian: middle", "unreadable"),
        ("endian: little\n", "", "unreadable"),
        ("encoding: raw", "encoding: raw\ndata file: other.raw", "unreadable"),
        ("dimension: 3", "dimension: three", "unreadable"),
        ("sizes: 5 6 7", "no colon here", "unreadable"),
        ("sizes: 5 6 7", "sizes: 5 6", "shape"),
        ("sizes: 5 6 7", "sizes: 5 -6 7", "shape"),
        ("sizes: 5 6 7", "sizes: 99999 99999 99999", "shape"),
        ("sizes: 5 6 7", "sizes: 5 6 8", "truncated"),
        ("(1,0,0)", "(nan,0,0)", "affine"),
        ("(1,0,0)", "none", "affine"),
        ("(1,0,0)", "(0,1,0)", "affine"),
        ("(1,0,0)", "(0,0,0)", "spacing"),
        ("origin: (0,0,0)", "origin: (0,nan,0)", "affine"),
        ("left-posterior-superior", "scanner-xyz", "orientation"),
        ("\n\n", "\n", "truncated"),
    ],
)
def test_a_damaged_nrrd_is_refused_by_kind(tmp_path, old, new, kind):
    path = tmp_path / "a.nrrd"
    body = VALUES.tobytes(order="F").replace(b"\n\n", b"\n ")
    path.write_bytes(NRRD.encode() + body)
    assert read_volume(path).array.shape == (1, *SHAPE)
    assert old in NRRD
    path.write_bytes(NRRD.replace(old, new).encode() + body)
    assert kind_of(path) == kind


# --- damaged NIfTI (bench check's own damage list is in test_check.py) -------------------------


def patch(path: Path, at: int, form: str, *values) -> None:
    packed = path.name.endswith(".gz")
    data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    struct.pack_into(form, data, at, *values)
    path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("at", "form", "values", "kind"),
    [
        (0, "<i", (123,), "unreadable"),
        (344, "4s", (b"ni1\0",), "unreadable"),
        (344, "4s", (b"xyz\0",), "unreadable"),
        (40, "<h", (0,), "shape"),
        (40, "<h", (9,), "shape"),
        (40, "<h", (2,), "shape"),
        (42, "<h", (-5,), "shape"),
        (42, "<h", (0,), "shape"),
        (42, "<3h", (32767, 32767, 32767), "shape"),
        (42, "<h", (6,), "truncated"),
        (70, "<h", (32,), "unreadable"),  # complex64
        (70, "<h", (16,), "unreadable"),  # float32 with bitpix 16
        (80, "<f", (0,), "spacing"),
        (80, "<f", (-1,), "spacing"),
        (80, "<f", (NAN,), "spacing"),
        (108, "<f", (1e9,), "unreadable"),
        (108, "<f", (NAN,), "unreadable"),
        (108, "<f", (10,), "unreadable"),
        (112, "<f", (NAN,), "nonfinite"),
        (112, "<f", (INF,), "nonfinite"),
        (116, "<f", (INF,), "nonfinite"),
        (280, "<f", (NAN,), "affine"),
        (280, "<4f", (0, 0, 0, 0), "affine"),
        (280, "<f", (1e30,), "spacing"),
        (252, "<2h", (1, 0), None),  # a valid quaternion instead of the sform
    ],
)
def test_a_damaged_header_is_refused_by_kind(tmp_path, suffix, at, form, values, kind):
    path = save(tmp_path / f"a{suffix}")
    patch(path, at, form, *values)
    if kind is None:
        read_volume(path)
        return
    assert kind_of(path) == kind
    if kind != "truncated":  # what a gzip stream holds is known only once it is inflated
        assert kind_of(path, read_header) == kind


def test_an_impossible_quaternion_is_refused(tmp_path):
    path = save(tmp_path / "a.nii")
    patch(path, 252, "<2h3f", 1, 0, 0.9, 0.9, 0.9)
    assert kind_of(path) == "affine"


def test_nothing_is_allocated_for_a_bomb(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    save(path)
    patch(path, 40, "<4h", 3, 20000, 20000, 12)  # 9.6 GB
    monkeypatch.setattr(np, "empty", lambda size, *_: pytest.fail("allocated") if size > 999 else
                        np.zeros(size, np.uint8))  # fmt: skip
    assert kind_of(path) == "shape"
    patch(path, 40, "<4h", 3, 2000, 2000, 12)  # 96 MB: allowed, but more than gzip can expand to
    assert kind_of(path) == "truncated"


def test_inflating_stops_at_the_declared_end(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    with path.open("rb") as file:
        assert header.inflate(file, 1000).size == 1000
        assert file.tell() < 1 << 20


@pytest.mark.parametrize("keep", [0, 1, 20, 200, -1, -5])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused(tmp_path, suffix, keep):
    path = save(tmp_path / f"a{suffix}", np.random.default_rng(0).random(SHAPE))
    path.write_bytes(path.read_bytes()[:keep])
    assert kind_of(path) == ("truncated" if keep != 1 or suffix == ".nii" else "unreadable")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_small_file_becomes_no_large_one(tmp_path, monkeypatch, suffix):
    """As an archive's: what is above the ratio needs no decoding to be refused; unpacked it is believed."""
    path, empty = tmp_path / f"a{suffix}", np.zeros((64, 64, 32), np.uint8)

    def write(array):
        if suffix == ".nii.gz":
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
        elif suffix == ".nrrd":
            nrrd.write(str(path), array, {"encoding": "gzip"})
        else:
            head = f"ObjectType = Image\nNDims = 3\nDimSize = {' '.join(map(str, array.shape))}\n"
            head += "ElementType = MET_UCHAR\nCompressedData = True\nElementDataFile = LOCAL\n"
            path.write_bytes(head.encode() + zlib.compress(array.tobytes(order="F")))

    write(empty)
    assert not read_volume(path).array.any()
    monkeypatch.setattr(header, "LIMITS", Limits(free=1000))
    with pytest.raises(VolumeError, match=r"compressed bytes would become 0\.0 GiB, above 100 times") as told:
        read_volume(path)
    assert told.value.kind == "shape"
    write(np.random.default_rng(0).integers(0, 255, empty.shape).astype(np.uint8))
    read_volume(path)
    nib.save(nib.Nifti1Image(empty, np.eye(4)), tmp_path / "plain.nii")
    read_volume(tmp_path / "plain.nii")


def test_a_damaged_gzip_stream_is_refused(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).random(SHAPE))
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF  # checksum
    path.write_bytes(data)
    assert kind_of(path) == "unreadable"


def test_names_and_contents_must_agree(tmp_path):
    plain, packed = save(tmp_path / "a.nii"), save(tmp_path / "b.nii.gz")
    plain.rename(tmp_path / "c.nii.gz")
    packed.rename(tmp_path / "d.nii")
    assert kind_of(tmp_path / "c.nii.gz") == "unreadable"
    assert kind_of(tmp_path / "d.nii") == "unreadable"
    assert kind_of(tmp_path / "none.nii.gz") == "missing"
    (tmp_path / "e.png").write_bytes(b"x")
    assert kind_of(tmp_path / "e.png") == "unreadable"


@given(
    at=st.integers(0, 347),
    noise=st.binary(min_size=1, max_size=8),
    cut=st.one_of(st.none(), st.integers(0, 600)),
    gz=st.booleans(),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage_raises_nothing_but_volume_errors(tmp_path, at, noise, cut, gz):
    data = bytearray(save(tmp_path / "a.nii").read_bytes())
    data[at : at + len(noise)] = noise
    path = tmp_path / ("b.nii.gz" if gz else "b.nii")
    path.write_bytes((gzip.compress(bytes(data)) if gz else bytes(data))[:cut])
    try:
        volume = read_volume(path)
    except VolumeError as error:
        assert error.kind in header.KINDS
    else:
        assert volume.array.size * volume.array.itemsize <= 8 * len(data)
        assert np.isfinite(volume.affine).all()


# --- labels ----------------------------------------------------------------------------------


def test_float_labels_are_rounded_not_cut(tmp_path):
    array = np.where(VALUES % 2, 0.9999999, 2.0000001).astype(np.float64)
    label = read_label(save(tmp_path / "a.nii.gz", array, np.eye(4)))
    assert label.array.dtype.kind == "i"
    np.testing.assert_array_equal(label.array, np.where(VALUES % 2, 1, 2))


def test_a_fractional_label_is_refused_with_its_value(tmp_path):
    array = VALUES.astype(np.float32)
    array[0, 0, 0] = 0.5
    path = save(tmp_path / "a.nii.gz", array)
    assert kind_of(path, read_label) == "label_value"
    with pytest.raises(VolumeError, match=r"0\.5"):
        read_label(path)


@pytest.mark.parametrize(("value", "kind"), [(NAN, "nonfinite"), (1e20, "label_value")])
def test_a_label_that_is_no_number_is_refused(tmp_path, value, kind):
    array = VALUES.astype(np.float32)
    array[0, 0, 0] = value
    assert kind_of(save(tmp_path / "a.nii.gz", array), read_label) == kind


def test_a_label_with_channels_is_refused(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.stack([VALUES, VALUES], -1))
    assert kind_of(path, read_label) == "shape"


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


def test_a_label_of_another_shape_is_refused(tmp_path):
    image = read_volume(save(tmp_path / "image.nii.gz"))
    path = save(tmp_path / "label.nii.gz", VALUES[:-1])
    assert kind_of(path, lambda p: read_label(p, image)) == "shape"


# --- whole images ----------------------------------------------------------------------------


def test_voxels_that_are_not_finite_are_counted(tmp_path):
    array = VALUES.astype(np.float32)
    array[0, 0, :3] = NAN, INF, -INF
    check_finite(read_volume(save(tmp_path / "a.nii")))
    bad = read_volume(save(tmp_path / "b.nii", array))
    with pytest.raises(VolumeError, match="3 voxels"):
        check_finite(bad)


def test_channels_in_files_are_joined_on_one_grid_only(tmp_path):
    a = read_volume(save(tmp_path / "a.nii"))
    b = read_volume(save(tmp_path / "b.nii", VALUES + 1))
    np.testing.assert_array_equal(join_channels([a, b]).array, [a.array[0], b.array[0]])
    with pytest.raises(VolumeError, match="shape"):
        join_channels([a, read_volume(save(tmp_path / "c.nii", VALUES[1:]))])
    with pytest.raises(VolumeError, match="affine"):
        join_channels([a, read_volume(save(tmp_path / "d.nii", affine=np.eye(4)))])


@pytest.mark.parametrize("huge", [1e200, -1e308])
def test_an_affine_beyond_any_number_is_refused_without_a_warning(tmp_path, huge):
    header = {"space": "left-posterior-superior", "space origin": np.zeros(3),
              "space directions": np.diag([huge, 1.0, 1.0])}  # fmt: skip
    nrrd.write(str(tmp_path / "a.nrrd"), VALUES, header)
    assert kind_of(tmp_path / "a.nrrd") == "spacing"


def test_a_detail_is_short_however_long_the_field():
    assert len(VolumeError(Path("a.nii"), "unreadable", "x " * 9000).detail) <= 500


def test_an_error_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(VolumeError(Path("a.nii"), "shape", "wrong")))
    assert (error.kind, str(error)) == ("shape", "a.nii: wrong")
