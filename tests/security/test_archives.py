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


def zipped(path, *members, mode=0):
    """Write (name, content) pairs as a zip, whatever the names are."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        warnings.simplefilter("ignore")  # zipfile warns of a name that it writes twice
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
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


NAMES = dict.fromkeys(("../x", "a/../../x", ".."), "leads out") | {".": "no name"}
NAMES |= dict.fromkeys(("/tmp/x", "..\\..\\x", "C:x"), "an absolute path")
NAMES |= dict.fromkeys(("a\x1b[2Jx", "a\nb"), "control")


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
    for number, (one, two) in enumerate([("a", "a"), ("a", "./a"), ("d/a", "d//a")]):
        refused(zipped(tmp_path / f"{number}.zip", (one, b"1"), (two, b"1")))


def test_a_bomb_is_refused_by_what_it_would_become(tmp_path):
    bombs = [
        ("a zip bomb", [("a", bytes(3 * BLOCK))]),
        ("the limit is", [("a", bytes(5 * BLOCK))]),
        ("more than 50 members", [(str(n), b"") for n in range(60)]),
        ("a zip bomb", [(str(n), os.urandom(BLOCK)) for n in range(9)]),
    ]
    for number, (told, members) in enumerate(bombs):
        assert told in refused(zipped(tmp_path / str(number), *members))


LIES = {  # of an entry of the directory: where it stands, what it says instead, what is told
    "encrypted": (8, "<H", 1, "encrypted"),
    "a size": (24, "<I", 5, "damaged"),
    "the first one's bytes": (42, "<I", 0, "overlaps"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_entry_that_lies_is_refused(tmp_path, lie):
    at, layout, value, told = LIES[lie]
    path = zipped(tmp_path / "x.zip", ("a", b"1" * 99), ("b", b"2" * 999))
    raw = bytearray(path.read_bytes())
    struct.pack_into(layout, raw, raw.rindex(b"PK\x01\x02") + at, value)
    path.write_bytes(raw)
    assert told in refused(path)


def test_what_is_no_archive_or_is_cut_anywhere_is_one_line(tmp_path):
    members = ("a", os.urandom(3000)), ("b", os.urandom(30))
    whole = zipped(tmp_path / "whole.zip", *members).read_bytes()
    cut = [whole[:end] for end in range(0, len(whole) - 40, 97)]
    others = (b"PK\x03\x04 no zip", b"PK\x05\x06", b"\x1f\x8b no gzip", b"BZh9 no", b"x" * 9000)
    for raw in (*others, *cut):
        (tmp_path / "x").write_bytes(raw)
        refused(tmp_path / "x")
    os.mkfifo(tmp_path / "fifo")
    assert "is not a regular file" in refused(tmp_path / "fifo")
