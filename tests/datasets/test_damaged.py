"""Every kind of damage to one file of a data set is one finding, and all else is judged and found sound."""

import gzip
import os
import struct
import zipfile
from pathlib import Path

import damage
import nibabel
import numpy as np
import pytest
from damage import (
    NAN,
    PAGE,
    POINTER,
    add,
    both,
    copied,
    flip,
    folder,
    half,
    holding,
    keep,
    linked,
    on,
    patch,
    placed,
    put,
    renamed,
    unpacked,
    voxels,
)

NAME = "msd04_hippocampus"
STEM, LAST = "hippocampus_003", "labelsTr/hippocampus_004.nii.gz"
IMAGE, LABEL, JSON = f"imagesTr/{STEM}.nii.gz", f"labelsTr/{STEM}.nii.gz", "dataset.json"


def gunzip(path):
    path.write_bytes(gzip.decompress(path.read_bytes()))


def packed(path):
    content = path.read_bytes()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(path.name, content)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def members(path):
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))


def bomb(path):
    raw = bytearray(gzip.decompress(path.read_bytes())[:352])
    struct.pack_into("<4h", raw, 40, 3, 30000, 30000, 8)
    path.write_bytes(gzip.compress(bytes(raw) + bytes(20_000_000), 1))


def resaved(kind=nibabel.Nifti1Image, suffix=".nii.gz", dtype=None, order="<"):
    """Store the same volume in another form of the format."""

    def change(path):
        read = nibabel.load(path)
        array = np.asarray(read.dataobj).copy()
        array = array if dtype is None else array.astype(dtype)
        header = read.header.as_byteswapped(order) if order == ">" else None
        path.unlink()
        nibabel.save(kind(array, read.affine, header), f"{str(path)[:-7]}{suffix}")

    return change


def colour(path):
    read = nibabel.load(path)
    array = np.zeros(read.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(array, read.affine), path)


def huge(value, dtype):
    def change(path):
        read = nibabel.load(path)
        array = np.asarray(read.dataobj).astype(dtype)
        array[3, 3, 3] = value
        nibabel.save(nibabel.Nifti1Image(array, read.affine, dtype=dtype), path)

    return change


def turned(matrix):
    return placed(lambda affine: affine @ np.array(matrix, float))


def scaled(x, y, z):
    return placed(lambda affine: np.diag([x, y, z, 1.0]) @ affine)


def shifted(x):
    return placed(lambda affine: affine + x * np.eye(4)[:1].T @ np.eye(4)[3:])


def image(change, kind="", words="", file=IMAGE):
    """Damage the image; with a kind, one finding is expected."""
    return on(IMAGE, *_all(change)), [(kind, file, words)] if kind else []


def label(change, kind="", words=""):
    return on(LABEL, *_all(change)), [(kind, LABEL, words)] if kind else []


def _all(change):
    return change if isinstance(change, list) else [change]


def pair(change, *found):
    """Damage image and label in the same way."""
    return both(on(IMAGE, change), on(LABEL, change)), list(found)


MIRROR = np.diag([-1, 1, 1, 1])
SHEAR = [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
TILT = [[0.98, -0.199, 0, 0], [0.199, 0.98, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
SWAP = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]

BYTES = {
    "one byte": image(keep(1), "unreadable", "the name says gzip, the content does not"),
    "cut in the gzip header": image(keep(10), "truncated", "the gzip stream ends within the header"),
    "cut in the middle": image(half, "truncated", "the data end before the"),
    "cut by its last byte": image(keep(-1), "truncated", "the data end before"),
    "cut by its checksum": image(keep(-8), "truncated", "the data end before"),
    "another checksum": image(flip(-8), "unreadable", "incorrect data check"),
    "another length": image(flip(-1), "unreadable", "incorrect length check"),
    "a bit of the image": image(flip(50_000), "unreadable", "the compressed stream is damaged"),
    "a bit that lengthens the label": label(flip(400), "unreadable", "the compressed stream is damaged"),
    "gzip named .nii": image(renamed(f"{STEM}.nii"), "unreadable", "under a name without .gz; rename it",
                             IMAGE.removesuffix(".gz")),
    "plain, cut": image([gunzip, half, renamed(f"{STEM}.nii")], "truncated", "the file holds at most",
                        IMAGE.removesuffix(".gz")),
    "plain, longer": image([gunzip, add(bytes(99)), renamed(f"{STEM}.nii")], "shape", "99 bytes more than",
                           IMAGE.removesuffix(".gz")),
    "random bytes": image(holding(np.random.default_rng(0).bytes(5000)), "unreadable", "the name says gzip"),
    "a login page": image(holding(PAGE), "unreadable", "it is a web page: log in"),
    "a login page, compressed": image(holding(gzip.compress(PAGE * 20)), "unreadable", "not a NIfTI file"),
    "a zip": image(packed, "unreadable", "it is a zip: unpack it"),
    "a git-lfs pointer": image(holding(POINTER), "unreadable", "git lfs pull"),
    "a git-annex link without content": image(linked("../.git/annex/x"), "missing",
                                              "leads to ../.git/annex/x"),
    "a link to itself": image(linked(f"{STEM}.nii.gz"), "missing"),
    "a folder in its place": image(folder, "unreadable", "a folder of 0 volumes"),
    "a folder of two": image(unpacked("a.nii.gz", "b.nii.gz"), "unreadable", "a folder of 2 volumes"),
    "a fifo": image(fifo, "unreadable", "no regular file"),
    "a label that is a fifo": label(fifo, "unreadable", "no regular file"),
    "a pair .hdr and .img": image(resaved(nibabel.Nifti1Pair, ".hdr"), "missing", "no such file"),
    "colours": image(colour, "unreadable", "datatype: 128"),
    "complex numbers": image(resaved(dtype="c8"), "unreadable", "datatype: 32"),
    "numbers of 128 bits": image(patch(70, "2h", 1536, 128), "unreadable", "datatype: 1536"),
    "bits that are not the type's": image(patch(72, "h", 7), "unreadable", "bitpix: 7"),
    "voxels before the header's end": image(patch(108, "f", -5.0), "unreadable", "vox_offset: -5"),
    "more slices declared": image(patch(46, "h", 900), "truncated", "the data end before"),
    "a small file of giant dimensions": image(bomb, "shape", "above the limit of 4 GiB"),
    "no axes": image(patch(40, "h", 0), "shape", "0 axes"),
    "eight axes": image(patch(40, "h", 8), "shape", "8 axes"),
    "one slice, as two axes": image(voxels(lambda a: a[..., 0]), "shape", "has 2 axes, not 3 or 4"),
    "plain under its name": image([gunzip, renamed(f"{STEM}.nii")]),
    "a folder around the file": image(unpacked(f"{STEM}.nii.gz")),
    "big-endian": image(resaved(order=">")),
    "NIfTI-2": image(resaved(nibabel.Nifti2Image)),
    "64 bits": image(resaved(dtype="f8")),
    "two gzip members": image(members),
    "zeros behind the gzip": image(add(bytes(512))),
    "a fourth axis of 1": image(voxels(lambda a: a[..., None])),
}  # fmt: skip

PLACES = {
    "label one slice short": label(voxels(lambda a: a[..., :-1]), "shape",
                                   "(32, 42, 33) is not (32, 42, 34)"),
    "label transposed": label(voxels(lambda a: a.transpose(1, 0, 2)), "shape", "the shape of its image"),
    "label under exchanged axes": label(turned(SWAP), "shape", "(42, 32, 34) is not (32, 42, 34)"),
    "label tilted": label(turned(TILT), "affine", "from its image's affine"),
    "label a hair off": label(shifted(1e-4)),
    "label mirrored": (on(LABEL, turned(MIRROR)), [("affine", LABEL, "up to 31 mm"),
                       ("orientation", LABEL, "stored LAS, its image RAS")]),
    "label of thinner slices": (on(LABEL, scaled(1, 1, 0.7)), [("affine", LABEL, "from its image's"),
                                ("spacing", LABEL, "1 x 1 x 0.7 mm is not 1 x 1 x 1 mm")]),
    "image of thinner slices": (on(IMAGE, scaled(1, 1, 0.7)), [("affine", LABEL, "from its image's"),
                                ("spacing", LABEL, "1 x 1 x 1 mm is not 1 x 1 x 0.7 mm")]),
    "sheared": pair(turned(SHEAR), ("affine", IMAGE, "two axes are 63.4 degrees apart")),
    "tilted": pair(turned(TILT)),
    "in metres": pair(scaled(0.001, 0.001, 0.001), ("spacing", IMAGE, "in metres?"),
                      ("spacing", LABEL, "in metres?")),
    "pixdim NaN": image(patch(80, "f", NAN), "spacing", "field pixdim"),
    "pixdim infinite": image(patch(84, "f", float("inf")), "spacing", "field pixdim"),
    "voxels of kilometres": image(patch(280, "f", 1e30), "spacing", "above 1000 is not believed"),
    "quaternion NaN": image([patch(252, "2h", 1, 0), patch(256, "f", NAN)], "affine", "NaN"),
    "quaternion longer than 1": image([patch(252, "2h", 1, 0), patch(256, "f", 5.0)], "affine", "quatern"),
    "qfac of 7": image([patch(76, "f", 7.0), patch(252, "2h", 1, 0)], "affine", "qfac"),
    "codes of orientation below 0": image(patch(252, "2h", -1, -1), "orientation",
                                          "left and right are a guess"),
    "quaternion alone": image(patch(252, "2h", 1, 0)),
}  # fmt: skip

VALUES = {
    "all voxels NaN": image(voxels(lambda a: a * np.float32(NAN)), "nonfinite", "45696 voxels"),
    "a voxel that no 32 bits hold": image(huge(1e300, "f8"), "nonfinite", "1 voxels"),
    "a slope that overflows": image(patch(112, "f", 1e38), "nonfinite", "voxels"),
    "label 421": label(put(421, "i2"), "label_value", "values 421 are not declared (0, 1, 2)"),
    "label of 1e30": label(put(1e30, "f4"), "label_value", "value 1e+30 is no label"),
    "label of 2^40": label(huge(2**40, "int64"), "label_value", "1099511627776"),
    "label of 2^64 - 1": label(huge(2**64 - 1, "uint64"), "label_value", "18446744073709551615"),
    "label times 127": label(voxels(lambda a: a * 127), "label_value", "values 127, 254"),
    "label of slope 0.5": label(patch(112, "2f", 0.5, 0.0), "label_value", "value 0.5 is no label"),
    "label from 1 on": label(patch(112, "2f", 1.0, 1.0), "label_value", "values 3"),
    "label that is the image": (both(on(LABEL, Path.unlink), on(IMAGE, copied(f"../{LABEL}"))),
                                [("label_value", LABEL, "is no label")]),
    "label of 0.9999999": label(put(0.9999999, "f8")),
    "label of one class alone": label(voxels(np.ones_like)),
}  # fmt: skip


DAMAGES = {
    f"{group}: {id}": row
    for group, rows in {"file": BYTES, "place": PLACES, "value": VALUES}.items()
    for id, row in rows.items()
}


@pytest.fixture
def root(trees, tmp_path):
    return trees.copy(NAME, tmp_path)


@pytest.mark.parametrize(("change", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_nothing_else_is(root, change, expected, capsys):
    change(root)
    damage.check(capsys, root, expected)


ONWARD = [id for id, row in DAMAGES.items() if row[1]]


@pytest.mark.parametrize("id", ONWARD[::4])
def test_the_check_goes_on_to_the_last_case(root, id, capsys):
    change, expected = DAMAGES[id]
    change(root)
    put(77)(root / LAST)
    damage.check(capsys, root, [*expected, ("label_value", LAST, "values 77 are not declared")])


def test_no_bit_of_a_label_file_flips_unseen(root):
    """Each bit is found, or changes no voxel (the file's name and time, unused bits of a code)."""
    from bench.data.volume import VolumeError, read_label

    path = root / LABEL
    raw, sound = path.read_bytes(), read_label(path).array
    other = []
    for at in range(10, len(raw), 2):
        flip(at)(path)
        try:
            array = read_label(path).array
        except VolumeError:
            array = None
        if array is not None and not np.array_equal(array, sound):
            other.append(at)
        path.write_bytes(raw)
    assert other == []
