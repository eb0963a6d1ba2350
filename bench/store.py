"""The output folder: what lies where, and how finished work appears.

    DIR/bench.json           schema of the folder
    DIR/jobs/<id>/           what a finished job produced; appears whole, by one rename
    DIR/work/<id>/           an unfinished job: its spec, claims, checkpoints, log, failure
    DIR/damaged/<id>-<n>/    what a finished job had produced when a file of it was found damaged
    DIR/records/<name>.parquet, DIR/reports/<name>/

``bench.claims`` says who works on a job.
"""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import __version__, claims, digest, typed
from bench.atomic import append, lacking, sync, sync_tree
from bench.atomic import write_atomic as write_atomic
from bench.claims import Claim, Fenced
from bench.errors import BenchError, printable
from bench.job import FAILED, PROGRESS, SPEC

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
FOLDERS = ("jobs", "work", "records", "reports")
RETAINED = ("job.json", "log.txt", "failed.json")  # of a job that is begun anew


def read_json(path: Path, kind: Any = dict[str, Any]) -> dict[str, Any] | None:
    """Return a JSON object, or None where there is no such file.

    Args:
        path: the file.
        kind: what its values must be, as ``bench.typed.build`` takes it.

    Raises:
        BenchError: the file is there and is not JSON, or holds something else.
    """
    try:
        content: dict[str, Any] = typed.read(kind, path.read_bytes())
        return content
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise BenchError(f"{path}: damaged ({error}); delete it and run again") from None


def refuse_file(folder: Path, flag: str = "--to") -> None:
    """Refuse (``BenchError``) a file where a flag names a folder, which need not be there yet."""
    if folder.exists() and not folder.is_dir():
        raise BenchError(f"{folder}: is a file; name a folder with {flag}")


class Store:
    """One output folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs, self.work, self.damaged = root / "jobs", root / "work", root / "damaged"

    @classmethod
    def check_place(cls, root: Path) -> None:
        """Make sure that an output folder can stand, or stands, where a person says.

        Raises:
            BenchError: it is a file, its links form a loop, its path cannot be said to others,
                or a link stands in it where bench writes.
        """
        try:
            resolved = str(root.resolve())
        except (OSError, RuntimeError):
            raise BenchError(f"{root}: its links form a loop; name another --out") from None
        if resolved != printable(resolved):  # a line break would end a comment of a batch script
            raise BenchError(
                f"{resolved}: the path has invisible characters, such as a tab; name another folder with --out"
            )
        refuse_file(root, "--out")
        for name in (*FOLDERS, "slurm", "phantoms", "damaged"):
            cls(root).within(root / name)

    @classmethod
    def open(cls, root: Path, create: bool = True) -> Store:
        """Open an output folder, making it where there is none.

        Raises:
            BenchError: it was written under another schema, is not a folder of bench, or cannot stand there.
        """
        cls.check_place(root)
        head = root / "bench.json"
        stated = read_json(head)
        if stated is None:
            if not create:
                raise BenchError(
                    f"{root}: not an output folder of bench; name one that 'bench run' wrote"
                )
            try:
                for name in FOLDERS:
                    (root / name).mkdir(parents=True, exist_ok=True)
                write_atomic(head, json.dumps({"schema": SCHEMA, "bench": __version__}))
            except OSError as error:
                why = error.strerror
                raise BenchError(f"{root}: cannot be written ({why}); name another --out") from None
        elif stated.get("schema") != SCHEMA:
            raise BenchError(
                f"{head}: has schema {stated.get('schema')!r}, this version of bench writes schema {SCHEMA}; "
                f"use the version that made the folder ({stated.get('bench')}) or another --out"
            )
        elif create:
            for name in FOLDERS:  # records and reports are views, which a person may have removed
                with suppress(OSError):
                    (root / name).mkdir(exist_ok=True)
            if not all(os.access(f, os.W_OK) for f in (root, root / "jobs", root / "work")):
                raise BenchError(f"{root}: cannot be written; name another --out")
        return cls(root)

    def lacks(self) -> list[str]:
        """Return what the folder's file system cannot, and what is done instead: a line each."""
        return [f"{self.root}: {line}" for line in lacking(self.root)]

    def within(self, folder: Path) -> Path:
        """Return a folder of this output folder, to write or to delete in; the output folder may be a link.

        Raises:
            BenchError: a link on the way would lead to files that are not bench's.
        """
        for part in (folder, *folder.parents):
            if part == self.root:
                break
            if part.is_symlink():
                raise BenchError(
                    f"{part}: is a link, and bench does not write through links; replace it with a folder"
                )
        return folder

    def working(self, job: str) -> Path:
        """Return an unfinished job's folder, as ``within`` does."""
        return self.within(self.work / job)

    def views(self) -> list[Path]:
        """Return the records of every protocol: of its last run, then those kept of other scales."""
        folder = self.root / "records"
        return [*sorted(folder.glob("*.parquet")), *sorted(folder.glob("scales/*/*.parquet"))]

    def present(self, jobs: Iterable[str]) -> list[str]:
        """Return those of some jobs that have a folder, done or damaged: one look for thousands."""
        names = {folder.name for folder in self.jobs.iterdir()} if self.jobs.is_dir() else set()
        return [job for job in jobs if job in names]

    def done(self, job: str) -> bool:
        """Is this job published, with a manifest that is whole?"""
        return digest.published(self.jobs / job)

    def manifest(self, job: str) -> dict[str, Any]:
        """Return what a finished job says of itself.

        Raises:
            BenchError: the job is not finished, or its manifest is damaged.
        """
        content = digest.manifest(self.jobs / job)
        if content is None:
            raise BenchError(f"{self.jobs / job}: not finished; run the protocol again")
        return content

    def failure(self, job: str) -> dict[str, Any] | None:
        """Return why the last attempt at a job failed, or None."""
        return read_json(self.work / job / "failed.json", FAILED)

    def write_spec(self, job: str, spec: dict[str, Any]) -> None:
        """Leave a job's description where any worker finds it."""
        folder, text = self.working(job), json.dumps(spec, sort_keys=True)
        path = folder / "job.json"
        with suppress(OSError, UnicodeDecodeError):
            if path.read_text() == text:
                return
        folder.mkdir(parents=True, exist_ok=True)
        # Not flushed to disk: whoever starts a job describes it again.
        write_atomic(path, text, flush=False)

    def spec(self, job: str) -> dict[str, Any]:
        """Return a job's description.

        Raises:
            BenchError: nobody left one, or it went with the job's publication.
        """
        content = read_json(self.work / job / "job.json", SPEC)
        if content is None:
            raise BenchError(f"{self.work / job}: no job.json; run the protocol again")
        return content

    def progress(self, job: str) -> dict[str, Any]:
        """Return how far a job is, as ``tell`` left it; empty where it told nothing."""
        try:
            return read_json(self.work / job / "progress.json", PROGRESS) or {}
        except (BenchError, OSError):
            return {}  # cut by a power failure, or just replaced elsewhere: it is for the eye only

    def begun_by(self, job: str) -> str | None:
        """Return the note on the source files of a job's last attempt; None where none began."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.work / job / "source").read_text()
        return None

    def spent(self, job: str) -> float:
        """Return the seconds that went into what earlier attempts at a job left unfinished."""
        with suppress(OSError, ValueError):
            seconds = float((self.work / job / "spent").read_text())
            return seconds if 0 <= seconds < inf else 0.0
        return 0.0

    def spend(self, job: str, seconds: float) -> None:
        """Leave how many seconds went into a job so far; losing it loses no result."""
        with suppress(OSError):
            write_atomic(self.working(job) / "spent", f"{seconds:.3f}", flush=False)

    def finished_parts(self, job: str) -> frozenset[str]:
        """Return names of what the next attempt at a job goes on from: a name more is a step of progress.

        Steps of checkpoints, predicted and prepared cases, files of scores, the published result itself.
        """
        names = {f"jobs/{path.name}" for path in (self.jobs / job).glob("*")}
        for path in (self.work / job).rglob("*-*"):
            if path.name.startswith(("step-", "kept-")):  # without the digest of what it holds
                names.add(
                    str(path.with_name("-".join(path.name.split("-")[:2])).relative_to(self.work))
                )
        for path in (self.work / job / "shards").glob("*.jsonl"):
            with suppress(OSError):
                names |= {f"{path.name} {size}" for size in [path.stat().st_size] if size}
        return frozenset(names)

    def claims(self, job: str) -> list[Path]:
        """Return the job's claims, oldest first."""
        return claims.listed(self.work / job)

    def owner(self, job: str) -> dict[str, Any] | None:
        """Return who works on a job now, as ``claims.owner`` does."""
        return claims.owner(self.working(job))

    def holder(self, job: str) -> str:
        """Return who works on a job now, in words, as ``claims.holder`` does."""
        return claims.holder(self.working(job))

    def claim(self, job: str) -> Claim | None:
        """Take a job; None where a living attempt has it or it is published meanwhile."""
        folder = self.working(job)
        claim = claims.take(folder, lambda: self.done(job))
        if self.done(job):  # published just now: a claim's number may have begun anew
            shutil.rmtree(folder, ignore_errors=True)
            return None
        if claim is not None:
            (folder / "failed.json").unlink(missing_ok=True)
        return claim

    def release(self, claim: Claim) -> None:
        """Let a job go without a result; its checkpoints stay."""
        self.working(claim.job)
        claims.release(claim)

    def tell(self, job: str, step: int, steps: int, loss: float | None, warning: str = "") -> None:
        """Leave how far a job is, for whoever watches; losing it loses nothing."""
        path = self.working(job) / "progress.json"
        state: dict[str, Any] = {"step": step, "steps": steps, "loss": loss}
        state |= {"warning": warning} if warning else {}
        with suppress(OSError):
            write_atomic(path, json.dumps(state), flush=False)

    def publish(self, claim: Claim, folder: Path, manifest: dict[str, Any]) -> None:
        """Make an attempt's folder the job's result, in one rename; the digest of every file goes with it.

        A folder of that name whose manifest is lost or damaged is set aside first.

        Raises:
            Fenced: another attempt owns the job or published first.
        """
        write_atomic(folder / digest.NAME, digest.sealed(folder, manifest))
        sync_tree(folder)
        claims.check(claim)
        if not self.done(claim.job):
            self.set_aside(self.jobs / claim.job)
        try:
            folder.rename(self.within(self.jobs / claim.job))
        except OSError as error:
            if self.done(claim.job):
                raise Fenced(claim.job) from error
            raise
        sync(self.jobs)
        shutil.rmtree(self.work / claim.job, ignore_errors=True)

    def set_aside(self, folder: Path) -> Path | None:
        """Move a job's folder out of the way, so that the job is to do again; return where it lies now.

        None where this is no job's folder, or is gone already.

        Raises:
            OSError: it cannot be moved; among them ``ELOOP``, where ``DIR/damaged`` is a link.
        """
        if folder.absolute().parent != self.jobs.absolute() or not os.path.lexists(folder):
            return None
        self.damaged.mkdir(exist_ok=True)
        if self.damaged.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self.damaged))
        for number in itertools.count(1):
            target = self.damaged / f"{folder.name}-{number}"
            if not os.path.lexists(target):
                break
        try:
            folder.rename(target)
        except FileNotFoundError:
            return None  # another process has just done it
        return target

    def aside(self) -> set[str]:
        """Return the jobs that were set aside and have not been done again."""
        try:
            names = {
                path.name.rpartition("-")[0] for path in self.damaged.iterdir() if path.is_dir()
            }
        except OSError:
            return set()
        return {job for job in names if not self.done(job)}

    def take_back(self, job: str, why: str) -> bool:
        """Take a publication back in one rename, so that the job is to do again; False where there is none.

        Its log says why; what it had made is deleted.
        """
        try:
            aside = self._move_aside(self.within(self.jobs / job))
        except FileNotFoundError:
            return False
        sync(self.jobs)
        # One killed as it published left its checkpoints: they belong to what is taken back.
        shutil.rmtree(self.working(job), ignore_errors=True)
        with suppress(OSError):
            (self.work / job).mkdir(exist_ok=True)
            self._log(job, f"taken back: {why}")
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def drop_unfinished(self, claim: Claim) -> None:
        """Drop what earlier attempts at a job left unfinished."""
        for path in self.working(claim.job).iterdir():
            if path.name not in RETAINED and not path.name.startswith(("claim-", "attempt-", ".")):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def begin(self, claim: Claim, source: str) -> None:
        """Leave which files work on a job from now on, as ``begun_by`` returns it."""
        if self.begun_by(claim.job) != source:
            write_atomic(self.working(claim.job) / "source", source, flush=False)

    def discard(self, job: str) -> bool:
        """Remove the folder of a job that is not published; False where a living process holds it."""
        if self.claim(job) is None:
            return False
        shutil.rmtree(self._move_aside(self.working(job)), ignore_errors=True)
        return True

    def _move_aside(self, folder: Path) -> Path:
        """Move a job's folder to where ``tidy`` deletes it; return where it lies now."""
        aside = self.work / f".replaced-{folder.name}-{uuid.uuid4().hex[:8]}"
        return folder.rename(aside)

    def tidy(self) -> None:
        """Delete what one that was killed had set aside and not deleted."""
        for aside in self.work.glob(".replaced-*"):
            shutil.rmtree(aside, ignore_errors=True)

    def fail(self, claim: Claim, reason: str, kind: str) -> None:
        """Say why an attempt failed, and let the job go."""
        try:
            self._leave_reason(claim.job, reason, kind, claim.number)
        finally:  # a full disk takes no reason, but nobody must wait for this process any more
            self.release(claim)

    def lost(self, job: str, reason: str) -> None:
        """Say why an attempt's process died before it could; not where another attempt goes on."""
        if self.done(job) or self.owner(job) is not None:
            return
        self._log(job, f"failed: {reason}")
        self._leave_reason(job, reason, "died", len(self.claims(job)))

    def _leave_reason(self, job: str, reason: str, kind: str, attempts: int) -> None:
        folder = self.working(job)
        failure = {"reason": reason, "kind": kind, "log": f"{folder}/log.txt", "attempts": attempts}
        write_atomic(folder / "failed.json", json.dumps(failure))

    def _log(self, job: str, text: str) -> None:
        append(self.working(job) / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    @contextmanager
    def attempt(self, claim: Claim) -> Iterator[Path]:
        """Yield an empty folder to fill; removed again unless it was published."""
        folder = self.working(claim.job) / f"attempt-{claim.number:04d}-{uuid.uuid4().hex[:6]}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class FinishedParts:
    """Arrays by number in an unfinished job's folder, for its next attempt; file names have a checksum."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of part ``number``."""
        import numpy as np

        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        data = buffer.getvalue()
        write_atomic(self._folder / f"kept-{number:06d}-{digest.short(data)}.npz", data)

    def get(self, number: int) -> dict[str, np.ndarray] | None:
        """Return what an earlier attempt wrote of part ``number``; None where nothing whole is there."""
        import numpy as np

        for path in self._folder.glob(f"kept-{number:06d}-*.npz"):
            data = path.read_bytes()
            if digest.short(data) == path.stem.rpartition("-")[2]:
                # right sum, wrong content: somebody's own file
                with (
                    suppress(ValueError, zipfile.BadZipFile),
                    np.load(io.BytesIO(data), allow_pickle=False) as arrays,
                ):
                    return dict(arrays)
        return None
