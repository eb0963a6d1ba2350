"""Pictures and folders of slices, read as volumes of one millimetre per pixel.

A picture is (C, X, Y, 1): x the column, y the row, C 1 (grey) or 3 (red, green, blue), uint8, or
uint16 for grey of 16 bits. A palette is read in its colours; of a label map by its indices. A folder is
(1, X, Y, Z), its pictures in the order of the numbers in their names; it may lie in a zip. No picture
says where left is or how large a pixel: the axes are those of the screen, and the identity is the affine.

Alpha is dropped where it is opaque everywhere and refused elsewhere. A photograph's EXIF
orientation is ignored; a TIFF's own tag, which belongs to that format, turns it. Colour of 16 bits
is read as 8 (Pillow). A JPEG damaged in its middle decodes without an error in any decoder: only a
shortened one is found.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.dataset import clean, zip_of
from bench.errors import BenchError
from bench.volumes import once, zipped
from bench.volumes.archive import Archive
from bench.volumes.files import is_picture, is_volume, stem
from bench.volumes.header import MAX_BYTES, NOTHING, Stored, TooLargeError, VolumeError, beginning
from bench.volumes.resampling import linear

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAX_PIXELS = 1 << 26  # of one picture; photographs of the retina in use here have up to 1 << 24
COLOUR = 24  # grey levels; JPEG parts the channels of a grey slice by less
SHOWN = 3  # names and numbers that one line lists
GREY, RGB, WIDE = ("L", 1, "u1"), ("RGB", 3, "u1"), ("", 1, "u2")  # converted to, channels, dtype
INDICES = ("", 1, "u1")
MODES = {
    "1": GREY,
    "L": GREY,
    "LA": GREY,
    "P": RGB,
    "RGB": RGB,
    "RGBA": RGB,
    "RGBX": RGB,
    "I;16": WIDE,
    "I;16L": WIDE,
    "I;16B": WIDE,
    "I;16N": WIDE,
}
# Pillow warns of metadata that nobody reads here, and of sizes that are refused here. A filter set
# for one call only is not safe among threads.
warnings.filterwarnings("ignore", module="PIL")
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
)  # what Pillow's plugins raise on bytes that nobody foresaw


def read_stored(path: Path, *, indices: bool = False) -> Stored:
    """Return what a picture, or a folder of slices, says of itself; no pixel is decoded.

    Slices of several sizes take the size that most of them have. With ``indices`` a palette counts as grey.

    Raises:
        VolumeError: missing, damaged, too large, several pictures in one file, or no grey or RGB.
    """
    if is_picture(path):
        beginning(path, 1)  # a fifo, or nothing, is named as for any other file
        with _named(path), zipped.opened(path) as file:
            (x, y), (_, channels, dtype) = _header(path, file, indices)
        shape, channel_axis = ((x, y, 1), None) if channels == 1 else ((x, y, 1, channels), 3)
    else:
        with _named(path):
            headers = _headers(path, indices)
        kinds = {dtype for _, (_, _, dtype) in headers.values()}
        if len(kinds) > 1:
            raise VolumeError(path, "unreadable", "slices of 8 and of 16 bits in one scan")
        dtype, channel_axis = kinds.pop(), None
        shape = (*_common(size for size, _ in headers.values()), len(headers))
    grid = np.eye(4), (1.0, 1.0, 1.0), NOTHING
    stored = Stored(
        path, shape, np.dtype(dtype), 0, False, *grid, channel_axis=channel_axis, indices=indices
    )
    if stored.nbytes > MAX_BYTES:
        stored.fail(
            "shape", f"{stored.nbytes / 2**30:.1f} GiB of pixels, above {MAX_BYTES >> 30} GiB"
        )
    return stored


def decoded(stored: Stored) -> np.ndarray:
    """Return the pixels in the shape that :func:`read_stored` stated.

    A slice of another size than its scan's is resampled linearly.

    Raises:
        VolumeError: ``truncated`` or ``unreadable``; ``shape`` for a slice in colour.
    """
    if is_picture(stored.path):
        with _named(stored.path), zipped.opened(stored.path) as file:
            return _pixels(stored.path, file, stored.indices).reshape(stored.shape)
    x, y, z = stored.shape
    slices = np.empty((z, x, y), stored.dtype)
    with _named(stored.path):
        for number, (path, file) in enumerate(_opened(stored.path)):
            with _named(path):
                pixels = _grey(path, _pixels(path, file, stored.indices))
            if pixels.shape != (x, y):
                pixels = np.rint(linear(pixels[..., np.newaxis], (x, y, 1))[..., 0]).astype(
                    stored.dtype
                )
            slices[number] = pixels
    return slices.transpose(1, 2, 0)


def doubts(path: Path) -> list[VolumeError]:
    """Return what speaks against a folder of slices that can be read: sizes, gaps in the numbers.

    Raises:
        VolumeError: as :func:`read_stored`.
    """
    with _named(path):
        headers = _headers(path)
    x, y = _common(size for size, _ in headers.values())
    other = [p.name for p, (size, _) in headers.items() if size != (x, y)]
    faults = []
    if other:
        detail = f"{len(other)} of {len(headers)} slices are not {x} x {y} and are resampled: {_first_names(other)}"
        faults.append(VolumeError(path, "shape", detail))
    numbers = {int(n[-1][-9:]) for p in headers if (n := re.findall(r"[0-9]+", stem(p)))}
    gaps = max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0
    if gaps:
        first = next(n for n in range(min(numbers), max(numbers)) if n not in numbers)
        detail = (
            f"{gaps} numbers are missing between the slices {min(numbers)} and {max(numbers)}, "
            f"first {first}"
        )
        faults.append(VolumeError(path, "missing", detail))
    return faults


def is_slices(path: Path) -> bool:
    """Tell whether a path is a folder, or leads to one in a zip, with pictures right inside it."""
    if is_picture(path) or is_volume(path):
        return False
    return any(map(is_picture, zipped.inside(path))) if path.is_dir() else zip_of(path) is not None


def _slices(folder: Path) -> list[Path]:
    """Return a scan's pictures in the order of the numbers in their names."""
    archive = None if folder.is_dir() else zip_of(folder)
    if archive is not None:
        inside = f"{folder.relative_to(archive).as_posix()}/"
        every = [archive / n for n in zipped.names(archive) if n.rpartition("/")[0] + "/" == inside]
    else:
        every = zipped.inside(folder) if folder.is_dir() else []
    slices = clean(p for p in every if is_picture(p))
    if not slices:
        raise VolumeError(folder, "missing", "not a folder of slices")
    twins = [name for name, n in Counter(stem(p).lower() for p in slices).items() if n > 1]
    if twins:
        raise VolumeError(
            folder,
            "duplicate",
            f"some slices exist in two formats; keep one file for each: {_first_names(twins)}",
        )
    return slices


def _opened(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield every slice's file, open; a zip is opened once."""
    slices = _slices(folder)
    archive = None if folder.is_dir() else zip_of(folder)
    if archive is None or once.current() is not None:
        for path in slices:
            beginning(path, 1)
            with zipped.opened(path) as file:
                yield path, file
        return
    with Archive(archive) as inside:
        for path in slices:
            yield path, BytesIO(inside.read(path.relative_to(archive).as_posix()))


def _headers(
    folder: Path, indices: bool = False
) -> dict[Path, tuple[tuple[int, int], tuple[str, int, str]]]:
    headers = {}
    for path, file in _opened(folder):
        with _named(path):
            headers[path] = _header(path, file, indices)
    return headers


def _header(
    path: Path, file: BinaryIO, indices: bool
) -> tuple[tuple[int, int], tuple[str, int, str]]:
    """Return (columns, rows) and what its mode becomes."""
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise VolumeError(
            path, "shape", f"{image.width} x {image.height} pixels, above {MAX_PIXELS}"
        )
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise VolumeError(path, "shape", f"{frames} pictures in one file; keep only one")
    if image.mode not in MODES:
        raise VolumeError(
            path, "unreadable", f"pixels have mode {image.mode}; grey or RGB is needed"
        )
    return image.size, INDICES if indices and image.mode == "P" else MODES[image.mode]


def _pixels(path: Path, file: BinaryIO, indices: bool) -> np.ndarray:
    """Return (X, Y) or (X, Y, 3)."""
    size, (target, _, dtype) = _header(path, file, indices)
    file.seek(0)
    image = Image.open(file, formats=FORMATS)
    if image.format == "PNG":  # decoding alone compares no checksum
        image.verify()
        file.seek(0)
        image = Image.open(file, formats=FORMATS)
    if image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema() != (255, 255):
        raise VolumeError(path, "unreadable", "transparent pixels: their colour is undefined")
    converted = image.convert(target) if target not in ("", image.mode) else image
    pixels = np.asarray(converted).astype(dtype, copy=False).swapaxes(0, 1)
    if pixels.shape[:2] != size:
        raise VolumeError(path, "shape", f"{pixels.shape[:2]} pixels, the header declares {size}")
    return pixels


def _grey(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Return (X, Y) of a slice whose three channels are one."""
    if pixels.ndim == 2:
        return pixels
    apart = int((pixels.max(-1) - pixels.min(-1)).max())
    if apart > COLOUR:
        raise VolumeError(
            path, "shape", f"a slice in colour: its channels differ by {apart} levels"
        )
    return np.rint(pixels.mean(-1)).astype(pixels.dtype)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what a decoder raises into one line about this file."""
    try:
        yield
    except (VolumeError, once.ChangedError):
        raise
    except BenchError as error:  # of the zip that holds it
        raise VolumeError(path, "unreadable", str(error)) from None
    except BOMB:
        raise VolumeError(path, "shape", f"more pixels than the limit of {MAX_PIXELS}") from None
    except MemoryError:
        raise TooLargeError(path, "shape", "its pixels do not fit into memory") from None
    except UnidentifiedImageError:
        raise VolumeError(path, "unreadable", f"no {', '.join(FORMATS)}") from None
    except DAMAGED as error:
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        what = str(error) or type(error).__name__
        raise VolumeError(path, "truncated" if cut else "unreadable", what) from None


def _common(sizes: Iterator[tuple[int, int]]) -> tuple[int, int]:
    """Return the most frequent size, of several the largest."""
    return max(Counter(sizes).items(), key=lambda pair: (pair[1], pair[0]))[0]


def _first_names(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
