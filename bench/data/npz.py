"""Named arrays of one ``.npz`` file, read without trusting it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile, ZipFile

import numpy as np

from bench import digest
from bench.errors import Damaged
from bench.volumes.archive import Limits

LIMITS = Limits()

DAMAGED = (  # zipfile and numpy's header parser raise all of these on damaged bytes
    BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    TypeError,
    SyntaxError,
    TokenError,
)


class Arrays:
    """Opens the file; decodes an array when it is asked for.

    The file is compared with its digest as a whole, where it was published with one.
    ``numpy.load`` allocates whatever an array's header says; here a header must say what is there.

    Raises:
        Damaged: the file is not what was published, or holds anything but plain arrays; names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._guarded():
            self._zip = ZipFile(io.BytesIO(digest.read(path)))

    def __iter__(self) -> Iterator[str]:
        return iter(name.removesuffix(".npy") for name in self._zip.namelist())

    def __getitem__(self, name: str) -> np.ndarray:
        with self._guarded(), self._zip.open(f"{name}.npy") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError(f"{name} is no array that bench wrote")
            shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
            info = self._zip.getinfo(f"{name}.npy")
            if LIMITS.bomb(info.file_size, info.compress_size):
                raise ValueError(
                    f"{name} would become {info.file_size} bytes of {info.compress_size}: a bomb"
                )
            there = info.file_size - file.tell()
            if (
                dtype.hasobject
                or min(shape, default=1) < 0
                or prod(shape) * dtype.itemsize != there
            ):
                raise ValueError(f"the header of {name} does not fit its content")
            # the archive's checksum is compared on the way
            data = np.frombuffer(file.read(), dtype)
            return data.reshape(shape, order="F" if by_column else "C")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except DAMAGED as error:
            raise Damaged(self.path, getattr(error, "strerror", None) or str(error)) from None
