"""Latency: how long one network takes for one crop, on the device that runs this job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.digest import read_json
from bench.job import Job
from bench.jobs.kind import Kind, NetSpec, PlanContext

FILE = "latency.json"


@dataclass(frozen=True)
class LatencySpec(Kind):
    """A network, and whether it gives label maps or classes."""

    kind = "latency"

    network: NetSpec
    task: str

    def likeness(self, job: Job, plan: PlanContext) -> list[Any]:
        """The same network."""
        return [self.network]

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """60 passes; measured after the first such job."""
        return 30.0


@dataclass(frozen=True)
class Latency:
    """Seconds of one crop's way forward: the median and the quartiles of ``repeats`` passes on a device."""

    median: float
    low: float
    high: float
    repeats: int
    device: str


def read(folder: Path) -> Latency:
    """Return what a finished job measured.

    Raises:
        Damaged: the file is lost or not what was published.
    """
    return read_json(folder / FILE, Latency)
