"""NRRD files, raw or gzip: ``.nrrd`` with its data, ``.nhdr`` with the file of its data beside it.

Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from bench.errors import shown
from bench.volumes.header import (
    Stated,
    Stored,
    VolumeError,
    beginning,
    data_beside,
    judge,
    looks_like,
    step_lengths,
)

HEADER = 1 << 20  # a longer header is no header
DETACHED = ".nhdr"
LIST = re.compile(r"^(data ?file: *LIST)\b.*", re.MULTILINE | re.DOTALL)  # names follow, in lines
RAS_SIGNS = {  # world axes of the file times these are right, anterior, superior
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
SPELLINGS = {  # numpy type: the format's names of it
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float",
    "f8": "double",
}
DTYPES = {name: code for code, names in SPELLINGS.items() for name in names.split(",")}


def read_stored(path: Path) -> Stored:
    """Return the judged header of an NRRD file.

    Raises:
        VolumeError: names the field that is wrong.
    """
    header, offset = _parsed(path)
    shape = _shape(path, header)
    encoding = str(header.get("encoding", "")).lower()
    if encoding not in ("raw", "gzip", "gz"):
        detail = f"field encoding: {encoding!r} is not raw or gzip; save it with one of these"
        raise VolumeError(path, "unreadable", detail)
    for field in ("line skip", "lineskip", "byte skip", "byteskip"):
        if header.get(field):
            detail = f"field {field}: {header[field]}; only voxels at the start of a file are supported; save it again"
            raise VolumeError(path, "unreadable", detail)
    data = _data(path, header)
    if data is not None:
        beginning(data, 1)
    flat = len(shape) == 2  # a slice
    affine, channel_axis, stated = (
        _flat(path, header) if flat else _affine(path, header, len(shape))
    )
    x, y, z = (float(n) for n in step_lengths(affine))
    stored = Stored(
        path,
        (*shape, 1) if flat else shape,
        _dtype(path, header),
        offset,
        encoding != "raw",
        affine,
        (x, y, z),
        stated=stated,
        channel_axis=channel_axis,
        data=data,
    )
    return judge(stored, whole_gzip=False)


def data_file(path: Path) -> Path:
    """Return the file that holds an NRRD's voxels; it need not exist.

    Raises:
        VolumeError: the header is damaged, or names a file of another folder.
    """
    return _data(path, _parsed(path)[0]) or path


def _data(path: Path, header: dict[str, Any]) -> Path | None:
    """Return the data file of a ``.nhdr``; None of a ``.nrrd``."""
    name = str(header.get("data file", header.get("datafile", "")))
    detached = path.name.lower().endswith(DETACHED)
    if detached == bool(name):
        return data_beside(path, "data file", name) if detached else None
    detail = "no field data file; rename a header with its voxels to .nrrd"
    if name:
        detail = f"field data file: {shown(name)}; rename a header without its voxels to {DETACHED}"
    raise VolumeError(path, "unreadable", detail)


def _parsed(path: Path) -> tuple[dict[str, Any], int]:
    """Return the fields, and where the data begin: at 0 of a file of their own, whose header needs no end."""
    raw = beginning(path, HEADER)
    if not raw.startswith(b"NRRD000"):
        raise VolumeError(path, "unreadable", f"field magic: not an NRRD file{looks_like(raw)}")
    ends = [(raw.find(blank), len(blank)) for blank in (b"\n\n", b"\r\n\r\n")]
    ends = [(at, n) for at, n in ends if at >= 0]
    detached = path.name.lower().endswith(DETACHED)
    if not ends and not detached:
        raise VolumeError(path, "truncated", "no empty line ends the header")
    at, n = min(ends, default=(len(raw), 0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = LIST.sub(r"\1", raw[:at].decode("utf-8", "ignore"))
            return dict(nrrd.read_header(text.splitlines())), 0 if detached else at + n
    except (nrrd.NRRDError, ValueError, TypeError, IndexError, KeyError) as error:
        raise VolumeError(path, "unreadable", f"the NRRD header is damaged ({error})") from None


def _shape(path: Path, header: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(int(n) for n in header.get("sizes", ()))
    if len(shape) != header.get("dimension") or len(shape) not in (2, 3, 4):
        raise VolumeError(path, "shape", f"field sizes: {list(shape)}, expected 2 to 4 axes")
    return shape


def _dtype(path: Path, header: dict[str, Any]) -> np.dtype:
    name = str(header.get("type", "")).lower()
    if name not in DTYPES:
        raise VolumeError(path, "unreadable", f"field type: {name!r} is not a number per voxel")
    dtype = np.dtype(DTYPES[name])
    endian = str(header.get("endian", "")).lower()
    if dtype.itemsize > 1 and endian not in ("little", "big"):
        raise VolumeError(path, "unreadable", f"field endian: {endian!r} is not little or big")
    return dtype.newbyteorder(">" if endian == "big" else "<")


def _affine(path: Path, header: dict[str, Any], axes: int) -> tuple[np.ndarray, int | None, Stated]:
    """Return the RAS+ affine of the spatial axes, the channel axis, and what is stated of them.

    Without ``space directions`` the axes are taken as RAS+ with ``spacings`` (1 mm by default), and
    directions without ``space`` as RAS+: nothing better is known.
    """
    if header.get("space directions") is None:
        channel = _channel_by_kind(header, axes)
        sizes = np.asarray(header.get("spacings", np.ones(axes)), float)
        if sizes.shape != (axes,):
            raise VolumeError(path, "spacing", f"field spacings: {sizes.size} values, not {axes}")
        sizes = np.delete(sizes, channel) if channel is not None else sizes
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            raise VolumeError(path, "spacing", f"field spacings: {sizes.tolist()} is not positive")
        return np.diag([*sizes, 1.0]), channel, Stated(False, False, "spacings" in header)
    rows, origin = _rows(header, 3), np.asarray(header.get("space origin", np.zeros(3)), float)
    if rows.shape != (axes, 3):
        raise VolumeError(path, "affine", f"field space directions: {len(rows)} rows, not {axes}")
    none = np.flatnonzero(np.isnan(rows).all(axis=1))
    channel = int(none[0]) if axes == 4 and len(none) == 1 else None
    rows = np.delete(rows, channel, axis=0) if channel is not None else rows
    if rows.shape != (3, 3) or origin.shape != (3,) or not np.isfinite([*rows, origin]).all():
        raise VolumeError(path, "affine", "field space directions or origin: NaN, or not 3 axes")
    if not rows.any(axis=1).all():
        raise VolumeError(path, "spacing", "field space directions: an axis has no length")
    named = "space" in header
    return (
        _to_ras(path, header, rows, origin),
        channel,
        Stated(named, named and "space origin" in header),
    )


def _flat(path: Path, header: dict[str, Any]) -> tuple[np.ndarray, None, Stated]:
    """Return the same of a slice; the format has no name for the directions of two axes."""
    sizes = np.asarray(header.get("spacings", np.ones(2)), float)
    if header.get("space directions") is not None:
        rows = _rows(header, 2)
        sizes = np.linalg.norm(rows, axis=1) if rows.shape == (2, 2) else np.full(2, np.nan)
    if sizes.shape != (2,) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise VolumeError(
            path, "spacing", f"field spacings or space directions: {sizes.tolist()} mm"
        )
    spaced = "spacings" in header or header.get("space directions") is not None
    return np.diag([*sizes, 1.0, 1.0]), None, Stated(False, False, spaced)


def _rows(header: dict[str, Any], count: int) -> np.ndarray:
    return np.array(
        [np.full(count, np.nan) if r is None else r for r in header["space directions"]]
    )


def _to_ras(path: Path, header: dict[str, Any], rows: np.ndarray, origin: np.ndarray) -> np.ndarray:
    space = str(header.get("space", "right-anterior-superior")).lower()
    if space not in RAS_SIGNS:
        spaces = ", ".join(n for n in RAS_SIGNS if "-" in n)
        raise VolumeError(path, "orientation", f"field space: {space!r} is not one of {spaces}")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rows.T, origin
    return np.diag([*RAS_SIGNS[space], 1]) @ affine


def _channel_by_kind(header: dict[str, Any], axes: int) -> int | None:
    if axes == 3:
        return None
    kinds = list(header.get("kinds", ()))
    other = [i for i, kind in enumerate(kinds) if kind not in ("domain", "space")]
    return other[0] if len(other) == 1 else axes - 1
