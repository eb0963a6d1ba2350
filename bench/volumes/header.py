"""What a volume file claims about its voxels, judged before a byte of memory is given to them.

nibabel and pynrrd accept headers that change every later number (a spacing of 0 becomes 1 mm, a
NaN affine is kept) and allocate whatever the dimensions say. Here a file is refused first.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from textwrap import shorten
from typing import BinaryIO, NoReturn

import numpy as np

from bench.errors import BenchError
from bench.volumes import zipped
from bench.volumes.archive import Limits
from bench.volumes.files import DICOM, MAGIC, is_there, nameable
from bench.volumes.once import ChangedError

MAX_BYTES = 4 << 30  # stored voxels of one file; a 512 x 512 x 2000 int32 CT is half of it
MIN_STEP = 0.01  # mm; below it a header that states no unit may be in metres
MAX_STEP = 100.0  # mm; above it the unit is not the one stated, or the header is damaged
# of a voxel, along any axis: how far a corner of one grid lies apart in two affines
TOLERANCE = 0.25
MAX_OFFSET = 16 << 20  # header and its extensions
LONGEST = 500  # characters of a detail; a damaged header may hold a field of any length
DEFLATE_RATIO = 1032  # deflate cannot expand more than this (zlib's own technical notes)
LIMITS = Limits()
BLOCK = 1 << 20
GZIP = b"\x1f\x8b"
KINDS = (
    "missing",
    "extra",
    "unreadable",
    "truncated",
    "shape",
    "affine",
    "spacing",
    "label_value",
    "nonfinite",
    "empty_label",
    "orientation",
    "duplicate",
    "patient_overlap",
)


class VolumeError(BenchError):
    """A file that cannot be used. ``kind`` is one of ``KINDS``; ``detail`` leaves the path out."""

    def __init__(self, path: Path, kind: str, detail: str) -> None:
        self.path, self.kind, self.detail = path, kind, shorten(detail, LONGEST, placeholder=" ...")
        super().__init__(f"{path}: {self.detail}")

    def __reduce__(self) -> tuple[type, tuple[Path, str, str]]:
        # Pickled from worker processes; by default only the joined line would be handed back.
        return type(self), (self.path, self.kind, self.detail)


class TooLargeError(VolumeError):
    """A file that this machine's memory cannot take; no fault of the file."""


@dataclass(frozen=True)
class Stated:
    """What a header itself states; the rest is a guess, and no guess places a voxel on another's.

    ``place``: the first voxel's. ``conflict``: two statements that turn the voxels differently; nobody can
    tell which is right. ``doubt``: two statements of the place, with the same directions; it is not trusted.
    ``remarks``: kind and detail of fields that hold no usable number and that other readers do without, too.
    """

    axes: bool = True
    place: bool = True
    spacing: bool = True
    unit: bool = True
    conflict: str = ""
    doubt: str = ""
    remarks: tuple[tuple[str, str], ...] = ()


NOTHING = Stated(axes=False, place=False, spacing=False)


@dataclass(frozen=True, eq=False)
class Stored:
    """A judged header: where the voxels lie in the file and what they mean.

    ``shape`` is as stored, first axis fastest. ``affine`` (4, 4) takes indices along the three
    spatial axes, in stored order, to RAS+ mm. ``spacing`` is what the header states beside the
    affine, where it states both.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    gzipped: bool
    affine: np.ndarray
    spacing: tuple[float, float, float]
    stated: Stated = Stated()
    channel_axis: int | None = None
    slope: float = 1.0
    inter: float = 0.0
    data: Path | None = None  # the file of the voxels, where it is not ``path``
    # of a picture with a palette: what is read are the indices, not their colours
    indices: bool = False
    wbits: int = 31  # how zlib is to read the compressed stream; 31 is gzip

    @property
    def source(self) -> Path:
        """The file that the voxels lie in."""
        return self.data or self.path

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels along the three spatial axes, as stored."""
        x, y, z = (n for i, n in enumerate(self.shape) if i != self.channel_axis)
        return (x, y, z)

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels once they are decompressed."""
        return math.prod(self.shape) * self.dtype.itemsize

    def fail(self, kind: str, detail: str) -> NoReturn:
        """Raise a :class:`VolumeError` about this file."""
        raise VolumeError(self.path, kind, detail)


def judge(stored: Stored, whole_gzip: bool) -> Stored:
    """Return ``stored`` if its claims are possible, before anything is allocated.

    Args:
        stored: what the header claims.
        whole_gzip: the header itself is inside the gzip stream (NIfTI), not before it (NRRD).

    Raises:
        VolumeError: ``shape`` ``truncated`` ``affine`` ``spacing``.
    """
    if any(n < 1 for n in stored.shape):
        stored.fail("shape", f"dimensions {_by(stored.shape)} are not all positive")
    if stored.nbytes > MAX_BYTES:
        stored.fail(
            "shape",
            f"dimensions {_by(stored.shape)} declare {stored.nbytes / 2**30:.1f} GiB of voxels, "
            f"above the limit of {MAX_BYTES >> 30} GiB",
        )
    held = zipped.size(stored.source)
    if not stored.gzipped:
        available = held - stored.offset
    elif whole_gzip:
        available = held * DEFLATE_RATIO - stored.offset
    else:
        available = (held - stored.offset) * DEFLATE_RATIO
    if available < stored.nbytes:
        stored.fail(
            "truncated",
            f"the header declares {stored.nbytes} bytes of voxels ({_by(stored.shape)}), "
            f"the file holds at most {max(available, 0)}",
        )
    if stored.gzipped and LIMITS.bomb(stored.nbytes, held):
        stored.fail(
            "shape",
            f"{held} compressed bytes would become {stored.nbytes / 2**30:.1f} GiB, above {LIMITS.ratio:g} "
            "times the file; if this is intended, unpack it or store the voxels in a smaller type",
        )
    return _placed(stored)


def _placed(stored: Stored) -> Stored:
    """Judge the affine and the spacing."""
    stored = _without_dummies(stored)
    if not np.isfinite(stored.affine).all():
        stored.fail("affine", "the affine holds NaN or infinite values")
    if not all(np.isfinite(s) and s > 0 for s in stored.spacing):
        stored.fail("spacing", f"the voxel spacing {_by(stored.spacing)} is not positive")
    steps = step_lengths(stored.affine)
    if steps.max() > MAX_STEP:
        stored.fail(
            "spacing",
            f"voxels of {_by(tuple(steps))} mm; more than {MAX_STEP:g} mm is not plausible: check the unit "
            "in the header",
        )
    if 1e-6 <= steps.min() < MIN_STEP and not stored.stated.unit:
        stored.fail(
            "spacing",
            f"voxels of {_by(tuple(steps))} mm; the header has no unit: is the spacing in metres?",
        )
    if (steps < 1e-6).any() or abs(np.linalg.det(stored.affine[:3, :3] / steps)) < 1e-3:
        stored.fail("affine", "the affine is singular: axes coincide or have no length")
    return stored


def _without_dummies(stored: Stored) -> Stored:
    """Return a header whose axes of one voxel have a length; writers of 2D files put 0 or 999 there."""
    affine, spacing = stored.affine.copy(), [*stored.spacing]
    steps = step_lengths(affine)
    for axis, (n, step) in enumerate(zip(stored.grid, steps, strict=True)):
        if n > 1 or (MIN_STEP <= step <= MAX_STEP and 0 < spacing[axis] <= MAX_STEP):
            continue
        a, b = (affine[:3, other] for other in range(3) if other != axis)
        if not 0 < step < np.inf:
            affine[:3, axis] = np.cross(a, b) * (-1 if axis == 1 else 1)
            step = step_lengths(affine)[axis]
        affine[:3, axis] /= step or 1.0
        spacing[axis] = 1.0
    return replace(stored, affine=affine, spacing=(spacing[0], spacing[1], spacing[2]))


def apart(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return how far a corner of a grid lies apart in two affines, in voxels along one axis, at most."""
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))]).T
    return float(np.abs((np.linalg.pinv(second) @ (first - second) @ corners)[:3]).max())


def step_lengths(affine: np.ndarray) -> np.ndarray:
    """Return the length of one step along each axis, in mm; infinite where no number holds it."""
    with np.errstate(over="ignore"):
        return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def voxels(stored: Stored, inside_gzip: bool) -> np.ndarray:
    """Return the stored voxels, native dtype and shape as stored (a view in Fortran order).

    Args:
        stored: a judged header.
        inside_gzip: ``offset`` counts decompressed bytes (NIfTI), not bytes of the file (NRRD).

    Raises:
        VolumeError: ``truncated`` or ``unreadable``.
    """
    try:
        with zipped.opened(stored.source) as file:
            if stored.gzipped:
                skip = stored.offset if inside_gzip else 0
                file.seek(0 if inside_gzip else stored.offset)
                raw = inflate(file, skip + stored.nbytes, stored.wbits, to_end=True)[skip:]
            else:
                file.seek(stored.offset)
                raw = np.empty(stored.nbytes, np.uint8)
                raw = raw[: file.readinto(raw.data)]  # type: ignore[attr-defined]
    except EOFError:
        raw = np.empty(0, np.uint8)
    except MemoryError:
        detail = f"{stored.nbytes} bytes of voxels do not fit into memory"
        raise TooLargeError(stored.path, "shape", detail) from None
    except zlib.error as error:
        stored.fail("unreadable", f"the compressed stream is damaged ({error})")
    except OSError as error:
        stored.fail("unreadable", error.strerror or str(error))
    if raw.size < stored.nbytes:
        stored.fail(
            "truncated", f"the data end before the {stored.nbytes} bytes that the header declares"
        )
    array = raw.view(stored.dtype).reshape(stored.shape, order="F")
    return array.astype(stored.dtype.newbyteorder("="), copy=False)


def inflate(file: BinaryIO, size: int, wbits: int = 31, to_end: bool = False) -> np.ndarray:
    """Return the first ``size`` bytes of a gzip stream (one or more members), uint8.

    Args:
        file: at the beginning of the stream.
        size: bytes to return.
        wbits: how zlib is to read it; 31 is gzip.
        to_end: read on to the end of the member, so that its checksum is compared: a damaged bit
            often lengthens what follows it. No more than ``size`` bytes again are expanded.

    Raises:
        EOFError: the stream ends earlier. zlib.error: it is damaged or not as ``wbits`` says.
    """
    out, filled, member, data = np.empty(size, np.uint8), 0, zlib.decompressobj(wbits), b""
    beyond = 0  # bytes after those that were asked for
    while True:
        data = data or file.read(BLOCK)
        if not data:
            if filled < size or not member.eof:
                raise EOFError
            return out
        piece = member.decompress(data, min(size - filled, 16 * BLOCK) or (BLOCK if to_end else 1))
        if piece and filled == size:
            if not to_end:
                return out  # more follows; nobody reads it
            beyond += len(piece)
            if beyond > max(size, BLOCK):
                raise zlib.error(
                    f"more than {beyond} bytes follow the {size} bytes that the header declares"
                )
        else:
            out[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
        data = member.unconsumed_tail
        if member.eof:
            data = member.unused_data
            if filled == size:
                return out
            member = zlib.decompressobj(wbits)


def beginning(path: Path, size: int) -> bytes:
    """Return up to ``size`` leading bytes of a file.

    Raises:
        VolumeError: ``missing`` or ``unreadable``; an empty file is ``truncated``.
    """
    try:
        if path.exists() and not path.is_file():  # opening a fifo waits for ever
            raise VolumeError(path, "unreadable", "not a regular file")
        with zipped.opened(path) as file:
            content = file.read(size)
    except FileNotFoundError:
        raise VolumeError(path, "missing", "no such file") from None
    except OSError as error:
        raise VolumeError(path, "unreadable", error.strerror or str(error)) from None
    except (VolumeError, ChangedError):
        raise
    except BenchError as error:  # of the zip that holds it
        raise VolumeError(path, "unreadable", str(error)) from None
    if not content:
        raise VolumeError(path, "truncated", "the file is empty")
    return content


def data_beside(path: Path, field: str, name: str) -> Path:
    """Return the file of voxels that a field of a header names; it need not exist.

    It lies beside the header, or where this is a link and has none, beside the file that it leads to.

    Raises:
        VolumeError: it is another folder's, the header itself or a list.
    """
    bare = name.removeprefix("./")
    several = name.upper().startswith("LIST") or "%" in name
    plain = Path(bare).name == bare and "\\" not in bare and bare != ".." and nameable(bare)
    if several or not plain or bare == path.name:
        detail = f"field {field}: {name!r} is not the name of one file beside the header; put all voxels there"
        raise VolumeError(path, "unreadable", detail)
    data = path.with_name(bare)
    if path.is_symlink() and not is_there(data):
        return path.resolve().with_name(bare)
    return data


def looks_like(raw: bytes) -> str:
    """Return what the beginning of a file is, where a download commonly went wrong; else nothing."""
    start = raw[:64].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "; it is a git-lfs pointer: run 'git lfs pull'"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "; it is a web page: log in and download it again"
    if raw[128:132] == MAGIC:
        return f"; it is {DICOM}"
    return "; it is a zip: unpack it" if start.startswith(b"pk\x03\x04") else ""


def _by(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:g}" for v in values)
