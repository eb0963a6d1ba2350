"""What every job that trains a network says of itself: pretraining and fine-tuning alike."""

from __future__ import annotations

from abc import abstractmethod

from bench.dataset import Recipe
from bench.errors import BenchError
from bench.job import Job
from bench.jobs.kind import (
    GPU_SAMPLE,
    GPU_STEP,
    START,
    TERAFLOPS_PER_GPU,
    Kind,
    NetSpec,
    PlanContext,
)
from bench.jobs.prepare.spec import PrepareSpec
from bench.nets import catalog
from bench.protocol.sections import Training

STEP = 0.004  # seconds of a step, whatever its size
BACKWARD = 3.0  # forward and backward against forward alone


class TrainingKind(Kind):
    """A kind of job that trains; its needs hold the preparations of what it reads."""

    network: NetSpec

    @property
    @abstractmethod
    def training(self) -> Training:
        """Return how it is trained."""

    @abstractmethod
    def across_batch(self) -> str:
        """Return what looks at all samples of a batch, so that micro-batches give another result; or nothing."""

    @abstractmethod
    def sample(self) -> float:
        """Return the floating point operations of one sample's way forward."""

    def units(self, job: Job, plan: PlanContext) -> float | None:
        """By the step."""
        return self.training.steps

    def operations(self) -> float | None:
        """Every sample of every step, forward and backward."""
        training = self.training
        if training.steps is None:
            return None
        return float(training.steps * training.batch * self.sample() * BACKWARD)

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """By its operations."""
        work, steps = self.operations(), self.training.steps
        if work is None or steps is None:
            return None
        return START + work / plan.speed(job) + steps * STEP

    def gpu_seconds(self) -> float | None:
        """By whatever is slowest in a step: to compute, to launch, or to read its samples."""
        work, training = self.operations(), self.training
        if work is None or training.steps is None:
            return None
        least = max(GPU_STEP, training.batch * GPU_SAMPLE)
        return max(work / (TERAFLOPS_PER_GPU * 1e12), training.steps * least)

    def refuse_training(self, job: Job, plan: PlanContext, processes: int) -> list[Recipe]:
        """Refuse a crop or a batch that no network can be trained on; return the recipes of what it reads.

        Raises:
            BenchError: says which, and what to take.
        """
        net, training = self.network, self.training
        catalog.check_crop(net.network, net.preset, net.crop)
        parts = training.accumulate * processes
        if training.batch % parts:
            why = f"which {processes} processes x accumulate {training.accumulate} need"
            batch = f"{self.kind}.batch {training.batch} cannot be divided into {parts} equal parts"
            raise BenchError(f"{batch}, {why}; use a multiple of {parts}")
        if training.accumulate > 1 and (what := self.across_batch()):
            raise BenchError(micro_batches(self.kind, what))
        # over processes they are joined
        catalog.check_batch(net.full_name, net.crop, training.batch // training.accumulate)
        specs = (plan.jobs[need].spec for need in job.needs)
        return [spec.recipe for spec in specs if isinstance(spec, PrepareSpec)]


def micro_batches(kind: str, what: str) -> str:
    """Return why a kind of job cannot cut its batch where ``what`` looks at all of it."""
    instead = "more processes" if kind == "pretrain" else "a smaller batch"
    why = f"{what}, and accumulate divides the batch, which would change the result"
    return f"{kind}.accumulate: {why}; leave it at 1 and use {instead}"


def batch_norm(network: str) -> str:
    """Return what a network does over a batch, in words, as its facts say it; nothing without batch norm."""
    if not catalog.network_facts(network).batch_norm:
        return ""
    return f"network {network!r} has batch norm, which computes its statistics over the whole batch"
