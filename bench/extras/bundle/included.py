"""The files that a protocol is made of: its own text, and the settings that it builds on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.document import Document, parse
from bench.errors import BenchError
from bench.protocol import under


def files(path: Path) -> dict[str, Path]:
    """Return the files by their names from one folder that holds all of them; the protocol's own is first.

    Raises:
        BenchError: one is named by its place on this machine, where no bundle can hold it.
    """
    protocol = Path(os.path.abspath(path))  # noqa: PTH100 - names are from where a link lies
    paths, waiting = dict.fromkeys([protocol]), [protocol]
    while waiting:
        document = parse(waiting.pop())
        for keys, name in _settings(document.value, ()):
            file = _settings_file(document, keys, name)
            if file not in paths:
                paths[file] = None
                waiting.append(file)
    top = (
        protocol.parents[len(under(protocol))] if under(protocol) else protocol.parent
    )  # what holds ``protocols/``
    root = Path(os.path.commonpath([top, *(file.parent for file in paths)]))
    return {file.relative_to(root).as_posix(): file for file in paths}


def _settings(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield where a file names shared settings, and which."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, below in inner:
        if key == "settings" and isinstance(below, str):
            yield (*keys, key), below
        else:
            yield from _settings(below, (*keys, str(key)))


def _settings_file(document: Document, keys: tuple[str, ...], name: str) -> Path:
    if Path(name).is_absolute():
        raise BenchError(
            f"{document.where(keys)}: {name} is an absolute path, which a bundle cannot hold; write it "
            f"relative to the folder of {document.path.name}"
        )
    return Path(os.path.normpath(document.path.parent / name))
