"""The three standard streams, such as a command may find them: closed, or able to say ASCII alone."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def ready() -> None:
    r"""Put ``/dev/null`` where a standard stream is closed, and show what a stream cannot spell as ``\xb1``.

    Called before any file is opened: a file that got the number of a closed stream would be written to
    by whatever prints, and by every process that is started later.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    sys.stdin = sys.stdin or io.TextIOWrapper(io.FileIO(0, "r", closefd=False))
    sys.stdout, sys.stderr = _writer(sys.stdout, 1), _writer(sys.stderr, 2)


def _writer(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)))
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
