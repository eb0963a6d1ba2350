"""Crafted zips: none is let through that is more than plain files of honest names and size."""

import os
import stat
import struct
import warnings
import zipfile

import pytest

from bench.errors import BenchError
from bench.volumes.archive import Archive, Limits

BLOCK = 1 << 20
SMALL = Limits(member=4 * BLOCK, total=8 * BLOCK, members=50, ratio=10.0, free=BLOCK)


def zipped(path, *members, mode=0, **attributes):
    """Write (name, content) pairs as a zip, whatever the names are."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        warnings.simplefilter("ignore")  # zipfile warns of a name that it writes twice
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
            for key, value in attributes.items():
                setattr(info, key, value)
            file.writestr(info, content)
    return path


def refused(archive, limits=SMALL):
    """Read every member, and return the one line with which the archive is refused."""
    with pytest.raises(BenchError) as error, Archive(archive, limits) as opened:
        for member in opened:
            member.read()
    assert str(archive) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


HONEST = [("imagesTr/a.nii.gz", b"a" * 3000), ("imagesTr/b.nii.gz", b"b"), ("dataset.json", b"{}")]


def test_an_honest_archive_is_read(tmp_path):
    path = zipped(tmp_path / "x.zip", ("imagesTr/", b""), *HONEST)
    with Archive(path) as archive:
        assert [(m.name, m.size, m.read()) for m in archive] == [(n, len(c), c) for n, c in HONEST]
        assert archive.read("dataset.json") == b"{}"
        with pytest.raises(BenchError, match="holds no file 'imagesTr'"):
            archive.read("imagesTr")


NAMES = {
    "../x": "leads out", "a/../../x": "leads out", "/tmp/x": "no plain", "..\\..\\x": "no plain",
    "C:x": "no plain", "a\x1b[2Jx": "control", "a\nb": "control", "..": "leads out", ".": "no name",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    assert NAMES[name] in refused(zipped(tmp_path / "x", ("fine", b"1"), (name, b"pwned")))


def test_a_name_with_a_hidden_end_is_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", ("aXb", b"1"))
    path.write_bytes(path.read_bytes().replace(b"aXb", b"a\x00b"))
    refused(path)


@pytest.mark.parametrize("kind", ["S_IFLNK", "S_IFIFO", "S_IFCHR", "S_IFBLK", "S_IFSOCK"])
def test_a_zip_may_hold_nothing_but_files(tmp_path, kind):
    path = zipped(tmp_path / "x.zip", ("a", b"/etc"), mode=getattr(stat, kind) | 0o777)
    assert "not a regular file" in refused(path)


def test_a_name_twice_is_refused(tmp_path):
    for number, names in enumerate([("a", "a"), ("a", "./a"), ("d/a", "d//a")]):
        members = [(name, b"1") for name in names]
        refused(zipped(tmp_path / f"{number}.zip", *members))


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"1"))
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    assert "encrypted" in refused(path)


ZEROS = bytes(3 * BLOCK)


def test_a_bomb_is_refused_by_what_it_would_become(tmp_path):
    bombs = {
        "ratio": [("a", ZEROS)],
        "member": [("a", bytes(5 * BLOCK))],
        "members": [(str(n), b"") for n in range(60)],
    }
    told = {"ratio": "a bomb", "member": "the limit is", "members": "more than 50 members"}
    for what, members in bombs.items():
        assert told[what] in refused(zipped(tmp_path / what, *members))
    assert "a bomb" in refused(zipped(tmp_path / "total", *[(str(n), os.urandom(BLOCK)) for n in range(9)]))


def test_overlapping_entries_of_a_zip_are_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"1" * 99), ("b", b"2" * 99))
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 0)  # the second entry points at the first's bytes
    path.write_bytes(raw)
    assert "overlaps" in refused(path)


def test_a_zip_that_lies_about_a_size_is_damaged(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"1" * 999))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 5)
    path.write_bytes(raw)
    assert "damaged" in refused(path)


@pytest.mark.parametrize(
    "raw", [b"", b"PK\x03\x04 no zip", b"PK\x05\x06", b"\x1f\x8b no gzip", b"BZh9 no", b"x" * 9000]
)
def test_what_is_no_archive_is_one_line(tmp_path, raw):
    path = tmp_path / "x"
    path.write_bytes(raw)
    refused(path)


def test_an_archive_cut_anywhere_is_one_line(tmp_path):
    members = [("a", os.urandom(3000)), ("b", os.urandom(30))]
    whole = zipped(tmp_path / "whole.zip", *members).read_bytes()
    for end in range(0, len(whole) - 40, 97):
        (tmp_path / "cut").write_bytes(whole[:end])
        refused(tmp_path / "cut")


def test_a_fifo_is_no_archive_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.zip")
    with pytest.raises(BenchError, match="no regular file"):
        Archive(tmp_path / "x.zip")
