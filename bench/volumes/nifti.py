"""NIfTI-1 and NIfTI-2 headers in a single file (``.nii``, ``.nii.gz``), read without mending.

Field meanings: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from bench.volumes import zipped
from bench.volumes.header import (
    GZIP,
    MAX_OFFSET,
    NOTHING,
    TOLERANCE,
    Stated,
    Stored,
    VolumeError,
    apart,
    beginning,
    inflate,
    judge,
    looks_like,
)

DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
# xyzt_units: metres, micrometres; any other code is millimetres, as ITK has it
MM = {1: 1000.0, 3: 0.001}
SAME_SIZE = 0.05  # by how much, as a share, the voxels of one header may differ in size
LONGEST_QUATERNION = 1.001  # headers that a program wrote from text have three or four digits
Order = Literal["<", ">"]
VERSIONS = {  # sizeof_hdr: (layout, class, magic of a single file, first byte that voxels may have)
    348: (nib.nifti1.header_dtype, nib.Nifti1Header, b"n+1", 352),
    540: (nib.nifti2.header_dtype, nib.Nifti2Header, b"n+2", 544),
}


def read_stored(path: Path) -> Stored:
    """Return the judged header of a NIfTI file.

    Raises:
        VolumeError: names the field that is wrong.
    """
    gzipped = path.name.lower().endswith(".gz")
    raw = _leading(path, gzipped)
    fields, header, first = _parsed(path, raw)
    shape, channel_axis = _shape(path, fields)
    dtype = _dtype(path, fields, header.endianness)
    unit = MM.get(int(fields["xyzt_units"]) & 7, 1.0)
    x, y, z = (float(s) * unit for s in fields["pixdim"][1:4])
    if not all(
        n == 1 or (np.isfinite(s) and s > 0) for s, n in zip((x, y, z), shape[:3], strict=True)
    ):
        raise VolumeError(path, "spacing", f"field pixdim: {[x, y, z]} mm is not positive")
    slope, inter, remarks = _scaling(path, fields)
    affine, stated = _affine(path, header, shape[:3])
    stored = Stored(
        path,
        shape,
        dtype,
        _offset(path, fields, first),
        gzipped,
        np.diag([unit, unit, unit, 1]) @ affine,
        (x, y, z),
        stated=replace(
            stated,
            spacing=True,
            unit=int(fields["xyzt_units"]) & 7 in (1, 2, 3),
            remarks=stated.remarks + remarks,
        ),
        channel_axis=channel_axis,
        slope=slope,
        inter=inter,
    )
    return judge(stored, whole_gzip=True)


def _leading(path: Path, gzipped: bool) -> bytes:
    """Return the bytes of the header, decompressed."""
    raw = beginning(path, 1 << 16)
    if not gzipped:
        if raw.startswith(GZIP):
            raise VolumeError(
                path, "unreadable", "the data are gzip, and the name has no .gz; rename the file"
            )
        return raw[:544]
    if not raw.startswith(GZIP):
        what = (
            "; it is a plain .nii: rename the file" if raw[344:347] == b"n+1" else looks_like(raw)
        )
        raise VolumeError(path, "unreadable", f"the name says gzip, the content does not{what}")
    try:
        with zipped.opened(path) as file:
            raw = inflate(file, 348).tobytes()
            if 540 in (int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")):
                file.seek(0)
                raw = inflate(file, 540).tobytes()
    except EOFError:
        raise VolumeError(path, "truncated", "the gzip stream ends within the header") from None
    except zlib.error as error:
        raise VolumeError(path, "unreadable", f"the gzip stream is damaged ({error})") from None
    return raw


def _parsed(path: Path, raw: bytes) -> tuple[Any, Any, int]:
    """Return the raw fields, nibabel's view of them and where voxels may begin."""
    if len(raw) < 348:
        raise VolumeError(
            path, "truncated", f"{len(raw)} bytes are not a NIfTI header (348 needed)"
        )
    for order in get_args(Order):
        size = int(np.frombuffer(raw[:4], order + "i4")[0])
        if size not in VERSIONS:
            continue
        layout, kind, magic, first = VERSIONS[size]
        if len(raw) < size:
            raise VolumeError(path, "truncated", f"{len(raw)} bytes are not a NIfTI-2 header")
        fields = np.frombuffer(raw[:size], layout.newbyteorder(order))[0]
        mark = bytes(fields["magic"])
        if not mark.startswith(magic):
            pair = " (header of a .hdr/.img pair; convert it to .nii)" if mark[:2] == b"ni" else ""
            raise VolumeError(path, "unreadable", f"field magic: {mark[:4]!r}{pair}")
        return fields, kind(raw[:size], order, check=False), first
    raise VolumeError(path, "unreadable", f"field sizeof_hdr: not a NIfTI file{looks_like(raw)}")


def _shape(path: Path, fields: Any) -> tuple[tuple[int, ...], int | None]:
    """Return the stored shape, trailing axes of length 1 dropped, and the channel axis."""
    count = int(fields["dim"][0])
    if not 1 <= count <= 7:
        raise VolumeError(path, "shape", f"field dim: {count} axes, expected 3 or 4")
    shape = [int(n) for n in fields["dim"][1 : count + 1]]
    if any(n < 1 for n in shape):
        raise VolumeError(path, "shape", f"field dim: {shape} is not positive")
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 5 and shape[3] == 1:  # ITK keeps channels on the fifth axis, after time
        del shape[3]
    if len(shape) == 2:  # a slice
        shape.append(1)
    if len(shape) not in (3, 4):
        raise VolumeError(path, "shape", f"field dim: {shape} has {len(shape)} axes, not 2 to 4")
    return tuple(shape), 3 if len(shape) == 4 else None


def _dtype(path: Path, fields: Any, order: Order) -> np.dtype:
    code = int(fields["datatype"])
    if code not in DTYPES:
        raise VolumeError(path, "unreadable", f"field datatype: {code} is not a number per voxel")
    dtype = np.dtype(DTYPES[code]).newbyteorder(order)
    bits = int(fields["bitpix"])
    if bits not in (0, dtype.itemsize * 8):
        raise VolumeError(path, "unreadable", f"field bitpix: {bits} does not fit datatype {code}")
    return dtype


def _offset(path: Path, fields: Any, first: int) -> int:
    offset = float(fields["vox_offset"])
    if not np.isfinite(offset) or (offset != 0 and not first <= offset <= MAX_OFFSET):
        raise VolumeError(path, "unreadable", f"field vox_offset: {offset:g} is not in the file")
    return int(offset) or first


def _scaling(path: Path, fields: Any) -> tuple[float, float, tuple[tuple[str, str], ...]]:
    """Return slope and intercept; a slope of 0 means that the voxels are not scaled.

    So does one that is not finite, as nibabel and ITK have it: fMRIPrep wrote NaN into its masks.
    """
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if not np.isfinite(slope):
        detail = f"field scl_slope: {slope}, so the voxels are read as stored; write 1 into it, 0 into scl_inter"
        return 1.0, 0.0, (("nonfinite", detail),)
    if slope == 0:
        return 1.0, 0.0, ()
    if not np.isfinite(inter):
        detail = f"field scl_inter: {inter}, with a slope of {slope:g}; write the intercept into it, or 0"
        raise VolumeError(path, "nonfinite", detail)
    return slope, inter, ()


def _affine(path: Path, header: Any, grid: tuple[int, ...]) -> tuple[np.ndarray, Stated]:
    """Return the sform, else the qform, else nibabel's guess from the spacing, in the file's unit.

    One that is set and cannot be used (all zeros, NaN) counts only where there is no other, with a remark. An
    sform whose voxels are 1 x 1 x 1 where the qform's are not is a placeholder, as in most files of ACDC
    (MIC-DKFZ/nnUNet issue 2741): the qform counts.
    """
    # the standard: a qfac of 0 reads as 1
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    sform = header.get_sform() if header["sform_code"] > 0 else None
    qform = _qform(path, header, lone=sform is None) if header["qform_code"] > 0 else None
    if sform is None and qform is None:
        return np.asarray(header.get_base_affine(), np.float64), NOTHING
    forms = {
        name: np.asarray(form, np.float64)
        for name, form in (("sform", sform), ("qform", qform))
        if form is not None
    }
    usable = [form for form in forms.values() if _is_usable(form, grid)]
    if not usable:
        return next(iter(forms.values())), Stated()
    best = usable[0]
    if len(forms) > len(usable):
        right, wrong = sorted(forms, key=lambda name: forms[name] is not best)
        why = "is no possible grid" if np.isfinite(forms[wrong]).all() else "holds NaN or infinity"
        detail = f"its {wrong} {why}, so its {right} counts; write the {right} into both"
        return best, Stated(remarks=(("affine", detail),))
    if len(usable) == 1 or (off := apart(usable[1], best, grid)) <= TOLERANCE:
        return best, Stated()
    long = [n > 1 for n in grid]
    turns = [nib.orientations.io_orientation(affine)[long] for affine in usable]
    if np.array_equal(*turns) and (sizes := _other_sizes(usable[0], usable[1], long)):
        form = np.abs(best[:3, :3])
        if np.array_equal(form, form.round()) and form.max() == 1:
            detail = (
                f"its sform says voxels of {sizes[0]}, its qform and pixdim {sizes[1]}: these count"
            )
            return usable[1], Stated(place=False, doubt=detail)
        detail = (
            f"by its sform the voxels are {sizes[0]}, by its qform and pixdim {sizes[1]}; some readers use the "
            "sform, some the qform: find out which is right and write it into both"
        )
        return best, Stated(conflict=detail)
    if np.array_equal(*turns):
        detail = (
            f"sform and qform lie up to {off:.4g} voxels apart; the directions agree, the position "
            "is unknown"
        )
        return best, Stated(place=False, doubt=detail)
    first, second = ("".join(code or "?" for code in nib.aff2axcodes(affine)) for affine in usable)
    detail = (
        f"by its sform the axes are {first}, by its qform {second}; some readers use the sform, some the "
        "qform: find out which is right and write it into both"
    )
    return best, Stated(conflict=detail)


def _other_sizes(sform: np.ndarray, qform: np.ndarray, long: Sequence[bool]) -> list[str]:
    """Return the sizes of a voxel by either form in print where they differ; none of an sform with a tilt.

    A tilt is no size: a qform holds none, and programs write the distance of planes or the length of edges.
    """
    edges = sform[:3, :3][:, long]
    sizes = [np.linalg.norm(form[:3, :3], axis=0)[long] for form in (sform, qform)]
    cosines = np.abs((edges / sizes[0]).T @ (edges / sizes[0]) - np.eye(len(sizes[0])))
    if cosines.max() > 1e-3 or np.allclose(sizes[0], sizes[1], rtol=SAME_SIZE):
        return []
    return [" x ".join(f"{size:.4g}" for size in each) for each in sizes]


def _qform(path: Path, header: Any, lone: bool) -> np.ndarray:
    """Return the qform, its quaternion scaled to length 1 where it was rounded above it; zeros for no rotation."""
    names = ("quatern_b", "quatern_c", "quatern_d")
    # a NaN is refused later, with the file's name
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.sqrt(sum(np.float64(header[name]) ** 2 for name in names)))
        if 1 < length <= LONGEST_QUATERNION:
            for name in names:
                header[name] = header[name] / length
        try:
            return np.asarray(header.get_qform())
        except (ValueError, ArithmeticError, HeaderDataError) as error:
            if lone:
                raise VolumeError(path, "affine", f"field quatern: {error}") from None
            return np.zeros((4, 4))


def _is_usable(affine: np.ndarray, grid: tuple[int, ...]) -> bool:
    """Tell whether an affine has finite numbers and axes that do not coincide, but for those of one voxel."""
    if not np.isfinite(affine).all():
        return False
    long = affine[:3, :3][:, [n > 1 for n in grid]]
    steps = np.linalg.norm(long, axis=0)
    return bool(
        (steps > 0).all()
        and np.linalg.matrix_rank(long / np.where(steps, steps, 1)) == long.shape[1]
    )
