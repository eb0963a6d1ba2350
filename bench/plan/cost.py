"""What a job will cost, before it runs: measured where an alike job ran here, else estimated.

The estimate is arithmetic (steps x samples x voxels x operations per voxel; windows x cases; pairs of scans)
at nominal speeds of a quiet machine, times how busy this one is. Where a job of the same kind ran in the same
output folder, the others of that kind are corrected by what it took against its own estimate, and one that is
alike (network, batch, data) replaces the estimate. It is a forecast, not a promise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from math import ceil, prod
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.store import Store

if TYPE_CHECKING:
    from bench.job import Job
    from bench.plan import Plan

GIGAFLOPS_PER_THREAD = 25.0  # one CPU core on these networks in fp32, measured; see docs/speed.md
TERAFLOPS_PER_GPU = 20.0  # nominal, bf16 on a data-centre card; not measured by this project
MAPS = "segmentation"
BACKWARD = 3.0  # forward and backward against forward alone
# Seconds of one core on a quiet machine, measured here on small jobs.
START = 1.5  # a job's imports, reading, writing, for those that train or predict
STEP = 0.004  # of a training step, whatever its size
CASE = 0.1  # of a predicted case: reading, writing, scoring
VOXEL = 1e-6  # of a voxel of it: resampling to the original grid, surface distances
PAIR = 0.01  # of two scans that a guard compares: 2 to 10 ms in real scans, see docs/leaks.md
BYTE = 1.5e-7  # of a compressed byte that is prepared


def forecast(plan: Plan, store: Store, jobs: Sequence[str]) -> dict[str, float | None]:
    """Return seconds per job, None where nothing is known of it."""
    alike, slower = _measured(plan, store)
    busy = _busy()
    found: dict[str, float | None] = {}
    for name in jobs:
        job = plan.jobs[name]
        per_unit, work, seconds = alike.get(likeness(job)), _work(plan, job), _seconds(plan, job)
        if per_unit is not None and work:
            found[name] = per_unit * work
        else:
            found[name] = None if seconds is None else seconds * slower.get(job.kind, busy)
    return found


def _busy() -> float:
    """Return how many times longer work takes here for what else runs: the load of each processor."""
    try:
        return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    except OSError:  # not every system tells
        return 1.0


def likeness(job: Job) -> str:
    """Return what two jobs share whose seconds per unit of work are comparable."""
    spec = job.spec
    parts: list[Any] = [job.kind]
    if job.kind in ("pretrain", "finetune"):
        recipe = spec[job.kind]
        parts += [spec["network"], recipe["batch"], recipe["precision"]]
        parts += [spec["method"]["name"], spec["method"]["params"]] if job.kind == "pretrain" else []
    elif job.kind == "evaluate":
        parts += [spec["data"]["dataset"], spec["inference"], job.needs[1]]
    elif job.kind in ("latency", "embed"):
        parts += [spec["network"], spec.get("samples")]
    elif job.kind == "guard":
        parts += ["tests" in spec]
    elif job.kind == "prepare":
        parts += [spec["dataset"], spec["recipe"]]
    return json.dumps(parts, sort_keys=True)


def _work(plan: Plan, job: Job) -> float | None:
    if job.kind in ("pretrain", "finetune"):
        return job.spec[job.kind]["steps"]
    return 1.0


def _measured(plan: Plan, store: Store) -> tuple[dict[str, float], dict[str, float]]:
    """Return what was measured here: seconds per unit by likeness, times the estimate by kind of job."""
    per_unit: dict[str, list[float]] = {}
    slower: dict[str, list[float]] = {}
    for job in plan.jobs.values():
        if not store.done(job.id):
            continue
        seconds, work = store.manifest(job.id).get("seconds"), _work(plan, job)
        if not seconds:
            continue
        if work:
            per_unit.setdefault(likeness(job), []).append(seconds / work)
        if estimate := _seconds(plan, job):
            slower.setdefault(job.kind, []).append(seconds / estimate)
    return {k: median(v) for k, v in per_unit.items()}, {k: median(v) for k, v in slower.items()}


def _seconds(plan: Plan, job: Job) -> float | None:
    """Return a job's seconds on a quiet machine, None where its size is not known."""
    if job.kind in ("latency", "embed"):
        return 30.0  # 60 passes, or one of some hundred samples; measured after the first one
    if job.kind == "guard" and "tests" not in job.spec:
        return 0.1  # reads what another guard found
    if job.kind in ("prepare", "guard", "evaluate"):
        cases = plan.sizes.get(job.id)
        if not cases:
            return None
        if job.kind == "guard":
            return START + PAIR * cases
        return START + (BYTE * _bytes(plan, job) if job.kind == "prepare" else _predicting(plan, job, cases))
    operations = work_of(job)
    if operations is None:
        return None
    return START + operations / _speed(plan, job) + job.spec[job.kind]["steps"] * STEP


def _speed(plan: Plan, job: Job) -> float:
    """Return floating point operations a second of the threads that a job has."""
    return GIGAFLOPS_PER_THREAD * 1e9 * plan.threads.get(job.id, 1)


def _predicting(plan: Plan, job: Job, cases: int) -> float:
    """Return the seconds of predicting and scoring ``cases``: windows over each, and its voxels."""
    from bench.nets import catalog

    tuned, inference = plan.jobs[job.needs[0]], job.spec["inference"]
    net, whole = tuned.spec["network"], job.spec["data"]["task"] == MAPS
    sides = _sides(plan, plan.jobs[tuned.needs[0]])
    size = catalog.preset(net["network"], net["preset"])
    flops = size.flops_per_voxel if whole else size.encoder_flops_per_voxel
    step = [side * (1 - inference["overlap"]) for side in net["crop"]]
    windows = prod(
        1 + ceil(max(0.0, side - crop) / max(1.0, by))
        for side, crop, by in zip(sides, net["crop"], step, strict=True)
    )
    read = windows * prod(net["crop"]) * 2 ** len(inference["mirror"])
    return cases * (CASE + VOXEL * prod(sides) + read * flops / _speed(plan, job))


def _sides(plan: Plan, prepared: Job) -> tuple[float, ...]:
    """Return about how many voxels a prepared case has along each axis.

    Where the recipe does not say, a cube of as many voxels as its files have bytes.
    """
    cube = (_bytes(plan, prepared) / max(1, plan.sizes.get(prepared.id, 1))) ** (1 / 3)
    return tuple(float(side or cube) for side in prepared.spec["recipe"]["resize"] or (0, 0, 0))


def _bytes(plan: Plan, prepared: Job) -> float:
    root = plan.roots.get(prepared.spec["dataset"])
    return 0.0 if root is None else _size(root)


@lru_cache(maxsize=64)
def _size(root: str) -> float:
    size = 0.0
    for path in Path(root).rglob("*"):
        with suppress(OSError):  # gone meanwhile
            size += path.stat().st_size if path.is_file() else 0
    return size


def work_of(job: Job) -> float | None:
    """Return floating point operations of a training job, 0 for others, None if unknown."""
    from bench.nets import catalog

    if job.kind not in ("pretrain", "finetune"):
        return 0.0
    recipe, net = job.spec[job.kind], job.spec["network"]
    if recipe["steps"] is None:
        return None
    size = catalog.preset(net["network"], net["preset"])
    # Few pretrainings have a decoder, a classification has none.
    whole = _method(job).needs == "decoder" if job.kind == "pretrain" else job.spec["data"]["task"] == MAPS
    flops = size.flops_per_voxel if whole else size.encoder_flops_per_voxel
    sample = _views(job) * flops * prod(net["crop"]) + _heads(job)
    return recipe["steps"] * recipe["batch"] * sample * BACKWARD


def _method(job: Job) -> Any:
    from bench.registry import load

    return load("method", job.spec["method"]["name"])


def _views(job: Job) -> float:
    """Return crops per sample, as the method's own declaration has it."""
    if job.kind != "pretrain":
        return 1.0
    method = _method(job)
    return float(method.make_params(job.spec["method"]["params"]).crops_per_sample)


def _heads(job: Job) -> float:
    """Return forward operations per sample of a method's own heads, where they are large."""
    if job.kind != "pretrain":
        return 0.0
    method, spec = _method(job), job.spec
    return float(method.make_params(spec["method"]["params"]).head_flops(tuple(spec["network"]["crop"])))
