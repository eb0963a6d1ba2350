"""Claims: who works on what an output folder's subfolder stands for, a job as a rule, and for how long.

Claims are numbered files created exclusively (``claim-0001``); the highest number owns the folder, so
an orphan that comes back finds a higher number than its own and cannot publish. Nothing here
trusts file locks: only exclusive creation (of links, or of folders where there are no links) and renames,
which shared file systems keep.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import typed
from bench.atomic import empty, lock_of, make_new
from bench.process import sight, started, suspended, task_id

LEASE = 90.0  # seconds without a heartbeat after which a claim is stale whose process nobody sees
HEARTBEAT = 10.0
LONG = 5.0  # seconds of waiting for another command after which a person is told
CLAIM = {
    "host": str,
    "pid": int,
    "start": str,
    "sight?": str,
    "task?": str,
}  # a claim, unless empty
POLL = 0.5  # seconds between two looks at who holds a mutex


class Fenced(Exception):  # noqa: N818 - not an error
    """Another attempt owns this job now; whatever this one made must not be published."""


@dataclass(frozen=True)
class Claim:
    """The right to work on one job, as long as nobody holds a higher number."""

    job: str
    number: int
    path: Path


def listed(folder: Path) -> list[Path]:
    """Return a folder's claims, oldest first."""
    return sorted(folder.glob("claim-*"), key=lambda path: (len(path.name), path.name))


def owner(folder: Path) -> dict[str, Any] | None:
    """Return who holds a folder right now: host, pid, since; None when nobody lives."""
    claims = listed(folder)
    return _holder(claims[-1]) if claims else None


def holder(folder: Path) -> str:
    """Return who holds a folder now, and what to do where it was suspended; empty when nobody lives."""
    held = owner(folder)
    if held is None:
        return ""
    since = held.get("since")
    text = f"process {held['pid']} on {held['host']}"
    if isinstance(since, (int, float)) and 0 < since < 1e11:
        text += f", since {time.strftime('%Y-%m-%d %H:%M', time.localtime(since))}"
    return text + (advice(held["pid"]) if is_suspended(held) else "")


def advice(process: int) -> str:
    """Return what to do about a suspended process that is seen here; empty where it is gone."""
    try:
        group = os.getpgid(process)
    except OSError:
        return ""
    return (
        f", SUSPENDED (Ctrl-Z?): 'fg' in its terminal or 'kill -CONT -- -{group}' lets it go on, "
        f"'kill -KILL -- -{group}' ends it and others take over"
    )


def is_suspended(held: dict[str, Any]) -> bool:
    """Tell whether an owner is a process that is seen here and was suspended."""
    return _is_seen(held) and suspended(held["pid"])


def take(folder: Path, is_over: Callable[[], bool] = lambda: False) -> Claim | None:
    """Claim a folder, making it where there is none; None where a living process has it.

    Args:
        folder: what is claimed.
        is_over: asked once, after the look at who has it: is there nothing left to claim? Then None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Looked up once: a claim made after this look has the number that the link below asks for.
    claims = listed(folder)
    if is_over() or (claims and _holder(claims[-1]) is not None):
        return None
    number = int(claims[-1].name.split("-")[1]) + 1 if claims else 1
    path = folder / f"claim-{number:04d}"
    while _abandoned(lock_of(path)):
        number += 1
        path = folder / f"claim-{number:04d}"
    pid = os.getpid()
    held = {"host": socket.gethostname(), "pid": pid, "start": started(pid), "sight": sight()}
    aside = folder / f".claim-{uuid.uuid4().hex[:8]}"
    try:
        aside.write_text(json.dumps({**held, "task": task_id(), "since": time.time()}))
        make_new(aside, path)
    except (FileExistsError, FileNotFoundError):  # claimed just now; published and cleared just now
        return None
    finally:
        aside.unlink(missing_ok=True)
    return Claim(folder.name, number, path)


@contextmanager
def beating(claim: Claim) -> Iterator[None]:
    """Renew a claim however long one step or one case takes."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            with suppress(OSError):
                os.utime(claim.path, follow_symlinks=False)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def check(claim: Claim) -> None:
    """Make sure that a claim still counts.

    Raises:
        Fenced: somebody took the job over, or published it.
    """
    claims = listed(claim.path.parent)
    if not claims or claims[-1] != claim.path:
        raise Fenced(claim.job)


def release(claim: Claim) -> None:
    """Let go of what was claimed."""
    # An empty claim is nobody's and keeps its number used; emptying needs no room on the disk.
    if listed(claim.path.parent)[-1:] == [claim.path]:
        empty(claim.path)


@contextmanager
def mutex(folder: Path, waiting: Callable[[str], None] = lambda who: None) -> Iterator[None]:
    """Hold a mutex across hosts: one command at a time is inside, the others wait.

    Args:
        folder: that stands for it.
        waiting: told, once a wait is long, for whom (``holder``).
    """
    began, announced = time.monotonic(), ""
    while (claim := take(folder)) is None or listed(folder)[-1] != claim.path:
        if claim is not None:  # made late, under a number that others had cleared away by then
            claim.path.unlink(missing_ok=True)
        time.sleep(POLL)
        if time.monotonic() - began > LONG and (who := holder(folder)) not in (announced, ""):
            announced = who
            waiting(who)
    for old in listed(folder)[:-1]:
        old.unlink(missing_ok=True)
        with suppress(OSError):  # there is none
            lock_of(old).rmdir()
    try:
        with beating(claim):
            yield
    finally:
        release(claim)


def _holder(claim: Path) -> dict[str, Any] | None:
    """Return who made a claim, where that process lives."""
    kind: Any = CLAIM
    try:
        held: dict[str, Any] = typed.read(kind, claim.read_bytes())
        beat = claim.stat().st_mtime
    except (OSError, ValueError):
        return None  # being written, or just released
    return held if _is_alive(held, beat, _now(claim.parent)) else None


def _now(folder: Path) -> float:
    # The file system's own clock: a host whose clock jumps must not judge others by it.
    probe = folder / f".clock-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        probe.unlink(missing_ok=True)


def _abandoned(lock: Path) -> bool:
    """Did one that made a lock die before it made its claim?"""
    try:
        created = lock.stat().st_mtime
        return abs(_now(lock.parent) - created) > LEASE
    except OSError:  # there is none, as wherever there are hard links
        return False


def _is_seen(held: dict[str, Any]) -> bool:
    """Tell whether this process is sure to see the one of a claim."""
    return (
        held["host"] == socket.gethostname()
        and bool(held.get("sight"))
        and held["sight"] == sight()
    )


def _is_alive(held: dict[str, Any], beat: float, now: float) -> bool:
    # Containers share a host's name and not its processes: a number that means nothing here, or a
    # process that is hidden from this user, is no death.
    if _is_seen(held):
        return started(held["pid"]) == held["start"]
    # Some file systems take times from the writing host (Lustre): one whose clock was hours ahead
    # would own its jobs for hours after its death. Fencing keeps a living one from publishing twice.
    return abs(now - beat) < LEASE
