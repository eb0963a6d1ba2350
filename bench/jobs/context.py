"""What a job may use: its spec, its inputs, a folder to fill, a way to tell and to be stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from bench import typed
from bench.claims import HEARTBEAT, Claim, check
from bench.job import Job
from bench.jobs.scoring import Scoring
from bench.plugins import Planned
from bench.store import Store

WARNING = "warning"  # in a manifest, and in what a job tells as it goes on
S = TypeVar("S")
N = TypeVar("N")


@dataclass(frozen=True)
class Cuda:
    """How a card rounds and chooses kernels: no part of a job's identity; a manifest has it under ``switches``."""

    # products of fp32 that are rounded to TF32's 10 bits: torch rounds those of convolutions alone
    tf32: Literal["off", "convolutions", "all"] = "convolutions"
    # cuDNN tries its kernels first: often faster, not always the same kernel
    benchmark: bool = False
    deterministic: bool = False  # cuDNN takes kernels that give equal bits each time, often slower


@dataclass(frozen=True)
class RunOptions:
    """What one command brings to a job: never part of the job's identity, and never another command's."""

    roots: dict[str, str] = field(default_factory=dict)  # data set -> its folder on this machine
    # digest -> a file of weights made elsewhere
    files: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    loaders: int = 0  # processes that read, or that share a job's cases
    scoring: Sequence[Scoring] = ()  # ways to score an evaluation
    every: float = 60.0  # seconds between checkpoints
    after: Sequence[str] = ()  # guards, of which one must be done before the job begins
    plugins: Sequence[Planned] = ()  # from outside, that the job and what it stands on touch
    keep_unfinished: bool = False  # go on with what other source files left unfinished
    cuda: Cuda = Cuda()


@dataclass
class Context(Generic[S]):
    """One attempt at one job, whose spec is an ``S``."""

    store: Store
    claim: Claim
    job: Job
    run: RunOptions
    folder: Path  # becomes DIR/jobs/<id>
    log: Callable[[str], None] = lambda line: None
    stopping: Callable[[], bool] = lambda: False
    # would today's source make it again?
    fresh: Callable[[Mapping[str, Any]], bool] = lambda manifest: True
    facts: dict[str, Any] = field(default_factory=dict)  # goes into the manifest
    earlier: float = 0.0  # seconds of the attempts that this one goes on from
    _began: float = field(default_factory=time.monotonic)
    _checked: float = field(default_factory=time.monotonic)
    _logged_at: float = 0.0

    @property
    def spec(self) -> S:
        """Return what is to do."""
        spec: S = self.job.spec
        return spec

    @property
    def id(self) -> str:
        """Return the job's name."""
        return self.claim.job

    @property
    def scratch(self) -> Path:
        """Return the folder that survives this attempt: checkpoints, snapshots."""
        return self.store.working(self.id)

    @property
    def seconds(self) -> float:
        """Return how long the job has taken so far, with the attempts that this one goes on from."""
        return self.earlier + time.monotonic() - self._began

    def input(self, index: int) -> Path:
        """Return the folder of a finished job that this one needs."""
        return self.store.jobs / self.job.needs[index]

    def done(self, index: int, kind: type[N]) -> N:
        """Return what a finished job of this kind, which this one needs, was told to do."""
        need = self.job.needs[index]
        manifest, where = self.store.manifest(need), str(self.store.jobs / need)
        return typed.build(kind, manifest["spec"], lambda keys: ".".join((where, "spec", *keys)))

    def progress(self, step: int, steps: int, terms: dict[str, float] | None = None) -> None:
        """Tell how far the job is; looks now and then whether the claim still counts.

        Raises:
            Fenced: another attempt owns the job now.
        """
        now = time.monotonic()
        if now - self._logged_at > 0.5 or step == steps:
            self._logged_at = now
            shown = "  ".join(f"{k} {v:.4f}" for k, v in (terms or {}).items())
            self.log(f"step {step}/{steps}  {shown}".rstrip())
            loss = (terms or {}).get("total")
            self.store.tell(self.id, step, steps, loss, self.facts.get(WARNING, ""))
        if now - self._checked > HEARTBEAT:
            self._checked = now
            self.check()

    def warn(self, text: str) -> None:
        """Tell a person what is wrong with a job that goes on: on the screen, in its log and manifest."""
        self.facts[WARNING] = text
        self.log(f"warning: {text}")

    def check(self) -> None:
        """Make sure that the claim still counts, before anything is written that the next attempt reads.

        Notes the time spent, which that attempt goes on from as well.

        Raises:
            Fenced: another attempt owns the job now.
        """
        check(self.claim)
        self.store.spend(self.id, self.seconds)
