"""Contents: what stands for a file, a folder and a member of a zip; and how much of it is remembered."""

import hashlib
import json
import os
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from bench.data import contents
from bench.data.contents import Contents
from bench.dataset import Case
from bench.phantoms.organs import write_nifti


def digest(*images, label=None, memory=None, frame=None):
    opened = Contents(memory)
    try:
        return opened.each([Case("a", "p", images, label, frame=frame)])["a"]
    finally:
        opened.save()


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


@pytest.fixture
def hashed(monkeypatch):
    """Return the paths whose bytes were read."""
    seen, real = [], contents._sha256
    monkeypatch.setattr(contents, "_sha256", lambda path: seen.append(path.name) or real(path))
    return seen


def test_a_case_is_its_files_its_class_and_its_frame_but_not_its_name(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    a, b, c = (tmp_path / name for name in "abc")
    assert len(digest(a)) == 32
    orders = {digest(a), digest(b), digest(a, b), digest(b, a)}
    labels = {digest(a, label=label) for label in (c, 0, 1)}
    frames = {digest(a, frame=frame) for frame in (0, 1)}
    assert len(orders | labels | frames) == 9
    case = Case("other", "another", (a,))
    assert Contents(None).each([case])["other"] == digest(a)


@pytest.mark.parametrize("label", [[], [None], [3], [None, 0], [2, 4]], ids=str)
@pytest.mark.parametrize("sums", [["ab"], ["ab", "", "cd"]], ids=len)
def test_what_a_case_is_named_by_is_the_json_of_its_sums_and_label(sums, label):
    text = json.dumps([sums, *label])
    assert contents._content(sums, label) == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_the_digest_of_all_cases_is_of_bytes_ids_patients_and_meta_wherever_they_lie(tmp_path):
    def made(folder):
        (tmp_path / folder).mkdir()
        for name in ("a.img", "a.seg", "b.img"):
            (tmp_path / folder / name).write_text(name)
        return [
            Case("a", "pa", (tmp_path / folder / "a.img",), tmp_path / folder / "a.seg"),
            Case("b", "pb", (tmp_path / folder / "b.img",)),
        ]

    a, b = made("one")

    def whole(cases):
        return Contents(None).digest(cases)

    seen = {whole([a, b])}
    assert {whole(made("moved"))} == seen
    others = (
        [a],
        [replace(a, id="A"), b],
        [a, replace(b, patient="pa")],
        [a, replace(b, label=1)],
        [replace(a, label=None), b],
        [a, replace(b, meta={"part": "test"})],
    )
    os.utime(a.images[0], (1, 1))
    assert whole([a, b]) in seen
    seen |= {whole(cases) for cases in others}
    a.images[0].write_text("A.img")
    assert len(seen | {whole([a, b])}) == 8


def test_a_folder_counts_by_the_names_and_bytes_of_its_files(tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    for name in ("1.png", "2.png", "10.png"):
        (folder / name).write_text(name)
    seen = {digest(folder)}
    (folder / ".DS_Store").write_text("litter")
    assert digest(folder) in seen
    (folder / "10.png").rename(folder / "11.png")
    seen.add(digest(folder))
    (folder / "2.png").write_text("x.png")
    seen.add(digest(folder))
    (folder / "2.png").unlink()
    assert len(seen | {digest(folder)}) == 4


def test_a_folder_is_remembered_until_size_or_time_of_a_file_in_it_changes(tmp_path, hashed):
    file, memory = tmp_path / "scan/1.png", tmp_path / "contents.json"
    file.parent.mkdir()
    file.write_text("one")
    before = digest(file.parent, memory=memory)
    hashed.clear()
    stamp = file.stat()
    file.write_text("ONE")  # as long as before, and the clock set back
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert digest(file.parent, memory=memory) == before and hashed == []
    file.write_text("1")
    assert digest(file.parent, memory=memory) != before and hashed == ["1.png"]


def test_a_member_of_a_zip_counts_by_its_checksum_and_no_other_member_by_it(tmp_path, hashed):
    archive = zipped(tmp_path / "a.zip", {"T1/T1.nii.gz": "one", "T2.nii.gz": "two"})
    one, two = digest(archive / "T1/T1.nii.gz"), digest(archive / "T2.nii.gz")
    assert one != two and hashed == []
    zipped(tmp_path / "a.zip", {"T1/T1.nii.gz": "one", "T2.nii.gz": "TWO"})
    assert digest(archive / "T1/T1.nii.gz") == one and digest(archive / "T2.nii.gz") != two
    other = zipped(tmp_path / "b.zip", {"x.nii.gz": "one"})
    assert digest(other / "x.nii.gz") == one


def test_a_folder_in_a_zip_counts_by_its_members(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"s/1.png": "1", "s/2.png": "2", "t/1.png": "1"})
    seen = {digest(archive / "s"), digest(archive / "t"), digest(archive / "nothing")}
    zipped(tmp_path / "a.zip", {"s/1.png": "1", "s/2.png": "x"})
    assert len(seen | {digest(archive / "s")}) == 4


def test_a_zip_is_the_stamp_of_its_members(tmp_path, monkeypatch):
    member, memory = (
        zipped(tmp_path / "a.zip", {"x.nii.gz": "one"}) / "x.nii.gz",
        tmp_path / "contents.json",
    )
    before = digest(member, memory=memory)
    with monkeypatch.context() as patch:
        patch.setattr(contents, "_sum", None)
        assert digest(member, memory=memory) == before
    zipped(tmp_path / "a.zip", {"x.nii.gz": "other"})
    assert digest(member, memory=memory) != before


def test_a_zip_that_is_refused_is_named_and_counts_as_a_file(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"../x": "one"})
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 and no more")
    for path, words in ((archive, "a.zip: refused"), (tmp_path / "b.zip", "b.zip")):
        case = Case("a", "p", (path / "x.nii",))
        assert words in Contents(None).header_faults([case], 1)["a"]
        before = digest(path / "x.nii")
        path.write_bytes(path.read_bytes() + b"x")
        assert digest(path / "x.nii") != before


@pytest.fixture
def volumes(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", np.array([[[1, 2, 3]]]), (1, 1, 1), "int16")
    write_nifti(tmp_path / "l.nii.gz", np.array([[[0, 1, 0]]]), (1, 1, 1), "uint8")
    return [Case("a", "p", (tmp_path / "a.nii.gz",), tmp_path / "l.nii.gz")]


@pytest.fixture
def remembered(volumes, tmp_path):
    """Return the file of a memory that has read the volumes, and their digest."""
    memory = tmp_path / "contents.json"
    first = Contents(memory)
    assert first.header_faults(volumes, 1) == {}
    before = first.digest(volumes)
    first.save()
    return memory, before


def test_headers_and_sums_of_a_file_are_remembered_together(volumes, remembered, monkeypatch):
    memory, before = remembered
    assert len(json.loads(memory.read_text())) == 2
    monkeypatch.setattr(contents, "_sum", None)
    monkeypatch.setattr(contents, "_header", None)
    again = Contents(memory)
    assert again.header_faults(volumes, 1) == {}
    assert again.digest(volumes) == before
    stamp = memory.stat().st_mtime_ns
    again.save()
    assert memory.stat().st_mtime_ns == stamp  # nothing new, nothing written
    assert "2 channel" in again.header_faults([Case("a", "p", volumes[0].images * 2)], 1)["a"]


def test_a_changed_file_forgets_both(volumes, remembered, tmp_path):
    memory, before = remembered
    write_nifti(tmp_path / "a.nii.gz", np.array([[[1, 2, 3], [4, 5, 6]]]), (1, 1, 1), "int16")
    again = Contents(memory)
    assert again.digest(volumes) != before
    (told,) = again.header_faults(volumes, 1).values()
    assert re.search(r"l\.nii\.gz: .*3.* voxels, its image a.nii.gz", told)


ENTRIES = """
STAMP|STAMP -|STAMP - -|STAMP x|STAMP  |STAMP - 1x1x3|STAMP - 1x1x3x|STAMP - axbxcxd|STAMP - -1x1x3x1
0:0 x 9x9x9x9|STAMP - 1x1x3x1 x|STAMP x 1x1x3x1
"""
VALUES = (None, 5, [], ["STAMP", "x", "1x1x3x1"], "", *re.split(r"[|\n]", ENTRIES.strip("\n")))
DAMAGED = ("", "{", "[]", "3", json.dumps({"x": 1}), "[" * 5000)


@pytest.mark.parametrize("text", [*DAMAGED, *(json.dumps({"PATH": value}) for value in VALUES)])
def test_a_damaged_memory_is_made_again(volumes, tmp_path, text):
    path = str(volumes[0].images[0])
    memory = tmp_path / "contents.json"
    memory.write_text(text.replace("PATH", path).replace("STAMP", contents._stamp(path)))
    again = Contents(memory)
    assert again.digest(volumes) == Contents(None).digest(volumes)
    assert again.header_faults(volumes, 1) == {}


def test_no_memory_is_left_where_there_is_no_output_folder(volumes, tmp_path):
    digest(*volumes[0].images, memory=tmp_path / "no_out" / "contents.json")
    assert not (tmp_path / "no_out").exists()


def test_a_file_that_is_not_there_is_no_content_and_no_header(tmp_path):
    case = Case("a", "p", (tmp_path / "x.nii.gz",))
    assert len(Contents(None).digest([case])) == 16
    assert "x.nii.gz" in Contents(None).header_faults([case], 1)["a"]
