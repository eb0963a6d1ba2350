"""Crops that methods cannot be pretrained on: all of a plan's in one message, with what to take.

And those that are larger than the scans, which can be trained on and teach little.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from bench.errors import BenchError
from bench.job import Job
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.kind import NetSpec, PlanContext
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.nets.nearest import nearest
from bench.plan.dag import Cell, Plan
from bench.ranges import Triple

Trained = PretrainSpec | FinetuneSpec


def faults(plan: Plan, cells: Sequence[tuple[str, Cell]], context: PlanContext) -> str:
    """Return which rows cannot be trained on their crops, why, and the nearest that fits all; "" for none."""
    rows: dict[NetSpec, dict[str, str]] = {}  # network with a crop: why each row cannot read it
    users: dict[NetSpec, dict[str, Job]] = {}  # jobs that read it, one of each kind
    scans: dict[NetSpec, set[Triple]] = {}  # the median scan of each data set that it is cut from
    for _, cell in cells:
        for job in map(plan.jobs.__getitem__, filter(None, (cell.pretrain, cell.finetune))):
            spec: Trained = job.spec
            users.setdefault(_net(spec), {}).setdefault(_kind(spec), job)
            scans.setdefault(_net(spec), set()).update(_medians(plan, job).values())
            if why := _refusal(spec, job, context):
                rows.setdefault(_net(spec), {}).setdefault(cell.row, why)
    texts = [
        _message(net, by_row, [*users[net].values()], scans[net], context)
        for net, by_row in rows.items()
    ]
    return "; ".join(filter(None, texts))


def oversized(plan: Plan, protocol: str) -> list[str]:
    """Return a sentence on each crop that is larger than the median scan which it is cut from."""
    texts = dict[str, None]()
    for cell in (cell for cell in plan.cells[protocol] if cell.wanted):
        for job in map(plan.jobs.__getitem__, filter(None, (cell.pretrain, cell.finetune))):
            spec: Trained = job.spec
            for dataset, median in _medians(plan, job).items():
                if not _within(spec.network.crop, median):
                    texts[
                        f"{dataset}: crops of {_by(spec.network.crop)} voxels are larger than the median scan "
                        f"({_by(median)}), so a part of each crop is padding"
                    ] = None
    return list(texts)


def _medians(plan: Plan, job: Job) -> dict[str, Triple]:
    """Return the size of the median prepared scan of each data set that a training reads, where known."""
    needs = [need for need in job.needs if need in plan.medians]
    return {plan.spec(need, PrepareSpec).dataset: plan.medians[need] for need in needs}


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _within(crop: Triple, size: Triple) -> bool:
    return all(side <= n for side, n in zip(crop, size, strict=True))


def _message(
    net: NetSpec,
    rows: dict[str, str],
    jobs: Sequence[Job],
    scans: Collection[Triple],
    context: PlanContext,
) -> str:
    """Return the fault of one crop; "" where no other crop would help, or the crop is no fault."""

    def fits(crop: Triple) -> bool:
        specs = [replace(j.spec, network=replace(j.spec.network, crop=crop)) for j in jobs]
        return not any(_refusal(spec, job, context) for spec, job in zip(specs, jobs, strict=True))

    def fits_scans(crop: Triple) -> bool:
        return all(_within(crop, scan) for scan in scans) and fits(crop)

    take = nearest(net.network, net.preset, net.crop, fits)
    if take is None or take == net.crop:  # another fault
        return ""
    why = "; ".join(f"row {row!r}: {text}" for row, text in rows.items())
    many = " all rows that read it" if len(jobs) > 1 else " it"
    fault = f"crop {list(net.crop)} of network {net.network!r}: {why}"
    if smaller := nearest(net.network, net.preset, net.crop, fits_scans):
        return f"{fault}; use {list(smaller)}, which fits{many}"
    median = _by([min(along) for along in zip(*scans, strict=True)])
    return (
        f"{fault}; {list(take)} fits{many}, but is larger than the median scan ({median} voxels): prepare the "
        "scans by a finer 'spacing' or a larger 'resize', or leave rows out"
    )


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
