"""Jobs whose source files are others today, though nobody raised a version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bench import digest
from bench.claims import mutex
from bench.errors import Damaged, first_of
from bench.job import SPEC, Job
from bench.jobs import KINDS
from bench.runtime import sources as source_files
from bench.runtime.sources import changed, sources
from bench.store import Store, read_json

AGAIN = "they count as done; --redo changed reruns them"
NAMED = 5  # files that a line names
SETS = 3  # of files, with a line each; more are told in one line


@dataclass(frozen=True)
class Stale:
    """A finished job that other source made, or that stands on one.

    ``files`` are those that differ, its own and those of what it stands on; none where a bench that did
    not record them made it.
    """

    job: str
    kind: str
    files: tuple[str, ...]
    direct: bool  # its own files differ; else only what it stands on


def finished(store: Store) -> dict[str, dict[str, Any]]:
    """Return the manifest of every published job by id; one that is damaged is none."""
    files = sorted(store.jobs.glob("*/manifest.json"))
    return _manifests(store, (file.parent.name for file in files))


def _manifests(store: Store, jobs: Iterable[str]) -> dict[str, dict[str, Any]]:
    manifests: dict[str, dict[str, Any]] = {}
    for job in store.present(jobs):
        with suppress(Damaged):
            manifest = digest.manifest(store.jobs / job)
            manifests |= {job: manifest} if manifest is not None else {}
    return manifests


def stale(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Stale]:
    """Return which jobs are stale, by id; what a job needs and has no manifest here is up to date."""
    # files that differ, own? None: not recorded
    judged: dict[str, tuple[frozenset[str], bool | None]] = {}

    def judge(job: str) -> frozenset[str]:
        if job not in judged:
            judged[job] = frozenset(), False  # a damaged manifest may need itself
            differing = changed(manifests[job])
            below = [judge(need) for need in manifests[job].get("needs") or () if need in manifests]
            is_direct = None if differing is None else bool(differing)
            judged[job] = frozenset(differing or ()).union(*below), is_direct
        return judged[job][0]

    for job in manifests:
        judge(job)
    return {
        job: Stale(job, str(manifests[job].get("kind")), tuple(sorted(files)), bool(differing))
        for job, (files, differing) in judged.items()
        if files or differing is None
    }


def wanted(store: Store, jobs: Iterable[str]) -> dict[str, Stale]:
    """Return which of some jobs are finished and stale, by id."""
    return stale(_manifests(store, jobs))


def lines(stale_jobs: Iterable[Stale], then: str = AGAIN) -> list[str]:
    """Return what to tell of stale jobs: one line for each set of files, or one for them all where many.

    ``then``: what to do about them.
    """
    per: dict[tuple[str, ...], list[Stale]] = {}
    for job in stale_jobs:
        per.setdefault(job.files, []).append(job)
    file_sets = [files for files in per if files]
    if len(file_sets) > SETS:
        every = [job for files in file_sets for job in per.pop(files)]
        per[tuple(sorted({file for files in file_sets for file in files}))] = every
    texts = []
    for files, jobs in sorted(per.items()):
        direct = _counts(job for job in jobs if job.direct)
        after = _counts(job for job in jobs if not job.direct)
        were = f"{len(jobs)} finished job{'s were' if len(jobs) > 1 else ' was'} made by"
        if not files:
            text = f"{were} an older version of bench that recorded no source files ({after})"
            texts.append(f"{text}; whether the source files changed is unknown")
            continue
        named = first_of(files, NAMED)
        counted = ", ".join(
            filter(None, (direct, f"{after} that depend on these" if after else ""))
        )
        texts.append(f"{were} another version of {named} ({counted}); {then}")
    return texts


def differ(store: Store, job: Job) -> tuple[str, ...]:
    """Return the files of which another state left a job unfinished; none where the next attempt goes on."""
    note = store.begun_by(job.id)
    return () if note is None else source_files.unfinished(note, sources(job.plain())).differ


def unfinished(store: Store, jobs: Iterable[Job], keep: bool = False) -> list[str]:
    """Return a line for each job, not done, that other source files left half done.

    ``keep``: does the next attempt go on with what is there? Else it drops it.
    """
    texts, then = [], "it starts from the beginning; --keep-unfinished continues it"
    if keep:
        then = "it continues (--keep-unfinished)"
    for job in jobs:
        step = store.progress(job.id).get("step")
        if step and not store.owner(job.id) and (files := differ(store, job)):
            other = f"another version of {first_of(files, NAMED)}"
            texts.append(f"{job.kind} {job.id}: {other} made its first {step} steps; {then}")
    return texts


def _counts(jobs: Iterable[Stale]) -> str:
    counts = Counter(job.kind for job in jobs)
    kinds = sorted(counts, key=lambda kind: (*KINDS, kind).index(kind))
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds)


class Without(Store):
    """An output folder seen as if some of its jobs were not done."""

    def __init__(self, store: Store, jobs: Iterable[str]) -> None:
        super().__init__(store.root)
        self._without = frozenset(jobs)

    def done(self, job: str) -> bool:
        """Is this job published, and not one of those?"""
        return job not in self._without and super().done(job)


@dataclass(frozen=True)
class Redo:
    """Which finished jobs are to be done again, and which must stay because somebody works with them."""

    again: tuple[str, ...]  # what stands on others first
    left: Mapping[str, str]  # id -> the job in work that reads it


def redo(store: Store, jobs: Iterable[str]) -> Redo:
    """Return what ``--redo changed`` takes away: what is stale among some jobs, and all that stands on it.

    That is more than one protocol knows: a fine-tuning of another one must not outlive its pretraining.
    """
    manifests = finished(store)
    outdated = {job for job, s in stale(manifests).items() if s.files}
    chosen = set(jobs) & outdated
    while more := {j for j in outdated - chosen if chosen & {*(manifests[j].get("needs") or ())}}:
        chosen |= more
    depth: dict[str, int] = {}

    def needs_of(job: str) -> list[str]:
        return [need for need in manifests[job].get("needs") or () if need in manifests]

    def deep(job: str) -> int:
        if job not in depth:
            depth[job] = 0
            depth[job] = 1 + max(map(deep, needs_of(job)), default=0)
        return depth[job]

    left = {job: reader for job, reader in _read_now(store, manifests).items() if job in chosen}
    for job in sorted(chosen, key=deep):  # on what stays old nothing is made again
        if job not in left and (old := [need for need in needs_of(job) if need in left]):
            left[job] = left[old[0]]
    return Redo(tuple(sorted(chosen - left.keys(), key=deep, reverse=True)), left)


def _read_now(store: Store, manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the finished jobs that one in work stands on, each with that one."""
    readers: dict[str, str] = {}
    for file in sorted(store.work.glob("*/job.json")):
        job = file.parent.name
        if store.owner(job) is None:
            continue
        waiting = [*((read_json(file, SPEC) or {}).get("job", {}).get("needs", ()))]
        while waiting:
            need = waiting.pop()
            if need in manifests and need not in readers:
                readers[need] = job
                waiting += manifests[need].get("needs") or ()
    return readers


def set_aside(
    store: Store, jobs: Iterable[str], waiting: Callable[[str], None] = lambda who: None
) -> Redo:
    """Take away what is stale among some jobs and all that stands on it; return what was taken and left.

    What stands on others goes first, so that one that is killed here leaves nothing that looks up to date
    and is not. Two commands take turns (``waiting``: see ``claims.mutex``): the second finds nothing stale.
    """
    wanted = list(jobs)
    with mutex(store.within(store.root / "redo"), waiting):
        chosen = redo(store, wanted)
        for job in chosen.again:
            store.take_back(job, "its source files changed")
    return chosen
