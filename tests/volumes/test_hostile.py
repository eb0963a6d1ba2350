"""Files that are damaged, or lie: each is refused by its kind before memory is given to it."""

import gzip
import os
import zlib
from pathlib import Path

import nrrd
import numpy as np
import pytest
import samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from samples import GREY, METAIMAGE, NOISE, SHAPE, kind_of, nifti, patch

from bench.volumes import header, picture
from bench.volumes.archive import Limits
from bench.volumes.files import is_picture
from bench.volumes.header import VolumeError
from bench.volumes.reading import read_header, read_volume

# as bench.volumes.picture says outside of pytest
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
NAN, INF = float("nan"), float("inf")


# --- headers: what stands there, the kind of refusal, and what is put in its place -------------

TEXTS = {
    samples.metaimage: [
        ("ObjectType = Image", "unreadable", "ObjectType = Mesh"),
        ("NDims = 3", "shape", "NDims = 4"),
        ("NDims = 3", "unreadable", "no field here", "NDims = 3\nHeaderSize = -1"),
        ("BinaryData = True", "unreadable", "BinaryData = False", "BinaryData = perhaps"),
        ("MSB = False", "unreadable", "MSB = False\nElementByteOrderMSB = True"),
        ("CompressedData = False", "unreadable", "CompressedData = True"),
        ("1 0 0 0 1 0 0 0 1", "affine", "1 0 0 0 1 0 0 0", "1 0 0 0 1 0 0 0 nan", "1 0 0 0 1 0 0 0 1e200",
         "0 0 0 0 0 0 0 0 0", "1 0.1 0 0 1 0 0 0 1", "1.01 0 0 0 1 0 0 0 1"),
        ("10 20 30", "affine", "10 20", "10 20 inf"),
        ("1.5 2 2.5", "spacing", "0 2 2.5", "-1.5 2 2.5", "nan 2 2.5", "1,5 2 2.5", "1e9 2 2.5"),
        ("5 6 7", "shape", "5 6", "5 6 7 1", "5 0 7", "5 -6 7", "5 6 7.0", "5 6 " + "9" * 5000,
         "99999 99999 99999", "5 6 7\nElementNumberOfChannels = 0"),
        ("5 6 7", "unreadable", "5 6 7\nDimSize = 5 6 6"),
        ("5 6 7", "truncated", "5 6 8", "5 6 7\nElementNumberOfChannels = 2"),
        ("DimSize = 5 6 7\n", "shape", ""),
        ("MET_SHORT", "truncated", "MET_INT"),
        ("MET_SHORT", "unreadable", "MET_LONG", "MET_STRING"),
        ("ElementType = MET_SHORT\n", "unreadable", ""),
        ("ElementDataFile = a.raw\n", "truncated", ""),
        ("a.raw", "missing", "b.raw"),
        ("a.raw", "unreadable", "a.mhd", "LOCAL", "LIST", "a%03d.raw 1 7 1", "", "..", ".", "./sub/a.raw",
         "../a.raw", "/etc/passwd", "sub\\a.raw", "a\0.raw", "x" * 300),
    ],
    samples.nhdr: [
        ("a.raw", "missing", "b.raw", "./b.raw"),
        ("a.raw", "unreadable", "a.nhdr", "LIST\na.raw", "LIST 2\na.raw\nb.raw", "a%03d.raw 1 7 1", "", "..",
         "sub/a.raw", "../a.raw", "/etc/passwd", "sub\\a.raw", "x" * 300),
        ("encoding: raw", "unreadable", "encoding: gzip", "encoding: bzip2", "encoding: ascii",
         "encoding: raw\nbyte skip: 8", "encoding: raw\nbyteskip: -1", "encoding: raw\nline skip: 1"),
        ("data file: a.raw\n", "unreadable", ""),
        ("5 6 7", "truncated", "5 6 8"),
    ],
    samples.nrrd: [
        ("NRRD0004", "unreadable", "NRRX0004"),
        ("encoding: raw", "unreadable", "encoding: zebra", "encoding: gzip"),
        ("encoding: raw", "unreadable", *(f"encoding: raw\n{field}" for field in (
            "data file: other.raw", "datafile: ../a.raw", "data file: LIST", "line skip: 3", "byte skip: -1"))),
        ("type: short", "unreadable", "type: block"),
        ("endian: little", "unreadable", "endian: middle"),
        ("endian: little\n", "unreadable", ""),
        ("dimension: 3", "unreadable", "dimension: three"),
        ("sizes: 5 6 7", "unreadable", "no colon here"),
        ("5 6 7", "shape", "5 6", "5 -6 7", "5 6 0", "99999 99999 99999"),
        ("5 6 7", "truncated", "5 6 8"),
        ("(1,0,0)", "affine", "(nan,0,0)", "none", "(0,1,0)"),
        ("(1,0,0)", "spacing", "(0,0,0)", "(1e200,0,0)", "(-1e308,0,0)"),
        ("origin: (0,0,0)", "affine", "origin: (0,nan,0)"),
        ("left-posterior-superior", "orientation", "scanner-xyz"),
        ("\n\n", "truncated", "\n"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("write", "old", "new", "kind"),
    [
        (write, old, new, kind)
        for write, rows in TEXTS.items()
        for old, kind, *news in rows
        for new in news
    ],
)
def test_a_text_header_is_refused_by_kind(tmp_path, write, old, new, kind):
    assert read_volume(write(tmp_path)).array.shape == (1, *SHAPE)
    path = write(tmp_path, old, new)
    assert kind_of(path) == kind
    if old not in (
        "CompressedData = False",
        "encoding: raw",
    ):  # what a stream holds is known once inflated
        assert kind_of(path, read_header) == kind


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("at", "form", "kind", "values"),
    [
        (at, form, kind, value if isinstance(value, tuple) else (value,))
        for at, form, kind, *values in [
            (0, "<i", "unreadable", 123),
            (344, "4s", "unreadable", b"ni1\0", b"xyz\0"),
            (40, "<h", "shape", 0, 8, 9, 1),
            (42, "<h", "shape", -5, 0),
            (42, "<3h", "shape", (32767, 32767, 32767)),
            (42, "<h", "truncated", 6),
            (70, "<h", "unreadable", 32, 16),  # complex64; float32 with bitpix 16
            (80, "<f", "spacing", 0, -1, NAN, INF),
            (108, "<f", "unreadable", 1e9, NAN, 10, -5),
            (116, "<f", "nonfinite", NAN, INF),
            (280, "<f", "affine", NAN),
            (280, "<4f", "affine", (0, 0, 0, 0)),
            (280, "<f", "spacing", 1e30),
            (252, "<2h3f", "affine", (1, 0, 0.9, 0.9, 0.9)),  # an impossible quaternion
            (252, "<2h", None, (1, 0)),  # a valid one instead of the sform
        ]
        for value in values
    ],
)
def test_a_field_of_a_nifti_header_is_refused_by_kind(tmp_path, suffix, at, form, kind, values):
    path = patch(nifti(tmp_path / f"a{suffix}"), at, form, *values)
    if kind is None:
        read_volume(path)
        return
    assert kind_of(path) == kind
    if kind != "truncated":  # what a gzip stream holds is known only once it is inflated
        assert kind_of(path, read_header) == kind


def test_names_and_contents_must_agree(tmp_path):
    nifti(tmp_path / "a.nii").rename(tmp_path / "c.nii.gz")
    nifti(tmp_path / "b.nii.gz").rename(tmp_path / "d.nii")
    (tmp_path / "e.png").write_text("404 not found")
    # a format that is not asked for
    samples.picture(tmp_path / "b.gif", GREY).rename(tmp_path / "f.png")
    samples.metaimage(tmp_path, name="g.mha")  # holds its own data
    for name in ("c.nii.gz", "d.nii", "e.png", "f.png", "g.mha"):
        assert kind_of(tmp_path / name) == "unreadable"
    for name in ("none.nii.gz", "none.png"):
        assert kind_of(tmp_path / name) == "missing"


def test_no_file_of_another_folder_is_opened(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    samples.metaimage(tmp_path)
    opened = []
    plain = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: opened.append(self) or plain(self, *a, **k)
    )
    for name in ("../a.raw", str(tmp_path / "a.raw"), "/etc/passwd", "in/../../a.raw"):
        (tmp_path / "in/a.mhd").write_text(METAIMAGE.replace("a.raw", name))
        assert kind_of(tmp_path / "in/a.mhd") == "unreadable"
    assert set(opened) == {tmp_path / "in/a.mhd"}


@pytest.mark.parametrize(
    ("name", "asked"), [("a.raw", "a.mhd"), ("a.png", "a.png"), ("a.nii", "a.nii")]
)
def test_a_fifo_or_a_device_is_not_waited_for(tmp_path, name, asked):
    samples.metaimage(tmp_path)
    for replace in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (tmp_path / name).unlink(missing_ok=True)
        replace(tmp_path / name)
        assert kind_of(tmp_path / asked) == "unreadable"


# --- bombs -------------------------------------------------------------------------------------


def test_nothing_is_allocated_for_what_a_file_cannot_hold(tmp_path, monkeypatch):
    sizes, plain = [], np.empty
    monkeypatch.setattr(np, "empty", lambda size, *a: sizes.append(size) or plain(size, *a))
    path = nifti(tmp_path / "a.nii.gz")
    assert kind_of(patch(path, 40, "<4h", 3, 20000, 20000, 12)) == "shape"  # 9.6 GB
    # 96 MB: allowed, but more than gzip can expand to
    assert kind_of(patch(path, 40, "<4h", 3, 2000, 2000, 12)) == "truncated"
    path = samples.metaimage(tmp_path, "CompressedData = False", "CompressedData = True")
    (tmp_path / "a.raw").write_bytes(zlib.compress(bytes(64 << 20)))
    assert kind_of(path) == "unreadable"  # 64 MiB follow 420 bytes
    path.write_text(path.read_text().replace("5 6 7", "2000 2000 12"))
    (tmp_path / "a.raw").write_bytes(zlib.compress(bytes(1 << 20)))
    assert kind_of(path) == "truncated"
    assert max(size for size in sizes if isinstance(size, int)) == 420


def test_inflating_stops_at_the_declared_end(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    with path.open("rb") as file:
        assert header.inflate(file, 1000).size == 1000
        assert file.tell() < 1 << 20


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_small_file_becomes_no_large_one(tmp_path, monkeypatch, suffix):
    """As an archive's: what is above the ratio needs no decoding to be refused; unpacked it is believed."""
    path, empty = tmp_path / f"a{suffix}", np.zeros((64, 64, 32), np.uint8)

    def write(array):
        if suffix == ".nii.gz":
            nifti(path, array)
        elif suffix == ".nrrd":
            nrrd.write(str(path), array, {"encoding": "gzip"})
        else:
            head = f"ObjectType = Image\nNDims = 3\nDimSize = {' '.join(map(str, array.shape))}\n"
            head += "ElementType = MET_UCHAR\nCompressedData = True\nElementDataFile = LOCAL\n"
            path.write_bytes(head.encode() + zlib.compress(array.tobytes(order="F")))

    write(empty)
    assert not read_volume(path).array.any()
    monkeypatch.setattr(header, "LIMITS", Limits(free=1000))
    with pytest.raises(
        VolumeError, match=r"compressed bytes would become 0\.0 GiB, above 100 times"
    ) as told:
        read_volume(path)
    assert told.value.kind == "shape"
    write(np.random.default_rng(0).integers(0, 255, empty.shape).astype(np.uint8))
    read_volume(path)
    read_volume(nifti(tmp_path / "plain.nii", empty))


@pytest.mark.parametrize("side", [9000, 10000, 60000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, side, monkeypatch):
    path = samples.picture(tmp_path / "a.png", GREY)
    raw = bytearray(path.read_bytes())
    raw[16:24] = side.to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    assert kind_of(path) == "shape"


def test_slices_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    for number in (1, 2):
        samples.picture(tmp_path / f"{number}.png", GREY)
    monkeypatch.setattr(picture, "MAX_BYTES", 69)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    assert kind_of(tmp_path) == "shape"


# --- what is cut, flipped or noise -------------------------------------------------------------


def sound(folder: Path, name: str) -> tuple[Path, Path, int]:
    """Write a file of noise, packed where its name says ``z``.

    Returns:
        the file to read, the one that holds its voxels, and how many bytes of text are before these.
    """
    path, packed, voxels = folder / name, "z" in name, NOISE.tobytes(order="F")
    if is_picture(path):
        samples.picture(path, np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8))
        return path, path, 0
    if ".nii" in name:
        return nifti(path, NOISE), path, 0
    if name.endswith(".nrrd"):
        head = samples.NRRD.replace("short", "double").replace("raw", "gzip" if packed else "raw")
        path.write_bytes(head.encode() + (gzip.compress(voxels) if packed else voxels))
        return path, path, len(head)
    head = METAIMAGE.replace("SHORT", "DOUBLE").replace(
        "CompressedData = False", f"CompressedData = {packed}"
    )
    data = path if name.endswith(".mha") else folder / "a.raw"
    path.write_text(head.replace("a.raw", "LOCAL" if data == path else "a.raw"))
    with data.open("ab") as file:
        file.write(zlib.compress(voxels) if packed else voxels)
    return path, data, data.stat().st_size - len(zlib.compress(voxels) if packed else voxels)


VOLUMES = ("a.nii", "a.nii.gz", "a.nrrd", "z.nrrd", "a.mha", "z.mha", "a.mhd", "z.mhd")
PICTURES = ("a.png", "a.jpg", "a.tif", "a.bmp")


@pytest.mark.parametrize(
    ("name", "keep"),
    [(name, keep) for name in VOLUMES for keep in (0, 1, 20, 200, -1, -5)]
    + [(name, keep) for name in PICTURES for keep in (0, 5, 2000, -9)],
)
def test_a_shortened_file_is_refused(tmp_path, name, keep):
    path, data, head = sound(tmp_path, name)
    assert read_volume(path).array.size in (NOISE.size, 4800)
    raw = data.read_bytes()
    data.write_bytes(raw[:head] + raw[head:][:keep])
    unclear = name in PICTURES or (name, keep) == ("a.nii.gz", 1)  # no sign of its format is left
    assert kind_of(path) in {"truncated", "unreadable" if unclear and keep else "truncated"}


@pytest.mark.parametrize(
    ("name", "at"), [("a.nii.gz", -6), ("z.nrrd", -6), ("z.mhd", -2), ("a.png", -30)]
)
def test_a_stream_of_another_checksum_is_refused(tmp_path, name, at):
    path, data, _ = sound(tmp_path, name)
    raw = bytearray(data.read_bytes())
    raw[at] ^= 0xFF
    data.write_bytes(raw)
    assert kind_of(path) == "unreadable"


@given(
    st.sampled_from(PICTURES),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=8),
    st.none() | st.integers(0, 900),
)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_damage_of_a_picture_raises_nothing_but_volume_errors(
    tmp_path, name, at, noise, cut
):
    """Of volumes it is drawn in ``tests/fuzz``."""
    path = samples.picture(tmp_path / name, np.stack([GREY] * 3, -1))
    raw = bytearray(path.read_bytes())
    raw[at : at + len(noise)] = noise
    path.write_bytes(bytes(raw)[:cut])
    try:
        assert read_volume(path).array.ndim == 4
    except VolumeError as error:
        assert error.kind in header.KINDS


def test_a_spelling_that_is_no_field_of_nrrd_names_no_file(tmp_path):
    header = (
        "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nData File: b.raw\n\n"
    )
    (tmp_path / "b.raw").write_bytes(b"secret!!")
    (tmp_path / "a.nrrd").write_bytes(header.encode() + b"12345678")
    assert read_volume(tmp_path / "a.nrrd").array.tobytes("F") == b"12345678"
