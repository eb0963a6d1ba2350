"""Crops that methods cannot be pretrained on: all of a plan's in one message, with what to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import BenchError
from bench.job import Job
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.kind import NetSpec, PlanContext
from bench.jobs.pretrain.spec import PretrainSpec
from bench.nets.nearest import nearest
from bench.plan.dag import Cell, Plan
from bench.ranges import Triple

Trained = PretrainSpec | FinetuneSpec


def faults(plan: Plan, cells: Sequence[tuple[str, Cell]], context: PlanContext) -> str:
    """Return which rows cannot be trained on their crops, why, and the nearest that fits all; "" for none."""
    rows: dict[NetSpec, dict[str, str]] = {}  # network with a crop: why each row cannot read it
    users: dict[NetSpec, dict[str, Job]] = {}  # jobs that read it, one of each kind
    for _, cell in cells:
        for job in map(plan.jobs.__getitem__, filter(None, (cell.pretrain, cell.finetune))):
            spec: Trained = job.spec
            users.setdefault(_net(spec), {}).setdefault(_kind(spec), job)
            if why := _refusal(spec, job, context):
                rows.setdefault(_net(spec), {}).setdefault(cell.row, why)
    texts = [_message(net, by_row, [*users[net].values()], context) for net, by_row in rows.items()]
    return "; ".join(filter(None, texts))


def _message(net: NetSpec, rows: dict[str, str], jobs: Sequence[Job], context: PlanContext) -> str:
    """Return the fault of one crop; "" where no other crop would help, or the crop is no fault."""

    def fits(crop: Triple) -> bool:
        specs = [replace(j.spec, network=replace(j.spec.network, crop=crop)) for j in jobs]
        return not any(_refusal(spec, job, context) for spec, job in zip(specs, jobs, strict=True))

    take = nearest(net.network, net.preset, net.crop, fits)
    if take in (None, net.crop):  # another fault
        return ""
    why = "; ".join(f"row {row!r}: {text}" for row, text in rows.items())
    many = " all rows that read it" if len(jobs) > 1 else " it"
    return f"crop {list(net.crop)} of network {net.network!r}: {why}; use {list(take)}, which fits{many}"


def _net(spec: Trained) -> NetSpec:
    """Return a network with its crop, whatever its channels are."""
    return replace(spec.network, in_channels=1, out_channels=None, hidden=0)


def _kind(spec: Trained) -> str:
    """Return what alike trainings share: seeds and label fractions make no difference to a crop."""
    if isinstance(spec, FinetuneSpec):
        return "finetune"
    return repr((spec.method, spec.pretrain.batch, spec.pretrain.accumulate))


def _refusal(spec: Trained, job: Job, context: PlanContext) -> str:
    try:
        spec.refuse(Job(spec, job.needs), context)
    except BenchError as error:
        return str(error)
    return ""
