"""Crafted archives: none writes outside its folder, none is more than plain files of honest size."""

import gzip
import io
import os
import stat
import struct
import tarfile
import warnings
import zipfile

import pytest

from bench.data.archive import BLOCK, Archive, Limits, extract
from bench.errors import BenchError

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


def tarred(path, *members, how="w:gz"):
    """Write (name, content or type, link name) as a tar; a type is one of tarfile's letters."""
    with tarfile.open(path, how) as file:
        for name, content, *target in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = content.encode(), (target or [""])[0]
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return path


def refused(archive, tmp_path, limits=SMALL):
    """Extract where a neighbour lies, and return the one line with which it is refused."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "mine").write_text("mine")
    before = {p.relative_to(tmp_path) for p in tmp_path.rglob("*")}
    with pytest.raises(BenchError) as error:
        extract(archive, home / "data", limits)
    assert {p.relative_to(tmp_path) for p in tmp_path.rglob("*")} == before  # nothing came, nothing stays
    assert (home / "mine").read_text() == "mine"
    assert str(archive) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


HONEST = [("imagesTr/a.nii.gz", b"a" * 3000), ("imagesTr/b.nii.gz", b"b"), ("dataset.json", b"{}")]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_honest_archive_is_read_and_extracted(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    folder = [("imagesTr", "5")] if kind != "zip" else []
    if kind == "zip":
        zipped(path, ("imagesTr/", b""), *HONEST)
    else:
        tarred(path, *folder, *HONEST, how=f"w:{kind[4:]}")
    with Archive(path) as archive:
        assert [(m.name, m.size, m.read()) for m in archive] == [(n, len(c), c) for n, c in HONEST]
    with Archive(path) as archive:
        assert archive.read("dataset.json") == b"{}"
    made = extract(path, tmp_path / "out")
    assert [(str(p.relative_to(tmp_path / "out")), p.read_bytes()) for p in made] == HONEST


NAMES = {
    "../x": "leads out", "a/../../x": "leads out", "/tmp/x": "no plain", "..\\..\\x": "no plain",
    "C:x": "no plain", "a\x1b[2Jx": "control", "a\nb": "control", "..": "leads out", ".": "no name",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name, kind):
    make = zipped if kind == "zip" else tarred
    assert NAMES[name] in refused(make(tmp_path / "x", ("fine", b"1"), (name, b"pwned")), tmp_path)


def test_a_name_with_a_hidden_end_is_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", ("aXb", b"1"))
    path.write_bytes(path.read_bytes().replace(b"aXb", b"a\x00b"))
    refused(path, tmp_path)


@pytest.mark.parametrize("kind", ["S_IFLNK", "S_IFIFO", "S_IFCHR", "S_IFBLK", "S_IFSOCK"])
def test_a_zip_may_hold_nothing_but_files(tmp_path, kind):
    path = zipped(tmp_path / "x.zip", ("a", b"/etc"), mode=getattr(stat, kind) | 0o777)
    assert "not a regular file" in refused(path, tmp_path)


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (("a", "2", "/etc"), "symbolic link"),
        (("a", "2", "b"), "symbolic link"),
        (("a", "1", "/etc/passwd"), "hard link"),
        (("a", "3"), "device"),
        (("a", "4"), "device"),
        (("a", "6"), "fifo"),
    ],
)
def test_a_tar_may_hold_nothing_but_files(tmp_path, member, told):
    path = tarred(tmp_path / "x.tar.gz", ("b", b"1"), member, (f"{member[0]}/x", b"pwned"))
    assert told in refused(path, tmp_path)


def test_a_name_twice_or_a_file_that_is_also_a_folder_is_refused(tmp_path):
    for number, names in enumerate([("a", "a"), ("a", "./a"), ("d/a", "d//a"), ("a", "a/b")]):
        members = [(name, b"1") for name in names]
        refused(zipped(tmp_path / f"{number}.zip", *members), tmp_path)
        refused(tarred(tmp_path / f"{number}.tar", *members), tmp_path)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"1"))
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    assert "encrypted" in refused(path, tmp_path)


ZEROS = bytes(3 * BLOCK)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_bomb_is_refused_by_what_it_would_become(tmp_path, make):
    bombs = {
        "ratio": [("a", ZEROS)],
        "member": [("a", bytes(5 * BLOCK))],
        "members": [(str(n), b"") for n in range(60)],
    }
    told = {"ratio": "a bomb", "member": "the limit is", "members": "more than 50 members"}
    for what, members in bombs.items():
        assert told[what] in refused(make(tmp_path / what, *members), tmp_path)
    assert "a bomb" in refused(
        make(tmp_path / "total", *[(str(n), os.urandom(BLOCK)) for n in range(9)]), tmp_path
    )


def test_overlapping_entries_of_a_zip_are_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"1" * 99), ("b", b"2" * 99))
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 0)  # the second entry points at the first's bytes
    path.write_bytes(raw)
    assert "overlaps" in refused(path, tmp_path)


def test_a_zip_that_lies_about_a_size_is_damaged(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"1" * 999))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 5)
    path.write_bytes(raw)
    assert "damaged" in refused(path, tmp_path)


def header(name, kind, size):
    """Return one tar header with any size; a negative or huge one is written in base 256."""
    info = tarfile.TarInfo(name)
    info.type = kind
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = (size % (1 << 96)).to_bytes(12, "big") if size < 0 else b"\x80" + size.to_bytes(11, "big")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [-512, -1024, 1 << 40])
def test_an_impossible_length_in_a_tar_ends_at_once(tmp_path, kind, size):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(header("a", kind, size) + bytes(8192)))
    refused(path, tmp_path)


def test_an_extended_header_of_gigabytes_is_not_read_into_memory(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(header("a", tarfile.XHDTYPE, 1 << 30) + bytes(1 << 16)))
    assert "bytes of header" in refused(path, tmp_path)


def test_a_sparse_member_is_refused(tmp_path):
    info = tarfile.TarInfo("a")
    info.size, info.pax_headers = 5, {"GNU.sparse.size": "99999", "GNU.sparse.map": "0,5"}
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.PAX_FORMAT) + b"12345" + bytes(507 + 1024)))
    assert "a sparse file" in refused(path, tmp_path)


@pytest.mark.parametrize(
    "raw", [b"", b"PK\x03\x04 no zip", b"PK\x05\x06", b"\x1f\x8b no gzip", b"BZh9 no", b"x" * 9000]
)
def test_what_is_no_archive_is_one_line(tmp_path, raw):
    path = tmp_path / "x"
    path.write_bytes(raw)
    refused(path, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_cut_anywhere_is_one_line(tmp_path, kind):
    path = tmp_path / f"whole.{kind}"
    members = [("a", os.urandom(3000)), ("b", os.urandom(30))]
    whole = (zipped if kind == "zip" else tarred)(path, *members).read_bytes()
    for end in range(0, len(whole) - 40, 97):
        (tmp_path / "cut").write_bytes(whole[:end])
        refused(tmp_path / "cut", tmp_path)


def test_a_folder_that_is_there_or_a_link_to_one_is_not_written_into(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"1"))
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for folder in ("home", "link"):
        with pytest.raises(BenchError, match="exists already"):
            extract(path, tmp_path / folder)
    assert list((tmp_path / "home").iterdir()) == [] and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_permissions_of_an_archive_are_dropped(tmp_path, umask):
    path = zipped(tmp_path / "x.zip", ("d/a", b"1"), mode=stat.S_IFREG | 0o6777)
    before = os.umask(umask)
    try:
        (made,) = extract(path, tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o777 & ~umask


def test_a_fifo_is_no_archive_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.zip")
    with pytest.raises(BenchError, match="no regular file"):
        Archive(tmp_path / "x.zip")
