"""What a job will cost, before it runs: measured where an alike job ran here, else estimated.

The estimate is arithmetic (steps x samples x voxels x operations per voxel) at one nominal
speed; measured jobs in the same output folder replace it. It is a forecast, not a promise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod
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


def forecast(plan: Plan, store: Store, jobs: Sequence[str]) -> dict[str, float | None]:
    """Return seconds per job, None where nothing is known of it."""
    measured = _measured(plan, store)
    found: dict[str, float | None] = {}
    for job in jobs:
        alike = measured.get(likeness(plan.jobs[job]))
        work = _work(plan, plan.jobs[job])
        if alike is not None and work:
            found[job] = alike * work
        else:
            found[job] = _seconds(plan, plan.jobs[job])
    return found


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


def _measured(plan: Plan, store: Store) -> dict[str, float]:
    per_unit: dict[str, list[float]] = {}
    for job in plan.jobs.values():
        if not store.done(job.id):
            continue
        manifest = store.manifest(job.id)
        work = _work(plan, job)
        if work and manifest.get("seconds"):
            per_unit.setdefault(likeness(job), []).append(manifest["seconds"] / work)
    return {k: median(v) for k, v in per_unit.items()}


def _seconds(plan: Plan, job: Job) -> float | None:
    if job.kind == "prepare":
        return _prepare_seconds(plan, job)
    if job.kind == "evaluate":
        return 5.0  # windows over the test cases; measured after the first one
    if job.kind in ("latency", "embed"):
        return 30.0  # 60 passes, or one of some hundred samples; measured after the first one
    if job.kind == "guard":
        return 60.0 if "tests" in job.spec else 0.1  # thousands of pairs; measured after the first one
    operations = work_of(job)
    if operations is None:
        return None
    speed = GIGAFLOPS_PER_THREAD * 1e9 * plan.threads.get(job.id, 1)
    return operations / speed + job.spec[job.kind]["steps"] * 0.004


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
    return float(method.crops_per_sample(method.make_params(job.spec["method"]["params"])))


def _heads(job: Job) -> float:
    """Return forward operations per sample of a method's own heads, where they are large."""
    if job.kind != "pretrain":
        return 0.0
    method, spec = _method(job), job.spec
    return float(
        method.head_flops(method.make_params(spec["method"]["params"]), tuple(spec["network"]["crop"]))
    )


def _prepare_seconds(plan: Plan, job: Job) -> float | None:
    root = plan.roots.get(job.spec["dataset"])
    if root is None:
        return None
    size = sum(p.stat().st_size for p in Path(root).rglob("*") if p.is_file())
    return 1.0 + size / 2e6  # about 2 MB of compressed volumes a second
