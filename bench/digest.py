"""Digests of what is stored: written as a job is published, compared when its files are read whole.

``manifest.json`` lists every other file of a job's folder under ``files`` with its SHA-256 and size, and
carries its own under ``digest``. A folder without such a list (of an older version, or of somebody
else's) is read as it is.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from bench import typed
from bench.errors import Damaged
from bench.job import MANIFEST

T = TypeVar("T")
NAME = "manifest.json"
UNKNOWN = "0" * 64  # stands for a manifest's own digest while that is taken
ANOTHER, LOST = "its digest is another", "it is lost"


def sha256(path: Path) -> str:
    """Return the digest of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short(data: bytes | memoryview) -> str:
    """Return the beginning of the SHA-256 of ``data``, 16 hex digits, as it becomes part of a file's name."""
    return hashlib.sha256(data).hexdigest()[:16]


def stamp(path: Path) -> tuple[int, int, int]:
    """Return what tells a file from another that takes its place; zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def sealed(folder: Path, manifest: dict[str, Any]) -> str:
    """Return the text of ``manifest.json`` for a folder that is about to be published."""
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / NAME
    }
    listed = {**manifest, "files": files, "digest": UNKNOWN}
    text = json.dumps(listed, sort_keys=True, indent=1)
    return json.dumps({**listed, "digest": _seal(text.encode())}, sort_keys=True, indent=1)


def manifest(folder: Path, kind: Any = MANIFEST) -> dict[str, Any] | None:
    """Return the manifest of a job's folder, None where there is none.

    Args:
        folder: of the job.
        kind: what its values must be, as ``bench.typed.build`` takes it.

    Raises:
        Damaged: it is not what was published.
    """
    content = _manifest(folder / NAME, Path.cwd(), stamp(folder / NAME))
    try:
        return None if content is None else dict(typed.stored(kind, content))
    except ValueError as error:
        raise Damaged(folder / NAME, str(error)) from None


def published(folder: Path) -> bool:
    """Tell whether a job's folder has a manifest that is whole; not where it cannot be read now."""
    file = folder / NAME
    try:
        return file.exists() and _published(file, Path.cwd(), stamp(file))
    except OSError:
        return False


def lost(folder: Path) -> bool:
    """Tell whether the manifest of a job's folder is gone or damaged; not where it cannot be read now."""
    try:
        return manifest(folder) is None
    except Damaged:
        return True
    except OSError:
        return False


def differs(path: Path) -> bool:
    """Tell whether a job's file is not what was published; also where nobody listed its digest.

    Raises:
        OSError: it cannot be read now, which says nothing about what it holds.
    """
    if path.name == NAME:
        return lost(path.parent)
    try:
        listed = (manifest(path.parent) or {}).get("files", {}).get(path.name)
        return listed is None or sha256(path) != listed["sha256"]
    except (Damaged, FileNotFoundError):
        return True


def read(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        Damaged: they are not what was published.
        OSError: it cannot be read.
    """
    listed = _listed(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        if listed is not None:
            raise Damaged(path, LOST) from None
        raise
    if listed is not None and hashlib.sha256(raw).hexdigest() != listed:
        raise Damaged(path, ANOTHER)
    return raw


def check(path: Path) -> None:
    """Compare a file with its digest, without keeping it in memory; raises as ``read``."""
    listed = _listed(path)
    try:
        if listed is not None and sha256(path) != listed:
            raise Damaged(path, ANOTHER)
    except FileNotFoundError:
        raise Damaged(path, LOST) from None


def read_json(path: Path, kind: type[T]) -> T:
    """Return the JSON object in a published file as a ``kind``.

    Raises:
        Damaged: it is lost, not what was published, or no ``kind``.
    """
    try:
        return typed.read(kind, read(path))
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(path, LOST) from None
    except ValueError as error:
        raise Damaged(path, str(error)) from None


@lru_cache(maxsize=1 << 16)  # a plan asks for every job again and again
def _published(path: Path, _where: Path, _stamp: tuple[int, int, int]) -> bool:
    try:
        return manifest(path.parent) is not None
    except Damaged:
        return False


@lru_cache(maxsize=1 << 14)  # asked for again with every file of a folder
def _manifest(path: Path, _where: Path, _stamp: tuple[int, int, int]) -> dict[str, Any] | None:
    try:
        raw = path.read_bytes()
        content: dict[str, Any] = typed.read(dict[str, Any], raw)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise Damaged(path, str(error)) from None
    seal = content.get("digest")
    # A list without a seal: its name was hit.
    if ("files" in content or seal is not None) and seal != _seal(
        raw.replace(str(seal).encode(), UNKNOWN.encode())
    ):
        raise Damaged(path, ANOTHER)
    return content


def _seal(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _listed(path: Path) -> str | None:
    """Return the digest that a file was published with, None where nobody listed it."""
    try:
        content = manifest(path.parent) or {}
    except (Damaged, OSError):  # such a job is not done; or it is no job's folder at all
        return None
    file = content.get("files", {}).get(path.name)
    return None if file is None else str(file["sha256"])
