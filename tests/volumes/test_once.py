"""Files read once: what is opened again is what was read first, and nothing new is let in."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from bench.data.contents import Contents, content_of
from bench.dataset import Case
from bench.phantoms.organs import write_nifti
from bench.volumes import once, zipped
from bench.volumes.reading import read_volume


def volume(path, value):
    write_nifti(path, np.full((4, 4, 4), value), (1, 1, 1), "int16")


def slices(folder, value):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        Image.fromarray(np.full((4, 4), value + number, np.uint8)).save(folder / f"{number}.png")


def header_and_voxels(path, value):
    raw = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = v.raw\n"
    path.write_text(raw)
    path.with_name("v.raw").write_bytes(bytes([value]) * 64)


def inside_zip(path, value):
    volume(path.parent.parent / "x.nii.gz", value)
    with zipfile.ZipFile(path.parent, "w") as file:
        file.write(path.parent.parent / "x.nii.gz", path.name)


def slices_in_zip(path, value):
    slices(path.parent.parent / "loose", value)
    with zipfile.ZipFile(path.parent, "w") as file:
        for one in sorted((path.parent.parent / "loose").iterdir()):
            file.write(one, f"{path.name}/{one.name}")
    shutil.rmtree(path.parent.parent / "loose")


def a_folder_around_the_file(path, value):
    path.mkdir(exist_ok=True)
    volume(path / "inner.nii.gz", value)


KINDS = {
    "a volume": ("a.nii.gz", volume),
    "an uncompressed volume": ("a.nii", volume),
    "slices": ("scan", slices),
    "header and voxels": ("a.mhd", header_and_voxels),
    "a member of a zip": ("a.zip/x.nii.gz", inside_zip),
    "slices in a zip": ("a.zip/scan", slices_in_zip),
    "a folder around the file": ("a.nii.gz", a_folder_around_the_file),
}


@pytest.mark.parametrize(("name", "write"), KINDS.values(), ids=KINDS)
def test_what_was_hashed_is_what_is_decoded(tmp_path, name, write):
    case = Case("a", "p", (tmp_path / name,))
    write(case.images[0], 1)
    planned = Contents(None).each([case])["a"]
    before = read_volume(case.images[0]).array
    with once.reading() as held:
        assert content_of(case) == planned
        held.sealed = True
        write(case.images[0], 9)
        try:
            now = read_volume(case.images[0]).array
        except once.ChangedError:  # of a zip only the directory was read
            assert ".zip" in name
        else:
            assert np.array_equal(now, before)
    assert not np.array_equal(read_volume(case.images[0]).array, before)
    assert content_of(case) != planned


def test_nothing_is_let_in_that_was_not_read_before(tmp_path):
    slices(tmp_path / "scan", 1)
    with once.reading() as held:
        zipped.inside(tmp_path / "scan")
        held.sealed = True
        with pytest.raises(once.ChangedError):
            zipped.opened(tmp_path / "scan" / "1.png")
        with pytest.raises(once.ChangedError):
            zipped.inside(tmp_path)
