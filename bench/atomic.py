"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

# What some file systems say that lack it: FUSE, exFAT, FAT, SMB.
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
NO_FLUSH = {errno.EINVAL, errno.EACCES, errno.EBADF, errno.EISDIR, *NO_LINKS}  # of a folder


def write_atomic(
    path: Path, data: bytes | memoryview | str, aside: Path | None = None, flush: bool = True
) -> None:
    """Write aside, flush to disk, rename: readers see the old file or the new one, whole.

    Args:
        path: the file to make or replace.
        data: its content.
        aside: folder on the same disk for the unfinished file; by default beside ``path``.
        flush: survive a power failure; without it the file may come back empty after one.
    """
    raw = data.encode() if isinstance(data, str) else data
    aside = (aside or path.parent) / f".{path.name}.{uuid.uuid4().hex[:8]}"
    try:
        with aside.open("xb") as file:  # never through a link that somebody left there
            file.write(raw)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
        if flush:
            sync(path.parent)  # the new name is on the disk only with its folder
    finally:
        aside.unlink(missing_ok=True)


def write_new(texts: Mapping[Path, str]) -> None:
    """Write new files together, and the folders that they lie in: all of them or none.

    Raises:
        OSError: nothing was written.
    """
    folders = {
        parent: None for path in texts for parent in reversed(path.parents) if not parent.exists()
    }
    with ExitStack() as undo:
        for folder in folders:
            folder.mkdir(exist_ok=True)
            undo.callback(_removed, folder)
        for path, text in texts.items():
            undo.callback(path.unlink, missing_ok=True)
            write_atomic(path, text)
        undo.pop_all()


def _removed(folder: Path) -> None:
    with suppress(OSError):  # somebody else put something there
        folder.rmdir()


def append(path: Path, text: str) -> None:
    """Add to a log; not through a link, which could lead to any file of the user's.

    Raises:
        OSError: among them ``ELOOP``, where the log is a symbolic link.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def empty(path: Path) -> None:
    """Leave nothing in a file, at once; not through a link."""
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file of a folder, and the folder itself, to disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Flush one file, or the names in one folder where its file system can, to disk."""
    try:
        _sync(path)
    except OSError as error:
        if error.errno not in NO_FLUSH or not path.is_dir():
            raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock_of(path: Path) -> Path:
    """Return the folder that stands for the right to make a file where there are no hard links."""
    return path.with_name(f".{path.name}.lock")


def make_new(aside: Path, path: Path) -> None:
    """Give a finished file its name, unless somebody else has it: one of many that ask at once succeeds.

    By a hard link, which is exclusive also where ``O_EXCL`` is not to be trusted; where there are none, by
    making ``lock_of``, which stays, and a rename.

    Args:
        aside: the file; it may be left under this name, too.
        path: its new name.

    Raises:
        FileExistsError: somebody else has it.
    """
    try:
        os.link(aside, path)
        return
    except FileExistsError:
        if aside.stat().st_nlink == 2:  # by ourselves, where a server's first answer was lost
            return
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    lock_of(path).mkdir()
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    aside.rename(path)


def lacking(folder: Path) -> list[str]:
    """Try what the file system of a folder can; return what it cannot and what that means, a line each."""
    lines, probe = list[str](), folder / f".try-{uuid.uuid4().hex[:8]}"
    other = probe.with_name(f"{probe.name}-link")
    with suppress(OSError):  # full, or not to be written: whoever writes there says so
        probe.touch()
        try:
            os.link(probe, other)
        except OSError as error:
            if error.errno in NO_LINKS:
                lines.append(
                    "its file system has no hard links; jobs are claimed by making folders instead"
                )
    with suppress(OSError):
        try:
            _sync(folder)
        except OSError as error:
            if error.errno in NO_FLUSH:
                lines.append(
                    "its file system does not flush folders to disk; after a power failure run again: "
                    "a job that is lost or damaged is done anew"
                )
    for path in (probe, other):
        path.unlink(missing_ok=True)
    return lines
