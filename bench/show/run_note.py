"""What a run leaves of itself while it goes on, so that others can tell how far it is.

    DIR/work/.run-<n>/run.json     which protocols and jobs it does, since when, in how many workers
    DIR/work/.run-<n>/plan.json    its plan
    DIR/work/.run-<n>/claim-0001   the command that follows it: alive, or killed

It goes with the last report of the run. What is left of a run that was killed says that it was not finished.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench import claims, typed
from bench.errors import BenchError
from bench.plan import Plan, stored
from bench.store import Store, write_atomic
from bench.typed import plain

PREFIX = ".run-"


@dataclass(frozen=True)
class Note:
    """A run, as it began."""

    protocols: tuple[str, ...]  # names
    jobs: tuple[str, ...]  # that it had to do, needs first
    began: float  # seconds since 1970
    workers: int | None = None  # processes here; None where a cluster decides


@dataclass(frozen=True)
class Run:
    """A run that is not over, or was killed."""

    name: str  # of its folder
    note: Note
    plan: Plan


@contextmanager
def announced(store: Store, plan: Plan, jobs: Iterable[str], workers: int | None) -> Iterator[Run]:
    """Leave what a run is about to do; whoever looks sees that it is followed until this context ends.

    Raises:
        OSError: it cannot be written.
    """
    name = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    claim = store.claim(name)
    if claim is None:
        raise OSError(f"{store.work / name}: somebody has it")
    run = Run(name, Note(tuple(plan.cells), tuple(jobs), time.time(), workers), plan)
    write_atomic(store.work / name / "plan.json", stored.as_text(plan), flush=False)
    _write(store, name, run.note)
    try:
        with claims.beating(claim):
            yield run
    finally:
        with suppress(OSError):
            store.release(claim)


def name(store: Store, protocol: str) -> str:
    """Return the folder of the last run of a protocol that has not said that it is over; else nothing."""
    known = [(note.began, name) for name, note in _notes(store) if note and protocol in note.protocols]
    return max(known)[1] if known else ""


def latest(store: Store, protocol: str) -> Run | None:
    """Return that run.

    Raises:
        BenchError: what it left cannot be read.
    """
    folder = name(store, protocol)
    note = _read(store.work / folder / "run.json") if folder else None
    return None if note is None else Run(folder, note, stored.read(store.work / folder / "plan.json"))


def forget(store: Store, protocols: Iterable[str]) -> None:
    """Take away what runs that nobody follows have left of protocols whose report is whole now."""
    over = set(protocols)
    for name, note in _notes(store):
        left = () if note is None else tuple(p for p in note.protocols if p not in over)
        if (note is not None and left == note.protocols) or store.owner(name) is not None:
            continue
        if note is not None and left:
            _write(store, name, replace(note, protocols=left))
        else:
            shutil.rmtree(store.working(name), ignore_errors=True)


def since(store: Store, run: Run) -> float:
    """Return when a run began by the clock of the file system, which dates what it leaves."""
    try:
        return (store.work / run.name / "plan.json").stat().st_mtime
    except OSError:
        return run.note.began


def _notes(store: Store) -> list[tuple[str, Note | None]]:
    folders = sorted(store.work.glob(f"{PREFIX}*"))
    return [(f.name, _read(f / "run.json")) for f in folders if f.is_dir() and not f.is_symlink()]


def _read(file: Path) -> Note | None:
    """Return a note; None where it is not there yet, or not whole."""
    try:
        return typed.read(Note, file.read_bytes())
    except (OSError, ValueError, BenchError):
        return None


def _write(store: Store, name: str, note: Note) -> None:
    write_atomic(store.working(name) / "run.json", json.dumps(plain(note)), flush=False)
