"""What each job of a plan takes of a card: memory, operations, hours, disk, and what to do where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import ceil
from typing import Any

from bench import no_torch
from bench.data.contents import Bar, no_bar
from bench.errors import BenchError
from bench.gpu import memory
from bench.gpu.cards import Card
from bench.gpu.memory import StepMemory
from bench.gpu.work import Step
from bench.job import Job
from bench.jobs.evaluate.spec import EvaluateSpec
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.kind import MAPS
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.jobs.training_kind import TrainingKind
from bench.plan import Plan
from bench.protocol.sections import Windows

GIB = 2**30
TRIES = 3  # parts of a batch that are counted, until one fits
NO_CARD = "needs no card"
UNCOUNTED = "not counted"
UNKNOWN_STEPS = "steps are not known without the data"
UNKNOWN_CASES = "cases are not known without the data"


@dataclass(frozen=True)
class Need:
    """What a job takes of a card; None where nobody knows."""

    gib: float | None = 0.0
    teraflop: float | None = 0.0
    hours: float | None = 0.0
    fits: bool | None = True
    assumed: str = ""  # or why something is not known
    advice: str = ""  # where it does not fit
    disk: float = 0.0  # GiB that it leaves
    step: float = 0.0  # seconds of a step of a training
    processes: int = 1  # that share it, each on a card of its own

    @property
    def elapsed(self) -> float:
        """Hours from its begin to its end; 0 where nobody knows."""
        return (self.hours or 0.0) / self.processes


class Forecast:
    """Counts a step of every distinct training of a plan, and its windows."""

    def __init__(
        self, plan: Plan, card: Card, steps: StepMemory, processes: int = 1, bar: Bar = no_bar
    ) -> None:
        self.card, self._plan, self._steps = card, plan, steps
        self._context, self._processes, self._bar = plan.context(processes), processes, bar

    def needs(self, jobs: Sequence[str]) -> dict[str, Need]:
        """Return what each job takes."""
        needs = dict[str, Need]()
        with self._bar("counting a step of each training") as progress:
            for number, name in enumerate(jobs, 1):
                needs[name] = self._need(self._plan.jobs[name])
                progress(number, len(jobs))
        return needs

    def _need(self, job: Job) -> Need:
        spec = job.spec
        if not spec.gpu:
            return Need(assumed=NO_CARD)
        try:
            if isinstance(spec, PretrainSpec) or _is_trained(spec):
                return self._training(job)
            if isinstance(spec, EvaluateSpec):
                return self._evaluation(job)
        except Exception as error:  # code from outside raises anything
            if no_torch.used():
                raise  # and the command starts anew, with torch
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Need(None, None, None, None, f"{UNCOUNTED}: {why}")
        return Need(None, None, None, None, UNCOUNTED)

    def _step(self, job: Job, spec: TrainingKind, processes: int = 0) -> Step:
        """Return a step of a training, as it is or as it is changed by ``spec``."""
        if isinstance(spec, PretrainSpec):
            shape = self._plan.spec(job.needs[0], PrepareSpec).recipe.resize
            share = processes or self._processes
            key = memory.of_pretraining(job, spec, shape, share)
            count: Callable[[], Step] = partial(_counted, "pretraining", spec, shape, share)
        else:
            assert isinstance(spec, FinetuneSpec)
            key, count = memory.of_finetuning(job, spec), partial(_counted, "finetuning", spec)
        return self._steps.get(key, count)

    def _training(self, job: Job) -> Need:
        spec, card = job.spec, self.card
        step, training = self._step(job, spec), spec.training
        count, fits = training.steps, step.most <= card.room
        if count is None:
            count = self._plan.paper_steps.get(job.id)
        processes = self._processes if isinstance(spec, PretrainSpec) else 1
        return Need(
            gib=step.most / GIB,
            teraflop=None if count is None else count * step.flops * processes / 1e12,
            hours=None if count is None else count * card.seconds(step.work) * processes / 3600,
            fits=fits,
            assumed=card.speed.text if count is not None else UNKNOWN_STEPS,
            advice="" if fits else "; or ".join(self._ways(job, step)),
            disk=step.weights * (1 + len(getattr(training, "snapshots", ()))) / GIB,
            step=card.seconds(step.work),
            processes=processes,
        )

    def _ways(self, job: Job, step: Step) -> Iterator[str]:
        """Yield the ways in which a training fits, each counted; else what card it takes."""
        spec, ways = job.spec, 0
        training = spec.training
        if not spec.across_batch():
            for parts in self._parts(step, training.batch // self._processes):
                cut = replace(spec, **{spec.kind: replace(training, accumulate=parts)})
                if self._fits(job, cut):
                    ways += 1
                    yield f"accumulate {parts}"
                    break
        if spec.joined:
            for processes in self._parts(step, training.batch // training.accumulate):
                if self._fits(job, spec, processes):
                    ways += 1
                    yield f"{processes} processes"
                    break
        if training.precision == "fp32":
            half = replace(spec, **{spec.kind: replace(training, precision="bf16")})
            if self._fits(job, half):
                ways += 1
                yield "bf16"
        if not ways:
            yield f"a card of {step.most / GIB * 1.1 + 1:.0f} GiB"

    def _fits(self, job: Job, spec: TrainingKind, processes: int = 0) -> bool:
        return self._step(job, spec, processes).most <= self.card.room

    def _parts(self, step: Step, batch: int) -> list[int]:
        """Return into how many equal parts a batch might have to be cut, the fewest first; few are tried."""
        each = (step.most - step.fixed) / step.samples
        fitting = (self.card.room - step.fixed) / each if each else 0.0
        counts = (n for n in range(2, batch + 1) if batch % n == 0 and batch // n <= fitting)
        return list(islice(counts, TRIES))

    def _evaluation(self, job: Job) -> Need:
        spec, card = job.spec, self.card
        tuned_job, prepared = (self._plan.jobs[need] for need in job.needs)
        tuned = tuned_job.spec_as(FinetuneSpec)
        if tuned.probes:
            return Need(None, None, None, None, UNCOUNTED)
        count = partial(_counted, "inference", tuned, spec.inference)
        step = self._steps.get(memory.of_windows(tuned_job, tuned, spec.inference), count)
        sides = prepared.spec_as(PrepareSpec).sides(prepared, self._context)
        batches, ring = _windows(sides, spec.inference, tuned)
        most, cases = step.most + ring, self._context.sizes.get(job.id)
        fits = most <= card.room
        advice = "" if fits else "a smaller inference.batch"
        if not (cases and batches):
            return Need(most / GIB, None, None, fits, UNKNOWN_CASES, advice)
        total = cases * batches
        hours = total * card.seconds(step.work) / 3600
        return Need(most / GIB, total * step.flops / 1e12, hours, fits, card.speed.text, advice)


def _counted(function: str, *given: Any) -> Step:
    """Count a step; loads torch and MONAI, which a plan whose steps are all remembered does without."""
    from bench.gpu import steps
    from bench.gpu.device import unavailable

    if reason := unavailable():
        raise BenchError(f"{reason}; use the torch that 'make setup' installs")
    step: Step = getattr(steps, function)(*given)
    return step


def _is_trained(spec: Any) -> bool:
    return isinstance(spec, FinetuneSpec) and not (spec.probes or spec.untrained)


def _windows(sides: Sequence[float], windows: Windows, tuned: FinetuneSpec) -> tuple[int, int]:
    """Return how many batches of windows a scan takes, and the bytes of its planes on the card.

    Both are 0 where nobody knows the sides of a scan.
    """
    from bench.jobs import predict
    from bench.jobs.window import Grid

    if not any(sides):
        return 0, 0
    x, y, z = (max(1, round(side)) for side in sides)
    if tuned.data.task != MAPS:
        count = len(predict.corners((x, y, z), windows.crop, windows.overlap))
        return ceil(count / windows.batch), 0
    grid = Grid.over((x, y, z), windows.crop, windows.overlap)
    starts, size = grid.starts, windows.batch
    batches = [starts[n : n + size] for n in range(0, len(starts), size)]
    net = tuned.network
    channels = net.in_channels + (net.out_channels or 2) + 1
    return len(batches), 4 * channels * x * y * grid.reach(batches)
