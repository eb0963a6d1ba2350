"""MetaImage volumes: ``.mhd`` with its ``.raw`` or ``.zraw`` beside it, ``.mha`` in one file.

The header is text, judged before the data are opened. Fields and their aliases as ITK reads them:
https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bench.volumes.header import (
    Stated,
    Stored,
    VolumeError,
    beginning,
    data_beside,
    judge,
    looks_like,
)

HEADER = 1 << 20  # a longer header is no header
LINE = re.compile(r"\s*([^=:]+?)\s*[=:]\s*(.*?)\s*")
READ = {  # every other field is a remark: ITK writes there what it knows of a NIfTI or a DICOM file
    "ObjectType",
    "NDims",
    "HeaderSize",
    "BinaryData",
    "BinaryDataByteOrderMSB",
    "CompressedData",
    "DimSize",
    "ElementNumberOfChannels",
    "ElementSpacing",
    "ElementSize",
    "ElementType",
    "TransformMatrix",
    "Offset",
    "ElementDataFile",
}
INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
LAST = "ElementDataFile"  # the field that ends a header
ALIASES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Orientation": "TransformMatrix",
    "Rotation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
DTYPES = {  # MET_LONG is left out: four bytes to some writers, eight to others
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
ORTHONORMAL = 1e-3  # headers print directions with six digits, some with four
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ZLIB_OR_GZIP = 47  # zlib's window bits: writers use either


def read_stored(path: Path) -> Stored:
    """Return the judged header of a MetaImage file; ``data`` is where its voxels lie.

    Raises:
        VolumeError: names the field that is wrong, or the data file that is not there.
    """
    fields, end = _fields(path)
    _kind(path, fields)
    axes = int(fields.get("NDims", "3"))
    shape = (*_integers(path, fields, "DimSize", axes), 1)[:3]
    (channels,) = _integers(path, fields, "ElementNumberOfChannels", 1, "1")
    affine, spacing = _affine(path, fields, axes)
    oriented, spaced = (
        "TransformMatrix" in fields,
        not {"ElementSpacing", "ElementSize"}.isdisjoint(fields),
    )
    data = _data(path, fields)
    local = data == path
    stored = Stored(
        path,
        (channels, *shape) if channels != 1 else shape,
        _dtype(path, fields),
        end if local else 0,
        _flag(path, fields, "CompressedData"),
        affine,
        spacing,
        stated=Stated(oriented, oriented and spaced and "Offset" in fields, spaced),
        channel_axis=0 if channels != 1 else None,
        data=data,
        wbits=ZLIB_OR_GZIP,
    )
    if not local:
        beginning(data, 1)
    return judge(stored, whole_gzip=False)


def data_file(path: Path) -> Path:
    """Return the file that holds a MetaImage's voxels; it need not exist.

    Raises:
        VolumeError: the header is damaged, or names a file of another folder.
    """
    return _data(path, _fields(path)[0])


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields by their first names, and where the header ends."""
    raw, at, fields = beginning(path, HEADER), 0, dict[str, str]()
    while LAST not in fields:
        if at >= len(raw):
            raise VolumeError(path, "truncated", f"no field {LAST} ends the header")
        end = raw.find(b"\n", at)
        end = len(raw) if end < 0 else end
        line, at = raw[at:end].decode("utf-8", "replace"), end + 1
        match = LINE.fullmatch(line)
        if match is None and line.strip() and not line.lstrip().startswith("#"):
            detail = f"no 'field = value' in the header: {line[:60]!r}{looks_like(raw)}"
            raise VolumeError(path, "unreadable", detail)
        if match is not None and ALIASES.get(match[1], match[1]) in READ:
            name = ALIASES.get(match[1], match[1])
            if fields.setdefault(name, match[2]) != match[2]:
                raise VolumeError(
                    path, "unreadable", f"field {name}: is written twice, with different values"
                )
    return fields, at


def _kind(path: Path, fields: dict[str, str]) -> None:
    """Refuse what is no dense image of two or three axes in binary."""
    if fields.get("NDims", "3") not in ("2", "3"):
        raise VolumeError(
            path, "shape", f"field NDims: {fields['NDims']!r}, only 2 and 3 are supported"
        )
    for name, needed in (("ObjectType", "Image"), ("HeaderSize", "0")):
        if fields.get(name, needed) != needed:
            raise VolumeError(
                path, "unreadable", f"field {name}: {fields[name]!r}, only {needed} is supported"
            )
    if not _flag(path, fields, "BinaryData", "True"):
        raise VolumeError(path, "unreadable", "field BinaryData: voxels as text are not supported")


def _flag(path: Path, fields: dict[str, str], name: str, default: str = "False") -> bool:
    value = fields.get(name, default).lower()
    if value not in ("true", "false"):
        raise VolumeError(path, "unreadable", f"field {name}: {value!r} is not True or False")
    return value == "true"


def _integers(
    path: Path, fields: dict[str, str], name: str, count: int, default: str = ""
) -> tuple[int, ...]:
    words = fields.get(name, default).split()
    if len(words) != count or not all(INTEGER.fullmatch(w) for w in words):
        raise VolumeError(
            path, "shape", f"field {name}: {fields.get(name)!r}, expected {count} numbers"
        )
    return tuple(int(w) for w in words)


def _floats(path: Path, fields: dict[str, str], name: str, default: str, kind: str) -> np.ndarray:
    text = fields.get(name, default)
    try:
        values = np.array([float(w) for w in text.split()])
    except ValueError:
        values = np.array([np.nan])
    if values.size != len(default.split()) or not np.isfinite(values).all():
        expected = f"expected {len(default.split())} finite numbers"
        raise VolumeError(path, kind, f"field {name}: {text!r}, {expected}")
    return values


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype:
    name = fields.get("ElementType", "")
    if name not in DTYPES:
        raise VolumeError(
            path, "unreadable", f"field ElementType: {name!r} is not one of {', '.join(DTYPES)}"
        )
    big = _flag(path, fields, "BinaryDataByteOrderMSB")
    return np.dtype(DTYPES[name]).newbyteorder(">" if big else "<")


def _affine(
    path: Path, fields: dict[str, str], axes: int
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Return the RAS+ affine and the spacing.

    Row i of the matrix is the direction of axis i in LPS. Without one the axes are taken as LPS,
    and ``ElementSize`` stands in for a spacing that is not stated, both as in ITK.
    """
    name = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    spacing = _floats(path, fields, name, " ".join("1" * axes), "spacing")
    x, y, z = (float(s) for s in (*spacing, 1.0)[:3])
    if min(x, y, z) <= 0:
        raise VolumeError(path, "spacing", f"field {name}: {[x, y, z]} mm is not positive")
    rows, straight = np.eye(3), " ".join(f"{v:g}" for v in np.eye(axes).ravel())
    rows[:axes, :axes] = _floats(path, fields, "TransformMatrix", straight, "affine").reshape(
        axes, axes
    )
    if np.abs(rows).max() > 2 or np.abs(rows @ rows.T - np.eye(3)).max() > ORTHONORMAL:
        raise VolumeError(path, "affine", "field TransformMatrix: directions are not orthonormal")
    affine = np.eye(4)
    affine[:3, :3] = rows.T * [x, y, z]
    affine[:axes, 3] = _floats(path, fields, "Offset", " ".join("0" * axes), "affine")
    return LPS_TO_RAS @ affine, (x, y, z)


def _data(path: Path, fields: dict[str, str]) -> Path:
    """Return the data file, which lies beside the header or is the header's own file."""
    name, attached = fields[LAST], path.name.lower().endswith(".mha")
    if attached != (name.lower() == "local"):
        right = (
            "LOCAL, as in every .mha"
            if attached
            else "a file; rename a header with its data to .mha"
        )
        raise VolumeError(path, "unreadable", f"field {LAST}: {name!r} is not {right}")
    if attached:
        return path
    return data_beside(path, LAST, name)
