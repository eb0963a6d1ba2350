"""Small sound files of every format, and in which way a file is refused."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bench.volumes.header import KINDS, VolumeError
from bench.volumes.reading import read_volume

SHAPE = (5, 6, 7)
AFFINE = np.array([[-1.5, 0, 0, 10], [0, -2.0, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1]])
VALUES = np.arange(210, dtype=np.int16).reshape(SHAPE)
NOISE = np.random.default_rng(0).random(SHAPE)
GREY = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)  # 5 rows, 7 columns
METAIMAGE = """ObjectType = Image
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


def nifti(path: Path, array: np.ndarray = VALUES, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def patch(path: Path, at: int, form: str, *values) -> Path:
    """Overwrite a field of a NIfTI header."""
    packed = path.name.endswith(".gz")
    data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    struct.pack_into(form, data, at, *values)
    path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))
    return path


def metaimage(folder: Path, old: str = "", new: str = "", name: str = "a.mhd") -> Path:
    """Write the header, one part of it replaced, and its voxels."""
    assert old in METAIMAGE
    (folder / "a.raw").write_bytes(VALUES.tobytes(order="F"))
    (folder / name).write_text(METAIMAGE.replace(old, new, 1))
    return folder / name


def nhdr(folder: Path, old: str = "", new: str = "") -> Path:
    """Write an NRRD header, one part of it replaced, and its voxels; no empty line ends it."""
    text = NRRD.strip() + "\ndata file: a.raw\n"
    assert old in text
    (folder / "a.raw").write_bytes(VALUES.tobytes(order="F"))
    (folder / "a.nhdr").write_text(text.replace(old, new, 1))
    return folder / "a.nhdr"


def nrrd(folder: Path, old: str = "", new: str = "") -> Path:
    """Write an NRRD file, one part of its header replaced."""
    assert old in NRRD
    body = VALUES.tobytes(order="F").replace(b"\n\n", b"\n ")
    (folder / "a.nrrd").write_bytes(NRRD.replace(old, new, 1).encode() + body)
    return folder / "a.nrrd"


def picture(path: Path, pixels: np.ndarray, mode: str | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(pixels)
    (made.convert(mode) if mode else made).save(path, **options)
    return path


def kind_of(path: Path, read=read_volume) -> str:
    """Return the kind of the one line in which a file is refused."""
    with pytest.raises(VolumeError) as caught:
        read(path)
    assert str(path.parent) in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.kind in KINDS and len(caught.value.detail) <= 500
    return caught.value.kind
