"""Read NIfTI, NRRD and MetaImage volumes, checked, as arrays in RAS+; pictures as ``picture`` says.

Image arrays are (C, X, Y, Z), labels (X, Y, Z), both C-contiguous. Spacing is in mm. An oblique
volume is turned to the nearest axes; its affine keeps the remaining tilt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np

from bench.dataset import clean
from bench.volumes import metaimage, nifti, nrrd, picture, zipped
from bench.volumes.files import PICTURES, SUFFIXES, is_picture, is_volume, stem, within
from bench.volumes.header import KINDS, Stored, VolumeError, voxels

TOLERANCE = 1e-3  # mm; largest difference of two affines that count as equal
LARGEST = 1e15  # a voxel; the statistics of larger ones overflow 32 bits
FRACTION = 1e-3  # a stored label may miss its integer by this much (0.9999999 occurs)

__all__ = [
    "KINDS", "Header", "LabelVolume", "Stored", "Volume3D", "VolumeError", "check_finite",
    "is_volume", "join_channels", "read_header", "read_label", "read_volume", "same_place", "stem",
    "within",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Header:
    """What a file says of itself, in RAS+; no voxel was decoded."""

    path: Path
    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype  # as stored
    spacing: tuple[float, float, float]
    affine: np.ndarray
    nbytes: int  # of the voxels, decompressed
    original_axes: str  # directions of the stored axes, e.g. "LPS"
    oriented: bool  # False: the header states no orientation and ``original_axes`` is a guess


@dataclass(frozen=True, eq=False)
class Volume3D:
    """An image in RAS+: ``array`` (C, X, Y, Z), its grid, and how the file stored it."""

    path: Path
    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    original_axes: str
    stored: Stored


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A label map in RAS+: integer ``array`` (X, Y, Z) of raw values, and its grid."""

    path: Path
    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    original_axes: str


def read_header(path: Path) -> Header:
    """Return a file's judged header; decodes no voxel.

    Raises:
        VolumeError: the file is missing, is no volume that is read here, or a field is impossible.
    """
    stored = _stored(path)
    turn, affine = _turn(stored, stored.affine)
    x, y, z = (stored.grid[i] for i in np.argsort(turn[:, 0]))
    return Header(
        path, (x, y, z), _channels(stored), stored.dtype, _spacing(affine), affine, stored.nbytes,
        _axes(stored), stored.oriented,
    )  # fmt: skip


def read_volume(path: Path, frame: int | None = None) -> Volume3D:
    """Return an image in RAS+, dtype as stored unless slope and intercept scale it.

    Args:
        path: the file, or a folder of slices.
        frame: the fourth axis is time, and this point of it is the image.

    Raises:
        VolumeError: the file cannot be used; ``kind`` says in what way.
    """
    stored = _stored(path)
    array, affine = _turned(stored, stored.affine, frame)
    return Volume3D(path, array, affine, _spacing(affine), _axes(stored), stored)


def join_channels(volumes: Sequence[Volume3D]) -> Volume3D:
    """Return one image from one volume per channel (or from a single one).

    Raises:
        VolumeError: ``shape`` or ``affine``: the channels' grids differ.
    """
    first, *rest = volumes
    for other in rest:
        if other.array.shape[1:] != first.array.shape[1:]:
            raise VolumeError(other.path, "shape", _differs(other.array, first.array, first.path))
        if not same_place(other.affine, first.affine):
            raise VolumeError(other.path, "affine", f"its affine is not that of {first.path.name}")
    if not rest:
        return first
    return replace(first, array=np.concatenate([v.array for v in volumes]))


def read_label(path: Path, like: Volume3D | None = None, frame: int | None = None) -> LabelVolume:
    """Return a label map in RAS+.

    Args:
        path: a volume with one channel.
        like: its image. Where both are stored with one shape and only the affines differ, the
            voxels are taken to correspond, and the image's affine counts; not where the axes are stored
            in another way and the label, turned as its own says, lies within half a voxel of the image.
        frame: the fourth axis is time, and this point of it is the label.

    Raises:
        VolumeError: unusable file, a value that is no whole number, or another shape than the
            image's.
    """
    stored = _stored(path)
    if frame is None and _channels(stored) != 1:
        stored.fail("shape", f"a label has one channel, this file has {_channels(stored)}")
    own = stored.affine if like is None or _placed(stored, like) else like.stored.affine
    array, affine = _turned(stored, own, frame)
    if like is not None and array.shape[1:] != like.array.shape[1:]:
        stored.fail("shape", _differs(array, like.array, like.path))
    return LabelVolume(path, _whole(path, array[0]), affine, _spacing(affine), _axes(stored))


def _placed(stored: Stored, like: Volume3D) -> bool:
    """Tell whether a label's own affine says how it lies on its image."""
    turn, affine = _turn(stored, stored.affine)
    if same_place(affine, like.affine) or stored.grid != like.stored.grid:
        return True
    shape = tuple(stored.grid[axis] for axis in np.argsort(turn[:, 0]))
    if _axes(stored) == like.original_axes or shape != like.array.shape[1:]:
        return False
    corners = np.array([(*place, 1) for place in product(*((0, n - 1) for n in shape))]).T
    apart = np.linalg.inv(like.affine) @ (affine - like.affine) @ corners  # voxels
    return bool(np.abs(apart[:3]).max() <= 0.5)


def turned_back(array: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return an array (X, Y, Z) in RAS+ with its axes as a file stores them, and that file's affine.

    Raises:
        VolumeError: the file cannot be used, or is of another shape.
    """
    stored = _stored(path)
    turn, _ = _turn(stored, stored.affine)
    back = turn[:, 0].astype(int)
    flips = tuple(slice(None, None, int(turn[i, 1])) for i in np.argsort(back))
    array = array[flips].transpose(back)
    if array.shape != tuple(stored.grid):
        stored.fail("shape", f"its grid is {tuple(stored.grid)}, what is to lie on it {array.shape}")
    return array, stored.affine


def check_finite(volume: Volume3D) -> None:
    """Refuse NaN and infinite voxels, and values whose squares are infinite.

    Raises:
        VolumeError: ``nonfinite``, with their number.
    """
    if volume.array.dtype.kind != "f":
        return
    bad = volume.array.size - int(np.count_nonzero(np.abs(volume.array) <= LARGEST))  # False for NaN
    if bad:
        raise VolumeError(volume.path, "nonfinite", f"{bad} voxels are NaN, infinite or above {LARGEST:g}")


def same_place(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two affines agree within 1e-3 mm."""
    return bool(np.abs(a - b).max() <= TOLERANCE)


def _stored(path: Path) -> Stored:
    if is_picture(path) or picture.is_slices(path):
        return picture.read_stored(path)
    if path.is_dir():  # some unzippers make a folder img.nii.gz/ around the file
        inside = clean(p for p in zipped.inside(path) if is_volume(p) and p.is_file())
        if len(inside) != 1:
            raise VolumeError(path, "unreadable", f"a folder of {len(inside)} volumes and no picture")
        path = inside[0]
    if not is_volume(path):
        raise VolumeError(path, "unreadable", f"not one of {', '.join(SUFFIXES + PICTURES)}")
    return _reader(path).read_stored(path)


def _reader(path: Path) -> ModuleType:
    name = path.name.lower()
    if name.endswith((".mhd", ".mha")):
        return metaimage
    return nrrd if name.endswith(".nrrd") else nifti


def _turned(stored: Stored, affine: np.ndarray, frame: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels as (C, X, Y, Z) in RAS+ by ``affine``, scaled, and their new affine."""
    array = _voxels(stored)
    channel = stored.channel_axis
    if frame is not None and not 0 <= frame < _channels(stored):
        stored.fail("shape", f"frame {frame} of {_channels(stored)} (counted from 0) is not there")
    array = array[np.newaxis] if channel is None else np.moveaxis(array, channel, 0)
    array = array if frame is None else array[frame : frame + 1]
    turn, world = _turn(stored, affine)
    axes = [int(i) for i in np.argsort(turn[:, 0])]
    flips = [slice(None, None, int(turn[i, 1])) for i in axes]
    array = array.transpose(0, *(1 + i for i in axes))[(slice(None), *flips)]
    if (stored.slope, stored.inter) != (1.0, 0.0):
        wide = np.result_type(array.dtype, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # check_finite names what overflows
            array = array * wide.type(stored.slope) + wide.type(stored.inter)
    return np.ascontiguousarray(array), world


def _voxels(stored: Stored) -> np.ndarray:
    if not is_volume(stored.path):
        return picture.decoded(stored)
    return voxels(stored, inside_gzip=_reader(stored.path) is nifti)


def _whole(path: Path, array: np.ndarray) -> np.ndarray:
    """Return floats as the integers that they are meant to be."""
    if array.dtype.kind != "f":
        return array
    if not np.isfinite(array).all():
        raise VolumeError(path, "nonfinite", "the label holds NaN or infinite values")
    nearest = np.rint(array)
    wrong = (np.abs(array - nearest) > FRACTION) | (np.abs(nearest) > np.iinfo(np.int32).max)
    if wrong.any():
        value = array[wrong][0]
        raise VolumeError(
            path, "label_value", f"value {value:g} is no label: {int(wrong.sum())} voxels like it"
        )
    return nearest.astype(np.int32)


def _channels(stored: Stored) -> int:
    return 1 if stored.channel_axis is None else stored.shape[stored.channel_axis]


def _turn(stored: Stored, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nibabel's orientation of the stored axes, and the affine once they are RAS+."""
    turn = nib.orientations.io_orientation(affine)
    return turn, affine @ nib.orientations.inv_ornt_aff(turn, stored.grid)


def _axes(stored: Stored) -> str:
    return "".join(nib.aff2axcodes(stored.affine))


def _spacing(affine: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(n) for n in np.linalg.norm(affine[:3, :3], axis=0))
    return (x, y, z)


def _differs(array: np.ndarray, other: np.ndarray, path: Path) -> str:
    return f"shape {array.shape[1:]} is not {other.shape[1:]}, the shape of {path.name}"
