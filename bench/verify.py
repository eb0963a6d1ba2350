"""``bench verify``: every published file of an output folder against its digest; none is changed.

What is damaged is noted in ``damaged/found.json``: ``bench run`` sets these jobs aside and does them anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench import digest
from bench.data import index
from bench.errors import BenchError, Damaged, printable
from bench.jobs import scoring
from bench.store import Store, read_json, write_atomic

FOUND = "found.json"
ANEW = "run the protocol again: it is made anew"
SHOWN = 3  # jobs without digests that are named


@dataclass(frozen=True)
class Finding:
    """One file that is not what was published."""

    path: Path
    what: str

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.what}; {ANEW}")


@dataclass
class Verified:
    """What was read, and what of it is damaged."""

    jobs: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    without: list[str] = field(default_factory=list)  # what an older version left, without digests

    def read(self, path: Path) -> None:
        """Count a file."""
        self.files += 1
        self.bytes += path.stat().st_size


def verify(store: Store) -> Verified:
    """Read every published file of an output folder."""
    verified, noted = Verified(), dict[str, str]()
    for folder in sorted(path for path in store.jobs.iterdir() if path.is_dir()):
        before = len(verified.findings)
        look(folder, verified)
        if len(verified.findings) > before:
            noted[folder.name] = str(verified.findings[before])
    with suppress(OSError):  # it may belong to somebody else
        _note(store, noted)
    return verified


def look(folder: Path, verified: Verified) -> None:
    """Read one job's published files; adds to ``verified``."""
    verified.jobs += 1
    manifest = None
    try:
        manifest = digest.manifest(folder)
        if manifest is None:
            verified.findings.append(Finding(folder / digest.NAME, digest.LOST))
    except Damaged as error:
        verified.findings.append(Finding(error.path, f"damaged ({error.what})"))
    if manifest is not None:
        verified.read(folder / digest.NAME)
        if "files" not in manifest:
            verified.without.append(folder.name)
        verified.findings += _files(folder, manifest.get("files", {}), verified)
    verified.findings += _scores(folder, verified)


def noted(store: Store, jobs: Iterable[str]) -> list[Finding]:
    """Return what of ``jobs`` an earlier ``verify`` found damaged, and still is."""
    try:
        names = read_json(store.damaged / FOUND, {"*": str}) or {}
    except BenchError:
        return []
    mine, verified = names.keys() & set(jobs), Verified()
    for job in sorted(mine):
        if (store.jobs / job).is_dir():
            look(store.jobs / job, verified)
    return verified.findings


def forget(store: Store, jobs: Iterable[str]) -> None:
    """Note no longer what ``noted`` returned of ``jobs``: it was set aside, or is whole again."""
    with suppress(BenchError):
        names = read_json(store.damaged / FOUND, {"*": str}) or {}
        left = {job: line for job, line in names.items() if job not in set(jobs)}
        if left != names:
            _note(store, left)


def as_text(verified: Verified) -> str:
    """Return a line for each damaged file, what could not be verified, and what was read."""
    lines = [str(finding) for finding in verified.findings]
    if verified.without:
        names = ", ".join(verified.without[:SHOWN]) + (
            " ..." if len(verified.without) > SHOWN else ""
        )
        lines.append(
            f"not verifiable: {len(verified.without)} of an older version, without digests: {names}"
        )
    damaged = f"{len(verified.findings)} damaged" if verified.findings else "all whole"
    lines.append(
        f"{verified.jobs} jobs, {verified.files} files, {verified.bytes:,} bytes read: {damaged}"
    )
    return "\n".join(map(printable, lines))


def _files(
    folder: Path, listed: dict[str, dict[str, str]], verified: Verified
) -> Iterator[Finding]:
    intact = True
    for name, digests in listed.items():
        path = folder / name
        try:
            intact_file = digest.sha256(path) == digests["sha256"]
            what = "" if intact_file else f"damaged ({digest.ANOTHER})"
            verified.read(path)
        except OSError as error:
            what = f"cannot be read ({error.strerror})" if path.exists() else digest.LOST
        if what:
            yield Finding(path, what)
            intact = False
    if intact and index.NAME in listed:
        yield from _frames(folder)


def _frames(folder: Path) -> Iterator[Finding]:
    """Compare frames with the checksums taken when they were made: they wait on the disk until then."""
    try:
        opened = index.Index(folder)
    except Damaged as error:
        yield Finding(error.path, f"damaged ({error.what})")
        return
    for case in opened.cases:
        for frame in index.FRAMES:
            if opened.has(case, frame):
                frame_place = opened.place(case, frame)
                try:
                    frame_place.check()
                except Damaged as error:
                    yield Finding(
                        error.path, f"damaged at {error.part} ({error.what}; {frame} of {case})"
                    )


def _scores(folder: Path, verified: Verified) -> Iterator[Finding]:
    for path in sorted(folder.glob("scores-*.parquet")):
        if path.stem.count("-") < 2:
            verified.without.append(f"{folder.name}/{path.name}")
            continue
        verified.read(path)
        if not scoring.intact(path):
            yield Finding(path, f"damaged ({digest.ANOTHER})")


def _note(store: Store, noted: dict[str, str]) -> None:
    path = store.damaged / FOUND
    if store.damaged.is_symlink():
        return
    if noted:
        store.damaged.mkdir(exist_ok=True)
        write_atomic(path, json.dumps(noted, indent=1))
    else:
        path.unlink(missing_ok=True)
