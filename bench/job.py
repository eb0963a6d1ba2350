"""A unit of work, named by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from bench.typed import canonical, plain

S = TypeVar("S")

# What the JSON files of a job hold, as ``bench.typed.build`` takes it.
DESCRIBED = {"kind": str, "spec": dict, "needs": [str]}  # of a job
SPEC = {"job": DESCRIBED}  # job.json
MANIFEST = {  # manifest.json
    **{f"{key}?": kind for key, kind in DESCRIBED.items()},
    "seconds?": float,
    "attempts?": int,
    "peak_memory_mb?": float,
    "peak_device_mb?": float,
    "steps?": int,
    "samples?": int,
    "voxels?": int,
    "cases?": int,
    "labels?": [str],
    "selected_step?": int,
    "provenance?": {"source?": str, "sources?": {"*": str}, "begun_by?": [str]},
    "files?": {"*": {"sha256": str, "bytes": int}},
    "digest?": str,
}
FAILED = {"reason": str, "kind": str, "log": str, "attempts": int}  # failed.json
PROGRESS = {"step": int, "steps": int, "warning?": str}  # progress.json


class Spec:
    """What a job is to do: a frozen dataclass for each kind of job, in ``bench/jobs/<kind>/spec.py``.

    ``version`` is raised by hand when a kind's numbers change on purpose.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    def keeps(self, job: Job, jobs: Mapping[str, Job]) -> str:
        """Return a name for what a worker keeps of such a job in memory, for its next one; "" for nothing."""
        return ""


def identify(kind: str, version: int, spec: Any, needs: Sequence[str]) -> str:
    """Return the id of a job: the first 16 hex digits of SHA-256 over what it is."""
    content = {"kind": kind, "version": version, "spec": spec, "needs": list(needs)}
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
    """One node of the plan: what is to do, and the jobs whose results it reads.

    No path, host, protocol, row or scale is part of its id, so equal work is one job everywhere.
    """

    spec: Any  # a ``Spec``
    needs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Return the kind of its spec."""
        return str(self.spec.kind)

    @cached_property
    def id(self) -> str:
        """Return the job's name."""
        return identify(self.kind, self.spec.version, self.spec, self.needs)

    def spec_as(self, kind: type[S]) -> S:
        """Return its spec, as one of a kind that the caller knows."""
        assert isinstance(self.spec, kind)
        return self.spec

    def plain(self) -> dict[str, Any]:
        """Return what workers and manifests read: ``kind``, ``spec`` and ``needs``."""
        return {"kind": self.kind, "spec": plain(self.spec), "needs": list(self.needs)}
