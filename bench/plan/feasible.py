"""Refuse, before anything runs, a job whose settings cannot work together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench import registry, typed
from bench.data.recipe import consistent
from bench.dataset import Recipe
from bench.errors import BenchError
from bench.job import Job
from bench.nets import catalog
from bench.plan.dag import Plan
from bench.protocol import Finetune, Pretrain
from bench.protocol.comparable import LOSSES

SECTIONS: dict[str, tuple[Any, dict[str, Any]]] = {  # with what a spec has elsewhere
    "pretrain": (Pretrain, {"datasets": [{"dataset": ""}]}),
    "finetune": (Finetune, {"dataset": "", "split": ""}),
}
HALF = ("bf16", "fp16")  # precisions that no CPU here trains in (bench.train.loop says why)
# settings of label maps, as a section has them that leaves them out
FOR_MAPS = {
    "foreground": None, "head": "softmax", "deep_supervision": False, "balanced": False, "exact": False,
    "negatives": "anywhere", "batch_dice": False, "background": True, "ce_weight": 1.0,
}  # fmt: skip


def refuse(job: Job, jobs: Mapping[str, Job], processes: int = 1) -> None:
    """Look at one job's spec as it would run, overrides included.

    Args:
        job: of a plan.
        jobs: the plan's, by id.
        processes: how many share a pretraining; a fine-tuning is always one process.

    Raises:
        BenchError: an impossible value, crop, network or batch; says which.
    """
    if job.kind == "evaluate":
        _mirrored(job)
    if job.kind not in SECTIONS:
        return
    net = job.spec["network"]
    catalog.check_crop(net["network"], net["preset"], tuple(net["crop"]))
    kind, rest = SECTIONS[job.kind]
    _typed(kind, {**rest, **job.spec[job.kind]}, job.kind)
    _divided(job, processes if job.kind == "pretrain" else 1)
    prepared = [jobs[need].spec for need in job.needs if jobs[need].kind == "prepare"]
    recipes = [_typed(Recipe, spec["recipe"], "recipe") for spec in prepared]
    for recipe in recipes:
        consistent(recipe)
    if job.kind == "pretrain":
        _pretext(job, recipes, processes)
    else:
        _of_task(job)
        _takes_over(job, jobs)


def refuse_half(plan: Plan, jobs: Sequence[str], lacking: str) -> None:
    """Refuse jobs in half precision at once where what would run them has no GPU.

    Args:
        plan: whose jobs they are.
        jobs: those to do; what is done already needs no device.
        lacking: what has no GPU, and which other place may have one, in words; empty where there is one.

    Raises:
        BenchError: names the first such row, its setting, and the ways out.
    """
    todo = set(jobs) if lacking else set()
    for name, cells in plan.cells.items():
        for cell in (c for c in cells if c.wanted):
            for kind, job in (("pretrain", cell.pretrain), ("finetune", cell.finetune)):
                reads = {job, cell.evaluate} if kind == "finetune" else {job}  # a prediction takes it over
                if job is None or not reads & todo:
                    continue
                precision = plan.jobs[job].spec[kind]["precision"]
                if precision in HALF:
                    raise BenchError(
                        f"protocol {name!r}, row {cell.row!r}: {kind}.precision {precision} needs a GPU, and "
                        f"{lacking}; or add --set {kind}.precision=fp32"
                    )


def _mirrored(job: Job) -> None:
    inference = job.spec["inference"]
    if "z" in inference["mirror"] and inference["crop"][2] == 1:
        raise BenchError("inference.mirror: windows of one slice have no z to flip; take x and y")


def _typed(kind: Any, value: dict[str, Any], key: str) -> Any:
    # a protocol was checked when it was read
    return typed.build(kind, value, lambda keys: f"--set {'.'.join(keys)}", (key,))


def _divided(job: Job, processes: int) -> None:
    recipe = job.spec[job.kind]
    batch, accumulate = recipe["batch"], recipe["accumulate"]
    if batch % (accumulate * processes):
        raise BenchError(
            f"{job.kind}.batch {batch} has no {accumulate * processes} equal parts, one for each of "
            f"{processes} processes x accumulate {accumulate}; take a multiple of {accumulate * processes}"
        )
    net = job.spec["network"]
    catalog.check_batch(net["network"], net["crop"], batch // accumulate)  # over processes they are joined


def _of_task(job: Job) -> None:
    recipe, task, net = job.spec["finetune"], job.spec["data"]["task"], job.spec["network"]
    catalog.check_task(net["network"], task)
    if recipe["loss"] not in LOSSES[task]:
        raise BenchError(
            f"finetune.loss {recipe['loss']} is not for {task}; take {' or '.join(LOSSES[task])}"
        )
    if task == "classification":
        for key, none in FOR_MAPS.items():
            if recipe[key] != none:
                raise BenchError(f"finetune.{key}: is for label maps, not for a classification; leave it out")
    if recipe["batch_dice"] and recipe["accumulate"] > 1:
        raise BenchError(
            "finetune.batch_dice: is of the whole batch, which accumulate would cut; leave accumulate at 1"
        )
    if (recipe["head"] == "regions") != ("regions" in job.spec["data"]):
        raise BenchError("finetune.head: is the protocol's to state, --set cannot change it")
    if recipe["deep_supervision"] and catalog.entry(net["network"]).scales < 2:
        deep = ", ".join(e.name for e in catalog.CATALOG.values() if e.scales > 1)
        raise BenchError(f"finetune.deep_supervision: network {net['network']!r} has one scale; take {deep}")


def _takes_over(job: Job, jobs: Mapping[str, Job]) -> None:
    """Refuse weights that the network cannot take over: other channels, another architecture."""
    now = job.spec["network"]
    for before in (jobs[need].spec["network"] for need in job.needs if jobs[need].kind == "pretrain"):
        if now["in_channels"] % before["in_channels"]:
            raise BenchError(
                f"pretrained on {before['in_channels']} channel(s), and data set "
                f"{job.spec['data']['dataset']!r} has {now['in_channels']}, no multiple of it; pick as many "
                "by 'channels' of a recipe"
            )
        catalog.check_handover((before["network"], before["preset"]), (now["network"], now["preset"]))


def _pretext(job: Job, recipes: list[Recipe], processes: int) -> None:
    name, net = job.spec["method"]["name"], job.spec["network"]
    method, batch = registry.load("method", name), job.spec["pretrain"]["batch"]
    if net["network"] not in method.networks():
        raise BenchError(
            f"method {name!r} cannot train network {net['network']!r}; take one of "
            f"{', '.join(method.networks())}"
        )
    if batch < method.min_batch:
        raise BenchError(f"method {name!r} needs a batch of at least {method.min_batch}, got {batch}")
    if method.across_batch and job.spec["pretrain"]["accumulate"] > 1:
        raise BenchError(
            f"method {name!r} compares the samples of a batch, which pretrain.accumulate would make smaller; "
            "leave it at 1 and take more processes"
        )
    params = method.make_params(job.spec["method"]["params"])
    params.check_data(job.spec["data"])
    params.check_batch(net["network"], tuple(net["crop"]), batch, processes)
    for recipe in recipes:
        params.check(tuple(net["crop"]), recipe)
