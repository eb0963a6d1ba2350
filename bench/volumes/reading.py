"""Read NIfTI, NRRD and MetaImage volumes, checked, as arrays in RAS+; pictures as ``picture`` says.

Image arrays are (C, X, Y, Z), labels (X, Y, Z), both C-contiguous. Spacing is in mm. An oblique
volume is turned to the nearest axes; its affine keeps the remaining tilt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np

from bench.dataset import clean
from bench.volumes import metaimage, nifti, nrrd, picture, zipped
from bench.volumes.files import (
    DICOM,
    PICTURES,
    SUFFIXES,
    dicom_inside,
    is_dicom,
    is_picture,
    is_volume,
)
from bench.volumes.header import TOLERANCE, Stated, Stored, VolumeError, apart, voxels

LARGEST = 1e15  # a voxel; the statistics of larger ones overflow 32 bits
FRACTION = 1e-3  # a stored label may miss its integer by this much (0.9999999 occurs)


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
    stated: Stated  # without axes, ``original_axes`` is a guess


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
class LabelVolume(Volume3D):
    """A label map in RAS+: integer ``array`` (X, Y, Z) of raw values, and its grid."""


def read_header(path: Path) -> Header:
    """Return a file's judged header; decodes no voxel.

    Raises:
        VolumeError: the file is missing, is no volume that is read here, or a field is impossible.
    """
    stored = _stored(path)
    turn, affine = _turn(stored, stored.affine)
    x, y, z = (stored.grid[i] for i in np.argsort(turn[:, 0]))
    return Header(
        path,
        (x, y, z),
        _channels(stored),
        stored.dtype,
        _spacing(affine),
        affine,
        stored.nbytes,
        _axes(stored),
        stored.stated,
    )


def read_volume(path: Path, frame: int | None = None) -> Volume3D:
    """Return an image in RAS+, dtype as stored unless slope and intercept scale it.

    Args:
        path: the file, or a folder of slices.
        frame: the fourth axis is time, and this point of it is the image.

    Raises:
        VolumeError: the file cannot be used; ``kind`` says in what way.
    """
    stored = _stored(path)
    array = np.ascontiguousarray(_to_ras(_values(stored, frame), stored.affine))
    affine = _turn(stored, stored.affine)[1]
    return Volume3D(path, array, affine, _spacing(affine), _axes(stored), stored)


def join_channels(volumes: Sequence[Volume3D]) -> Volume3D:
    """Return one image from one volume per channel (or from a single one).

    The first channel that states its directions places all; one that does not is taken as stored like it.

    Raises:
        VolumeError: ``shape``, ``affine`` or ``orientation``: the channels' grids differ, or a header
            contradicts itself.
    """
    for volume in volumes:
        check_stated(volume.stored)
    lead = next((v for v in volumes if v.stored.stated.axes), volumes[0])
    channels = [volume if volume is lead else _channel(volume, lead) for volume in volumes]
    if len(channels) == 1:
        return lead
    return replace(lead, array=np.concatenate([v.array for v in channels]))


def _channel(volume: Volume3D, lead: Volume3D) -> Volume3D:
    """Return a channel on the grid of another."""
    its, grids = lead.stored, volume.stored.grid == lead.stored.grid
    vague = not volume.stored.stated.axes
    if vague and not grids:
        raise VolumeError(volume.path, "shape", _differs(volume.array, lead.array, lead.path))
    if vague or (grids and apart(volume.stored.affine, its.affine, its.grid) <= TOLERANCE):
        array = _to_ras(_to_stored(volume.array, volume.stored.affine), its.affine)
        volume = replace(volume, array=array, affine=lead.affine)
    if volume.array.shape[1:] != lead.array.shape[1:]:
        raise VolumeError(volume.path, "shape", _differs(volume.array, lead.array, lead.path))
    if off := misplaced(volume, lead):
        detail = f"its affine is not that of {lead.path.name}: up to {off:.4g} voxels apart"
        raise VolumeError(volume.path, "affine", detail)
    return volume


def read_label(
    path: Path,
    like: Volume3D | LabelVolume | None = None,
    frame: int | None = None,
    as_stored: bool = False,
) -> LabelVolume:
    """Return a label map in RAS+.

    Args:
        path: a volume with one channel.
        like: its image. A label that states no directions, or whose image states none, is taken as
            stored like its image. So is one with its image's directions, wherever its header places it. One
            along other axes is turned as its header says if it then lies on its image, else refused.
        frame: the fourth axis is time, and this point of it is the label.
        as_stored: a label with its image's grid is stored like it, whatever its header says
            (``Dataset.labels_as_stored``).

    Raises:
        VolumeError: unusable file, a value that is no whole number, another shape than the image's, or
            ``orientation``: nobody can tell how it lies on its image.
    """
    stored = _stored(path, label=True)
    array = np.ascontiguousarray(_to_ras(_one_channel(stored, frame), stored.affine)[0])
    affine = _turn(stored, stored.affine)[1]
    label = LabelVolume(
        path, _integers(path, array), affine, _spacing(affine), _axes(stored), stored
    )
    return label if like is None else lay(label, like, as_stored)


def lay(label: LabelVolume, like: Volume3D | LabelVolume, as_stored: bool = False) -> LabelVolume:
    """Return a label that was read alone as ``read_label`` returns it beside its image; raises alike."""
    stored = label.stored
    way = _affine_on(stored, like, as_stored)
    array = _to_ras(_to_stored(label.array[np.newaxis], stored.affine), way)
    if array.shape[1:] != like.array.shape[-3:]:
        stored.fail("shape", _differs(array, like.array, like.path))
    affine = _turn(stored, way)[1]
    return replace(
        label, array=np.ascontiguousarray(array[0]), affine=affine, spacing=_spacing(affine)
    )


def read_as_stored(path: Path) -> LabelVolume:
    """Return a label map with its axes as the file has them, whatever its header says of directions.

    Raises:
        VolumeError: unusable file, or a value that is no whole number.
    """
    stored = _stored(path, label=True)
    array = _integers(path, np.ascontiguousarray(_one_channel(stored, None)[0]))
    return LabelVolume(path, array, stored.affine, _spacing(stored.affine), _axes(stored), stored)


def _one_channel(stored: Stored, frame: int | None) -> np.ndarray:
    """Return a label's voxels (1, X, Y, Z) as stored; a picture of three equal channels is grey."""
    array = _values(stored, frame)
    if is_picture(stored.path) and (array == array[:1]).all():
        return array[:1]
    if len(array) != 1:
        stored.fail("shape", f"a label has one channel, this file has {len(array)}")
    return array


def _affine_on(stored: Stored, like: Volume3D | LabelVolume, as_stored: bool) -> np.ndarray:
    """Return the affine by which a label is turned to lie on its image."""
    its, grids = like.stored, stored.grid == like.stored.grid
    if as_stored and grids:
        return its.affine
    check_stated(stored)
    if not stored.stated.axes or not its.stated.axes or its.stated.conflict:
        return its.affine
    if grids and apart(stored.affine, its.affine, its.grid) <= TOLERANCE:
        return its.affine
    turn, affine = _turn(stored, stored.affine)
    long = [n > 1 for n in its.grid]  # an axis of one voxel has no direction
    if grids and np.array_equal(turn[long], _turn(its, its.affine)[0][long]):
        return its.affine
    shape = like.array.shape[-3:]
    if tuple(stored.grid[axis] for axis in np.argsort(turn[:, 0])) != shape:
        return stored.affine  # refused by its shape
    if not (stored.stated.place and its.stated.place):
        return stored.affine
    off = apart(affine, like.affine, shape)
    if off > TOLERANCE:
        stored.fail(
            "orientation",
            f"its axes are stored {_axes(stored)}, those of its image {like.original_axes}; after "
            f"reorientation by the headers it lies up to {off:.4g} voxels from {like.path.name}; correct the "
            "wrong header",
        )
    return stored.affine


def check_stated(stored: Stored) -> None:
    """Refuse a header that contradicts itself.

    Raises:
        VolumeError: ``orientation``.
    """
    if stored.stated.conflict:
        stored.fail("orientation", stored.stated.conflict)


def misplaced(first: Volume3D | LabelVolume, second: Volume3D | LabelVolume) -> float:
    """Return by how many voxels two grids of one shape lie apart, as far as both headers state it; else 0.

    Less than ``TOLERANCE`` is rounding, and 0.
    """
    stated = first.stored.stated, second.stored.stated
    if not all(s.axes and s.place for s in stated):
        return 0.0
    off = apart(first.affine, second.affine, second.array.shape[-3:])
    if first.stored.grid == second.stored.grid:
        # at 45 degrees rounding decides which way axes are turned
        off = min(off, apart(first.stored.affine, second.stored.affine, second.stored.grid))
    return off if off > TOLERANCE else 0.0


def drift(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, shape: Sequence[int]
) -> float:
    """Return by how many voxels two spacings part over a grid, at most."""
    return float((np.abs(np.divide(first, second) - 1) * (np.array(shape) - 1)).max())


def turned_back(array: np.ndarray, path: Path) -> tuple[np.ndarray, Stored]:
    """Return an array (X, Y, Z) in RAS+ with its axes as a file stores them, and that file's header.

    Raises:
        VolumeError: the file cannot be used, or is of another shape.
    """
    stored = _stored(path)
    check_stated(stored)
    array = _to_stored(array[np.newaxis], stored.affine)[0]
    if array.shape != tuple(stored.grid):
        stored.fail(
            "shape", f"its grid is {tuple(stored.grid)}, but the array has shape {array.shape}"
        )
    return array, stored


def check_finite(volume: Volume3D) -> None:
    """Refuse NaN and infinite voxels, and values whose squares are infinite.

    Raises:
        VolumeError: ``nonfinite``, with their number.
    """
    if volume.array.dtype.kind != "f":
        return
    # False for NaN
    bad = volume.array.size - int(np.count_nonzero(np.abs(volume.array) <= LARGEST))
    if bad:
        raise VolumeError(
            volume.path, "nonfinite", f"{bad} voxels are NaN, infinite or above {LARGEST:g}"
        )


def _stored(path: Path, *, label: bool = False) -> Stored:
    if is_picture(path) or picture.is_slices(path):
        return picture.read_stored(path, indices=label)
    if path.is_dir():  # some unzippers make a folder img.nii.gz/ around the file
        inside = clean(p for p in zipped.inside(path) if is_volume(p) and p.is_file())
        if len(inside) != 1:
            detail = f"a folder with {len(inside)} volumes and no picture{dicom_inside(path)}"
            raise VolumeError(path, "unreadable", detail)
        path = inside[0]
    if not is_volume(path):
        detail = f"not one of {', '.join(SUFFIXES + PICTURES)}"
        if path.suffix.lower() in (".hdr", ".img"):
            detail = "a pair of .hdr and .img is not supported; convert it to .nii.gz"
        elif is_dicom(path):
            detail = DICOM
        raise VolumeError(path, "unreadable", detail)
    return _reader(path).read_stored(path)


def _reader(path: Path) -> ModuleType:
    name = path.name.lower()
    if name.endswith((".mhd", ".mha")):
        return metaimage
    return nrrd if name.endswith((".nrrd", nrrd.DETACHED)) else nifti


def _values(stored: Stored, frame: int | None) -> np.ndarray:
    """Return the voxels (C, X, Y, Z), axes as stored, scaled."""
    array = _voxels(stored)
    channel = stored.channel_axis
    if frame is not None and not 0 <= frame < _channels(stored):
        stored.fail(
            "shape", f"frame {frame} of {_channels(stored)} (counted from 0) does not exist"
        )
    array = array[np.newaxis] if channel is None else np.moveaxis(array, channel, 0)
    array = array if frame is None else array[frame : frame + 1]
    if (stored.slope, stored.inter) != (1.0, 0.0):
        wide = np.result_type(array.dtype, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # check_finite names what overflows
            array = array * wide.type(stored.slope) + wide.type(stored.inter)
    return array


def _to_ras(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return an array (C, X, Y, Z) with its axes as stored in RAS+."""
    turn = nib.orientations.io_orientation(affine)
    axes = [int(i) for i in np.argsort(turn[:, 0])]
    flips = [slice(None, None, int(turn[i, 1])) for i in axes]
    return array.transpose(0, *(1 + i for i in axes))[(slice(None), *flips)]


def _to_stored(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return an array (C, X, Y, Z) in RAS+ with its axes as stored."""
    turn = nib.orientations.io_orientation(affine)
    back = turn[:, 0].astype(int)
    flips = [slice(None, None, int(turn[i, 1])) for i in np.argsort(back)]
    return array[(slice(None), *flips)].transpose(0, *(1 + back))


def _voxels(stored: Stored) -> np.ndarray:
    if not is_volume(stored.path):
        return picture.decoded(stored)
    return voxels(stored, inside_gzip=_reader(stored.path) is nifti)


def _integers(path: Path, array: np.ndarray) -> np.ndarray:
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
            path,
            "label_value",
            f"value {value:g} is not a label: {int(wrong.sum())} voxels have no valid label",
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
    return f"shape {array.shape[1:]} is not {other.shape[-3:]}, the shape of {path.name}"
