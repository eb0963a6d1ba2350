"""What goes into a job's spec and its records: pure functions of a protocol's sections."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bench import registry
from bench.job import canonical, listed
from bench.metrics.request import fitting
from bench.nets import catalog
from bench.plan.here import Target
from bench.protocol import Protocol, Row
from bench.protocol.sections import Finetune, Net, Pretrain

NOT_IN_SPEC = {  # of a section: it picks jobs, names things or is resolved to steps
    "datasets", "dataset", "name", "recipe", "split", "fractions", "seeds", "folds", "seed",
    "steps", "epochs", "crops", "hold", "inference", "mixture", "take", "absent", "leaks", "where", "exclude",
}  # fmt: skip

LOSSES = {"segmentation": "dice_ce", "classification": "cross_entropy"}  # by task


def network(net: Net, channels: int) -> dict[str, Any]:
    """Return one network at one size, as a spec says it."""
    catalog.check_crop(net.network, net.preset, net.crop)
    return {
        "network": net.network, "preset": net.preset, "crop": list(net.crop),
        "in_channels": channels, "version": catalog.entry(net.network).version,
    }  # fmt: skip


def scoring(protocol: Protocol, target: Target) -> dict[str, Any]:
    """Return how a data set's predictions are scored; no part of a job's identity."""
    return {
        "task": target.dataset.task, "metrics": list(fitting(protocol.metrics, target.dataset.task)),
        "convention": protocol.convention,
        "empty": protocol.empty or target.dataset.empty,
        "labels": {str(k): v for k, v in target.dataset.labels.items()},
        "regions": {k: list(v) for k, v in target.dataset.regions.items()},
    }  # fmt: skip


def steps(section: Pretrain | Finetune, cases: int) -> int | None:
    """Return a budget in optimiser steps; None where epochs are of unknown length."""
    if section.epochs is None:
        return section.steps
    if not cases:
        return None
    return max(1, round(section.epochs * cases * section.crops / section.batch))


def held(section: Finetune, full: int, used: int, percent: int) -> int | None:
    """Return the steps on ``used`` of ``full`` labelled cases, holding what the section holds."""
    if section.held == "steps":
        return steps(section, full)
    if section.steps is None:
        return steps(section, used)
    return max(1, round(section.steps * (used / full if full else percent / 100)))


def resolved(section: Pretrain | Finetune, steps: int | None) -> dict[str, Any]:
    """Return a section as a spec says it: defaults filled in, its budget in steps."""
    kept = {k: v for k, v in asdict(section).items() if k not in NOT_IN_SPEC}
    return listed({**kept, "steps": steps})


def tuned(section: Finetune, task: str, steps: int | None) -> dict[str, Any]:
    """Return a fine-tuning section as a spec says it, its loss that of the task where it states none."""
    return {**resolved(section, steps), "loss": section.loss or LOSSES[task]}


def differing(row: Row, before: dict[str, Any] | None) -> str:
    """Return canonical JSON of the parameters that are not the method's defaults."""
    method = registry.load("method", row.method)
    default = listed(asdict(method.Params()))
    params = before["method"]["params"] if before else listed(asdict(method.make_params(row.params)))
    return canonical({k: v for k, v in params.items() if v != default[k]})
